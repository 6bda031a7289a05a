"""`zoo merge`: put models together that are published in parts. Each subcommand is a module, imported on use."""

from __future__ import annotations

import click

from zoo_core import LazyGroup

#: The subcommands and what they do.
COMMANDS = {
    "delta": "Add a delta to its base.",
    "adapter": "Merge an adapter (LoRA) into its base.",
}


@click.group("merge", cls=LazyGroup, names=COMMANDS, package="zoo_weights.commands", prefix="merge_")
def command() -> None:
    """Merge a delta or an adapter into its base."""
