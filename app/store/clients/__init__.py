"""Clients, their keys, and the audit of what operators did."""
