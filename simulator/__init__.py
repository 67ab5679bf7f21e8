"""A stand-in kie.ai over real HTTP; it shares nothing with the rest, so it can contradict it."""
