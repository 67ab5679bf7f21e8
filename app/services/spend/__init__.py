"""What tasks cost: usage, and the budgets that bound it."""
