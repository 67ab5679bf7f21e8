"""What bounds callers."""
