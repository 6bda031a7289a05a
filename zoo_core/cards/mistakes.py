"""Say what is wrong with a card: file, line, field, and what may have been meant. Knows the schema, not YAML."""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from zoo_core.cards.reading import Place


def explain(message: str, origin: str, data: Any, lines: Mapping[Place, int], origins: Mapping[Place, str]) -> str:
    """Turn msgspec's message, which ends with a path such as `$.sources[0].repo`, into one with a line."""
    what, _, path = message.partition(" - at `")
    place: Place = tuple(int(index) if index else name for name, index in re.findall(r"\.([^.\[\]`]+)|\[(\d+)\]", path))
    suggestion = ""
    if unknown := re.fullmatch(r"Object contains unknown field `(.*)`", what):
        name = unknown[1]
        place = (*place, name)
        close = difflib.get_close_matches(name, _fields_at(place[:-1], data), n=1, cutoff=0.6)
        suggestion = f" Did you mean '{close[0]}'?" if close else " Fields of a plugin's own belong under 'extra'."
        what = "the field is unknown"
    elif missing := re.fullmatch(r"Object missing required field `(.*)`", what):
        what = f"the field '{missing[1]}' is missing"
    else:
        what = what[:1].lower() + what[1:].replace("`", "'")
        if allowed := _choices_at(place, data):
            suggestion = f" Allowed: {', '.join(allowed)}."
    near = next((place[:length] for length in range(len(place), -1, -1) if place[:length] in lines), ())
    origin = next((origins[near[:length]] for length in range(len(near), 0, -1) if near[:length] in origins), origin)
    line = lines.get(near, 1)
    field = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place).lstrip(".")
    return f"{origin}, line {line}{f', {field}' if field else ''}: {what}.{suggestion}"


def _schema_at(place: Place, data: Any) -> Any:
    """The msgspec description of the type of a field, or None where it cannot be told."""
    from msgspec.inspect import ListType, StructType, UnionType, type_info

    from zoo_core.cards.schema import KINDS, ModelCard

    def struct_of(each: Any) -> Any:
        if isinstance(each, UnionType):
            return next((part for part in each.types if isinstance(part, StructType | ListType)), each.types[0])
        return each

    kind = data.get("kind") if isinstance(data, dict) else None
    here: Any = type_info(KINDS.get(kind, ModelCard) if isinstance(kind, str) else ModelCard)
    for part in place:
        here = struct_of(here)
        if isinstance(part, int) and isinstance(here, ListType):
            here = here.item_type
        elif isinstance(here, StructType):
            here = next((field.type for field in here.fields if field.encode_name == part), None)
        else:
            return None
    return struct_of(here)


def _fields_at(place: Place, data: Any) -> list[str]:
    from msgspec.inspect import StructType

    here = _schema_at(place, data)
    return [field.encode_name for field in here.fields] if isinstance(here, StructType) else []


def _choices_at(place: Place, data: Any) -> list[str]:
    from msgspec.inspect import LiteralType

    if place == ("kind",):
        from zoo_core.cards.schema import KINDS

        return [*KINDS]
    here = _schema_at(place, data)
    return [str(value) for value in here.values] if isinstance(here, LiteralType) else []
