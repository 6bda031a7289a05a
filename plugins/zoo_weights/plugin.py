"""Hooks of the plugin that computes with weights. Light: names things, imports nothing heavy."""

from __future__ import annotations

from zoo_core import Offer, hookimpl


@hookimpl
def zoo_commands() -> list[Offer]:
    """The commands `zoo merge`, `zoo delta` and `zoo convert`."""
    return [
        Offer(
            name="merge",
            target="zoo_weights.commands.merge:command",
            summary="Merge a delta or an adapter into its base.",
        ),
        Offer(
            name="delta",
            target="zoo_weights.commands.delta:command",
            summary="Make the delta of a model to its base.",
        ),
        Offer(
            name="convert",
            target="zoo_weights.commands.convert:command",
            summary="Make safetensors of pickled weights, in a guarded process.",
        ),
    ]
