"""Chimera: LLM Zoo's models for languages in Latin and Cyrillic script, made from LLaMA and published as deltas."""
