"""Speaks HTTP with the callers' URLs: signed, bounded, and never where it must not go."""
