"""`zoo registry`."""
