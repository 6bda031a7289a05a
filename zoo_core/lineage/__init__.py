"""What was made from what, and what may be done with it."""
