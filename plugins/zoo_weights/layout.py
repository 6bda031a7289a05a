"""How tensors are laid out in safetensors files: which file, in what order, behind what header, and in which pieces they come.

Knows shapes and dtypes, no numbers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import msgspec

from zoo_weights.checkpoint import TORCH_DTYPES

#: Bytes that are made at a time: small enough for the processor's caches, large enough that Python does not count.
PIECE_SIZE = 1_000_000


class Planned(NamedTuple):
    """A tensor to be written: its name, its dtype as the format spells it (`F16`), and its shape."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """How many bytes it takes."""
        size: int = TORCH_DTYPES[self.dtype].itemsize
        return math.prod(self.shape) * size


class Piece(NamedTuple):
    """Rows of a tensor, and the byte of the file where they go."""

    tensor: Planned
    start: int
    stop: int
    position: int


def spread(plan: Sequence[Planned], shard_size: int) -> dict[str, list[Planned]]:
    """Spread tensors over files in their order; a tensor that is larger than a file may be has one to itself."""
    shards: list[list[Planned]] = [[]]
    size = 0
    for tensor in plan:
        if shards[-1] and size + tensor.size > shard_size:
            shards.append([])
            size = 0
        shards[-1].append(tensor)
        size += tensor.size
    if len(shards) == 1:
        return {"model.safetensors": _aligned(shards[0])}
    return {f"model-{n:05d}-of-{len(shards):05d}.safetensors": _aligned(shard) for n, shard in enumerate(shards, 1)}


def _aligned(tensors: list[Planned]) -> list[Planned]:
    """The widest dtypes first, so that every tensor begins at a multiple of its numbers' size."""
    return sorted(tensors, key=lambda each: -TORCH_DTYPES[each.dtype].itemsize)


def header_of(tensors: Sequence[Planned]) -> bytes:
    """The beginning of a safetensors file, padded so that the numbers begin at a multiple of eight bytes."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    position = 0
    for each in tensors:
        offsets = [position, position + each.size]
        header[each.name] = {"dtype": each.dtype, "shape": each.shape, "data_offsets": offsets}
        position += each.size
    encoded = msgspec.json.encode(header)
    encoded += b" " * (-len(encoded) % 8)
    return len(encoded).to_bytes(8, "little") + encoded


def pieces_of(tensors: Sequence[Planned], position: int) -> Iterator[Piece]:
    """The pieces of a file, in the order of their bytes."""
    for tensor in tensors:
        rows = tensor.shape[0] if tensor.shape else 1
        if not tensor.size:
            continue
        row = tensor.size // rows
        step = max(PIECE_SIZE // row, 1)
        for start in range(0, rows, step):
            stop = min(start + step, rows)
            yield Piece(tensor, start, stop, position + start * row)
        position += tensor.size
