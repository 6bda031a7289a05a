"""Registries and weights as plain files, on any web server or disk. Names things only."""
