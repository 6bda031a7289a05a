"""A plugin for LLM Zoo that lives outside of it."""
