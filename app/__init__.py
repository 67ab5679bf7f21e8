"""kie-gateway: a durable front for kie.ai's asynchronous, paid task API."""
