"""The headers of safetensors files: the name, dtype and shape of every tensor, without its numbers.

A header may come from anywhere, so everything in it is checked before it is believed: its length, the dtypes, and that the
tensors fill the file without gaps, as the format demands. Knows nothing of models.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated

import msgspec

from zoo_core.errors import WeightsError

if TYPE_CHECKING:
    from collections.abc import Callable

    #: Reads `size` bytes of the file `path` from `start` on, or less where the file ends.
    Read = Callable[[str, int, int], bytes]

#: The longest header, in bytes, as the format itself says.
MAX_HEADER = 100_000_000
#: The most commas in a header: every tensor costs about five, and hundreds of bytes of memory. The largest models in one
#: piece stay far below; without a limit a header of the allowed length could name two million tensors.
MAX_COMMAS = 2_000_000
#: The most dimensions of a tensor, as in PyTorch.
MAX_DIMENSIONS = 64

#: The bits of a number of each dtype.
BITS = {
    **dict.fromkeys(("F64", "I64", "U64", "C64"), 64),
    **dict.fromkeys(("F32", "I32", "U32"), 32),
    **dict.fromkeys(("F16", "BF16", "I16", "U16"), 16),
    **dict.fromkeys(("BOOL", "I8", "U8", "F8_E4M3", "F8_E5M2", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"), 8),
    **dict.fromkeys(("F6_E2M3", "F6_E3M2"), 6),
    "F4": 4,
}

_Number = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class Tensor(msgspec.Struct, frozen=True):
    """A tensor of a file: its dtype as the format spells it, its shape, and where its bytes are."""

    dtype: str
    shape: list[_Number]
    data_offsets: tuple[_Number, _Number]

    @property
    def count(self) -> int:
        """How many numbers it holds."""
        return math.prod(self.shape)

    @property
    def size(self) -> int:
        """How many bytes it takes."""
        return self.data_offsets[1] - self.data_offsets[0]


def read_tensors(read: Read, path: str, size: int) -> dict[str, Tensor]:
    """The tensors of a safetensors file of `size` bytes. Raises `WeightsError` for a header that is none."""
    head = read(path, 0, 8)
    length = int.from_bytes(head, "little")
    if len(head) < 8 or length > size - 8:
        raise _broken(path, "it is shorter than its own header")
    if length > MAX_HEADER:
        raise _broken(path, f"its header claims {length:,} bytes, more than the {MAX_HEADER:,} that the format allows")
    header = read(path, 8, length)
    if len(header) < length:
        raise _broken(path, "it ends in the middle of its header")
    if header.count(b",") > MAX_COMMAS:
        raise _broken(path, "its header names too many tensors")
    tensors = _decoded(header, path)
    _check(tensors, size - 8 - length, path)
    return tensors


def _decoded(header: bytes, path: str) -> dict[str, Tensor]:
    try:
        entries = msgspec.json.decode(header, type=dict[str, msgspec.Raw])
        entries.pop("__metadata__", None)
        return {name: msgspec.json.decode(entry, type=Tensor) for name, entry in entries.items()}
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _broken(path, f"its header cannot be read ({error})") from None


def _check(tensors: dict[str, Tensor], size: int, path: str) -> None:
    """The tensors lie one after the other, each as long as its shape says, and fill the rest of the file."""
    position = 0
    for name, tensor in sorted(tensors.items(), key=lambda each: each[1].data_offsets):
        label = f"the tensor '{name[:80]}'"
        if tensor.dtype not in BITS:
            raise _broken(path, f"{label} has the unknown dtype '{tensor.dtype[:20]}'")
        if len(tensor.shape) > MAX_DIMENSIONS:
            raise _broken(path, f"{label} has {len(tensor.shape):,} dimensions")
        if tensor.data_offsets[0] != position:
            raise _broken(path, f"{label} does not begin where the one before it ends")
        if tensor.size * 8 != tensor.count * BITS[tensor.dtype]:
            raise _broken(path, f"{label} takes {tensor.size:,} bytes, which is not what its shape and dtype need")
        position = tensor.data_offsets[1]
    if position != size:
        raise _broken(path, f"its tensors end at byte {position:,} of {size:,}")


def _broken(path: str, what: str) -> WeightsError:
    return WeightsError(f"The file {path} is no safetensors file that can be trusted: {what}; get it again.")
