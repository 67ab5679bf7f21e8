"""Connections to PostgreSQL: opened, lent, shared in turns, and what statements on them cost."""
