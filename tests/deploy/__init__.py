"""What the files in `deploy` say, checked without a cluster."""
