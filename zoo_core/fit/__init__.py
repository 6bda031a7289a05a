"""Whether a model fits into memory, told from its card."""
