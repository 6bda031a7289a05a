"""`zoo delta`: make deltas. Each subcommand is a module, imported on use."""

from __future__ import annotations

import click

from zoo_core import LazyGroup

#: The subcommands and what they do.
COMMANDS = {"make": "Make the delta of a model to its base."}


@click.group("delta", cls=LazyGroup, names=COMMANDS, package="zoo_weights.commands", prefix="delta_")
def command() -> None:
    """Make the delta of a model to its base; `zoo merge delta` adds it again."""
