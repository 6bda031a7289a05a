"""Whether what was made is what was meant: a model is compared with its expected digest and sum, a delta is added again."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path

import msgspec
import torch

from zoo_weights.checkpoint import Checkpoint, as_bytes
from zoo_weights.delta_checks import Policy, Step, Words, plan_of, tables_left_out
from zoo_weights.delta_sums import Sums, spans
from zoo_weights.writing import Progress, Written, WrongResult, tensors_digest

#: How far a sum may be off: what the sum of billions of numbers in single precision loses.
_SUM_DIFFERENCE = 1e-2
_SUM_SHARE = 1e-5


class Again(msgspec.Struct, kw_only=True):
    """What comes of a delta that is added again: digest and sum of all numbers, how many of them are not the model's."""

    digest: str = ""
    total: float = 0.0
    numbers: int = 0
    others: int = 0
    largest: float = 0.0


def require_expected(base: Checkpoint, delta: Checkpoint, steps: list[Step], policy: Policy, written: Written) -> None:
    """Raise `WrongResult` unless digest and sum of a model are those that the policy names."""
    if policy.result_digest is not None and written.digest != policy.result_digest:
        raise WrongResult(
            f"The result is not the expected model: its tensors have the digest {written.digest[:12]}…, but "
            f"{policy.result_digest[:12]}… was expected; look for another base than {base.folder}."
        )
    if policy.weight_sum is None:
        return
    # Older libraries counted their tables of angles among the weights, newer ones do not.
    tables = math.fsum(_total(side.load(name)) for side, name in tables_left_out(base, delta, steps))
    sums = (written.total, written.total + tables)
    if not any(math.isclose(each, policy.weight_sum, rel_tol=_SUM_SHARE, abs_tol=_SUM_DIFFERENCE) for each in sums):
        raise WrongResult(
            f"The result is not the expected model: its weights sum up to {written.total:,.4f}, but "
            f"{policy.weight_sum:,.4f} was expected; look for another base than {base.folder}."
        )


def added_again(
    base: Checkpoint, model: Checkpoint, delta: Path, policy: Policy, dtype: str | None, progress: Progress
) -> Again:
    """Add a finished delta to its base without writing what comes of it, and compare that with the model."""
    again, digests = Again(), {}
    with Checkpoint.open(delta) as made:
        steps = plan_of(base, made, policy, dtype, Words())
        sums = Sums(base, made, steps, policy, 1)
        size = sum(step.tensor.size for step in steps)
        done = 0
        for step in steps:
            digest = hashlib.sha256()
            for start, stop in spans(step.tensor.shape):
                result = sums.rows(step.tensor.name, start, stop)
                digest.update(as_bytes(result))
                _compare(again, result, model.load(step.tensor.name, start, stop))
                done += result.nbytes
                progress(done / max(size, 1), f"{step.tensor.name} is added again")
            digests[step.tensor.name] = digest.hexdigest()
    again.digest = tensors_digest([step.tensor for step in steps], digests)
    return again


def _compare(again: Again, result: torch.Tensor, wanted: torch.Tensor) -> None:
    again.total += _total(result)
    again.numbers += result.numel()
    if not torch.equal(result, wanted):
        difference = (result.double() - wanted.double()).abs()
        again.others += int((difference != 0).sum())
        again.largest = max(again.largest, float(difference.max()))


def _total(tensor: torch.Tensor) -> float:
    return float(tensor.sum(dtype=torch.float64))
