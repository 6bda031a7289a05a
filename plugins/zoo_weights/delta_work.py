"""What `zoo merge delta` and `zoo delta make` do: find both sides, compute, write the card, let the target appear.

A side is a folder or the name of a card. What cards say of base, delta and policy counts unless the user says it himself.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from zoo_core import (
    ModelCard,
    NotFound,
    UsageProblem,
    WeightsError,
    Zoo,
    expanded,
    find_weights,
    is_name,
    is_path,
    open_session,
    own_card,
    verify_files,
)
from zoo_weights.checkpoint import Checkpoint
from zoo_weights.delta import Made, apply_delta, make_delta
from zoo_weights.delta_cards import Side, family_of, write_delta_card, write_merged_card
from zoo_weights.delta_checks import Policy
from zoo_weights.target import making, require_free

#: What a merged model is asked with `--smoke`, and the tokens that it may answer.
SMOKE_PROMPT = "Hello! Who are you?"
SMOKE_TOKENS = 16


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """What was made, and its card."""

    card: ModelCard
    made: Made


def merge(
    zoo: Zoo,
    *,
    target: Path,
    model: str = "",
    base: str = "",
    other: str = "",
    name: str = "",
    to_talk: bool = False,
    policy: Mapping[str, Any],
    options: Mapping[str, Any],
) -> Done:
    """Add a delta (`other`) to its base and write the folder `target` with weights and card. Raises `ZooError`.

    `model` is a card that tells of delta and base. `policy` is what the user says of it, `options` are those of `apply_delta`.
    `to_talk` asks for a conversation template, which only the delta's card can name.
    """
    require_free(target)
    name = card_name(name, target)
    if not (model or other):
        raise UsageProblem("Name the model whose card tells of delta and base, or the delta's folder with --delta.")
    delta = _delta(zoo, model, other)
    if to_talk and (delta.card is None or delta.card.template is None):
        raise UsageProblem("No card tells how one talks to the result, so that it cannot be tried; leave out --smoke.")
    chosen = _policy(Policy.from_card(delta.card) if delta.card else Policy(), policy)
    sides = (base_of(zoo, delta, base), delta)
    _require_family(zoo, sides)
    with making(target) as folder:
        made = apply_delta(sides[0].folder, delta.folder, folder, chosen, **options)
        card = write_merged_card(zoo, folder, name, sides, chosen, made)
    return Done(card=card, made=made)


def make(
    zoo: Zoo,
    *,
    target: Path,
    base: str,
    other: str,
    name: str = "",
    policy: Mapping[str, Any],
    options: Mapping[str, Any],
) -> Done:
    """Write the delta of a model (`other`) to its base into the folder `target`, with its card. Raises `ZooError`."""
    require_free(target)
    name = card_name(name, target)
    sides = (side_of(zoo, base, "--base"), side_of(zoo, other, "--model"))
    chosen = _policy(Policy(), policy)
    _require_family(zoo, sides)
    with making(target) as folder:
        made = make_delta(sides[0].folder, sides[1].folder, folder, chosen, **options)
        card = write_delta_card(zoo, folder, name, sides, chosen, made)
    return Done(card=card, made=made)


def smoke(zoo: Zoo, target: Path) -> str:
    """What a finished model answers, greedily, to a short question."""
    sampling = {"temperature": 0.0, "max_new_tokens": SMOKE_TOKENS}
    session = open_session(zoo, str(target.resolve()), sampling=sampling)
    try:
        return "".join(session.reply(SMOKE_PROMPT))
    finally:
        session.engine.close()


def _require_family(zoo: Zoo, sides: tuple[Side, Side]) -> None:
    """Raise `ZooError` before anything is written where no card could be written at the end."""
    with Checkpoint.open(sides[1].folder) as found:
        family_of(zoo, sides, found.facts)


def card_name(wish: str, target: Path) -> str:
    """The id of the card that is written: what the user says, else the folder's name. Raises `UsageProblem`."""
    name = wish or re.sub(r"[^a-z0-9._-]+", "-", target.resolve().name.lower()).strip("-._")[:80]
    if not is_name(name):
        raise UsageProblem(
            f"'{name or target.name}' cannot be a card's id; give one of a-z, 0-9, '.', '_' and '-' with --name."
        )
    return name


def _policy(policy: Policy, wishes: Mapping[str, Any]) -> Policy:
    """A policy with what the user says in place of what the card says."""
    return msgspec.structs.replace(policy, **{key: value for key, value in wishes.items() if value not in (None, ())})


def _delta(zoo: Zoo, model: str, folder: str) -> Side:
    """The delta: a folder, or what a card names. With a model and a folder the folder holds the weights of the model's card."""
    if not model:
        side = side_of(zoo, folder, "--delta")
    else:
        card, path = zoo.catalog.model(model)
        given = expanded(folder) if folder else None
        side = Side(find_weights(card, path, given, model), card, card.id)
    if (side.folder / "adapter_config.json").is_file():
        raise UsageProblem(f"{side.folder} holds an adapter and no delta; merge it with zoo merge adapter.")
    if side.card and (side.card.lineage is None or side.card.lineage.relation != "delta"):
        raise UsageProblem(
            f"The card of '{side.card.id}' does not say that it is a delta; name a delta, or a folder without card."
        )
    return side


def base_of(zoo: Zoo, delta: Side, wish: str) -> Side:
    """The base that the user names, else the one that the delta's card names; compared with what its card says of its files."""
    said = delta.card.lineage.base if delta.card and delta.card.lineage else None
    if wish:
        side = side_of(zoo, wish, "--base")
        known = zoo.catalog.find(said.id) if said and said.id and not side.card else None
        if isinstance(known, ModelCard):
            verify_files(known.id, known.files, side.folder)
            return Side(side.folder, known, known.id)
        return side
    if not (said and said.id and zoo.catalog.find(said.id)):
        what = f" ({said.name or said.id or said.repo})" if said else ""
        raise UsageProblem(f"Name the folder of the base{what} with --base; no card tells where it is.")
    try:
        return side_of(zoo, said.id, "--base")
    except WeightsError as error:
        raise WeightsError(f"{error} If you have the base elsewhere, name its folder with --base.") from error


def side_of(zoo: Zoo, reference: str, option: str) -> Side:
    """A folder of weights, or the verified ones of a card."""
    folder = expanded(reference)
    if folder.is_dir():
        if (card := own_card(folder)) is None:
            return Side(folder)
        verify_files(card.id, card.files, folder)
        return Side(folder, card, card.id)
    if is_path(reference) and not reference.endswith((".yaml", ".yml")):
        raise NotFound(f"There is no folder {folder}; say with {option} where the weights are.")
    found, path = zoo.catalog.model(reference)
    if found.lineage is not None and found.lineage.relation in {"delta", "adapter"} and option != "--delta":
        raise UsageProblem(
            f"'{found.id}' is itself published as {'a delta' if found.lineage.relation == 'delta' else 'an adapter'}; merge it "
            f"first, and name the merged folder with {option}."
        )
    return Side(find_weights(found, path, None, reference), found, found.id)
