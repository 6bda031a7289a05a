"""The types of a card, `schema: zoo.card/v1`. Unknown keys are refused; what a plugin owns goes under `extra.PLUGIN`.

Every field that nobody could verify is left out rather than guessed. Sizes are in bytes, contexts in tokens, languages are
BCP 47 tags, digests are SHA-256 as 64 lower-case hexadecimal digits.
"""

from __future__ import annotations

import datetime
from typing import Annotated, Any, Literal

import msgspec

from zoo_core.cards.parts import (
    Architecture,
    Capability,
    Checks,
    Context,
    Count,
    Evaluation,
    File,
    Generation,
    Language,
    License,
    Lineage,
    Links,
    Maintainer,
    Memory,
    Modalities,
    Name,
    Openness,
    Quantization,
    Runtime,
    Safety,
    Source,
    TemplateChoice,
    Text,
    Training,
)

SCHEMA = "zoo.card/v1"


class Card(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What cards of every kind say."""

    schema: Literal["zoo.card/v1"]
    id: Name
    summary: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    version: Annotated[str, msgspec.Meta(pattern=r"^[0-9]{1,9}\.[0-9]{1,9}\.[0-9]{1,9}\Z")] = "1.0.0"
    aliases: list[Name] = []
    status: Literal["experimental", "stable", "deprecated"] = "experimental"
    replaced_by: Name | None = None
    maintainers: list[Maintainer] = []
    released: datetime.date | None = None
    sources: list[Source] = []
    files: list[File] = []
    license: License = License()
    languages: list[Language] = []
    languages_note: str = ""
    links: Links = Links()
    notes: list[str] = []
    checks: Checks = Checks()
    extra: dict[Name, dict[str, Any]] = {}


class ModelCard(Card, kw_only=True, frozen=True, tag_field="kind", tag="model"):
    """A model: its weights, what it was made from, how it is talked to, what it may be used for, how well it does."""

    family: Name
    format: Literal["safetensors", "gguf", "pickle", "api"] | None = None
    lineage: Lineage | None = None
    architecture: Architecture = Architecture()
    context: Context | None = None
    capabilities: list[Capability] = msgspec.field(default_factory=lambda: ["chat"])
    modalities: Modalities = Modalities()
    languages_evaluated: list[Language] = []
    template: TemplateChoice | None = None
    generation: Generation = Generation()
    runtime: Runtime = Runtime()
    quantization: Quantization | None = None
    memory: Memory = Memory()
    openness: Openness = Openness()
    training: Training = Training()
    evals: list[Evaluation] = []
    safety: Safety = Safety()


class DatasetCard(Card, kw_only=True, frozen=True, tag_field="kind", tag="dataset"):
    """A dataset: what it holds and where it came from. `builder` names the data builder that makes it.

    `made_from` are the cards of the datasets that it was made from, such as the original of a translation.
    """

    size: str = ""
    rows: Count | None = None
    format: str = ""
    builder: Name | None = None
    generation_method: str = ""
    made_from: list[Name] = []


class BenchmarkCard(Card, kw_only=True, frozen=True, tag_field="kind", tag="benchmark"):
    """A set of questions and how answers to them are judged. `judge` names who judges; `metrics` are the numbers it gives."""

    questions: Count | None = None
    categories: list[Text] = []
    format: str = ""
    evaluator: Name | None = None
    judge: str = ""
    metrics: list[Text] = []
    dataset: str = ""


AnyCard = ModelCard | DatasetCard | BenchmarkCard

#: The kinds of cards and the types behind them.
KINDS: dict[str, type[AnyCard]] = {"model": ModelCard, "dataset": DatasetCard, "benchmark": BenchmarkCard}


def json_schema(kind: str | None = None) -> dict[str, Any]:
    """The JSON Schema of a card of one kind or of any, generated from these types."""
    # JSON Schema's regular expressions spell the end of the text `$`.
    text = msgspec.json.encode(msgspec.json.schema(KINDS[kind] if kind else AnyCard)).replace(rb"\\Z", b"$")
    schema: dict[str, Any] = msgspec.json.decode(text)
    return schema
