"""Deliveries: the outbox, its attempts, and looking back at them."""
