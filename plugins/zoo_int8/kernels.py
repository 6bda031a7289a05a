"""A linear layer of int8 weights that is fast on a CPU: four to five times fp32 for one row of a large layer.

The processor's int8 instructions multiply integers only, so the activations must be integers too. Rounding them to eight bits
once would cost more than the weights do as soon as a model has a few features that are much larger than the others, as large
models have. So each row is rounded twice: first to eight bits, and then what that left over to eight more. Both go through one
multiplication, which reads the weights once; that is what takes the time. What remains is the error of the weights alone, and
no row depends on those beside it.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Protocol

import torch
from torch import nn

from zoo_core import ZooError
from zoo_int8.rounding import LEVELS

#: A row whose numbers are all smaller is taken for zeros.
_SMALLEST = torch.finfo(torch.float32).tiny


class Kernel(Protocol):
    """A packed matrix of int8 `[out, in]`, by which rows of numbers from -`levels` to `levels` are multiplied, once rounded."""

    levels: int

    def __call__(self, rows: torch.Tensor) -> torch.Tensor:
        """The products in fp32, `[rows, out]`, with the scales of the weights."""
        ...


class OneDnn:
    """oneDNN, which needs a processor with VNNI: others would add up pairs of products in 16 bits, where they overflow."""

    levels = 127

    def __init__(self, weight: torch.Tensor, scales: torch.Tensor) -> None:
        """Pack a matrix in the order in which the processor reads it."""
        self._weight = torch.ops.onednn.qlinear_prepack(weight.contiguous(), None)
        self._scales = scales
        self._zeros = torch.zeros(len(scales), dtype=torch.int32)
        self._multiply = torch.ops.onednn.qlinear_pointwise.default

    def __call__(self, rows: torch.Tensor) -> torch.Tensor:
        """Multiply."""
        middle = self.levels + 1
        whole = (rows + (middle + 0.5)).to(torch.uint8)  # which cuts off, so that this rounds
        weight = (self._weight, self._scales, self._zeros, None)
        product: torch.Tensor = self._multiply(whole, 1.0, middle, *weight, 1.0, 0, torch.float32, "none", [], "")
        return product


class Fbgemm:
    """FBGEMM, which is fast with AVX2 too. Seven bits of activations at a time keep the sums of two products in 16 bits."""

    levels = 63

    def __init__(self, weight: torch.Tensor, scales: torch.Tensor) -> None:
        """Pack a matrix in the order in which the processor reads it."""
        zeros = torch.zeros(len(scales), dtype=torch.long)
        before = torch.backends.quantized.engine
        try:
            torch.backends.quantized.engine = "fbgemm"
            with (
                warnings.catch_warnings()
            ):  # tensors that know their scale are to go; nothing else leads to these kernels
                warnings.filterwarnings("ignore", message=".*quantized tensor creation functions.*")
                known = torch._make_per_channel_quantized_tensor(weight.contiguous(), scales.double(), zeros, 0)
            self._weight = torch.ops.quantized.linear_prepack(known, None)
        finally:
            torch.backends.quantized.engine = before

    def __call__(self, rows: torch.Tensor) -> torch.Tensor:
        """Multiply."""
        name = "linear_with_input_q_dq_qweight_dq_output_fp32"
        product: torch.Tensor = getattr(torch.ops.quantized, name)(rows, 1.0, self.levels + 1, self._weight)
        return product


def best_kernel() -> Callable[[torch.Tensor, torch.Tensor], Kernel]:
    """The kernel for this processor. Raises `ZooError` where PyTorch has none that is fast."""
    if torch.backends.mkldnn.is_available() and torch.cpu._is_vnni_supported():
        return OneDnn
    if "fbgemm" in torch.backends.quantized.supported_engines:
        return Fbgemm
    raise ZooError(
        "PyTorch has no fast int8 kernels for this processor; leave out the quantization, or take a GGUF file: "
        "zoo quantize MODEL --method q8_0 -o NEW"
    )


class Int8Linear(nn.Module):  # type: ignore[misc]
    """A linear layer whose weights are packed integers. It answers; it does not learn, and has no weight to be read."""

    def __init__(
        self,
        weight: torch.Tensor,
        absmax: torch.Tensor,
        bias: torch.Tensor | None,
        kernel: Callable[[torch.Tensor, torch.Tensor], Kernel] | None = None,
    ) -> None:
        """Pack int8 weights `[out, in]`; `absmax` `[out]` is what 127 stands for in each row."""
        super().__init__()
        self.out_features, self.in_features = weight.shape
        # No buffers: `model.to(torch.bfloat16)` would round the scales.
        self._kernel = (kernel or best_kernel())(weight, absmax.float() / LEVELS)
        self.bias = None if bias is None else nn.Parameter(bias, requires_grad=False)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """Multiply `[…, in]` and give back `[…, out]` in the same dtype."""
        rows = states.detach().reshape(-1, self.in_features).float()
        count, levels = len(rows), self._kernel.levels
        # Few operations, each in place: with one row they take as long as the multiplication.
        step = torch.linalg.vector_norm(rows, math.inf, 1, True).div_(levels).clamp_min_(_SMALLEST)
        both = rows.new_empty(2 * count, self.in_features)
        coarse, fine = both[:count], both[count:]
        steps = rows / step
        torch.round(steps, out=coarse)
        torch.sub(steps, coarse, out=fine).mul_(2 * levels)
        product = self._kernel(both)
        output = product[:count].add_(product[count:], alpha=1 / (2 * levels)).mul_(step)
        if self.bias is not None:
            output.add_(self.bias)
        return output.view(*states.shape[:-1], self.out_features).to(states.dtype)

    def extra_repr(self) -> str:
        """What `print(model)` says of it."""
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"
