"""Hooks of the embedded model. Light: names things, imports nothing heavy."""

from __future__ import annotations

from pathlib import Path

from zoo_core import Offer, hookimpl


@hookimpl
def zoo_card_folders() -> list[Path]:
    """The cards of the model and of its dialogues."""
    return [Path(__file__).parent / "cards"]


@hookimpl
def zoo_data_builders() -> list[Offer]:
    """The dialogues in ten languages."""
    return [
        Offer(
            name="hatchling",
            target="zoo_hatchling.dialogues:HatchlingBuilder",
            summary="dialogues about the zoo in ten languages, written for the embedded model",
        )
    ]
