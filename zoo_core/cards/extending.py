"""Cards that share fields: `extends: NAME.collection.yaml` names a collection beside the card.

A collection is a mapping of fields like a card's, without an id, and may itself extend another. What the card says wins:
mappings are joined key by key, everything else is replaced as a whole. A collection is no card and is never listed. Knows
files and plain data, not the schema.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec

from zoo_core.cards.index import COLLECTION
from zoo_core.cards.reading import Place, parse_mapping, read_bytes
from zoo_core.errors import CardError

if TYPE_CHECKING:
    from pathlib import Path

#: A collection lies beside its cards, so that a card cannot reach outside its folder.
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,79}\.collection\.yaml")
#: Fields that belong to one card alone.
_OWN = ("id", "aliases", "version", "replaced_by")


class Extended(msgspec.Struct):
    """A card's plain data with what it extends, the line of each field, and the file of each that is not the card's own."""

    data: dict[str, Any]
    lines: dict[Place, int]
    origins: dict[Place, str]
    parents: list[Path]


def extended(data: dict[str, Any], lines: dict[Place, int], path: Path) -> Extended:
    """Join a card's data with the collections that it extends. Raises `CardError` for a cycle or one that is not there."""
    whole = Extended(data, lines, {}, [])
    child, shared, at = path, data, lines
    while "extends" in shared:
        child = _parent(shared.pop("extends"), child, at, [path, *whole.parents])
        shared, at = parse_mapping(read_bytes(child), str(child))
        for field in _OWN:
            if field in shared:
                where = f"{child}, line {at[field,]}, {field}"
                raise CardError(f"{where}: a collection cannot say this; it belongs to one card.")
        whole.parents.append(child)
        own = {key: value for key, value in shared.items() if key != "extends"}
        _join(whole, own, at, str(child), ())
    return whole


def _parent(name: Any, child: Path, lines: dict[Place, int], seen: list[Path]) -> Path:
    where = f"{child}, line {lines.get(('extends',), 1)}, extends"
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise CardError(
            f"{where}: the name of a collection beside the card was expected, such as 'shared{COLLECTION}'."
        )
    parent = child.parent / name
    if parent in seen:
        raise CardError(f"{where}: '{name}' leads round in a circle back to itself.")
    if not parent.is_file():
        raise CardError(f"{where}: there is no file {parent}.")
    if parent.resolve().parent != parent.parent.resolve():
        raise CardError(f"{where}: '{name}' is a link that leads out of its folder.")
    return parent


def _join(whole: Extended, data: dict[str, Any], lines: dict[Place, int], origin: str, place: Place) -> None:
    """Add to `whole` at `place` what it does not say itself."""
    target: Any = whole.data
    for part in place:
        target = target[part]
    for key, value in data.items():
        here = (*place, key)
        if key not in target:
            target[key] = value
            whole.lines |= {where: line for where, line in lines.items() if where[: len(here)] == here}
            whole.origins[here] = origin
        elif isinstance(value, dict) and isinstance(target[key], dict):
            _join(whole, value, lines, origin, here)
