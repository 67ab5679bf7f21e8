"""Attacks on a whole gateway: what it costs others, and what it leaves behind. `--help` has more.

An attack runs in a process of its own against `kie-gateway serve` over a PostgreSQL of its own,
with the simulator for kie.ai. Meanwhile a well-behaved client reads, creates and is notified, and
`/livez` is asked on new connections; the same is measured in a quiet time before.
"""
