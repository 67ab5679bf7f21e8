"""Commands of operators: the account, clients, keys, stuck tasks."""
