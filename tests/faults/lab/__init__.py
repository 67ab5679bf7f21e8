"""Kills processes, stops PostgreSQL and makes kie.ai misbehave, and audits what is left."""
