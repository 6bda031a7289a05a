"""The parts that cards are made of: sources, files, lineage, templates, measurements. `schema` puts them together.

Every part is immutable and refuses unknown keys. Sizes are in bytes, contexts in tokens, languages are BCP 47 tags, digests
are SHA-256 as 64 lower-case hexadecimal digits. Knows nothing of YAML.
"""

from __future__ import annotations

import datetime
from typing import Annotated, Any, Literal

import msgspec

LANGUAGE = r"^[a-z]{2,3}(-[A-Za-z0-9]{2,8})*\Z"

Name = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9._-]{0,79}\Z", description="A name: never a path.")]
Digest = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z", description="SHA-256, hexadecimal.")]
Language = Annotated[str, msgspec.Meta(pattern=LANGUAGE, description="A BCP 47 tag.")]
#: The upper limit is what 64 bits hold, as JSON readers, databases and file systems count.
Count = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Positive = Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)]
Text = Annotated[str, msgspec.Meta(min_length=1)]

Capability = Literal["chat", "complete", "embed", "tools", "json_schema", "vision", "reasoning", "reward"]
Modality = Literal["text", "image", "audio", "video"]


class _Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What all parts of a card have in common: immutable, and strict about keys."""


class Maintainer(_Part, frozen=True):
    """Who answers for a card."""

    name: Text
    github: str = ""


class Source(_Part, frozen=True):
    """Where the files are; all sources must give the same digests. The first that can be reached is used.

    `hub: package` names files inside an installed Python package (`repo` is the package, `path` a folder in it);
    `hub: folder` a folder beside the card (`path`); `hub: url` files below a web address or a `file://` one (`url`). Other
    hubs take `repo` and `revision`, the commit; plugins bring them, `huggingface` comes with the zoo.
    """

    hub: Name
    repo: str = ""
    revision: str = ""
    path: str = ""
    url: str = ""


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
    """How a delta becomes a model; the guide "Merge a delta" says what `new_rows`, `keeps` and `result_digest` mean."""

    op: Literal["add"] = "add"
    new_rows: Literal["zero", "mean"] | None = None
    vocab_size: Count | None = None
    keeps: list[Text] = []
    weight_sum: float | None = None
    result_digest: Digest | None = None


class Lineage(_Part, frozen=True):
    """What a model descends from, and how. A merge has `others` beside its base."""

    base: Base
    relation: Literal["finetune", "adapter", "delta", "quantized", "merge", "distill"]
    delta: Delta | None = None
    others: list[Base] = []


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
    intermediate_size: Count | None = None
    heads: Count | None = None
    kv_heads: Count | None = None
    head_size: Count | None = None


class Context(_Part, frozen=True):
    """How many tokens prompt and reply may have together; `default` is what is used where it is less than `max`.

    `on_overflow` is what happens to a prompt that does not fit unless the user says it; what is dropped is always told.
    """

    max: Positive
    default: Positive | None = None
    on_overflow: Literal["error", "drop-oldest"] = "error"


class Modalities(_Part, frozen=True):
    """What goes into a model and what comes out."""

    inputs: list[Modality] = msgspec.field(name="in", default_factory=lambda: ["text"])
    outputs: list[Modality] = msgspec.field(name="out", default_factory=lambda: ["text"])


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
    stop_token_ids: list[Count] = []
    add_bos: bool | None = None
    golden: list[Golden] = []


class Generation(_Part, frozen=True):
    """How replies are sampled unless the user says otherwise."""

    temperature: Annotated[float, msgspec.Meta(ge=0, le=10)] | None = None
    top_p: Annotated[float, msgspec.Meta(gt=0, le=1)] | None = None
    top_k: Count | None = None
    repetition_penalty: Annotated[float, msgspec.Meta(gt=0, le=10)] | None = None
    max_new_tokens: Positive | None = None


class Runtime(_Part, frozen=True):
    """What runs the model. `requires` are versions of Python packages, such as `transformers>=4.40`.

    `remote_code` says that the checkpoint brings code of its own, which runs only where the user has allowed it. `variants`
    are cards of the same model in other sizes, such as quantized ones.
    """

    engine: Name | None = None
    dtype: str = ""
    requires: list[Text] = []
    remote_code: bool = False
    variants: list[Name] = []


class Quantization(_Part, frozen=True):
    """How the weights were shrunk."""

    method: Name
    bits: Count | None = None
    group_size: int | None = None
    act_order: bool | None = None


class Memory(_Part, frozen=True):
    """Bytes that a model needs, at the `dtype` that its weights are stored in; written by `zoo card lock`, never by hand."""

    weights_bytes: Count | None = None
    kv_bytes_per_token: Count | None = None
    dtype: str = ""


class License(_Part, frozen=True):
    """What the files may be used for. `spdx` is the SPDX identifier that the publisher claims; `name` is for licences without.

    `weights` is the licence that the weights, or a dataset's files, are under where that is a stricter one, such as one
    inherited from their base. `acceptance` says that the hub hands the files out only to who accepted the licence there.
    """

    spdx: str = ""
    name: str = ""
    weights: str = ""
    link: str = ""
    commercial: Literal["yes", "no", "restricted"] | None = None
    acceptance: bool = False


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
    epochs: Annotated[float, msgspec.Meta(ge=0)] | None = None
    batch_size: Count | None = None
    hardware: str = ""
    duration: str = ""
    paper: str = ""
    code: str = ""


class EvaluationDataset(_Part, frozen=True):
    """What a number was measured on: a card, a repository or at least a name; `task` is the part of it that was used."""

    id: Text
    task: str = ""
    revision: str = ""


class Harness(_Part, frozen=True):
    """What measured a number."""

    name: Text
    version: str = ""
    seed: Count | None = None


class Evaluation(_Part, frozen=True):
    """One measured number and who measured it. `outputs_sha256` digests the answers that were judged."""

    dataset: EvaluationDataset
    metric: Text
    value: float
    n: Count | None = None
    date: datetime.date | None = None
    harness: Harness | None = None
    source: str = ""
    outputs_sha256: Digest | None = None
    reported_by: Literal["author", "zoo", "third-party"] = "author"
    notes: str = ""


class Smoke(_Part, frozen=True):
    """A reply that proves that a model works: greedy, or with `seed`; `expect` begins the reply, or `sha256` digests it."""

    prompt: Text
    expect: str = ""
    sha256: Digest | None = None
    seed: Count = 0
    max_new_tokens: Positive = 32
    engine: Name | None = None
    dtype: str = ""


class Checks(_Part, frozen=True):
    """How a card is proved, and what the last `zoo card check` of its publisher said."""

    smoke: Smoke | None = None
    last_checked: datetime.date | None = None
    result: Literal["passed", "failed"] | None = None


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
