"""Which engine runs a model: the one that is wanted, else the first that loads what the weights are written in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zoo_core.errors import NotFound, UsageProblem

if TYPE_CHECKING:
    from pathlib import Path

    from zoo_core.cards.schema import ModelCard
    from zoo_core.offers import Offer
    from zoo_core.zoo import Zoo


def engine_for(
    zoo: Zoo, card: ModelCard, wish: str | None = None, weights: Path | None = None, reference: str = ""
) -> Offer:
    """The engine that the user wants, else the card's, else the first that loads the format. `weights` is the user's folder.

    `reference` is how the user called the model. Raises `NotFound` where there is none, `UsageProblem` where none loads the
    format.
    """
    form, wish = format_of(card, weights), wish or card.runtime.engine
    offers = [zoo.offer("zoo_engines", wish, "engine")] if wish else []
    if not wish:
        offers = [offer for _, offer in zoo.plugins.items("zoo_engines")]
        if not offers:
            raise NotFound("No installed plugin brings an engine, so no model can run.")
    for offer in offers:
        if form in offer.supports.get("format", ["safetensors"]):
            return offer
    if form == "pickle":
        raise _pickled(card, reference or card.id)
    which = f"the engine '{wish}' does not load" if wish else "no installed engine loads"
    raise UsageProblem(f"'{card.id}' has the format '{form}', which {which}.")


def _pickled(card: ModelCard, reference: str) -> UsageProblem:
    folder = next((source.path for source in card.sources if source.hub == "folder"), "")
    what = f"'{card.id}' is published as pickled weights, which can run code when they are read: "
    if folder:
        return UsageProblem(
            f"{what}make safetensors of them with zoo convert {folder} --target NEW, and name that folder."
        )
    return UsageProblem(
        f"{what}get them with zoo pull {reference} --all-files, make safetensors of them with zoo convert, and name that "
        "folder with --model-path."
    )


def format_of(card: ModelCard, weights: Path | None = None) -> str:
    """The format of what is going to be loaded, which is not always that of what the card's sources hold.

    What is put together, and a folder that stands for pickled weights, is safetensors.
    """
    from zoo_core.weights.assembling import is_in_parts

    if is_in_parts(card) or (weights is not None and card.format == "pickle"):
        return "safetensors"
    return card.format or "safetensors"
