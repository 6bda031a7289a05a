"""The record of what was pulled: which files of which commit, with their digests, lie in which folder.

It is what `zoo chat` finds weights by, without asking a hub or importing its library. A damaged record counts as empty; the
next pull puts it aside and begins a new one. Knows nothing of how files come here.
"""

from __future__ import annotations

import datetime
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from zoo_core.cards.parts import File
from zoo_core.errors import ZooError
from zoo_core.files import write_whole
from zoo_core.paths import data_folder

if TYPE_CHECKING:
    from collections.abc import Callable

    from zoo_core.cards.parts import Source
    from zoo_core.cards.schema import AnyCard

SCHEMA = "zoo.pulled/v1"


class Pulled(msgspec.Struct, frozen=True, kw_only=True):
    """The files of one model at one commit. `digest` is the card's; `sha256` of the files were computed here."""

    card: str
    digest: str
    hub: str
    repo: str = ""
    url: str = ""
    revision: str = ""
    folder: str
    files: list[File]
    date: datetime.datetime

    @property
    def size(self) -> int:
        """The bytes of all files."""
        return sum(file.size for file in self.files)


class _Damaged(ZooError):
    """The record is there, but cannot be understood."""


class _Record(msgspec.Struct):
    schema: str
    pulled: list[Pulled]


def pulled_folder(card: AnyCard) -> Path | None:
    """The folder with the pulled weights of a card, where there is one. Verifies nothing."""
    record = record_of(card)
    return Path(record.folder) if record else None


def pulled_ids(warn: Callable[[str], None] = lambda warning: None) -> set[str]:
    """The ids of the cards whose weights were pulled, or put together, and are still there.

    `warn` is told when the record is damaged.
    """
    from zoo_core.weights.assembled import all_assembled

    pulled = {record.card for record in records(warn) if Path(record.folder).is_dir()}
    return pulled | {record.card for record in all_assembled()}


def record_of(card: AnyCard) -> Pulled | None:
    """The newest record of a card's weights as the card now names them, as long as their folder is there."""
    for record in records():
        if record.card == card.id and _same_weights(record, card) and Path(record.folder).is_dir():
            return record
    return None


def records(warn: Callable[[str], None] = lambda warning: None) -> list[Pulled]:
    """All records, the newest first. `warn` is told when the record is damaged."""
    try:
        return sorted(_read(), key=lambda record: record.date, reverse=True)
    except ZooError as error:
        warn(str(error))
        return []


def damage() -> str:
    """What is wrong with the record, as a sentence; empty where nothing is."""
    found: list[str] = []
    records(found.append)
    return found[0] if found else ""


def remember(record: Pulled) -> None:
    """Add a record, in place of an earlier one of the same card, source and commit, or folder where there is no commit."""
    _change(lambda others: [*(other for other in others if _key(other) != _key(record)), record])


def forget(gone: list[Pulled]) -> None:
    """Take records out."""
    keys = [_key(record) for record in gone]
    _change(lambda others: [other for other in others if _key(other) not in keys])


def lock_of(source: Source) -> Path:
    """The lock that a run holds while it changes what came from a source."""
    name = "\n".join([source.hub, source.repo, source.url])
    return data_folder() / "locks" / f"weights-{hashlib.sha256(name.encode()).hexdigest()[:24]}.lock"


def _key(record: Pulled) -> tuple[str, ...]:
    return record.card, record.hub, record.repo, record.url, record.revision or record.folder


def _same_weights(record: Pulled, card: AnyCard) -> bool:
    """Whether the files of a record are those that the card names; where it names none, whether they are of its source."""
    if card.files:
        here = {file.path: file.sha256 for file in record.files}
        return all(here.get(file.path) == file.sha256 for file in card.files)
    return any(
        (source.hub, source.repo, source.url) == (record.hub, record.repo, record.url)
        and source.revision in {"", record.revision}
        for source in card.sources
    )


def _place() -> Path:
    return data_folder() / "pulled.json"


def _read() -> list[Pulled]:
    try:
        record = msgspec.json.decode(_place().read_bytes(), type=_Record)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise ZooError(f"The record of pulled weights, {_place()}, cannot be read: {error.strerror}.") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise _Damaged(f"The record of pulled weights, {_place()}, is damaged and counts as empty.") from None
    if record.schema != SCHEMA:
        raise _Damaged(f"The record of pulled weights, {_place()}, is of another version of the zoo.")
    return record.pulled


def _change(change: Callable[[list[Pulled]], list[Pulled]]) -> None:
    from zoo_core.locks import locked

    with locked(data_folder() / "locks" / "pulled.lock"):
        before: list[Pulled] = []
        try:
            before = _read()
        except _Damaged:
            _place().replace(_place().with_name("pulled.json.damaged"))
        record = _Record(SCHEMA, change(before))
        write_whole(_place(), msgspec.json.format(msgspec.json.encode(record), indent=2))
