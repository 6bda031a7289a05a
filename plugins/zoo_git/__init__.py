"""Registries in git repositories."""
