"""The base that a delta or an adapter belongs to: the folder that the user names, or the card that the lineage names."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from zoo_core.catalog import CARD_FILE
from zoo_core.checkpoints.inspection import is_folder
from zoo_core.errors import NotFound, WeightsError
from zoo_core.paths import expanded

if TYPE_CHECKING:
    from zoo_core.cards.parts import Lineage
    from zoo_core.cards.schema import ModelCard
    from zoo_core.zoo import Zoo


class Foundation(NamedTuple):
    """The base of a model: its folder, what it is called, and its card where there is one."""

    folder: Path
    name: str
    card: ModelCard | None


def lineage_base(zoo: Zoo, lineage: Lineage) -> tuple[ModelCard, Path] | None:
    """The card of the base that a lineage names, and where it lies; None where there is none."""
    with contextlib.suppress(NotFound):
        if lineage.base.id:
            return zoo.catalog.model(lineage.base.id)
    return None


def given_base(card: ModelCard, wish: str) -> Path:
    """The folder that the user named as the base. Raises `WeightsError` where there is none."""
    folder = expanded(wish)
    if not is_folder(folder):
        raise WeightsError(f"There is no folder {folder} with the base of '{card.id}'.")
    return folder


def own_card(folder: Path) -> ModelCard | None:
    """The card of a model that lies in a folder beside its weights. Raises `ZooError` for one that cannot be read."""
    from zoo_core.cards.reading import read_card
    from zoo_core.cards.schema import ModelCard

    try:
        card = read_card(folder / CARD_FILE) if (folder / CARD_FILE).is_file() else None
    except OSError as error:
        raise WeightsError(f"The folder {folder} cannot be read: {error.strerror or error}.") from error
    return card if isinstance(card, ModelCard) else None
