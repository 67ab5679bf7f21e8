"""The HTTP API: it translates requests and answers and decides nothing."""
