"""The account at kie.ai: its limits, its holds, and the queue for it."""
