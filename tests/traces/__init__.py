"""Traces, without a gateway."""
