"""Ask for a recorded answer again: the same, or at which token it differs and what has changed since."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from zoo_core.errors import NotFound
from zoo_core.history import History, Record, template_digest
from zoo_core.session import Session, open_session

if TYPE_CHECKING:
    from zoo_core.zoo import Zoo


class Replayed(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome of a replay. `differs_at` is the first token that is another, counted from 0."""

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
        dtype=dtype,
        weights=Path(record.weights) if record.weights else None,
    )
    for _ in session.replay(record.messages, record.sampling):
        pass
    assert session.last is not None
    changes = _changes(record, session)
    ids = session.last.ids
    # An answer that the user stopped is compared as far as it went.
    compared = ids[: len(record.ids)] if record.finish == "cancelled" else ids
    if compared == record.ids:
        return _outcome(record, session, f"Answer {number} is the same, token by token.", [], None)
    pairs = zip(compared, record.ids, strict=False)
    place = next((at for at, (new, old) in enumerate(pairs) if new != old), min(len(compared), len(record.ids)))
    why = "" if changes else " Nothing that is recorded has changed, so the machine computes differently."
    return _outcome(record, session, f"Answer {number} differs from token {place} on.{why}", changes, place)


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
