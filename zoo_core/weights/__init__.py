"""Weights on this machine: found, pulled, verified, removed."""
