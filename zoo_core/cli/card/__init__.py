"""`zoo card`."""
