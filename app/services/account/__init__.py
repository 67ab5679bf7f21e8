"""The account at kie.ai: who is admitted, and whether anything may be sent."""
