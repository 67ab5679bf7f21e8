"""How a task looks to callers: in our own API and in kie.ai's."""
