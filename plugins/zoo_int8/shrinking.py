"""Quantize a model in memory: one linear layer after the other, each original let go before the next is looked at.

The peak is the model as it was loaded and one layer. Where several layers share a weight (the output layer and the embedding),
it stays as it is for the one that is kept. Knows nothing of files.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from zoo_int8 import bits
from zoo_int8.kernels import Int8Linear, best_kernel
from zoo_int8.layers import linear_layers
from zoo_int8.original import GROUP, OriginalInt8Linear
from zoo_int8.rounding import largest, rounded


@torch.no_grad()  # type: ignore[untyped-decorator]
def shrink(model: Any, method: str, *, device: str) -> Any:
    """Replace the linear layers of a loaded model, and put it on the device. Raises `ZooError`."""
    make = _maker(method, device)
    names = list(linear_layers(model, method))
    for name in names:
        model.set_submodule(name, make(model.get_submodule(name)))
    if method == "original-int8":
        model.config.tie_word_embeddings = False
    return model.to(device).eval()


def facts(method: str, device: str) -> dict[str, str]:
    """What computes, for the record of an answer."""
    if method == "original-int8":
        kernel = "weights made whole for every token, as in the first LLM Zoo: saves memory, not time"
    elif method == "int8" and torch.device(device).type == "cpu":
        kernel = best_kernel().__name__.lower()
    else:
        kernel = f"bitsandbytes {bits.load_bitsandbytes().__version__}"
        if torch.device(device).type == "cpu" and not bits.has_fast_four_bits():
            kernel += ", slow on this processor: it has no AVX-512 BF16"
    return {"quantization": method, "kernel": kernel}


def _maker(method: str, device: str) -> Callable[[nn.Linear], nn.Module]:
    """What makes a small layer of a large one."""
    if method == "original-int8":
        return lambda layer: _original(layer).to(device)
    if method == "int8" and torch.device(device).type == "cpu":
        best_kernel()
        return _fast
    bits.require_device(device)
    if method == "int8":
        return lambda layer: bits.eight_bits(layer, device)
    return lambda layer: bits.four_bits(layer, method, device)


def _fast(layer: nn.Linear) -> Int8Linear:
    columns = layer.in_features
    bias = None if layer.bias is None else layer.bias.detach()
    return Int8Linear(rounded(layer.weight, columns), largest(layer.weight, columns)[:, 0], bias)


def _original(layer: nn.Linear) -> OriginalInt8Linear:
    bias = None if layer.bias is None else layer.bias.detach()
    new = OriginalInt8Linear(layer.in_features, layer.out_features, bias=bias)
    new.weight, new.absmax = rounded(layer.weight, GROUP), largest(layer.weight, GROUP)
    return new
