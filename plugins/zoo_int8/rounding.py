"""Round weights to eight bits: symmetric, the numbers of a row or of a group sharing the largest of them as their scale.

A weight `w` becomes `q = round(w * 127 / absmax)`, from -127 to 127, and means `q * absmax / 127`. For a whole row these are
the integers of LLM.int8() as bitsandbytes stores them. The scale is computed and kept in fp32, so that it cannot overflow for
small weights, and a group of zeros stays zero. Knows nothing of layers.
"""

from __future__ import annotations

import torch

#: The largest of the integers.
LEVELS = 127
#: Below it, 127 divided by it would leave the range of fp32.
_SMALLEST = 1e-36


def largest(weight: torch.Tensor, group: int) -> torch.Tensor:
    """The largest absolute value of each group of a matrix: fp32 `[rows, groups]`. The last group may be shorter."""
    return _grouped(weight, group).abs().amax(dim=2)


def rounded(weight: torch.Tensor, group: int) -> torch.Tensor:
    """The integers of a matrix, int8 `[rows, groups * group]`: zeros fill up the last group."""
    parts = _grouped(weight, group)
    steps = LEVELS / parts.abs().amax(dim=2, keepdim=True).clamp_min_(_SMALLEST)
    return (parts * steps).round_().to(torch.int8).flatten(1)


def meant(numbers: torch.Tensor, absmax: torch.Tensor) -> torch.Tensor:
    """The weights, in fp32, that integers `[rows, groups * group]` stand for with the scales `[rows, groups]`."""
    parts = numbers.unflatten(1, (absmax.shape[1], -1)).float()
    return parts.mul_((absmax / LEVELS)[:, :, None]).flatten(1)


def _grouped(weight: torch.Tensor, group: int) -> torch.Tensor:
    """A matrix in fp32 as `[rows, groups, group]`."""
    filled = torch.nn.functional.pad(weight.float(), (0, -weight.shape[1] % group))
    return filled.unflatten(1, (-1, group))
