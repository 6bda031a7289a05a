"""Linear layers whose weights stay packed: one that every device and dtype can run, and a fast one for bfloat16 on a CPU.

`PackedLinear` holds what the file holds and computes its weights anew for every pass, exactly. `NibbleLinear` goes through
PyTorch's kernel for 4 bits, which takes bfloat16 well and other dtypes slower than computing anew. Knows nothing of files.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional as F

from zoo_gptq.packing import regular_groups, unpack, words, zero_points

#: The groups that the kernel knows, and of how many outputs it makes a block.
KERNEL_GROUPS, KERNEL_OUT = (256, 128, 64, 32), 16


class Shape(NamedTuple):
    """A packed layer: its width in bits, inputs, outputs and groups, and what it has beside them."""

    bits: int
    rows: int
    out: int
    groups: int
    #: How many inputs share a group where they follow each other.
    group_size: int
    #: Whether zero points are stored minus one.
    minus_one: bool
    has_order: bool
    has_bias: bool


class PackedLinear(nn.Module):  # type: ignore[misc]
    """A linear layer with the tensors of the file, under the names that they have there."""

    def __init__(self, shape: Shape) -> None:
        """Make room for the tensors; their numbers come from a file."""
        super().__init__()
        bits, rows, out, groups = shape.bits, shape.rows, shape.out, shape.groups
        self.shape = shape
        self.in_features, self.out_features = rows, out
        self.register_buffer("qweight", torch.zeros(words(rows, bits), out, dtype=torch.int32))
        self.register_buffer("qzeros", torch.zeros(groups, words(out, bits), dtype=torch.int32))
        self.register_buffer(
            "scales", torch.zeros(groups, out, dtype=torch.float32)
        )  # exact, whatever the model's dtype
        self.register_buffer("g_idx", torch.zeros(rows, dtype=torch.int32) if shape.has_order else None)
        self.register_buffer("bias", torch.zeros(out) if shape.has_bias else None)

    def groups(self) -> torch.Tensor:
        """The group of each input."""
        shape = self.shape
        # Programs before AutoGPTQ left the order empty, that is zero, where the inputs of a group follow each other.
        if self.g_idx is None or (shape.groups > 1 and not self.g_idx.any()):
            return regular_groups(shape.rows, shape.groups, shape.group_size).to(self.qweight.device)
        return self.g_idx

    def settle(self) -> None:
        """Look at the order once: where the inputs of a group follow each other, it is not needed."""
        order = self.groups()
        if order.min() < 0 or order.max() >= self.shape.groups:
            raise ValueError("its g_idx names groups that it does not have")
        regular = regular_groups(self.shape.rows, self.shape.groups, self.shape.group_size).to(order.device)
        self.g_idx = None if torch.equal(order, regular) else order

    def dequantized(self) -> torch.Tensor:
        """The weights `[in, out]` in float32."""
        bits, rows, out, groups = self.shape[:4]
        weight = unpack(self.qweight, bits, rows).float()
        zeros = zero_points(self.qzeros, bits, out, minus_one=self.shape.minus_one).float()
        if (
            self.g_idx is None and rows == groups * self.shape.group_size
        ):  # far faster than to spread scales over the rows
            by_group = weight.view(groups, -1, out)
            by_group.sub_(zeros[:, None]).mul_(self.scales[:, None])
            return weight
        order = self.groups().long()
        return weight.sub_(zeros[order]).mul_(self.scales[order])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The product with the weights, in the dtype of `x`."""
        bias = None if self.bias is None else self.bias.to(x.dtype)
        return F.linear(x, self.dequantized().to(x.dtype).t(), bias)

    def extra_repr(self) -> str:
        """What the layer is, for people who print a model."""
        return ", ".join(f"{name}={value}" for name, value in self.shape._asdict().items())


class NibbleLinear(nn.Module):  # type: ignore[misc]
    """A linear layer for bfloat16 on a CPU. Numbers of 8 bits are two of 4; those of fewer take 4 here too."""

    def __init__(self, packed: PackedLinear, order: torch.Tensor | None, group: int) -> None:
        """Take over the weights of a layer that `fits` with this order of inputs and this group of the kernel."""
        super().__init__()
        bits, rows, out = packed.shape[:3]
        self.in_features, self.out_features = rows, out
        self.group = group
        self.register_buffer("order", order)
        self.register_buffer("bias", None if packed.bias is None else packed.bias.bfloat16())
        numbers = unpack(packed.qweight, bits, rows)
        numbers = (numbers if order is None else numbers[order]).t().contiguous()
        zeros = zero_points(packed.qzeros, bits, out, minus_one=packed.shape.minus_one).float()
        scales, spread = packed.scales, packed.shape.group_size // group
        # The kernel computes (number - 8) * scale + shift in bfloat16: what a zero point shifts is to be small.
        if bits == 8:
            self._store("low", numbers & 15, scales, torch.zeros_like(scales), spread)
            self._store("high", numbers >> 4, 16 * scales, (128 + 8 - zeros) * scales, spread)
        else:
            half = 2 ** (bits - 1)
            self._store("low", numbers + (8 - half), scales, (half - zeros) * scales, spread)
        self.halves = ("low", "high") if bits == 8 else ("low",)

    @staticmethod
    def of(packed: PackedLinear) -> nn.Module:
        """The fast layer, or the given one where the kernel cannot take it."""
        rows, out, groups, size = packed.shape[1:5]
        group = next((each for each in KERNEL_GROUPS if size % each == 0), 0)
        if rows != groups * size or not group or out % KERNEL_OUT:
            return packed
        if packed.g_idx is None:
            return NibbleLinear(packed, None, group)
        order = torch.argsort(packed.g_idx, stable=True)
        if bool((torch.bincount(packed.g_idx.long(), minlength=groups) != size).any()):
            return packed
        return NibbleLinear(packed, order, group)

    def _store(self, name: str, numbers: torch.Tensor, scales: torch.Tensor, shift: torch.Tensor, spread: int) -> None:
        both = torch.stack([scales, shift], dim=2).repeat_interleave(spread, dim=0).bfloat16()
        self.register_buffer(name, torch.ops.aten._convert_weight_to_int4pack_for_cpu(numbers, 1))
        self.register_buffer(f"{name}_scales", both.contiguous())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The product with the weights; the kernel adds up in float32."""
        flat = x.reshape(-1, self.in_features)
        flat = flat.contiguous() if self.order is None else flat.index_select(1, self.order)
        parts = [
            torch.ops.aten._weight_int4pack_mm_for_cpu(
                flat, getattr(self, half), self.group, getattr(self, f"{half}_scales")
            )
            for half in self.halves
        ]
        total = parts[0] if len(parts) == 1 else parts[0] + parts[1]
        if self.bias is not None:
            total = total + self.bias
        return total.reshape(*x.shape[:-1], math.prod(total.shape[1:]))
