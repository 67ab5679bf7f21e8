"""What happens to a database in ordinary operation, to a system under load, and what is left."""
