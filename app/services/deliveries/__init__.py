"""What callers are notified of."""
