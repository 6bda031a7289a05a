"""Write a GGUF file from a checkpoint, a few rows at a time, so that memory does not grow with the model.

The `gguf` library writes the header and turns numbers into fewer bits; the file appears under its name when it is complete.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gguf
import msgspec
import numpy as np
import torch
from gguf import GGMLQuantizationType, GGUFWriter

from zoo_core import WeightsError, ZooError
from zoo_gguf.architectures import Network
from zoo_weights import Checkpoint

#: Numbers that are turned at once.
AT_ONCE = 16_000_000
#: The tensors of which a model with few bits suffers most: they get 8.
_SENSITIVE = ("token_embd.weight", "output.weight")
_FEW_BITS = (GGMLQuantizationType.Q4_0, GGMLQuantizationType.Q5_0)


class Placed(msgspec.Struct, frozen=True):
    """A tensor of the new file: its name, shape and type, and the tensor of the checkpoint that it comes from."""

    name: str
    shape: tuple[int, ...]
    kind: GGMLQuantizationType
    source: str

    @property
    def stored(self) -> tuple[int, ...]:
        """The shape in bytes, as the library counts it."""
        block, size = gguf.GGML_QUANT_SIZES[self.kind]
        return (*self.shape[:-1], self.shape[-1] // block * size)


def plan(checkpoint: Checkpoint, network: Network, wanted: GGMLQuantizationType) -> list[Placed]:
    """All tensors of the new file, in their order."""
    extra = [Placed(name, tuple(tensor.shape), GGMLQuantizationType.F32, "") for name, tensor in network.extra.items()]
    return extra + [
        Placed(name, shape := checkpoint.tensors[source].shape, _kind(name, shape, wanted), source)
        for source, name in network.tensors.items()
    ]


def write(
    path: Path,
    checkpoint: Checkpoint,
    network: Network,
    tensors: list[Placed],
    describe: Callable[[GGUFWriter], None],
    progress: Callable[[float], None],
) -> None:
    """Write the file. `describe` adds its metadata. Raises `ZooError` for numbers that the file cannot hold."""
    unfinished = path.with_suffix(".unfinished")
    _write_header(unfinished, network, tensors, describe)
    total = sum(tensor.shape[0] for tensor in tensors)
    done = 0
    with unfinished.open("r+b") as file:
        file.seek(0, os.SEEK_END)
        for tensor in tensors:
            _pad(file)
            for numbers in _numbers(checkpoint, network, tensor):
                file.write(_packed(tensor, numbers))
                done += len(numbers)
                progress(done / total)
        _pad(file)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)


def _kind(name: str, shape: tuple[int, ...], wanted: GGMLQuantizationType) -> GGMLQuantizationType:
    """The type of a tensor. Vectors stay as they are, as do rows that cannot be cut into blocks."""
    if len(shape) < 2:
        return GGMLQuantizationType.F32
    if wanted in _FEW_BITS and name in _SENSITIVE:
        wanted = GGMLQuantizationType.Q8_0
    return wanted if shape[-1] % gguf.GGML_QUANT_SIZES[wanted][0] == 0 else GGMLQuantizationType.F16


def _write_header(path: Path, network: Network, tensors: list[Placed], describe: Callable[[GGUFWriter], None]) -> None:
    writer = GGUFWriter(path, network.architecture)
    describe(writer)
    for tensor in tensors:
        size = int(np.prod(tensor.stored, dtype=np.int64))
        writer.add_tensor_info(tensor.name, tensor.stored, np.dtype(np.uint8), size, raw_dtype=tensor.kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    writer.close()


def _pad(file: Any) -> None:
    """Fill up to where the next tensor may begin."""
    file.write(bytes(-file.tell() % gguf.GGUF_DEFAULT_ALIGNMENT))


def _numbers(checkpoint: Checkpoint, network: Network, tensor: Placed) -> Iterator[np.ndarray[Any, Any]]:
    """The rows of a tensor in float32 and in their new order, some at a time; a tensor whose rows move comes as a whole."""
    if not tensor.source:
        yield network.extra[tensor.name].numpy()
        return
    rows = checkpoint.tensors[tensor.source].rows
    if reorder := network.reorder.get(tensor.source):
        yield reorder(checkpoint.load(tensor.source).to(torch.float32)).numpy()
        return
    step = max(1, AT_ONCE * rows // max(1, checkpoint.tensors[tensor.source].count))
    for start in range(0, rows, step):
        yield checkpoint.load(tensor.source, start, min(start + step, rows)).to(torch.float32).numpy()


def _packed(tensor: Placed, numbers: np.ndarray[Any, Any]) -> bytes:
    """The bytes of some rows. Raises `ZooError` for numbers that are none, or too large."""
    if not np.isfinite(numbers).all():
        raise WeightsError(
            f"The tensor '{tensor.source}' holds numbers that are none (NaN or infinite); get the weights again."
        )
    if tensor.kind == GGMLQuantizationType.F16 and np.abs(numbers).max(initial=0) > np.finfo(np.float16).max:
        raise ZooError(f"The tensor '{tensor.source}' holds numbers that are too large for f16; choose --method bf16.")
    return gguf.quantize(numbers, tensor.kind).tobytes()
