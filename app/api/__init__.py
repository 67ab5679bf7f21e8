"""The HTTP edge: it translates requests and answers and decides nothing."""
