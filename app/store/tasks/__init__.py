"""Tasks: their rows, moves, history, and what kie.ai reported of them."""
