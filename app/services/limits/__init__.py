"""What bounds callers: how much each may have under way."""
