"""The index of a static registry: which cards it holds, by their digests. Knows neither the network nor keys.

A registry is a folder: `index.json`, the cards in `cards/DIGEST.json`, and perhaps `index.json.sig`. The index is JSON with
one card in a line; a reader needs a card's id, kind, version and digest, the other fields are for whoever searches. Where a
card lies follows from its digest, never from what the index says.
"""

from __future__ import annotations

import hashlib
import json
import re
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec

from zoo_core.cards.parts import Digest, Name
from zoo_core.cards.reading import MAX_BYTES
from zoo_core.errors import CardError, RegistryError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from zoo_core.cards.index import Row
    from zoo_core.cards.schema import AnyCard

SCHEMA = "zoo.index/v1"
INDEX = "index.json"
SIGNATURES = "index.json.sig"
CARDS = "cards"
#: The largest index that is read, in bytes; ten thousand cards make about six million.
MAX_INDEX = 64_000_000
#: The most cards that a registry may have.
MAX_CARDS = 50_000
#: The most characters that a listing takes from a card: in one text, and in all of them.
MAX_TEXT, MAX_TEXTS = 1_000, 10_000
#: The highest serial; larger numbers are not exact in every program that reads JSON.
MAX_SERIAL = 2**53

#: What `write_whole` leaves beside these files when it is killed.
_LEFTOVER = re.compile(r"\.(index\.json(\.sig)?|state\.json|[0-9a-f]{64}\.json)\.[0-9a-f]{8}")
#: Fields of a row that mean something only on the machine that read the card.
_LOCAL = ("path", "problem", "package")

Version = Annotated[str, msgspec.Meta(pattern=r"^[0-9]+\.[0-9]+\.[0-9]+\Z", max_length=40)]
Serial = Annotated[int, msgspec.Meta(ge=1, le=MAX_SERIAL)]


class Listed(msgspec.Struct, frozen=True):
    """A card in an index, as far as readers rely on it."""

    id: Name
    kind: Literal["model", "dataset", "benchmark"]
    version: Version
    digest: Digest

    @property
    def path(self) -> str:
        """Where the card lies in its registry."""
        return f"{CARDS}/{self.digest}.json"


class Index(msgspec.Struct, frozen=True):
    """What a registry holds. `serial` grows with every change, so that an old index is known as such."""

    serial: Serial
    generated: Annotated[datetime, msgspec.Meta(tz=True)]
    cards: list[Listed]


class _Schema(msgspec.Struct):
    schema: str


def parse_index(content: bytes, origin: str) -> Index:
    """Read an index strictly. Raises `RegistryError`."""
    try:
        schema = msgspec.json.decode(content, type=_Schema).schema
        if schema == SCHEMA:
            index = msgspec.json.decode(content, type=Index)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RegistryError(f"{origin} is no index of a registry: {error}") from None
    if schema != SCHEMA:
        raise RegistryError(f"{origin} has the schema '{schema[:40]}', and this zoo reads {SCHEMA}; a newer zoo may do")
    if len(index.cards) > MAX_CARDS:
        raise RegistryError(f"{origin} lists {len(index.cards):,} cards; a registry has at most {MAX_CARDS:,}")
    seen: set[str] = set()
    for card in index.cards:
        if card.id in seen:
            raise RegistryError(f"{origin} lists '{card.id}' twice")
        seen.add(card.id)
    return index


def index_bytes(entries: Sequence[dict[str, Any]], serial: int, generated: datetime) -> bytes:
    """Write an index; every entry has at least the fields of `Listed`."""
    head = json.dumps({"schema": SCHEMA, "serial": serial, "generated": generated.strftime("%Y-%m-%dT%H:%M:%SZ")})
    lines = [json.dumps(each, ensure_ascii=False) for each in sorted(entries, key=lambda each: each["id"])]
    return (head[:-1] + ', "cards": [\n' + ",\n".join(lines) + "\n]}\n").encode()


def index_entry(row: Row) -> dict[str, Any]:
    """A card's entry in an index: what its row says, without what is empty. Raises `RegistryError`."""
    check_row(row, f"the card '{row.id}'")
    first = {name: getattr(row, name) for name in ("id", "kind", "version", "digest")}
    rest = {name: getattr(row, name) for name in row.__struct_fields__ if name not in _LOCAL and name not in first}
    return first | {name: value for name, value in rest.items() if value not in ("", None, [])}


def check_row(row: Row, origin: str) -> None:
    """Raise `RegistryError` when a card has more text than listings, which hold the rows of all cards, can take."""
    lengths = []
    for name in row.__struct_fields__:
        value = getattr(row, name)
        texts = value if isinstance(value, list) else [value] if isinstance(value, str) else []
        if name not in _LOCAL:
            lengths += [len(each) for each in texts]
    if max(lengths) > MAX_TEXT or sum(lengths) > MAX_TEXTS:
        raise RegistryError(
            f"{origin} has too much text for listings: "
            f"at most {MAX_TEXT:,} characters in a field that they show, and {MAX_TEXTS:,} in all"
        )


def verify_card(content: bytes, listed: Listed, origin: str) -> AnyCard:
    """The card in `content`, which must be exactly the one that the index lists. Raises `RegistryError`."""
    from zoo_core.cards.reading import parse_card
    from zoo_core.cards.writing import card_json

    if len(content) > MAX_BYTES:
        raise RegistryError(f"{origin} is larger than the {MAX_BYTES:,} bytes that a card may have")
    digest = hashlib.sha256(content).hexdigest()
    if digest != listed.digest:
        raise RegistryError(f"{origin} has the sha256 {digest[:12]}…, and the index says {listed.digest[:12]}…")
    try:
        card = parse_card(content, origin)
    except CardError as error:
        raise RegistryError(f"{str(error).rstrip('.')}; a newer zoo may read it") from None
    if card_json(card) != content:
        raise RegistryError(f"{origin} is not the canonical JSON of a card")
    said = (card.id, card.__struct_config__.tag, card.version)
    if said != (listed.id, listed.kind, listed.version):
        told = f"the {said[1]} '{said[0]}' {said[2]}"
        raise RegistryError(f"{origin} is {told}, and the index says the {listed.kind} '{listed.id}' {listed.version}")
    return card


def remove_leftovers(root: Path) -> None:
    """Remove the temporary files of runs that were killed; only who has the registry's lock may."""
    for folder in (root, root / CARDS):
        if folder.is_dir():
            for path in folder.iterdir():
                if _LEFTOVER.fullmatch(path.name):
                    path.unlink(missing_ok=True)


def prune_cards(root: Path, index: Index) -> int:
    """Remove the cards that the index does not name; tells how many."""
    named = {f"{card.digest}.json" for card in index.cards}
    stale = [path for path in (root / CARDS).glob("*.json") if path.name not in named and len(path.name) == 69]
    for path in stale:
        path.unlink(missing_ok=True)
    return len(stale)
