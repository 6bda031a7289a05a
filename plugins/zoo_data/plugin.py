"""Hooks of the data plugin. Light: names things, imports nothing heavy."""

from __future__ import annotations

from zoo_core import Offer, hookimpl


@hookimpl
def zoo_data_builders() -> list[Offer]:
    """Conversations from a file."""
    return [
        Offer(
            name="file",
            target="zoo_data.file:FileBuilder",
            summary="conversations from a .json or .jsonl file (messages, ShareGPT or Alpaca records)",
        )
    ]


@hookimpl
def zoo_commands() -> list[Offer]:
    """The command `zoo data`."""
    return [
        Offer(
            name="data",
            target="zoo_data.command:command",
            summary="Look at training data: what a builder gives, and what a model would learn of it.",
        )
    ]
