"""Write a card: as YAML that people read, and as canonical JSON whose digest is the card's own."""

from __future__ import annotations

import hashlib
import json
from functools import cache
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from zoo_core.cards.schema import AnyCard

#: Fields that are told even where they have their default.
_ALWAYS = ("version", "status", "capabilities")
#: The order in which people read a card; fields that are not named follow in the order of the schema.
_FIRST = ("schema", "kind", "id", "version", "aliases", "family", "summary", "status")


def card_data(card: AnyCard) -> dict[str, Any]:
    """A card as plain JSON data; fields that have their default are left out, but for a few that readers look for."""
    data = {"kind": card.__struct_config__.tag} | _told(card, _ALWAYS)
    head = {key: data[key] for key in _FIRST if key in data}
    return head | {key: value for key, value in data.items() if key not in head}


def _told(value: Any, always: Sequence[str] = ()) -> Any:
    """Plain data without defaults. (`omit_defaults` leaves out only a text that is the very same object.)"""
    if isinstance(value, list):
        return [_told(each) for each in value]
    if not isinstance(value, msgspec.Struct):
        return msgspec.to_builtins(value)
    told = {}
    for name, written, default in _fields(type(value)):
        here = getattr(value, name)
        if here != default or name in always:
            told[written] = _told(here)
    return told


@cache
def _fields(kind: type[msgspec.Struct]) -> list[tuple[str, str, Any]]:
    """Name, name in writing and default of every field; remembered, because to ask msgspec takes longer than all the rest."""
    fields = []
    for field in msgspec.structs.fields(kind):
        made = field.default_factory is not msgspec.NODEFAULT
        fields.append((field.name, field.encode_name, field.default_factory() if made else field.default))
    return fields


def card_json(card: AnyCard) -> bytes:
    """A card's canonical JSON: sorted keys, no white space, UTF-8."""
    return json.dumps(card_data(card), sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def card_digest(card: AnyCard) -> str:
    """The SHA-256 of a card's canonical JSON: its identity."""
    return hashlib.sha256(card_json(card)).hexdigest()


def card_yaml(card: AnyCard) -> str:
    """A card as YAML."""
    return yaml_text(card_data(card))


def yaml_text(data: Any) -> str:
    """Plain data as YAML: texts of several lines as blocks, no anchors, every script readable."""
    import yaml

    class Dumper(yaml.SafeDumper):
        def ignore_aliases(self, data: Any) -> bool:
            return True

    def text(dumper: yaml.SafeDumper, value: str) -> yaml.Node:
        # Not with a next-line character, which PyYAML writes into a block as a line of its own.
        style = '"' if "\x85" in value else "|" if "\n" in value.strip("\n") else None
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)

    Dumper.add_representer(str, text)
    return yaml.dump(data, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=110)
