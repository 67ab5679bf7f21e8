"""What tasks cost: changes, their sums, and budgets."""
