"""Files: copying results, and handing them out."""
