"""Read a card from YAML. Only this module, `writing` and `editing` touch yaml.

Reading is strict and runs nothing: plain tags only, no anchors, no repeated keys; an error names file, line and field and
suggests what may have been meant.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from zoo_core.cards.schema import AnyCard
from zoo_core.errors import CardError

if TYPE_CHECKING:
    from pathlib import Path

    import yaml

    from zoo_core.cards.extending import Extended

#: A card's file, in bytes. The longest of the first-party cards has about 10,000.
MAX_BYTES = 1_000_000
_MAX_DEPTH = 50
#: The longest number, in characters: far longer ones take minutes to read (YAML has numbers of base 60) or break JSON.
_MAX_NUMBER = 100
_PLAIN_TAGS = {f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "bool", "null", "timestamp")}

#: A field's place inside a card, such as ("sources", 0, "repo").
Place = tuple[str | int, ...]


def read_card(path: Path) -> AnyCard:
    """Read one card file, and the collections that it extends. Raises `CardError` with file, line, field and a suggestion."""
    return read_extended(path)[0]


def read_extended(path: Path) -> tuple[AnyCard, list[Path]]:
    """Read one card file; also tells the collections that it extends. Raises as `read_card` does."""
    return parse_extended(read_bytes(path), path)


def parse_extended(content: bytes, path: Path) -> tuple[AnyCard, list[Path]]:
    """Read what is or will be the content of the card file `path`, and the collections beside it that it extends."""
    from zoo_core.cards.extending import extended

    if path.suffix == ".json":
        return parse_card(content, str(path)), []
    whole = extended(*parse_mapping(content, str(path)), path)
    return _convert(whole.data, str(path), whole), whole.parents


def read_bytes(path: Path) -> bytes:
    """The bytes of a card file, at most one more than a card may have. Raises `CardError`."""
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        raise CardError(f"The card {path} cannot be read: {getattr(error, 'strerror', None) or error}.") from error


def parse_card(content: bytes, origin: str) -> AnyCard:
    """Read a card from the bytes of a YAML or JSON file; `origin` is its name in error messages. It may not extend others."""
    if content[:1] == b"{" and len(content) <= MAX_BYTES:
        try:
            return msgspec.json.decode(content, type=AnyCard)  # type: ignore[no-any-return]
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            pass  # YAML too may begin with a brace, and its reader says where the mistake is
    data, lines = parse_mapping(content, origin)
    if "extends" in data:
        raise CardError(f"{origin}, line {lines['extends',]}: only a card file can extend a collection beside it.")
    return _convert(data, origin, lines=lines)


def _convert(data: dict[str, Any], origin: str, whole: Extended | None = None, lines: Any = None) -> AnyCard:
    if "schema" not in data:
        raise CardError(f"{origin}, line 1: a card begins with the line 'schema: zoo.card/v1'.")
    data.setdefault("kind", "model")
    try:
        return msgspec.convert(data, AnyCard)  # type: ignore[no-any-return]
    except msgspec.ValidationError as error:
        from zoo_core.cards.mistakes import explain

        origins = whole.origins if whole else {}
        raise CardError(explain(str(error), origin, data, whole.lines if whole else lines, origins)) from None


def parse_mapping(content: bytes, origin: str) -> tuple[dict[str, Any], dict[Place, int]]:
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
        if "nesting depth" in what:  # PyYAML's own limit, since 6.0.4, which it may reach before ours
            raise CardError(f"{origin}, line {mark.line + 1 if mark else 1}: the YAML is nested too deeply.") from None
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
        self.lines: dict[Place, int] = {}
        self._scalars = yaml.constructor.SafeConstructor()

    def value(self, node: yaml.Node, place: Place) -> Any:
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

    def _mapping(self, node: yaml.MappingNode, place: Place) -> dict[str, Any]:
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
