"""Hatchling: the embedded demonstration model, the dialogues it learned from, and the builder that makes them."""
