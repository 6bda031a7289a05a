"""The first-party cards of the zoo. Imports as `zoo_registry`."""

from __future__ import annotations

from pathlib import Path

from zoo_core import hookimpl


@hookimpl
def zoo_card_folders() -> list[Path]:
    """Everything below `models`."""
    return [Path(__file__).parent / "models"]
