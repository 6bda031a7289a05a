"""What `zoo merge adapter` does: find adapter and base, merge, write the card, let the target appear.

Either is a folder or the name of a card. What the adapter's card says of its base counts unless the user names another.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from zoo_core import ModelCard, UsageProblem, Zoo, expanded, find_weights
from zoo_weights.adapter import merge_adapter
from zoo_weights.adapter_plan import Adapter
from zoo_weights.checkpoint import Checkpoint
from zoo_weights.delta import Policy
from zoo_weights.delta_cards import Side, family_of, write_merged_card
from zoo_weights.delta_work import Done, base_of, card_name, side_of, smoke
from zoo_weights.target import making, require_free

__all__ = ["merge", "smoke"]


def merge(
    zoo: Zoo,
    *,
    target: Path,
    model: str = "",
    base: str = "",
    other: str = "",
    name: str = "",
    options: Mapping[str, Any],
) -> Done:
    """Merge an adapter (`other`) into its base and write the folder `target` with weights and card. Raises `ZooError`.

    `model` is a card that tells of adapter and base; `options` are those of `merge_adapter`.
    """
    require_free(target)
    name = card_name(name, target)
    if not (model or other):
        raise UsageProblem(
            "Name the model whose card tells of adapter and base, or the adapter's folder with --adapter."
        )
    adapter = _adapter(zoo, model, other)
    Adapter.open(
        adapter.folder
    ).checkpoint.close()  # before a base is looked for, which takes long where it is verified
    sides = (base_of(zoo, adapter, base), adapter)
    with Checkpoint.open(sides[0].folder) as found:
        family_of(zoo, (adapter, sides[0]), found.facts)
    with making(target) as folder:
        made = merge_adapter(sides[0].folder, adapter.folder, folder, **options)
        card = write_merged_card(zoo, folder, name, sides, Policy(), made)
    return Done(card=card, made=made)


def _adapter(zoo: Zoo, model: str, reference: str) -> Side:
    """The adapter: a folder, or what a card names. With a model and a folder the folder holds what the model's card names."""
    if not model and expanded(reference).is_dir():
        side = side_of(zoo, reference, "--adapter")
    else:
        card, path = zoo.catalog.model(model or reference)
        given = expanded(reference) if model and reference else None
        side = Side(find_weights(card, path, given, model or reference), card, card.id)
    if isinstance(side.card, ModelCard) and (side.card.lineage is None or side.card.lineage.relation != "adapter"):
        raise UsageProblem(
            f"The card of '{side.card.id}' does not say that it is an adapter; name an adapter, or a folder without card."
        )
    return side
