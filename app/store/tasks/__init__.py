"""Tasks: their rows, moves, history, and what kie.ai said of them."""
