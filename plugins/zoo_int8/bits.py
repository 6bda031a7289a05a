"""bitsandbytes: layers of LLM.int8(), nf4 and fp4, with its remarks kept off the screen.

The library is imported in here and nowhere else, because it takes seconds and is not needed for int8 on a CPU.
"""

from __future__ import annotations

import functools
import importlib.util
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch
from packaging.version import Version
from torch import nn

from zoo_core import MissingDependency, ZooError

#: The oldest release that has been tried: those before have no 4 bits for a CPU.
OLDEST = "0.50"
#: How many weights share a scale in 4 bits.
BLOCK = 64
#: The activations that LLM.int8() multiplies in 16 bits, as transformers has it.
THRESHOLD = 6.0


@functools.cache
def load_bitsandbytes() -> Any:
    """bitsandbytes. Raises `MissingDependency` where it is missing or too old, `ZooError` where it cannot be loaded."""
    if importlib.util.find_spec("bitsandbytes") is None:
        raise MissingDependency(_wanted("is not installed"))
    try:
        found = version("bitsandbytes")
    except PackageNotFoundError:
        found = "0"
    if Version(found) < Version(OLDEST):
        raise MissingDependency(_wanted(f"is too old here ({found})"))
    try:
        with _no_strange_kernels():
            import bitsandbytes
    except Exception as error:  # it loads a library that is built for the device, and raises what that raises
        reason = " ".join(str(error).split())[:200]
        raise ZooError(f"bitsandbytes {found} cannot be loaded here: {type(error).__name__}: {reason}") from error
    logging.getLogger("bitsandbytes.autograd._functions").addFilter(_is_no_cast)
    return bitsandbytes


def require_device(device: str) -> None:
    """Raise `ZooError` for a device that bitsandbytes has no kernels for."""
    kind = torch.device(device).type
    known = sorted(load_bitsandbytes().supported_torch_devices)
    if kind not in known:
        raise ZooError(f"bitsandbytes has no kernels for the device '{kind}'; it has some for {', '.join(known)}.")


def eight_bits(layer: nn.Linear, device: str) -> nn.Module:
    """The layer in LLM.int8()."""
    nn_ = load_bitsandbytes().nn
    new = nn_.Linear8bitLt(
        layer.in_features,
        layer.out_features,
        bias=False,
        has_fp16_weights=False,
        threshold=THRESHOLD,
        device="meta",
    )
    new.weight = nn_.Int8Params(layer.weight.detach(), requires_grad=False, has_fp16_weights=False)
    return _with_bias(new, layer).to(device)


def four_bits(layer: nn.Linear, kind: str, device: str) -> nn.Module:
    """The layer in nf4 or fp4."""
    nn_ = load_bitsandbytes().nn
    new = nn_.Linear4bit(
        layer.in_features, layer.out_features, bias=False, compress_statistics=False, quant_type=kind, device="meta"
    )
    settings = {"blocksize": BLOCK, "compress_statistics": False, "quant_type": kind, "module": new}
    new.weight = nn_.Params4bit(layer.weight.detach(), requires_grad=False, **settings)
    keep_odd_shapes_off_the_fast_path(new)
    return _with_bias(new, layer).to(device)


def keep_odd_shapes_off_the_fast_path(model: nn.Module) -> None:
    """Keep 4-bit layers from CPU kernels that stop with an assertion at their shape: those of 32 rows and whole blocks only."""
    for layer in model.modules():
        if isinstance(layer, load_bitsandbytes().nn.Linear4bit) and (
            layer.out_features % 32 or layer.in_features % BLOCK
        ):
            layer.support_avx512bf16_for_cpu = False


def four_bit_numbers(weights: torch.Tensor, kind: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights `[n]` packed two to a byte `[ceil(n / 2), 1]`, and their scales, one for each block."""
    packed, state = load_bitsandbytes().functional.quantize_4bit(
        weights, blocksize=BLOCK, compress_statistics=False, quant_type=kind
    )
    return packed, state.absmax


def four_bit_code(kind: str) -> torch.Tensor:
    """The sixteen numbers that four bits stand for."""
    code: torch.Tensor = load_bitsandbytes().functional.get_4bit_type(kind, device="cpu")
    return code


def has_fast_four_bits() -> bool:
    """Whether bitsandbytes multiplies in 4 bits on this processor without making the weights whole again each time."""
    return bool(load_bitsandbytes().functional.has_avx512bf16())


def _with_bias(new: nn.Module, layer: nn.Linear) -> nn.Module:
    new.bias = None if layer.bias is None else nn.Parameter(layer.bias.detach(), requires_grad=False)
    return new.eval()


@contextmanager
def _no_strange_kernels() -> Iterator[None]:
    """Keep bitsandbytes from fetching code from a hub while it is imported, and from regretting that it could not."""
    logger = logging.getLogger("bitsandbytes.backends.cpu.ops")
    missing = object()
    before = sys.modules.get("kernels", missing)
    logger.addFilter(_is_no_regret)
    sys.modules["kernels"] = None  # type: ignore[assignment] # Python's own way to say that a module is not to be had
    try:
        yield
    finally:
        if before is missing:
            del sys.modules["kernels"]
        else:
            sys.modules["kernels"] = before  # type: ignore[assignment]
        logger.removeFilter(_is_no_regret)


def _is_no_cast(record: logging.LogRecord) -> bool:
    """Whether a remark is another than that LLM.int8() computes in 16 bits, which it makes for every layer and token."""
    return "inputs will be cast" not in record.msg


def _is_no_regret(record: logging.LogRecord) -> bool:
    return "kernels-community" not in record.msg


def _wanted(state: str) -> str:
    return (
        f"8 and 4 bits in this way need bitsandbytes {OLDEST} or newer, which {state}. "
        "Install it with: pip install 'llm-zoo[int8]'"
    )
