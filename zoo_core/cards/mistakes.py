"""Say what is wrong with a card: file, line, field, and what may have been meant. Knows the schema, not YAML."""

from __future__ import annotations

import difflib
import re
import unicodedata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from zoo_core.cards.reading import Place


#: What the regular expressions of the schema allow, in words, and the characters that may stand in such a text; by the
#: beginnings of the expressions.
_GRAMMARS = {
    "^[a-z0-9][a-z0-9._-]": ("1 to 80 of a-z, 0-9, '.', '_' and '-', the first a letter or a digit", r"[a-z0-9._-]"),
    "^[0-9a-f]{64}": ("64 of 0-9 and a-f", r"[0-9a-f]"),
    "^[a-z]{2,3}(-": ("a BCP 47 tag such as en or zh-Hant", r"[A-Za-z0-9-]"),
    "^[0-9]{1,9}": ("three numbers with points between them, such as 1.0.0", r"[0-9.]"),
}


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
    elif (pattern := re.fullmatch(r"Expected `str` matching regex (['\"])(.*)\1", what)) and (
        grammar := next((words for begin, words in _GRAMMARS.items() if pattern[2].startswith(begin)), None)
    ):
        what = _not_allowed(_value_at(place, data), *grammar)
    else:
        what = what[:1].lower() + what[1:].replace("`", "'")
        if allowed := _choices_at(place, data):
            suggestion = f" Allowed: {', '.join(allowed)}."
    near = next((place[:length] for length in range(len(place), -1, -1) if place[:length] in lines), ())
    origin = next((origins[near[:length]] for length in range(len(near), 0, -1) if near[:length] in origins), origin)
    line = lines.get(near, 1)
    field = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place).lstrip(".")
    return f"{origin}, line {line}{f', {field}' if field else ''}: {what}.{suggestion}"


def _not_allowed(value: Any, words: str, allowed: str) -> str:
    """That a text breaks a grammar, and the first character that it does not allow; look-alikes by their names."""
    what = f"expected {words}"
    if not isinstance(value, str):
        return what
    what += f", got {value[:100]!r}{'…' if len(value) > 100 else ''}"
    number, sign = next(((n, s) for n, s in enumerate(value, 1) if not re.fullmatch(allowed, s)), (0, ""))
    if not sign:
        return what
    name = "" if sign.isascii() else f" ({unicodedata.name(sign, f'U+{ord(sign):04X}')})"
    return f"{what}, whose character {number} is {sign!r}{name}"


def _value_at(place: Place, data: Any) -> Any:
    """The value of a field, or None where it cannot be told."""
    for part in place:
        try:
            data = data[part]
        except (LookupError, TypeError):
            return None
    return data


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
