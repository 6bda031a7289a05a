"""The copy of a registry on this machine: the last good index, its signatures, its cards, and when all that came.

The index is written last, so that a copy whose update was killed is still the one before. Rows of its cards are remembered in
the cache: they are made from the verified cards, not from what the index says of them. Reaches no network.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from zoo_core.cards.index import FORMAT, Row, row_of
from zoo_core.errors import CardError, RegistryError, ZooError
from zoo_core.files import write_whole
from zoo_core.paths import cache_folder
from zoo_core.registries.index import INDEX, SIGNATURES, Index, Listed, check_row, parse_index, verify_card

if TYPE_CHECKING:
    from collections.abc import Sequence

    from zoo_core.cards.schema import AnyCard

STATE = "state.json"


class State(msgspec.Struct, frozen=True, kw_only=True):
    """The index that was accepted last: its serial, its SHA-256, and the server's words for "still the same"."""

    serial: int
    sha256: str
    address: str = ""
    etag: str = ""
    modified: str = ""
    #: The public key that the index was verified with; empty when it was with none.
    key: str = ""
    updated: datetime | None = None


class _Cached(msgspec.Struct, array_like=True, frozen=True):
    format: str
    folder: str
    size: int
    mtime: int
    rows: list[Row]


class LocalCopy:
    """The copy of the registry `name` in `folder`, which may be absent or damaged."""

    def __init__(self, name: str, folder: Path) -> None:
        """Look at nothing yet."""
        self.name = name
        self.folder = folder
        self._cache = cache_folder() / "registries" / f"{name}.msgpack"

    @property
    def lock(self) -> Path:
        """The lock file of whoever changes the copy; no name of a registry makes it one of the zoo's other locks."""
        return self.folder.parent / f".copy-{self.name}.lock"

    def index_content(self) -> bytes | None:
        """The bytes of the index."""
        return _content(self.folder / INDEX)

    def signatures_content(self) -> bytes | None:
        """The bytes of the file of signatures."""
        return _content(self.folder / SIGNATURES)

    def index(self) -> Index:
        """The index. Raises `RegistryError` with the way to repair it."""
        content = self.index_content()
        repair = f"repair it with: zoo registry update {self.name}"
        if content is None:
            raise RegistryError(f"The registry '{self.name}' has no copy on this machine; {repair}")
        try:
            return parse_index(content, str(self.folder / INDEX))
        except RegistryError as error:
            raise RegistryError(f"The copy of the registry '{self.name}' is damaged ({error}); {repair}") from None

    def state(self) -> State | None:
        """What was accepted last, where that is known."""
        with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError):
            return msgspec.json.decode(_content(self.folder / STATE) or b"", type=State)
        return None

    def accepted(self) -> State | None:
        """The highest serial that was ever accepted, and the index that it stands for."""
        found = [state] if (state := self.state()) else []
        with contextlib.suppress(RegistryError):
            content = self.index_content() or b""
            serial = parse_index(content, INDEX).serial
            found.append(State(serial=serial, sha256=hashlib.sha256(content).hexdigest()))
        return max(found, key=lambda state: state.serial, default=None)

    def exists(self) -> bool:
        """Whether there is an index."""
        return (self.folder / INDEX).exists()

    def verified_with(self, key: str) -> bool:
        """Whether the copy was verified with this public key when it came."""
        state = self.state()
        return state is not None and state.key == key

    def card_content(self, digest: str) -> bytes | None:
        """The bytes of a card, unless it is absent or damaged."""
        content = _content(self.folder / "cards" / f"{digest}.json")
        return content if content is not None and hashlib.sha256(content).hexdigest() == digest else None

    def row(self, card: AnyCard, listed: Listed) -> Row:
        """A verified card's row. Raises `RegistryError` when the card is too much for listings."""
        row = row_of(card, self.folder / listed.path)
        check_row(row, listed.path)
        return row

    def keep_card(self, content: bytes, listed: Listed) -> None:
        """Keep a verified card."""
        write_whole(self.folder / listed.path, content)

    def install(self, index: bytes, signatures: bytes | None, state: State) -> None:
        """Make an index, all of whose cards are here, the current one."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if signatures is None:
            (self.folder / SIGNATURES).unlink(missing_ok=True)
        elif signatures != self.signatures_content():
            write_whole(self.folder / SIGNATURES, signatures)
        write_whole(self.folder / STATE, msgspec.json.encode(msgspec.structs.replace(state, updated=datetime.now(UTC))))
        if index != self.index_content():
            write_whole(self.folder / INDEX, index)

    def rows(self) -> tuple[list[Row], str]:
        """The rows of all cards, and what is wrong with the copy where anything is."""
        try:
            status = os.stat(self.folder / INDEX)  # noqa: PTH116
            cached = self._cached()
            if cached and (cached.size, cached.mtime) == (status.st_size, status.st_mtime_ns):
                return cached.rows, ""
            index = self.index()
        except OSError:
            return [], f"the registry '{self.name}' has no copy here; get it with: zoo registry update {self.name}"
        except RegistryError as error:
            return [], str(error)
        rows = [row for listed in index.cards if (row := self._read_row(listed))]
        if lack := len(index.cards) - len(rows):
            number = f"{lack} of its {len(index.cards)} cards"
            repair = f"zoo registry update {self.name}"
            return (
                rows,
                f"the copy of the registry '{self.name}' lacks {number}, or they are damaged; repair it with: {repair}",
            )
        self._remember(rows, status)
        return rows, ""

    def known_rows(self) -> dict[str, Row]:
        """Rows of cards that were verified before, by digest."""
        cached = self._cached()
        return {row.digest: row for row in cached.rows} if cached else {}

    def remember(self, rows: Sequence[Row]) -> None:
        """Remember the rows of the current index, for who has the lock."""
        with contextlib.suppress(OSError):
            self._remember(rows, os.stat(self.folder / INDEX))  # noqa: PTH116

    def _remember(self, rows: Sequence[Row], status: os.stat_result) -> None:
        """Remember rows under the state that the index had before it was read: an update since then makes them stale.

        A cache that cannot be written costs time, nothing else.
        """
        with contextlib.suppress(OSError):
            cached = _Cached(FORMAT, str(self.folder), status.st_size, status.st_mtime_ns, list(rows))
            write_whole(self._cache, msgspec.msgpack.encode(cached), durable=False)

    def forget(self) -> None:
        """Remove the copy."""
        import shutil

        shutil.rmtree(self.folder, ignore_errors=True)
        with contextlib.suppress(OSError):  # a cache that stays says of which file it is
            self._cache.unlink(missing_ok=True)

    def set_aside(self) -> Path | None:
        """Give the copy's folder a hidden name, at once and whole; None where there is no copy. Raises `ZooError`."""
        aside = self.folder.with_name(f".{self.name}.removed.{secrets.token_hex(4)}")
        try:
            self.folder.rename(aside)
        except FileNotFoundError:
            return None
        except OSError as error:
            message = f"The copy in {self.folder} cannot be removed: {error.strerror or error}; nothing was changed."
            raise ZooError(message) from error
        return aside

    def _cached(self) -> _Cached | None:
        with contextlib.suppress(OSError, msgspec.DecodeError, UnicodeDecodeError):
            cached = msgspec.msgpack.decode(self._cache.read_bytes(), type=_Cached)
            if (cached.format, cached.folder) == (FORMAT, str(self.folder)):
                return cached
        return None

    def _read_row(self, listed: Listed) -> Row | None:
        content = self.card_content(listed.digest)
        if content is None:
            return None
        try:
            return self.row(verify_card(content, listed, listed.path), listed)
        except RegistryError:
            return None


def read_registry_card(registry: str, path: Path) -> AnyCard:
    """A card of a registry's copy, which must still be what its name says. Raises `CardError`."""
    from zoo_core.cards.reading import parse_card

    content = _content(path)
    if content is None or hashlib.sha256(content).hexdigest() != path.stem:
        raise CardError(f"The card {path} is absent or damaged; repair it with: zoo registry update {registry}")
    return parse_card(content, str(path))


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None
