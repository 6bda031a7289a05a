"""The cards of what is made with deltas: of the model that comes of a merge, and of a delta.

They tell what they were made from, with digests where these are known. What nobody said is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from zoo_core import (
    Facts,
    File,
    FolderView,
    ModelCard,
    UsageProblem,
    Zoo,
    card_data,
    card_yaml,
    checkpoint_facts,
    parse_card,
    write_whole,
    yaml_text,
)
from zoo_weights.delta import Made, Policy

CARD_FILE = "zoo.yaml"
#: What a card says of the files that it was written for, and not of the model that comes of them.
_OF_THE_FILES = (
    "aliases",
    "version",
    "status",
    "replaced_by",
    "sources",
    "files",
    "format",
    "lineage",
    "notes",
    "checks",
)


class Side(NamedTuple):
    """A folder of weights that something is made from, with its card where there is one; `id` is its card's id or empty."""

    folder: Path
    card: ModelCard | None = None
    id: str = ""

    def as_base(self) -> dict[str, str]:
        """This side as the base of a lineage."""
        return {"id": self.id} if self.id else {"name": self.folder.resolve().name}

    def digests(self) -> dict[str, str]:
        """The digests of its weights, where its card tells them."""
        files = self.card.files if self.card else []
        return {file.path: file.sha256 for file in files if file.path.endswith(".safetensors")}


def family_of(zoo: Zoo, sides: tuple[Side, ...], facts: Facts) -> str:
    """The family of a model: that of the first side with a card, else the one that says that it loads this architecture."""
    for side in sides:
        if side.card is not None:
            return side.card.family
    model_class = facts.architecture.model_class
    for _, offer in zoo.plugins.items("zoo_model_families"):
        if model_class in offer.supports.get("model_class", []):
            return str(offer.name)
    raise UsageProblem(
        f"No installed family says that it loads {model_class[:80] or 'a model of this kind'}, so that no card can be written; "
        "install the plugin that brings it."
    )


def write_merged_card(
    zoo: Zoo, folder: Path, name: str, sides: tuple[Side, Side], policy: Policy, made: Made
) -> ModelCard:
    """Write the card of a model that was made from `sides`, base and delta; `made` are files and what was found of them."""
    base, delta = sides
    facts = checkpoint_facts(*look_at(folder))
    made_of = delta.as_base()
    known = card_data(delta.card) if delta.card else {}
    data = {key: value for key, value in known.items() if key not in _OF_THE_FILES}
    data |= of_the_files(facts, made.files, name)
    data |= {
        "family": family_of(zoo, (delta, base), facts),
        "summary": f"{delta.id or made_of['name']} merged with its base"[:200],
        "lineage": {"base": base.as_base(), "relation": "merge", "others": [made_of]},
        "extra": {"weights": _facts(sides, policy) | _result(made)},
    }
    data["runtime"] = {key: value for key, value in data.get("runtime", {}).items() if key != "variants"}
    return write_card(folder, data)


def write_delta_card(
    zoo: Zoo, folder: Path, name: str, sides: tuple[Side, Side], policy: Policy, made: Made
) -> ModelCard:
    """Write the card of a delta that was made from `sides`, base and model."""
    base, model = sides
    facts = checkpoint_facts(*look_at(folder))
    known = card_data(model.card) if model.card else {}
    data = {key: value for key, value in known.items() if key not in _OF_THE_FILES}
    delta = {key: value for key, value in msgspec.to_builtins(policy).items() if value}
    delta |= {"vocab_size": facts.architecture.vocab_size, "weight_sum": made.total, "result_digest": made.digest}
    data |= of_the_files(facts, made.files, name)
    data |= {
        "family": family_of(zoo, (model, base), facts),
        "summary": f"The delta of {model.id or model.folder.resolve().name} to its base"[:200],
        "lineage": {
            "base": base.as_base(),
            "relation": "delta",
            "delta": {k: v for k, v in delta.items() if v is not None},
        },
        "extra": {"weights": _facts(sides, policy)},
    }
    return write_card(folder, data)


def look_at(folder: Path) -> tuple[Any, Any]:
    """What `checkpoint_facts` asks for: how files of a folder are read, and which there are."""
    view = FolderView(folder)
    return view.read, view.files


def of_the_files(facts: Facts, files: list[File], name: str) -> dict[str, Any]:
    """What the files themselves say."""
    found = {
        "schema": "zoo.card/v1",
        "kind": "model",
        "id": name,
        "sources": [{"hub": "folder", "path": "."}],
        "files": [msgspec.to_builtins(file) for file in files],
        "format": "safetensors",
        "architecture": msgspec.to_builtins(facts.architecture),
        "memory": msgspec.to_builtins(facts.memory),
    }
    return found | ({"context": {"max": facts.context}} if facts.context else {})


def _facts(sides: tuple[Side, Side], policy: Policy) -> dict[str, Any]:
    """How it was made, and from which files."""
    said = {key: value for key, value in msgspec.to_builtins(policy).items() if value}
    found = {"policy": said, "base_sha256": sides[0].digests(), "other_sha256": sides[1].digests()}
    return {key: value for key, value in found.items() if value}


def _result(made: Made) -> dict[str, Any]:
    """What the result was compared with."""
    found = {"weight_sum": made.total, "result_digest": made.digest}
    return {key: value for key, value in found.items() if value}


def write_card(folder: Path, data: Mapping[str, Any]) -> ModelCard:
    """Write a card after reading it as strictly as from a file."""
    card = parse_card(yaml_text({key: value for key, value in data.items() if value}).encode(), str(folder / CARD_FILE))
    assert isinstance(card, ModelCard)
    write_whole(folder / CARD_FILE, card_yaml(card).encode())
    return card
