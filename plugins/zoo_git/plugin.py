"""Registries in git repositories. Names things only."""
