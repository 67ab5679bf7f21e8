"""A simulated kie.ai over HTTP. It shares no code with the gateway, so it can contradict it."""
