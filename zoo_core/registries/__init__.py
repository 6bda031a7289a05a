"""Registries: collections of cards elsewhere, with a copy here that works without them."""
