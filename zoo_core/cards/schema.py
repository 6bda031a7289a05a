"""The types of a card, `schema: zoo.card/v1`. Unknown keys are refused; what a plugin owns goes under `extra`.

Every field that nobody could verify is left out rather than guessed. Sizes are in bytes, contexts in tokens, languages are
BCP 47 tags, digests are SHA-256 as 64 lower-case hexadecimal digits.
"""

from __future__ import annotations

import datetime
from typing import Annotated, Any, Literal

import msgspec

SCHEMA = "zoo.card/v1"
LANGUAGE = r"^[a-z]{2,3}(-[A-Za-z0-9]{2,8})*\Z"

Name = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9._-]{0,79}\Z", description="A name: never a path.")]
Digest = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z", description="SHA-256, hexadecimal.")]
Language = Annotated[str, msgspec.Meta(pattern=LANGUAGE, description="A BCP 47 tag.")]
Count = Annotated[int, msgspec.Meta(ge=0)]
Text = Annotated[str, msgspec.Meta(min_length=1)]

Capability = Literal["chat", "complete", "embed", "tools", "vision", "reasoning", "reward"]


class _Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What all parts of a card have in common: immutable, and strict about keys."""


class Maintainer(_Part, frozen=True):
    """Who answers for a card."""

    name: Text
    github: str = ""


class Source(_Part, frozen=True):
    """Where the weights are; all sources must give the same digests. The first local one that is there is used.

    `hub: package` names files inside an installed Python package (`repo` is the package, `path` a folder in it);
    `hub: folder` a folder beside the card (`path`). Other hubs take `repo` and a `revision`; the user downloads those.
    """

    hub: Literal["huggingface", "modelscope", "package", "folder"]
    repo: str = ""
    revision: str = ""
    path: str = ""


class File(_Part, frozen=True):
    """One file of the weights, relative to its folder."""

    path: Annotated[str, msgspec.Meta(min_length=1, max_length=255)]
    size: Count
    sha256: Digest


class Base(_Part, frozen=True):
    """What a model was made from: a card id, a repository, or at least a name."""

    id: Name | None = None
    repo: str = ""
    revision: str = ""
    name: str = ""


class Delta(_Part, frozen=True):
    """How a delta becomes a model."""

    op: Literal["add"] = "add"
    new_rows: Literal["zero", "mean"] | None = None
    vocab_size: Count | None = None
    keeps: list[str] = []
    result_digest: Digest | None = None


class Lineage(_Part, frozen=True):
    """What a model descends from, and how."""

    base: Base
    relation: Literal["finetune", "adapter", "delta", "quantized", "merge", "distill"]
    delta: Delta | None = None


class Architecture(_Part, frozen=True):
    """The network. `size` is the published size such as `7B`; `params` is an exact count."""

    backbone: str = ""
    size: str = ""
    model_class: str = ""
    params: Count | None = None
    active_params: Count | None = None
    vocab_size: Count | None = None
    layers: Count | None = None
    hidden_size: Count | None = None


class Context(_Part, frozen=True):
    """How many tokens prompt and reply may have together."""

    max: Annotated[int, msgspec.Meta(ge=1)]
    default: Annotated[int, msgspec.Meta(ge=1)] | None = None


class CardMessage(_Part, frozen=True):
    """One turn of a golden conversation."""

    role: Literal["system", "user", "assistant"]
    content: str


class Golden(_Part, frozen=True):
    """Proof of a template: these messages give exactly this text. `ids_sha256` digests the token ids as JSON."""

    messages: list[CardMessage]
    text: str
    reply: bool = True
    ids_sha256: Digest | None = None


class TemplateChoice(_Part, frozen=True):
    """Which template the model speaks: the name of one that a plugin brings, or a Jinja text of the card's own."""

    name: Name | None = None
    text: str = ""
    system: str | None = None
    roles: dict[str, str] = {}
    stop: list[str] = []
    add_bos: bool | None = None
    golden: list[Golden] = []


class Generation(_Part, frozen=True):
    """How replies are sampled unless the user says otherwise."""

    temperature: Annotated[float, msgspec.Meta(ge=0, le=10)] | None = None
    top_p: Annotated[float, msgspec.Meta(gt=0, le=1)] | None = None
    top_k: Count | None = None
    repetition_penalty: Annotated[float, msgspec.Meta(gt=0, le=10)] | None = None
    max_new_tokens: Annotated[int, msgspec.Meta(ge=1)] | None = None


class Runtime(_Part, frozen=True):
    """What runs the model. `remote_code` says that the checkpoint brings code of its own, which the zoo does not run."""

    engine: Name | None = None
    dtype: str = ""
    remote_code: bool = False
    variants: list[Name] = []


class Quantization(_Part, frozen=True):
    """How the weights were shrunk."""

    method: Name
    bits: Count | None = None
    group_size: int | None = None
    act_order: bool | None = None


class Memory(_Part, frozen=True):
    """Bytes that a model needs; written by tools, never by hand."""

    weights_bytes: Count | None = None
    kv_bytes_per_token: Count | None = None


class License(_Part, frozen=True):
    """What the weights may be used for. `spdx` is an SPDX identifier; `name` is for licences that have none."""

    spdx: str = ""
    name: str = ""
    link: str = ""
    commercial: Literal["yes", "no", "restricted"] | None = None


class Openness(_Part, frozen=True):
    """Whether weights and training data were published."""

    weights: bool | None = None
    data: bool | None = None


class Training(_Part, frozen=True):
    """How a model was made. `instruction` and `conversation` tell the amount and languages of post-training data."""

    data: list[str] = []
    instruction: str = ""
    conversation: str = ""
    command: str = ""
    recipe: dict[str, Any] = {}
    hardware: str = ""
    duration: str = ""
    paper: str = ""
    code: str = ""


class Evaluation(_Part, frozen=True):
    """One measured number and who measured it."""

    dataset: Text
    metric: Text
    value: float
    n: Count | None = None
    date: datetime.date | None = None
    harness: str = ""
    source: str = ""
    reported_by: Literal["author", "zoo", "third-party"] = "author"


class Safety(_Part, frozen=True):
    """What a model is for and what it is not. `notice` is shown once to whoever chats with it."""

    intended_use: str = ""
    limits: str = ""
    known_issues: list[str] = []
    notice: str = ""


class Links(_Part, frozen=True):
    """Where to read more."""

    homepage: str = ""
    paper: str = ""
    demo: str = ""
    code: str = ""


class Card(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What cards of every kind say."""

    schema: Literal["zoo.card/v1"]
    id: Name
    summary: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    version: Annotated[str, msgspec.Meta(pattern=r"^\d+\.\d+\.\d+\Z")] = "1.0.0"
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
    extra: dict[str, dict[str, Any]] = {}


class ModelCard(Card, kw_only=True, frozen=True, tag_field="kind", tag="model"):
    """A model: its weights, what it was made from, how it is talked to, what it may be used for, how well it does."""

    family: Name
    format: Literal["safetensors", "gguf", "pickle", "api"] | None = None
    lineage: Lineage | None = None
    architecture: Architecture = Architecture()
    context: Context | None = None
    capabilities: list[Capability] = msgspec.field(default_factory=lambda: ["chat"])
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
    """A dataset: what it holds and where it came from. `builder` names the data builder that makes it."""

    size: str = ""
    rows: Count | None = None
    format: str = ""
    builder: Name | None = None
    generation_method: str = ""


AnyCard = ModelCard | DatasetCard


def json_schema() -> dict[str, Any]:
    """The JSON Schema of a card of any kind, generated from these types."""
    # JSON Schema's regular expressions spell the end of the text `$`.
    text = msgspec.json.encode(msgspec.json.schema(AnyCard)).replace(rb"\\Z", b"$")
    schema: dict[str, Any] = msgspec.json.decode(text)
    return schema
