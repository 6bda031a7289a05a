"""Write a card: as YAML that people read, and as canonical JSON whose digest is the card's own."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from zoo_core.cards.schema import AnyCard

#: The order in which people read a card; fields that are not named follow in the order of the schema.
_FIRST = ("schema", "kind", "id", "version", "aliases", "family", "summary", "status")


def card_data(card: AnyCard) -> dict[str, Any]:
    """A card as plain JSON data, fields that have their default left out."""
    data: dict[str, Any] = msgspec.to_builtins(card)
    head = {key: data[key] for key in _FIRST if key in data}
    return head | {key: value for key, value in data.items() if key not in head}


def card_digest(card: AnyCard) -> str:
    """The SHA-256 of a card's canonical JSON (sorted keys, no white space, UTF-8): its identity."""
    text = json.dumps(card_data(card), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


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
