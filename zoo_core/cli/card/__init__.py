"""`zoo card`: make, lock, check, compare and publish cards. Each subcommand is one file here, imported on use."""

from __future__ import annotations

import click

from zoo_core.cli.lazy import LazyGroup

#: The subcommands and what they do.
COMMANDS = {
    "new": "Write the card of a model from its files.",
    "lock": "Write revision, digests and sizes into a card.",
    "check": "Say what is wrong with cards.",
    "diff": "Compare two cards field by field.",
    "publish": "Publish a card, after showing the exact change.",
    "schema": "Print the JSON Schema of cards.",
}


@click.group("card", cls=LazyGroup, names=COMMANDS, package=__name__)
def command() -> None:
    """Make, lock, check, compare and publish cards."""
