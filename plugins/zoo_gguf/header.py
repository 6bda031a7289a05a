"""The header of a GGUF file: its metadata and where its tensors are, checked before a library in C++ sees the file.

A file may come from anywhere, so nothing in it is believed: every count, length and offset must lie within the file, and what
would make llama.cpp give up the whole process is refused here in a sentence. Knows nothing of cards.
"""

from __future__ import annotations

import contextlib
import math
import mmap
import struct
from pathlib import Path
from typing import Any

import msgspec
from gguf.constants import GGML_QUANT_SIZES, MODEL_ARCH_NAMES, GGMLQuantizationType, GGUFValueType, TokenType

from zoo_core import WeightsError

MAGIC = b"GGUF"
#: The versions of the format that llama.cpp reads and that are written today.
VERSIONS = (2, 3)
#: The metadata that the zoo's own exports have beside what llama.cpp knows: `always`, `first` or `never` a space in front of
#: text, and all tokens that end an answer.
PREFIX = "zoo.tokenizer.prefix"
ENDS = "zoo.tokenizer.ends"
#: Far more than any model has; a header beyond these would only cost memory.
MAX_ENTRIES = 100_000
MAX_TENSORS = 200_000
MAX_HEADER = 500_000_000
MAX_DIMENSIONS = 4
ALIGNMENT = 32

_NUMBERS = {
    GGUFValueType.UINT8: "B",
    GGUFValueType.INT8: "b",
    GGUFValueType.UINT16: "H",
    GGUFValueType.INT16: "h",
    GGUFValueType.UINT32: "I",
    GGUFValueType.INT32: "i",
    GGUFValueType.FLOAT32: "f",
    GGUFValueType.UINT64: "Q",
    GGUFValueType.INT64: "q",
    GGUFValueType.FLOAT64: "d",
    GGUFValueType.BOOL: "?",
}
#: The numbers of a network that llama.cpp does not check before it relies on them: the least and the most that make sense.
_LIMITS = {
    "block_count": (1, 512),
    "context_length": (1, 2**31 - 1),
    "embedding_length": (1, 2**20),
    "feed_forward_length": (0, 2**24),
    "attention.head_count": (0, 2**12),
    "attention.head_count_kv": (0, 2**12),
    "attention.key_length": (0, 2**14),
    "attention.value_length": (0, 2**14),
    "rope.dimension_count": (0, 2**14),
    "expert_count": (0, 2**12),
    "expert_used_count": (0, 2**12),
}
#: The types of values and of tensors, as numbers.
_NUMBER_TYPES = {each.value for each in _NUMBERS}
_TENSOR_TYPES = {each.value for each in GGML_QUANT_SIZES}
#: The tokens by which a vocabulary of pieces spells bytes.
_BYTES = {f"<0x{number:02X}>" for number in range(256)}


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """What a GGUF file says of itself: the metadata by key, and the shape and type of each tensor."""

    path: Path
    metadata: dict[str, Any]
    tensors: dict[str, tuple[tuple[int, ...], GGMLQuantizationType]]

    @property
    def architecture(self) -> str:
        """The name of the network's architecture, such as `bloom`."""
        return str(self.metadata["general.architecture"])

    @property
    def context(self) -> int | None:
        """How many tokens the network was made for."""
        said = self.metadata.get(f"{self.architecture}.context_length")
        return said if isinstance(said, int) and said > 0 else None

    @property
    def in_pieces(self) -> bool:
        """Whether the vocabulary is one of SentencePiece, with `▁` for the space; otherwise it is of another kind."""
        return self.metadata.get("tokenizer.ggml.model") == "llama"

    @property
    def specials(self) -> dict[str, int]:
        """The tokens that are not found by cutting text into pieces, but stand in it as they are."""
        tokens = self.metadata["tokenizer.ggml.tokens"]
        types = self.metadata.get("tokenizer.ggml.token_type") or []
        kinds = (TokenType.CONTROL, TokenType.USER_DEFINED, TokenType.UNKNOWN)
        return {tokens[number]: number for number, kind in enumerate(types) if kind in kinds}

    @property
    def files(self) -> int:
        """Over how many files the model is spread."""
        said = self.metadata.get("split.count")
        return said if isinstance(said, int) and said > 1 else 1


def read_header(path: Path) -> Header:
    """Read and check the header of a GGUF file. Raises `WeightsError`."""
    try:
        with path.open("rb") as file, contextlib.closing(_mapped(file, path)) as content:
            return _Reader(path, content).header()
    except OSError as error:
        raise WeightsError(f"The file {path} cannot be read: {error.strerror or error}.") from error
    except struct.error:
        raise _broken(path, "it ends in the middle of its header") from None


def _mapped(file: Any, path: Path) -> mmap.mmap:
    try:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except ValueError:  # there is nothing to map
        raise _broken(path, "it is empty") from None


class _Reader:
    """Reads a header from front to back."""

    def __init__(self, path: Path, content: mmap.mmap) -> None:
        self._path = path
        self._content = content
        self._position = 0
        self._size = len(content)

    def header(self) -> Header:
        """The whole header, checked."""
        if self._content[:4] != MAGIC:
            raise _broken(self._path, "it does not begin like one")
        self._position = 4
        version = self._number("I")
        if version not in VERSIONS:
            raise _broken(self._path, f"it has version {version & 0xFFFFFFFF:,} of the format, but 2 and 3 are known")
        tensors, entries = self._number("Q"), self._number("Q")
        if not tensors:
            raise _broken(self._path, "it holds no tensors")
        if tensors > MAX_TENSORS or entries > MAX_ENTRIES:
            raise _broken(self._path, f"it claims {tensors:,} tensors and {entries:,} entries of metadata")
        metadata = self._metadata(entries)
        found, offsets = self._tensors(tensors)
        header = Header(path=self._path, metadata=metadata, tensors=found)
        _check_metadata(header)
        self._check_places(header, offsets)
        return header

    def _metadata(self, count: int) -> dict[str, Any]:
        metadata: dict[str, Any] = {}
        for _ in range(count):
            key = self._text()
            if key in metadata:
                raise _broken(self._path, f"it says '{key[:80]}' twice")
            metadata[key] = self._value(self._number("I"))
        return metadata

    def _tensors(self, count: int) -> tuple[dict[str, tuple[tuple[int, ...], GGMLQuantizationType]], dict[str, int]]:
        """Shape and type of each tensor, and where each begins, counted from the end of the header."""
        tensors, offsets = {}, {}
        for _ in range(count):
            name = self._text()
            dimensions = self._number("I")
            if name in tensors or not 1 <= dimensions <= MAX_DIMENSIONS:
                raise _broken(
                    self._path, f"the tensor '{name[:80]}' has {dimensions:,} dimensions, or stands there twice"
                )
            shape = tuple(self._number("Q") for _ in range(dimensions))
            kind = self._number("I")
            if kind not in _TENSOR_TYPES:
                raise _broken(self._path, f"the tensor '{name[:80]}' is of the unknown type {kind:,}")
            tensors[name] = (shape, GGMLQuantizationType(kind))
            offsets[name] = self._number("Q")
        return tensors, offsets

    def _check_places(self, header: Header, offsets: dict[str, int]) -> None:
        """Every tensor lies behind the header and within the file, and they do not overlap."""
        alignment = header.metadata.get("general.alignment", ALIGNMENT)
        if type(alignment) is not int or alignment <= 0 or alignment & (alignment - 1):
            raise _broken(self._path, f"its tensors are aligned to {str(alignment)[:40]} bytes")
        start = -(-self._position // alignment) * alignment
        end = 0
        for name in sorted(header.tensors, key=offsets.__getitem__):
            shape, kind = header.tensors[name]
            block, size = GGML_QUANT_SIZES[kind]
            if 0 in shape or shape[0] % block:
                raise _broken(self._path, f"the tensor '{name[:80]}' has a shape that its type {kind.name} cannot have")
            if offsets[name] % alignment or offsets[name] < end:
                raise _broken(self._path, f"the tensor '{name[:80]}' lies where another one is, or between two places")
            end = offsets[name] + math.prod(shape) // block * size
            if start + end > self._size:
                raise _broken(self._path, f"it ends before the tensor '{name[:80]}' does: it is incomplete")

    def _number(self, form: str) -> Any:
        (value,) = struct.unpack_from(f"<{form}", self._content, self._position)
        self._position += struct.calcsize(f"<{form}")
        return value

    def _text(self) -> str:
        return self._bytes(self._number("Q")).decode("utf-8", errors="surrogateescape")

    def _bytes(self, count: int) -> bytes:
        self._require(count)
        self._position += count
        return self._content[self._position - count : self._position]

    def _require(self, count: int) -> None:
        """Raise `WeightsError` unless that many bytes follow."""
        if self._position + count > min(self._size, MAX_HEADER):
            raise _broken(self._path, f"its header claims {count:,} bytes that are not there, or is too long")

    def _value(self, kind: int) -> Any:
        if kind == GGUFValueType.STRING:
            return self._text()
        if kind == GGUFValueType.ARRAY:
            inner, count = self._number("I"), self._number("Q")
            if inner == GGUFValueType.STRING:
                self._require(8 * count)
                return [self._text() for _ in range(count)]
            form = self._form(inner)
            content = self._bytes(count * struct.calcsize(form))
            return list(struct.unpack(f"<{count}{form}", content))
        return self._number(self._form(kind))

    def _form(self, kind: int) -> str:
        if kind not in _NUMBER_TYPES:
            raise _broken(self._path, f"its metadata holds a value of the unknown type {kind:,}")
        return _NUMBERS[GGUFValueType(kind)]


def _check_metadata(header: Header) -> None:
    """Raise `WeightsError` for what llama.cpp would not survive, or does not know."""
    path, metadata = header.path, header.metadata
    architecture = metadata.get("general.architecture")
    if not isinstance(architecture, str):
        raise _broken(path, "it does not name its architecture")
    if architecture not in MODEL_ARCH_NAMES.values():
        raise WeightsError(
            f"The file {path} holds a model of the architecture '{architecture[:80]}', which is not known here; it may "
            "need a newer version: pip install -U gguf llama-cpp-python"
        )
    for name, (least, most) in _LIMITS.items():
        said = metadata.get(f"{architecture}.{name}", least)
        if not all(
            type(each) is int and least <= each <= most for each in (said if isinstance(said, list) else [said])
        ):
            raise _broken(path, f"its '{name}' is {str(said)[:40]}")
    for key, said in metadata.items():
        if isinstance(said, float) and not (math.isfinite(said) and (said >= 0 or not key.endswith("epsilon"))):
            raise _broken(path, f"its '{key[:80]}' is {said}")
    _check_vocabulary(header)


def _check_vocabulary(header: Header) -> None:
    """Raise `WeightsError` for a vocabulary with which llama.cpp could not cut any text."""
    path, metadata = header.path, header.metadata
    tokens = metadata.get("tokenizer.ggml.tokens", [])
    if not isinstance(tokens, list) or not all(isinstance(each, str) for each in tokens) or not tokens:
        raise _broken(path, "it has no vocabulary")
    if len(set(tokens)) != len(tokens):
        raise _broken(path, "its vocabulary holds a token twice")
    for key in ("tokenizer.ggml.token_type", "tokenizer.ggml.scores"):
        said = metadata.get(key, tokens)
        if not isinstance(said, list) or len(said) != len(tokens):
            raise _broken(path, f"'{key}' has not one entry for each token")
    if header.in_pieces and not set(tokens) >= _BYTES:
        raise _broken(path, "its vocabulary cannot spell every byte")


def _broken(path: Path, what: str) -> WeightsError:
    return WeightsError(f"The file {path} is no GGUF file that can be trusted: {what}; get it again.")
