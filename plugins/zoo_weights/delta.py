"""Add a delta to its base, and take the difference of a model to its base: tensor by tensor, a few rows at a time.

Sums are rounded once, to the dtype that is written. What is made is complete: weights, configuration and tokenizer, compared
with what the policy expects. Knows no cards beyond `Policy`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from zoo_core import File, WeightsError
from zoo_weights.checkpoint import TORCH_DTYPES, Checkpoint
from zoo_weights.delta_checks import Policy, Step, Words, plan_of, result_config
from zoo_weights.delta_proof import Again, added_again, require_expected
from zoo_weights.delta_sums import Sums
from zoo_weights.small_files import copy_small_files
from zoo_weights.writing import SHARD_SIZE, Progress, forget_journal, write_checkpoint

__all__ = ["Made", "Policy", "apply_delta", "check_delta", "looks_like_delta", "make_delta"]

#: Architectures whose norms multiply with weights that begin at one; some others store the difference to one.
_NORMS_FROM_ONE = frozenset(
    ("baichuan", "bloom", "falcon", "gpt2", "gpt_neox", "gptj", "internlm", "llama", "mistral", "opt", "qwen2")
)
#: The mean size of the norms' weights below which a checkpoint is a delta. In models it is some tenths and more.
_SMALL_NORMS = 0.1


class Made(msgspec.Struct, frozen=True, kw_only=True):
    """What was made: the files; sum and digest of the model's tensors where they were computed; sentences for the user."""

    files: list[File]
    total: float | None = None
    digest: str = ""
    notes: list[str] = []


def check_delta(base: Checkpoint, delta: Checkpoint, policy: Policy, *, dtype: str | None = None) -> list[Step]:
    """What is to be computed for every tensor. Raises `WeightsError` where base and delta do not belong together."""
    if looks_like_delta(base):
        raise WeightsError(
            f"The base {base.folder} is a delta itself, for its norms are about zero; merge it into its own base first."
        )
    if _norms(delta, policy.keeps) and not looks_like_delta(delta, policy.keeps):
        raise WeightsError(
            f"The folder {delta.folder} holds a model and no delta, for its norms are not about zero; use it as it is."
        )
    return plan_of(base, delta, policy, dtype, Words())


def apply_delta(
    base: Path,
    delta: Path,
    out: Path,
    policy: Policy,
    *,
    dtype: str | None = None,
    shard_size: int = SHARD_SIZE,
    threads: int = 0,
    progress: Progress = lambda share, line: None,
) -> Made:
    """Add a delta to its base and write the model into the existing folder `out`, which an interrupted run may have begun.

    `dtype` (`F16`, `BF16`, `F32`, `F64`) is that of the result; without it both sides have the same. Raises `WeightsError`
    for a base that is not the right one, before anything is written, and for a result that is not the expected one.
    """
    with Checkpoint.open(base) as ours, Checkpoint.open(delta) as theirs:
        steps = check_delta(ours, theirs, policy, dtype=dtype)
        policy, notes = _comparable(policy, dtype)
        measure = policy.weight_sum is not None or policy.result_digest is not None
        written = write_checkpoint(
            out,
            [step.tensor for step in steps],
            Sums(ours, theirs, steps, policy, 1).rows,
            made_from=_made_from("apply", ours, theirs, policy, dtype),
            shard_size=shard_size,
            threads=threads,
            measure=measure,
            progress=progress,
        )
        require_expected(ours, theirs, steps, policy, written)
        files = [*written.files, *copy_small_files(delta, out, result_config(theirs, steps, dtype))]
    forget_journal(out)
    return Made(files=files, total=written.total if measure else None, digest=written.digest, notes=notes)


def make_delta(
    base: Path,
    model: Path,
    out: Path,
    policy: Policy,
    *,
    dtype: str | None = None,
    shard_size: int = SHARD_SIZE,
    threads: int = 0,
    progress: Progress = lambda share, line: None,
) -> Made:
    """Write the difference of a model to its base into the existing folder `out`; `dtype` is that of the difference.

    The delta is then added to its base again: `total` and `digest` are those of the model that comes of it, and a note tells
    how many numbers are not the model's own because the difference had to be rounded.
    """
    with Checkpoint.open(base) as ours, Checkpoint.open(model) as theirs:
        if found := next((each for each in (ours, theirs) if looks_like_delta(each)), None):
            raise WeightsError(f"The folder {found.folder} holds a delta and no model, for its norms are about zero.")
        steps = plan_of(ours, theirs, policy, dtype, Words("model", is_delta=False))
        own = _require_wide(theirs, steps)
        written = write_checkpoint(
            out,
            [step.tensor for step in steps],
            Sums(ours, theirs, steps, policy, -1).rows,
            made_from=_made_from("make", ours, theirs, policy, dtype),
            shard_size=shard_size,
            threads=threads,
            progress=lambda share, line: progress(share / 2, line),
        )
        # The configuration names the dtype of the model, so that a wider delta gives a model of that dtype.
        small = copy_small_files(model, out, result_config(theirs, steps, own))
        other = any(step.base and ours.tensors[step.base].dtype != own for step in steps)
        again = added_again(
            ours, theirs, out, policy, own if other else None, lambda share, line: progress((1 + share) / 2, line)
        )
    forget_journal(out)
    notes = [_lost(again)] if again.others else []
    return Made(files=[*written.files, *small], total=again.total, digest=again.digest, notes=notes)


def looks_like_delta(checkpoint: Checkpoint, keeps: Sequence[str] = ()) -> bool:
    """Whether the weights of the norms are about zero, as in a delta, and not about one, as in a model.

    False where the architecture is not known to have norms that begin at one. Tensors in `keeps` are not looked at.
    """
    sizes = [float(checkpoint.load(name).float().abs().mean()) for name in _norms(checkpoint, keeps)]
    return bool(sizes) and sum(sizes) / len(sizes) < _SMALL_NORMS


def _lost(again: Again) -> str:
    """A sentence on the numbers that a rounded difference does not bring back."""
    return (
        f"{again.others:,} of {again.numbers:,} numbers are not exactly the model's own when the delta is added again; the "
        f"largest difference is {again.largest:.2g}. A wider --dtype keeps more."
    )


def _norms(checkpoint: Checkpoint, keeps: Sequence[str]) -> list[str]:
    """The weights of the norms, where it is known of the architecture that they begin at one."""
    if str(checkpoint.facts.config.get("model_type")) not in _NORMS_FROM_ONE:
        return []
    return [
        name
        for name, tensor in checkpoint.tensors.items()
        if name.endswith(".weight")
        and len(tensor.shape) == 1
        and tensor.dtype in TORCH_DTYPES
        and not any(part in name for part in keeps)
    ]


def _comparable(policy: Policy, dtype: str | None) -> tuple[Policy, list[str]]:
    """The policy without a digest that cannot be that of a result in another dtype, and a sentence that says so."""
    if dtype is None or policy.result_digest is None:
        return policy, []
    note = "The result is not compared with the expected digest, which is that of another dtype."
    return msgspec.structs.replace(policy, result_digest=None), [note]


def _require_wide(model: Checkpoint, steps: Sequence[Step]) -> str:
    """The dtype of most of a model's numbers. Raises `WeightsError` where the delta is to have fewer bits than they."""
    counts: Counter[str] = Counter()
    for step in steps:
        own = model.tensors[step.tensor.name]
        counts[own.dtype] += own.count
        narrower = TORCH_DTYPES[step.tensor.dtype].itemsize <= TORCH_DTYPES[own.dtype].itemsize
        if own.dtype != step.tensor.dtype and narrower:
            raise WeightsError(
                f"A delta in {step.tensor.dtype} cannot hold the difference of '{step.tensor.name}', which is {own.dtype}; "
                "choose a wider dtype, or none."
            )
    return counts.most_common(1)[0][0]


def _made_from(work: str, base: Checkpoint, other: Checkpoint, policy: Policy, dtype: str | None) -> dict[str, Any]:
    """What tells this work from another one, for the journal."""
    inputs = [{str(each.folder.resolve()): each.identity()} for each in (base, other)]
    return {"work": work, "inputs": inputs, "policy": msgspec.to_builtins(policy), "dtype": dtype}
