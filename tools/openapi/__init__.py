"""Compares the API with the last release's: what would break a caller of it."""
