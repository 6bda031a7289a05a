"""The compiled index of card files: what listing and resolving need, kept in the user's cache.

Reading YAML is a hundred times slower than reading this. An entry is good as long as its file has the same size and
modification time; a card itself is always read from its own file. Knows nothing of precedence.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from zoo_core.cards.schema import SCHEMA, BenchmarkCard, DatasetCard

if TYPE_CHECKING:
    from collections.abc import Iterable

    from zoo_core.cards.schema import AnyCard, ModelCard

#: Changes whenever `Row` or the schema does, so that old caches are not read.
FORMAT = f"{SCHEMA}/rows-4"
#: How a file ends that cards extend and that is none itself.
COLLECTION = ".collection.yaml"


class Row(msgspec.Struct, array_like=True, frozen=True):
    """What a listing shows of a card, or why the card cannot be read (`problem`)."""

    path: str
    problem: str = ""
    id: str = ""
    kind: str = "model"
    version: str = ""
    aliases: list[str] = []
    family: str = ""
    summary: str = ""
    status: str = ""
    license: str = ""
    commercial: str = ""
    languages: list[str] = []
    languages_note: str = ""
    format: str = ""
    backbone: str = ""
    size: str = ""
    released: str = ""
    open_weights: bool | None = None
    open_data: bool | None = None
    instruction: str = ""
    conversation: str = ""
    package: bool = False
    digest: str = ""
    base: str = ""
    relation: str = ""
    weights_license: str = ""
    context: int | None = None
    params: int | None = None
    weights_bytes: int | None = None
    kv_bytes_per_token: int | None = None
    dtype: str = ""
    layers: int | None = None
    hidden_size: int | None = None
    intermediate_size: int | None = None
    vocab_size: int | None = None
    heads: int | None = None
    bits: int | None = None
    variants: list[str] = []
    #: The ids of the cards that it was made from; an empty text for each that has no card.
    bases: list[str] = []
    #: Whether the memory is an estimate from the architecture.
    estimated: bool | None = None


class _Entry(msgspec.Struct, array_like=True, frozen=True):
    size: int
    mtime: int
    row: Row
    #: The collections that the card extends: path, size and modification time of each.
    parents: list[tuple[str, int, int]] = []


class _Index(msgspec.Struct, array_like=True):
    format: str
    entries: dict[str, _Entry]


class CardIndex:
    """Rows of card files; reads what is new or changed, remembers the rest."""

    def __init__(self, place: Path | None) -> None:
        """`place` is the cache file, or None to remember nothing."""
        self._place = place
        self._entries: dict[str, _Entry] = {}
        self._fresh = True
        if place is not None:
            try:
                index = msgspec.msgpack.decode(place.read_bytes(), type=_Index)
                self._entries = index.entries if index.format == FORMAT else {}
            except (OSError, msgspec.DecodeError, UnicodeDecodeError):  # absent or damaged
                pass

    def rows(self, folder: Path) -> list[Row]:
        """A row for every card file below a folder, in the order of their paths."""
        return [self.row(path, status) for path, status in card_files(folder)]

    def row(self, path: str, status: os.stat_result) -> Row:
        """The row of one card file."""
        entry = self._entries.get(path)
        if (
            entry is None
            or entry.size != status.st_size
            or entry.mtime != status.st_mtime_ns
            or (entry.parents and entry.parents != _states([each[0] for each in entry.parents]))
        ):
            row, parents = read_row(Path(path))
            entry = _Entry(status.st_size, status.st_mtime_ns, row, _states(parents))
            self._entries[path] = entry
            self._fresh = False
        return entry.row

    def save(self) -> None:
        """Write the cache file if anything changed. A folder that cannot be written costs time, nothing else."""
        if self._fresh or self._place is None:
            return
        from zoo_core.files import write_whole

        entries = {path: entry for path, entry in self._entries.items() if Path(path).exists()}
        with contextlib.suppress(OSError):
            write_whole(self._place, msgspec.msgpack.encode(_Index(FORMAT, entries)), durable=False)
        self._fresh = True


def _states(paths: Iterable[str | Path]) -> list[tuple[str, int, int]]:
    """Path, size and modification time of files; a file that is gone has size -1."""
    states = []
    for path in paths:
        try:
            status = os.stat(path)  # noqa: PTH116
            states.append((str(path), status.st_size, status.st_mtime_ns))
        except OSError:
            states.append((str(path), -1, 0))
    return states


def read_row(path: Path) -> tuple[Row, list[Path]]:
    """Read a card file into a row, with the collections it extends; an unreadable card gives a row with the problem."""
    from zoo_core.cards.reading import read_extended
    from zoo_core.errors import CardError

    try:
        card, parents = read_extended(path)
        return row_of(card, path), parents
    except CardError as error:
        # What a broken card extends is not known: whatever changes among the collections beside it may mend it.
        return Row(path=str(path), problem=str(error)), [path.parent, *sorted(path.parent.glob("*" + COLLECTION))]


def row_of(card: AnyCard, path: Path) -> Row:
    """What a listing shows of a card."""
    from zoo_core.cards.writing import card_digest

    common: dict[str, Any] = {
        "path": str(path),
        "id": card.id,
        "version": card.version,
        "aliases": card.aliases,
        "summary": card.summary,
        "status": card.status,
        "license": card.license.spdx or card.license.name,
        "commercial": card.license.commercial or "",
        "languages": card.languages,
        "languages_note": card.languages_note,
        "format": card.format or "",
        "released": card.released.isoformat() if card.released else "",
        "package": any(source.hub == "package" for source in card.sources),
        "digest": card_digest(card),
        "weights_license": card.license.weights,
    }
    if isinstance(card, DatasetCard):
        return Row(**common, kind="dataset", size=card.size, bases=card.made_from)
    if isinstance(card, BenchmarkCard):
        size = f"{card.questions:,} questions" if card.questions else ""
        return Row(**common, kind="benchmark", size=size)
    return _model_row(card, common)


def _model_row(card: ModelCard, common: dict[str, Any]) -> Row:
    """The row of a model, with what all cards have in common."""
    from zoo_core.cards.estimating import memory_of

    base = card.lineage.base if card.lineage else None
    memory, estimated = memory_of(card)
    return Row(
        **common,
        family=card.family,
        backbone=card.architecture.backbone or (base.name if base else ""),
        size=card.architecture.size,
        open_weights=card.openness.weights,
        open_data=card.openness.data,
        instruction=card.training.instruction,
        conversation=card.training.conversation,
        base=(base.id or "") if base else "",
        relation=card.lineage.relation if card.lineage else "",
        context=card.context.max if card.context else None,
        params=card.architecture.params,
        weights_bytes=memory.weights_bytes,
        kv_bytes_per_token=memory.kv_bytes_per_token,
        dtype=memory.dtype,
        estimated=estimated or None,
        layers=card.architecture.layers,
        hidden_size=card.architecture.hidden_size,
        intermediate_size=card.architecture.intermediate_size,
        vocab_size=card.architecture.vocab_size,
        heads=card.architecture.heads,
        bits=card.quantization.bits if card.quantization else None,
        variants=card.runtime.variants,
        bases=[each.id or "" for each in (card.lineage.base, *card.lineage.others)] if card.lineage else [],
    )


def card_files(folder: str | Path, entered: tuple[os.stat_result, ...] = ()) -> Iterable[tuple[str, os.stat_result]]:
    """The `.yaml` files below a folder with their status, by os.scandir: a Path per file would cost more than the rest.

    A link to a folder that it lies in, which would lead round for ever, is passed over.
    """
    try:
        here = os.stat(folder)  # noqa: PTH116
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:
        return
    if any(os.path.samestat(here, each) for each in entered):
        return
    for entry in entries:
        if entry.name.startswith("."):
            continue
        with contextlib.suppress(OSError):
            if entry.is_dir():
                yield from card_files(entry.path, (*entered, here))
            elif entry.name.endswith((".yaml", ".yml")) and not entry.name.endswith(COLLECTION) and entry.is_file():
                yield entry.path, entry.stat()
