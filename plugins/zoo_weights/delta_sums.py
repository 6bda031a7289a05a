"""The numbers of a sum or a difference of two checkpoints, a few rows at a time.

What is to be computed stands in the steps. Knows nothing of files that are written.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from zoo_weights.checkpoint import TORCH_DTYPES, Checkpoint
from zoo_weights.delta_checks import Policy, Step
from zoo_weights.layout import PIECE_SIZE

#: Dtypes that PyTorch adds itself. It does so in single precision and rounds once, so nothing is gained by casting before.
_ADDABLE = (torch.float64, torch.float32, torch.float16, torch.bfloat16)


class Sums:
    """The tensors of `other` plus `sign` times those of the base; rows that the base lacks count as the policy says."""

    def __init__(self, base: Checkpoint, other: Checkpoint, steps: Sequence[Step], policy: Policy, sign: int) -> None:
        self._base = base
        self._other = other
        self._sign = sign
        self._steps = {step.tensor.name: step for step in steps}
        grown = [step for step in steps if step.base and step.rows < other.tensors[step.tensor.name].rows]
        self._means = {step.base: mean_row(base, step.base) for step in grown if policy.new_rows == "mean"}

    def rows(self, name: str, start: int, stop: int) -> torch.Tensor:
        """The rows of a result from `start` up to `stop`."""
        step = self._steps[name]
        wanted = TORCH_DTYPES[step.tensor.dtype]
        found = self._other.load(name, start, stop)
        if not step.base:
            return found.to(wanted)
        shared = max(start, min(stop, step.rows))
        mean = self._means.get(step.base) if shared < stop else None
        base = self._base.load(step.base, start, shared) if shared > start else found.new_empty(0)
        total = found.to(self._dtype(found, base, wanted, exact=mean is None))
        if shared == stop:
            total.add_(base.to(total.dtype), alpha=self._sign)
        elif shared > start:
            total[: shared - start].add_(base.to(total.dtype), alpha=self._sign)
        if mean is not None:
            total[shared - start :].add_(mean.to(total.dtype), alpha=self._sign)
        return total.to(wanted)

    def _dtype(self, found: torch.Tensor, base: torch.Tensor, wanted: torch.dtype, *, exact: bool) -> torch.dtype:
        """What to compute in: wide enough that the sum is rounded once, to the dtype that is wanted."""
        if exact and found.dtype == base.dtype == wanted and wanted in _ADDABLE:
            return wanted
        return torch.float64 if torch.float64 in (found.dtype, base.dtype, wanted) else torch.float32


def mean_row(checkpoint: Checkpoint, name: str) -> torch.Tensor:
    """The mean of a tensor's rows, in single precision."""
    tensor = checkpoint.tensors[name]
    total = torch.zeros(tensor.shape[1:], dtype=torch.float64)
    for start, stop in spans(tensor.shape):
        total += checkpoint.load(name, start, stop).to(torch.float64).sum(dim=0)
    return (total / tensor.rows).float()


def spans(shape: Sequence[int]) -> Iterator[tuple[int, int]]:
    """The rows of a tensor, a few at a time."""
    rows = shape[0] if shape else 1
    width = torch.Size(shape[1:]).numel()
    step = max(PIECE_SIZE // max(4 * width, 1), 1)
    return ((start, min(start + step, rows)) for start in range(0, rows, step))
