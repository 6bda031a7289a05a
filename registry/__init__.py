"""The first-party cards of the zoo. Imports as `zoo_registry`."""

from __future__ import annotations

from pathlib import Path

from zoo_core import hookimpl

#: One folder for each kind of card.
FOLDERS = ("models", "datasets", "benchmarks")


@hookimpl
def zoo_card_folders() -> list[Path]:
    """The folders of models, datasets and benchmarks, as far as they are there."""
    here = Path(__file__).parent
    return [here / name for name in FOLDERS if (here / name).is_dir()]
