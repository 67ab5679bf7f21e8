"""The gateway against a floor and against peers: the same operations, one after the other."""
