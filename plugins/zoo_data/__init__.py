"""Data builders that read conversations people already have, and the command that looks at them."""
