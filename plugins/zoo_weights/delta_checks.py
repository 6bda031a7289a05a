"""Whether a base and a delta belong together, and what is then to be computed for every tensor. Reads headers, no numbers.

The same holds of a base and the model whose delta is to be made: both are called `other` here. Everything that can be refused
is refused here, before a byte is written.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import msgspec

from zoo_core import ModelCard, WeightsError
from zoo_weights.checkpoint import TORCH_DTYPES, Checkpoint, Stored
from zoo_weights.delta_vocabulary import first_difference, tokens_of
from zoo_weights.layout import Planned
from zoo_weights.small_files import small_files

#: Tensors with a row for each token of the vocabulary.
_VOCABULARY = re.compile(
    r"(^|\.)(embed_tokens|word_embeddings|wte|embed_in|embed_out|lm_head|output_layer)\.(weight|bias)\Z"
)
#: Tables that some checkpoints keep beside their parameters, and that every library computes anew.
_TABLES = re.compile(r"(\.rotary_emb\.(inv_freq|cos_cached|sin_cached)|\.masked_bias)\Z")
_MASKS = re.compile(r"\.(attn|attention)\.bias\Z")
_OUTPUT = re.compile(r"(^|\.)lm_head\.weight\Z")
#: Beginnings of names with which a model's layers stand in some checkpoints and not in others.
_PREFIXES = ("transformer.", "model.")
#: What must be equal in a base and what is made from it, with the words for it.
_SAME = {
    "hidden_size": "wide",
    "layers": "layers deep",
    "intermediate_size": "wide inside its layers",
    "heads": "heads of attention",
    "kv_heads": "heads of keys and values",
    "head_size": "numbers in a head",
}


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """How a delta is to be added; as `lineage.delta` of a card says it.

    `new_rows` is what the rows of the vocabulary that the base lacks count as. Tensors whose name contains one of `keeps` are
    taken from the delta as they are.
    """

    new_rows: Literal["zero", "mean"] | None = None
    vocab_size: int | None = None
    keeps: tuple[str, ...] = ()
    weight_sum: float | None = None
    result_digest: str | None = None

    @classmethod
    def from_card(cls, card: ModelCard) -> Policy:
        """What a card says, and nothing where it says nothing."""
        said = card.lineage.delta if card.lineage else None
        if said is None:
            return cls()
        return cls(
            new_rows=said.new_rows,
            vocab_size=said.vocab_size,
            keeps=tuple(said.keeps),
            weight_sum=said.weight_sum,
            result_digest=said.result_digest,
        )


class Step(NamedTuple):
    """What becomes of a tensor: as it is to be written, its name in the base (empty where it is kept), the base's rows."""

    tensor: Planned
    base: str
    rows: int


class Words(NamedTuple):
    """What `other` is called in sentences, and whether it is a delta; else its delta is to be made.

    `command` is the one whose options tell what no card tells, whichever command the user has given.
    """

    other: str = "delta"
    is_delta: bool = True

    @property
    def command(self) -> str:
        return "zoo merge delta" if self.is_delta else "zoo delta make"


def plan_of(base: Checkpoint, other: Checkpoint, policy: Policy, dtype: str | None, words: Words) -> list[Step]:
    """What is to be computed for every tensor, in the order in which `other` has them. Raises `WeightsError`."""
    small_files(other.folder)  # told now where they may not be copied, and not when the weights are written
    _require_same_network(base, other, words)
    names = _paired(base, other, policy, words)
    steps = [_step(base, other, name, names[name], policy, dtype, words) for name in other.tensors if name in names]
    if not any(step.base for step in steps):
        raise WeightsError(
            f"All tensors of the {words.other} {other.folder} are to be kept whole, so that nothing of the base would be used; "
            "keep fewer of them."
        )
    _require_vocabulary(other, steps, policy, words)
    if any(_VOCABULARY.search(step.tensor.name) and step.base for step in steps):
        _require_same_tokens(base, other, words)
    return steps


def tables_left_out(base: Checkpoint, other: Checkpoint, steps: list[Step]) -> list[tuple[Checkpoint, str]]:
    """The tables that are in no result, because only one side has them, each with that side."""
    written = {name for step in steps for name in (step.tensor.name, step.base)}
    return [
        (side, name)
        for side in (base, other)
        for name, tensor in side.tensors.items()
        if name not in written and is_table(name, tensor) and _is_float(tensor.dtype)
    ]


def _require_same_network(base: Checkpoint, other: Checkpoint, words: Words) -> None:
    kinds = [each.facts.config.get("model_type") for each in (base, other)]
    if None not in kinds and kinds[0] != kinds[1]:
        raise WeightsError(
            f"The base {base.folder} is of the architecture {str(kinds[0])[:40]}, the {words.other} {other.folder} of "
            f"{str(kinds[1])[:40]}; name the base that it was made from."
        )
    for field, what in _SAME.items():
        ours, theirs = (getattr(each.facts.architecture, field) for each in (base, other))
        if ours is not None and theirs is not None and ours != theirs:
            raise WeightsError(
                f"The base {base.folder} is another network than the {words.other} {other.folder}: {ours:,} against "
                f"{theirs:,} {what}; name the base that it was made from."
            )


def _paired(base: Checkpoint, other: Checkpoint, policy: Policy, words: Words) -> dict[str, str]:
    """For each tensor to be written its name in the base, empty where it is kept. Raises `WeightsError` for lonely ones."""
    tied = base.facts.tied and other.facts.tied
    found: dict[str, str] = {}
    lonely = []
    for name, tensor in other.tensors.items():
        twin = _twin(name, base.tensors)
        if any(part in name for part in policy.keeps):
            found[name] = ""
        elif twin and not (is_table(name, tensor) and not _is_float(tensor.dtype)):
            found[name] = twin
        elif not (twin or _may_be_alone(name, tensor, tied)):
            lonely.append(name)
    missing = [
        name
        for name, tensor in base.tensors.items()
        if not _twin(name, other.tensors)
        and not _may_be_alone(name, tensor, tied)
        and not any(part in name for part in policy.keeps)
    ]
    if lonely or missing:
        raise WeightsError(_lonely_sentence(base, other, lonely, missing, words))
    return found


def _twin(name: str, tensors: Mapping[str, Stored]) -> str:
    """The name under which another checkpoint has a tensor: its own, or one with or without the prefix of its class."""
    if name in tensors:
        return name
    for prefix in _PREFIXES:
        if prefix + name in tensors:
            return prefix + name
        if name.startswith(prefix) and name.removeprefix(prefix) in tensors:
            return name.removeprefix(prefix)
    return ""


def is_table(name: str, tensor: Stored) -> bool:
    """Whether a tensor is a table of angles or a mask, which no library needs from a file."""
    return _TABLES.search(name) is not None or (_MASKS.search(name) is not None and len(tensor.shape) > 1)


def _may_be_alone(name: str, tensor: Stored, tied: bool) -> bool:
    """Whether one side may lack a tensor: a table, or the output layer of a network that uses the embedding's numbers."""
    return is_table(name, tensor) or (tied and _OUTPUT.search(name) is not None)


def _lonely_sentence(base: Checkpoint, other: Checkpoint, lonely: list[str], missing: list[str], words: Words) -> str:
    told = []
    for names, side in ((lonely, words.other), (missing, "base")):
        if names:
            few = ", ".join(name[:80] for name in names[:3]) + (", …" if len(names) > 3 else "")
            told.append(f"{len(names):,} of the {side} alone ({few})")
    return (
        f"The base {base.folder} and the {words.other} {other.folder} do not have the same tensors: {' and '.join(told)}; "
        f"name the base that it was made from, or with --keep of {words.command} what the delta holds whole."
    )


def _step(
    base: Checkpoint, other: Checkpoint, name: str, twin: str, policy: Policy, dtype: str | None, words: Words
) -> Step:
    theirs = other.tensors[name]
    if not twin:
        return Step(Planned(name, _cast(theirs.dtype, dtype if words.is_delta else None), theirs.shape), "", 0)
    ours = base.tensors[twin]
    kind = _dtype(base, other, name, twin, dtype, words)
    same = ours.shape == theirs.shape
    grown = ours.shape[1:] == theirs.shape[1:] and 0 < ours.rows < theirs.rows and bool(_VOCABULARY.search(name))
    if not same and grown and policy.new_rows is None:
        raise WeightsError(
            f"The {words.other} {other.folder} has {theirs.rows:,} rows of '{name}', the base {base.folder} {ours.rows:,}: "
            f"say with --new-rows of {words.command} what those that the base lacks count as, zero (as in LLM Zoo's own "
            "deltas) or mean."
        )
    if not (same or grown):
        raise WeightsError(
            f"The tensor '{name}' has the shape {_shape(ours)} in the base {base.folder}, but {_shape(theirs)} in the "
            f"{words.other} {other.folder}; name the base that it was made from."
        )
    return Step(Planned(name, kind, theirs.shape), twin, ours.rows)


def _dtype(base: Checkpoint, other: Checkpoint, name: str, twin: str, dtype: str | None, words: Words) -> str:
    """The dtype of a result. Without a wish both sides have it, unless the delta is wider than the model it tells of."""
    ours, theirs = base.tensors[twin].dtype, other.tensors[name].dtype
    for side, each in ((base, ours), (other, theirs)):
        if not _is_float(each):
            raise WeightsError(
                f"The tensor '{name}' in {side.folder} has the dtype {each}, as quantized weights have, and cannot be added; "
                "take the weights that are not quantized."
            )
    if dtype is not None:
        return _cast(theirs, dtype)
    told = str(other.config.get("dtype", other.config.get("torch_dtype"))).removeprefix("torch.")
    wider = TORCH_DTYPES[theirs].itemsize > TORCH_DTYPES[ours].itemsize
    if ours == theirs or (words.is_delta and wider and told == str(TORCH_DTYPES[ours]).removeprefix("torch.")):
        return ours
    raise WeightsError(
        f"The base {base.folder} has '{twin}' as {ours}, the {words.other} {other.folder} as {theirs}; take a base of the same "
        f"dtype, or say with --dtype of {words.command} which one the result is to have."
    )


def _cast(stored: str, dtype: str | None) -> str:
    """The dtype in which a tensor is written; whole numbers are never cast."""
    return dtype if dtype is not None and _is_float(stored) else stored


def _is_float(dtype: str) -> bool:
    return dtype in TORCH_DTYPES and TORCH_DTYPES[dtype].is_floating_point


def _shape(tensor: Stored) -> str:
    return " x ".join(map(str, tensor.shape)) or "of a single number"


def _require_vocabulary(other: Checkpoint, steps: list[Step], policy: Policy, words: Words) -> None:
    """Raise `WeightsError` unless the vocabulary has as many rows as the policy says."""
    for step in steps:
        rows = step.tensor.shape[0] if step.tensor.shape else 1
        if policy.vocab_size is not None and _VOCABULARY.search(step.tensor.name) and rows != policy.vocab_size:
            raise WeightsError(
                f"The {words.other} {other.folder} has {rows:,} rows of '{step.tensor.name}', but {policy.vocab_size:,} were "
                "expected; it is another one, or the expectation (vocab_size) is wrong."
            )


def _require_same_tokens(base: Checkpoint, other: Checkpoint, words: Words) -> None:
    """Raise `WeightsError` where the tokenizers of both sides are there and give a number to different tokens."""
    ours, theirs = tokens_of(base.folder, added=False), tokens_of(other.folder, added=True)
    if ours is None or theirs is None:
        return
    if difference := first_difference(ours, theirs):
        raise WeightsError(
            f"The base {base.folder} has another vocabulary than the {words.other} {other.folder} ({difference}); "
            "name the base that it was made from."
        )


def result_config(other: Checkpoint, steps: list[Step], dtype: str | None) -> dict[str, Any]:
    """The configuration of the result: that of `other`, with what the tensors say and without where it once lay."""
    config = {name: value for name, value in other.config.items() if name != "_name_or_path"}
    rows = [step.tensor.shape[0] for step in steps if _VOCABULARY.search(step.tensor.name)]
    if rows and isinstance(config.get("vocab_size"), int):
        config["vocab_size"] = max(rows)
    if dtype is not None:
        name = "torch_dtype" if "torch_dtype" in config and "dtype" not in config else "dtype"
        config[name] = str(TORCH_DTYPES[dtype]).removeprefix("torch.")
    return config
