"""Reads and writes kie.ai's JSON for the upstream."""
