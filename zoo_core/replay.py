"""Ask for a recorded answer again: the same, or at which token it differs and what has changed since.

Answers of hosted models, whose tokens nobody sees, are compared letter by letter.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from zoo_core.errors import NotFound
from zoo_core.history import History, Record, template_digest
from zoo_core.opening import open_session
from zoo_core.session import Session

if TYPE_CHECKING:
    from collections.abc import Sequence

    from zoo_core.zoo import Zoo


class Replayed(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome of a replay. `differs_at` is the first token, or letter, that is another, counted from 0."""

    same: bool
    sentence: str
    changes: list[str]
    differs_at: int | None
    recorded: str
    replayed: str


def replay(zoo: Zoo, number: int, history: History | None = None) -> Replayed:
    """Give the model of a recorded answer the same messages and sampling, and compare token by token."""
    record = (history or History()).reply(number)
    device, dtype = record.facts.get("device", "auto"), record.facts.get("dtype", "auto")
    session = open_session(
        zoo,
        record.reference,
        template=_template(zoo, record),
        engine=record.engine,
        device=device,
        quantize=record.facts.get("quantize", ""),
        dtype=dtype,
        weights=Path(record.weights) if record.weights else None,
        device_map=record.facts.get("device_map", ""),
    )
    for _ in session.replay(record.messages, record.sampling):
        pass
    assert session.last is not None
    changes = _changes(record, session)
    new: Sequence[Any] = session.last.ids
    old: Sequence[Any] = record.ids
    unit, why = "token", "so the machine computes differently"
    if not old and not new:  # nobody saw tokens
        new, old, unit = session.last.text, record.reply, "letter"
        why = "but a hosted model need not answer the same way twice"
    # An answer that the user stopped is compared as far as it went.
    compared = new[: len(old)] if record.finish == "cancelled" else new
    if compared == old:
        return _outcome(record, session, f"Answer {number} is the same, {unit} by {unit}.", [], None)
    pairs = zip(compared, old, strict=False)
    place = next((at for at, (one, other) in enumerate(pairs) if one != other), min(len(compared), len(old)))
    told = "" if changes else f" Nothing that is recorded has changed, {why}."
    return _outcome(record, session, f"Answer {number} differs from {unit} {place} on.{told}", changes, place)


def _template(zoo: Zoo, record: Record) -> str | None:
    """The template to ask for; None for the card's own, which a plugin's template of the same name need not equal."""
    card, _ = zoo.catalog.model(record.reference)
    try:
        own = zoo.template_of(card).name
    except NotFound:  # the user named one with --template
        return record.template
    return None if own == record.template else record.template


def _outcome(record: Record, session: Session, sentence: str, changes: list[str], place: int | None) -> Replayed:
    replayed = session.last.text if session.last else ""
    return Replayed(
        same=place is None,
        sentence=sentence,
        changes=changes,
        differs_at=place,
        recorded=record.reply,
        replayed=replayed,
    )


def _changes(record: Record, session: Session) -> list[str]:
    pairs = {
        "card": (record.card_digest[:12], session.card_digest[:12]),
        "template": (record.template_digest[:12], template_digest(session)[:12]),
        "engine": (record.engine, session.engine.name),
    }
    facts = session.engine.facts
    pairs |= {name: (record.facts.get(name, "-"), facts.get(name, "-")) for name in sorted({*record.facts, *facts})}
    return [f"{name} was {old}, is {new}" for name, (old, new) in pairs.items() if old != new]
