"""The calling services: their keys, secrets and settings."""
