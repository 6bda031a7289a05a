"""The 8 bits of the first LLM Zoo: symmetric, 256 weights of a row to a scale, made whole again for every multiplication.

Kept to compare with. Its scale is in fp32 here: in fp16 it overflowed for groups below 0.00194, which then became zeros, and
was no number for groups of zeros. The format of its files is described in docs/how-to/load-in-8-or-4-bits.md.
"""

from __future__ import annotations

import math

import torch
from torch import nn

from zoo_int8.rounding import meant

#: How many weights share a scale.
GROUP = 256


class OriginalInt8Linear(nn.Module):  # type: ignore[misc]
    """A linear layer of int8 weights `[out, groups * 256]` and scales `[out, groups]`. It saves memory, and no time."""

    def __init__(
        self, in_features: int, out_features: int, *, bias: torch.Tensor | None = None, device: str = "meta"
    ) -> None:
        """Make a layer whose numbers are put in afterwards."""
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        groups = math.ceil(in_features / GROUP)
        self.register_buffer("weight", torch.empty(out_features, groups * GROUP, dtype=torch.int8, device=device))
        self.register_buffer("absmax", torch.empty(out_features, groups, dtype=torch.float32, device=device))
        self.bias = None if bias is None else nn.Parameter(bias, requires_grad=False)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """Multiply `[…, in]` and give back `[…, out]`."""
        whole = meant(self.weight, self.absmax)[:, : self.in_features].to(states.dtype)
        return nn.functional.linear(states, whole, self.bias)
