"""The header of a GGUF file: its metadata and where its tensors are, checked before a library in C++ sees the file.

A file may come from anywhere, so nothing in it is believed: the core's reader checks every count and length, every offset must
lie within the file, and what would make llama.cpp give up the whole process is refused here in a sentence. Knows nothing of
cards.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import IO, Any

import msgspec
from gguf.constants import GGML_QUANT_SIZES, MODEL_ARCH_NAMES, GGMLQuantizationType, TokenType

from zoo_core import GgufReader, WeightsError

#: The metadata that the zoo's own exports have beside what llama.cpp knows: `always`, `first` or `never` a space in front of
#: text, and all tokens that end an answer.
PREFIX = "zoo.tokenizer.prefix"
ENDS = "zoo.tokenizer.ends"
MAX_DIMENSIONS = 4
ALIGNMENT = 32

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
#: The types of tensors, as numbers.
_TENSOR_TYPES = {each.value for each in GGML_QUANT_SIZES}
#: The kinds of vocabularies of models that answer; of others llama.cpp ends the process when it is asked for tokens.
_VOCABULARIES = ("gemma4", "gpt2", "llama", "plamo2", "rwkv", "t5")
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


def read_header(path: Path, *, later: bool = False) -> Header:
    """Read and check the header of a GGUF file. Raises `WeightsError`.

    Of the files over which a model is spread, those `later` than the first say nothing of it but their tensors.
    """
    try:
        with path.open("rb") as file:
            return _checked(path, file, os.fstat(file.fileno()).st_size, later)
    except OSError as error:
        raise WeightsError(f"The file {path} cannot be read: {error.strerror or error}.") from error


def _checked(path: Path, file: IO[bytes], size: int, later: bool) -> Header:
    """The whole header of a file of `size` bytes."""

    def read(_: str, start: int, count: int) -> bytes:
        file.seek(start)
        return file.read(count)

    reader = GgufReader(read, str(path), size)
    tensors, entries = reader.counts()
    metadata = reader.metadata(entries)
    found, offsets = _tensors(reader, tensors)
    header = Header(path=path, metadata=metadata, tensors=found)
    if not tensors and header.files == 1:
        raise reader.broken("it holds no tensors")
    if not later:
        _check_metadata(header)
    _check_places(reader, header, offsets, size)
    return header


def _tensors(
    reader: GgufReader, count: int
) -> tuple[dict[str, tuple[tuple[int, ...], GGMLQuantizationType]], dict[str, int]]:
    """Shape and type of each tensor, and where each begins, counted from the end of the header."""
    tensors, offsets = {}, {}
    for _ in range(count):
        name = reader.text()
        dimensions = reader.number("I")
        if name in tensors or not 1 <= dimensions <= MAX_DIMENSIONS:
            raise reader.broken(f"the tensor '{name[:80]}' has {dimensions:,} dimensions, or stands there twice")
        shape = tuple(reader.number("Q") for _ in range(dimensions))
        kind = reader.number("I")
        if kind not in _TENSOR_TYPES:
            raise reader.broken(f"the tensor '{name[:80]}' is of the unknown type {kind:,}")
        tensors[name] = (shape, GGMLQuantizationType(kind))
        offsets[name] = reader.number("Q")
    return tensors, offsets


def _check_places(reader: GgufReader, header: Header, offsets: dict[str, int], size: int) -> None:
    """Every tensor lies behind the header and within the file, and they do not overlap."""
    alignment = header.metadata.get("general.alignment", ALIGNMENT)
    if type(alignment) is not int or alignment <= 0 or alignment & (alignment - 1):
        raise reader.broken(f"its tensors are aligned to {str(alignment)[:40]} bytes")
    start = -(-reader.position // alignment) * alignment
    end = 0
    for name in sorted(header.tensors, key=offsets.__getitem__):
        shape, kind = header.tensors[name]
        block, stored = GGML_QUANT_SIZES[kind]
        if 0 in shape or shape[0] % block:
            raise reader.broken(f"the tensor '{name[:80]}' has a shape that its type {kind.name} cannot have")
        if offsets[name] % alignment or offsets[name] < end:
            raise reader.broken(f"the tensor '{name[:80]}' lies where another one is, or between two places")
        end = offsets[name] + math.prod(shape) // block * stored
        if start + end > size:
            raise reader.broken(f"it ends before the tensor '{name[:80]}' does: it is incomplete")


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
    count, used = (metadata.get(f"{architecture}.{name}", 0) for name in ("expert_count", "expert_used_count"))
    if isinstance(count, int) and isinstance(used, int) and not (min(count, 1) <= used <= count):
        raise _broken(path, f"of {count:,} experts it uses {used:,}")
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
    if metadata.get("tokenizer.ggml.model") not in _VOCABULARIES:
        raise _broken(path, f"its vocabulary is of the unknown kind {str(metadata.get('tokenizer.ggml.model'))[:40]}")
    ends = metadata.get(ENDS, [])
    if not isinstance(ends, list) or not all(type(each) is int for each in ends):
        raise _broken(path, f"its '{ENDS}' is {str(ends)[:40]}")
    for key in ("tokenizer.ggml.token_type", "tokenizer.ggml.scores"):
        said = metadata.get(key, tokens)
        if not isinstance(said, list) or len(said) != len(tokens):
            raise _broken(path, f"'{key}' has not one entry for each token")
    if header.in_pieces and not set(tokens) >= _BYTES:
        raise _broken(path, "its vocabulary cannot spell every byte")


def _broken(path: Path, what: str) -> WeightsError:
    return WeightsError(f"The file {path} is no GGUF file that can be trusted: {what}; get it again.")
