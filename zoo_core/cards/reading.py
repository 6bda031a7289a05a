"""Read a card from YAML. Only this module and `writing` touch yaml.

Reading is strict and runs nothing: plain tags only, no anchors, no repeated keys; an error names file, line and field and
suggests what may have been meant.
"""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING, Any

import msgspec

from zoo_core.cards.schema import AnyCard
from zoo_core.errors import CardError

if TYPE_CHECKING:
    from pathlib import Path

    import yaml

#: A card's file, in bytes. The longest of the first-party cards has about 10,000.
MAX_BYTES = 1_000_000
_MAX_DEPTH = 50
#: The longest number, in characters: far longer ones take minutes to read (YAML has numbers of base 60) or break JSON.
_MAX_NUMBER = 100
_PLAIN_TAGS = {f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "bool", "null", "timestamp")}

#: A field's place inside a card, such as ("sources", 0, "repo").
_Place = tuple[str | int, ...]


def read_card(path: Path) -> AnyCard:
    """Read one card file. Raises `CardError` with file, line, field and a suggestion."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise CardError(f"The card {path} cannot be read: {error.strerror or error}.") from error
    return parse_card(content, str(path))


def parse_card(content: bytes, origin: str) -> AnyCard:
    """Read a card from the bytes of a YAML file; `origin` is its name in error messages."""
    data, lines = parse_mapping(content, origin)
    if "schema" not in data:
        raise CardError(f"{origin}, line 1: a card begins with the line 'schema: zoo.card/v1'.")
    data.setdefault("kind", "model")
    try:
        return msgspec.convert(data, AnyCard)  # type: ignore[no-any-return]
    except msgspec.ValidationError as error:
        raise CardError(_explain(str(error), origin, data, lines)) from None


def parse_mapping(content: bytes, origin: str) -> tuple[dict[str, Any], dict[_Place, int]]:
    """Read a YAML mapping as plain data, and the line of each of its fields. Raises `CardError`."""
    import yaml

    if len(content) > MAX_BYTES:
        raise CardError(f"{origin}: the file is larger than {MAX_BYTES:,} bytes.")
    try:
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        _check_shape(content, loader, origin)
        node = yaml.compose(content, Loader=loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        what = getattr(error, "problem", None) or getattr(error, "reason", None) or "it is no YAML"
        raise CardError(f"{origin}{where}: the YAML cannot be read: {what}.") from None
    reader = _Reader(origin)
    data = reader.value(node, ()) if node is not None else None
    if not isinstance(data, dict):
        raise CardError(f"{origin}, line 1: a mapping of fields to values was expected.")
    return data, reader.lines


def _check_shape(content: bytes, loader: Any, origin: str) -> None:
    """Refuse anchors and deep nesting before nodes are made, which the C library does by recursion without a limit."""
    import yaml

    depth = 0
    for event in yaml.parse(content, Loader=loader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        what = ""
        if depth > _MAX_DEPTH:
            what = "the YAML is nested too deeply"
        elif getattr(event, "anchor", None) is not None:
            what = "anchors and aliases are not allowed in a card; write the value out"
        if what:
            line = event.start_mark.line + 1 if event.start_mark else 1
            raise CardError(f"{origin}, line {line}: {what}.")


class _Reader:
    """Turns YAML nodes into plain data and remembers the line of every field."""

    def __init__(self, origin: str) -> None:
        import yaml

        self.origin = origin
        self.lines: dict[_Place, int] = {}
        self._scalars = yaml.constructor.SafeConstructor()

    def value(self, node: yaml.Node, place: _Place) -> Any:
        import yaml

        self.lines.setdefault(place, node.start_mark.line + 1)
        if isinstance(node, yaml.MappingNode) and node.tag == "tag:yaml.org,2002:map":
            return self._mapping(node, place)
        if isinstance(node, yaml.SequenceNode) and node.tag == "tag:yaml.org,2002:seq":
            return [self.value(each, (*place, number)) for number, each in enumerate(node.value)]
        tag = node.tag.removeprefix("tag:yaml.org,2002:")
        if node.tag not in _PLAIN_TAGS or not isinstance(node, yaml.ScalarNode):
            raise self._error(node, f"the tag '{tag}' is not allowed here in a card")
        if tag in {"int", "float"} and len(node.value) > _MAX_NUMBER:
            raise self._error(node, f"the number '{node.value[:40]}…' is too long")
        try:
            return self._scalars.construct_object(node)
        except (ValueError, OverflowError) as error:
            raise self._error(node, f"the value '{node.value[:40]}' cannot be read ({error})") from None
        except (LookupError, AttributeError):  # what PyYAML lets out for a value that its explicit tag does not fit
            raise self._error(node, f"the value '{node.value[:40]}' does not fit its tag '{tag}'") from None

    def _mapping(self, node: yaml.MappingNode, place: _Place) -> dict[str, Any]:
        mapping: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = key_node.value
            if not isinstance(key, str) or key_node.tag not in _PLAIN_TAGS or not key.isprintable():
                raise self._error(key_node, "a field's name must be plain text")
            if key in mapping:
                raise self._error(key_node, f"the field '{key}' stands here twice")
            self.lines[(*place, key)] = key_node.start_mark.line + 1
            mapping[key] = self.value(value_node, (*place, key))
        return mapping

    def _error(self, node: yaml.Node, what: str) -> CardError:
        return CardError(f"{self.origin}, line {node.start_mark.line + 1}: {what}.")


def _explain(message: str, origin: str, data: Any, lines: dict[_Place, int]) -> str:
    """Turn msgspec's message, which ends with a path such as `$.sources[0].repo`, into one with a line."""
    what, _, path = message.partition(" - at `")
    place: _Place = tuple(
        int(index) if index else name for name, index in re.findall(r"\.([^.\[\]`]+)|\[(\d+)\]", path)
    )
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
    field = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place).lstrip(".")
    line = next((lines[place[:length]] for length in range(len(place), -1, -1) if place[:length] in lines), 1)
    return f"{origin}, line {line}{f', {field}' if field else ''}: {what}.{suggestion}"


def _schema_at(place: _Place, data: Any) -> Any:
    """The msgspec description of the type of a field, or None where it cannot be told."""
    from msgspec.inspect import ListType, StructType, UnionType, type_info

    from zoo_core.cards.schema import DatasetCard, ModelCard

    def struct_of(each: Any) -> Any:
        if isinstance(each, UnionType):
            return next((part for part in each.types if isinstance(part, StructType | ListType)), each.types[0])
        return each

    kind = DatasetCard if isinstance(data, dict) and data.get("kind") == "dataset" else ModelCard
    here: Any = type_info(kind)
    for part in place:
        here = struct_of(here)
        if isinstance(part, int) and isinstance(here, ListType):
            here = here.item_type
        elif isinstance(here, StructType):
            here = next((field.type for field in here.fields if field.encode_name == part), None)
        else:
            return None
    return struct_of(here)


def _fields_at(place: _Place, data: Any) -> list[str]:
    from msgspec.inspect import StructType

    here = _schema_at(place, data)
    return [field.encode_name for field in here.fields] if isinstance(here, StructType) else []


def _choices_at(place: _Place, data: Any) -> list[str]:
    from msgspec.inspect import LiteralType

    if place == ("kind",):
        return ["model", "dataset"]
    here = _schema_at(place, data)
    return [str(value) for value in here.values] if isinstance(here, LiteralType) else []
