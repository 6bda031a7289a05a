"""What a GGUF file says of itself: a few of its metadata, without its tensors.

The file may come from anywhere: counts and lengths are checked against the file before anything is read. What an engine needs
to know beyond this it reads and checks itself.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import msgspec

from zoo_core.cards.parts import Memory
from zoo_core.checkpoints import configurations
from zoo_core.errors import WeightsError

if TYPE_CHECKING:
    from zoo_core.checkpoints.facts import Facts
    from zoo_core.checkpoints.tensors import Read

MAGIC = b"GGUF"
#: The longest metadata that are read, in bytes: nearly all of it is the vocabulary.
MAX_BYTES = 200_000_000
MAX_ENTRIES = 100_000
#: How many bytes are read at once; a vocabulary takes a few million.
_PIECE = 2_000_000

#: The types of values by their number: numbers as `struct` spells them, then texts and lists.
_NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_TEXT, _LIST = 8, 9

#: The numbers of a network, and how configurations of checkpoints call them.
_NETWORK = {
    "context_length": "max_position_embeddings",
    "block_count": "num_hidden_layers",
    "embedding_length": "hidden_size",
    "feed_forward_length": "intermediate_size",
    "attention.head_count": "num_attention_heads",
    "attention.head_count_kv": "num_key_value_heads",
    "attention.key_length": "head_dim",
}
_SPECIAL = {"bos_token": "bos", "eos_token": "eos", "unk_token": "unknown", "pad_token": "padding"}
#: Engines of such files keep keys and values in numbers of this dtype, which take so many bytes.
_DTYPE, _WIDE = "float16", 2


def with_metadata(facts: Facts, read: Read, sizes: dict[str, int]) -> Facts:
    """The facts of a checkpoint with what its first GGUF file says of its network, its tokens and its template.

    Raises `WeightsError`.
    """
    said = read_metadata(read, facts.weights[0], sizes[facts.weights[0]])
    kind, template = said.get("general.architecture"), said.get("tokenizer.chat_template")
    tokens = said.get("tokenizer.ggml.tokens")
    tokens = tokens if isinstance(tokens, list) else []
    config = {name: said.get(f"{kind}.{key}") for key, name in _NETWORK.items()}
    config |= {"model_type": kind, "vocab_size": len(tokens)} | facts.config
    numbers = {name: said.get(f"tokenizer.ggml.{key}_token_id") for name, key in _SPECIAL.items()}
    special = {name: tokens[at] for name, at in numbers.items() if type(at) is int and 0 <= at < len(tokens)}
    kv = configurations.kv_numbers_per_token(config)
    return msgspec.structs.replace(
        facts,
        architecture=configurations.architecture(config),
        config=config,
        context=configurations.context(config),
        chat_template=template if isinstance(template, str) else facts.chat_template,
        tokenizer=facts.tokenizer | special,
        memory=Memory(
            weights_bytes=sum(sizes[path] for path in facts.weights),
            kv_bytes_per_token=kv * _WIDE if kv else None,
            dtype=_DTYPE,
        ),
    )


def read_metadata(read: Read, path: str, size: int) -> dict[str, Any]:
    """The metadata of a GGUF file of `size` bytes. Lists of numbers are left out. Raises `WeightsError`."""
    reader = _Reader(read, path, size)
    if reader.take(4) != MAGIC:
        raise _broken(path, "it does not begin as one")
    version, _, entries = reader.number("I"), reader.number("Q"), reader.number("Q")
    if version not in (2, 3):
        raise _broken(path, f"its version is {version}")
    if entries > MAX_ENTRIES:
        raise _broken(path, f"it claims {entries:,} entries")
    found: dict[str, Any] = {}
    for _ in range(entries):
        key = reader.text()
        found[key] = reader.value(reader.number("I"))
    return {key: value for key, value in found.items() if value is not None}


class _Reader:
    """Goes through the file from its beginning, a piece at a time."""

    def __init__(self, read: Read, path: str, size: int) -> None:
        self._read, self._path, self._size = read, path, min(size, MAX_BYTES)
        self._piece, self._start, self._at = b"", 0, 0

    def take(self, count: int) -> bytes:
        """The next `count` bytes."""
        if self._at + count > len(self._piece):
            self._start += self._at
            if count > self._size - self._start:
                raise _broken(self._path, "it ends in the middle of its header")
            self._piece, self._at = self._read(self._path, self._start, max(count, _PIECE)), 0
            if len(self._piece) < count:
                raise _broken(self._path, "it ends in the middle of its header")
        self._at += count
        return self._piece[self._at - count : self._at]

    def number(self, kind: str) -> Any:
        """The next number, of a kind of `struct`."""
        return struct.unpack(f"<{kind}", self.take(struct.calcsize(f"<{kind}")))[0]

    def text(self) -> str:
        """The next text, its length before it."""
        return self.take(self.number("Q")).decode("utf-8", errors="replace")

    def value(self, kind: int) -> Any:
        """The next value of a type; None for a list of numbers, which is passed over."""
        if kind in _NUMBERS:
            return self.number(_NUMBERS[kind])
        if kind == _TEXT:
            return self.text()
        if kind != _LIST:
            raise _broken(self._path, f"it has a value of the unknown type {kind}")
        inner, count = self.number("I"), self.number("Q")
        if inner == _TEXT:
            return [self.text() for _ in range(count)]  # every text takes bytes, so that the file's end ends this
        if inner not in _NUMBERS:
            raise _broken(self._path, f"it has a list of the type {inner}")
        self.take(count * struct.calcsize(f"<{_NUMBERS[inner]}"))
        return None


def _broken(path: str, what: str) -> WeightsError:
    return WeightsError(f"The file {path} is no GGUF file that can be read: {what}; get it again.")
