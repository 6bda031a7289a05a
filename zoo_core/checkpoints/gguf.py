"""What a GGUF file says of itself: its metadata, without its tensors.

The file may come from anywhere, so nothing in it is believed: counts and lengths are checked against the file and against what
memory it would take before anything is read. What an engine needs to know beyond this it checks itself, with the same reader.
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
#: The versions of the format that are written today.
VERSIONS = (2, 3)
#: Far more than any model has; a header beyond these would only cost time and memory. Nearly all of a header is the vocabulary.
MAX_BYTES = 200_000_000
MAX_ENTRIES = 100_000
MAX_TENSORS = 200_000
#: The most items of all lists together: the largest vocabularies with their merges, scores and types have a million and a half.
MAX_ITEMS = 4_000_000
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
    reader = GgufReader(read, facts.weights[0], sizes[facts.weights[0]])
    _, entries = reader.counts()
    said = reader.metadata(entries)
    kind, template = (_text(said.get(key)) for key in ("general.architecture", "tokenizer.chat_template"))
    tokens = said.get("tokenizer.ggml.tokens")
    tokens = tokens if isinstance(tokens, list) else []
    config = {name: said.get(f"{kind}.{key}") for key, name in _NETWORK.items()}
    config |= {"model_type": kind, "vocab_size": len(tokens)} | facts.config
    numbers = {name: said.get(f"tokenizer.ggml.{key}_token_id") for name, key in _SPECIAL.items()}
    special = {name: _text(tokens[at]) for name, at in numbers.items() if type(at) is int and 0 <= at < len(tokens)}
    kv = configurations.kv_numbers_per_token(config)
    return msgspec.structs.replace(
        facts,
        architecture=configurations.architecture(config),
        config=config,
        context=configurations.context(config),
        chat_template=template or facts.chat_template,
        tokenizer=facts.tokenizer | special,
        memory=Memory(
            weights_bytes=sum(sizes[path] for path in facts.weights),
            kv_bytes_per_token=kv * _WIDE if kv else None,
            dtype=_DTYPE,
        ),
    )


def _text(said: Any) -> str:
    """A text of the metadata as it can be shown; an empty one for what is none."""
    return said.encode(errors="surrogateescape").decode(errors="replace") if isinstance(said, str) else ""


class GgufReader:
    """Goes through the header of a GGUF file from its beginning, a piece at a time. All methods raise `WeightsError`."""

    def __init__(self, read: Read, path: str, size: int) -> None:
        """`read` gives a part of the file at `path`, which has `size` bytes."""
        self._read, self._path, self._size = read, path, min(size, MAX_BYTES)
        self._piece, self._start, self._at = b"", 0, 0
        self._items = 0

    @property
    def position(self) -> int:
        """How many bytes lie behind."""
        return self._start + self._at

    def counts(self) -> tuple[int, int]:
        """How many tensors and how many entries of metadata the file has, from its very beginning."""
        if not self._size:
            raise self.broken("it is empty")
        if self.take(4) != MAGIC:
            raise self.broken("it does not begin like one")
        version = self.number("I")
        if version not in VERSIONS:
            raise self.broken(f"it has version {version:,} of the format, but 2 and 3 are known")
        tensors, entries = self.number("Q"), self.number("Q")
        if tensors > MAX_TENSORS or entries > MAX_ENTRIES:
            raise self.broken(f"it claims {tensors:,} tensors and {entries:,} entries of metadata")
        return tensors, entries

    def metadata(self, count: int) -> dict[str, Any]:
        """The next `count` entries."""
        found: dict[str, Any] = {}
        for _ in range(count):
            key = self.text()
            if key in found:
                raise self.broken(f"it says '{key[:80]}' twice")
            found[key] = self._value(self.number("I"))
        return found

    def number(self, kind: str) -> Any:
        """The next number, of a kind of `struct`."""
        return struct.unpack(f"<{kind}", self.take(struct.calcsize(f"<{kind}")))[0]

    def text(self) -> str:
        """The next text, its length before it. Bytes that are no UTF-8 become surrogates, so that none are mixed up."""
        return self.take(self.number("Q")).decode("utf-8", errors="surrogateescape")

    def take(self, count: int) -> bytes:
        """The next `count` bytes."""
        if self._at + count > len(self._piece):
            self._require(count)
            self._start, self._at = self.position, 0
            self._piece = self._read(self._path, self._start, max(count, _PIECE))
            if len(self._piece) < count:
                raise self.broken("it ends in the middle of its header")
        self._at += count
        return self._piece[self._at - count : self._at]

    def broken(self, what: str) -> WeightsError:
        """The error that the file is none."""
        return WeightsError(f"The file {self._path} is no GGUF file that can be trusted: {what}; get it again.")

    def _require(self, count: int) -> None:
        if self.position + count > self._size:
            raise self.broken(f"its header claims {count:,} bytes that are not there, or is too long")

    def _value(self, kind: int) -> Any:
        if kind in _NUMBERS:
            return self.number(_NUMBERS[kind])
        if kind == _TEXT:
            return self.text()
        if kind != _LIST:
            raise self.broken(f"its metadata holds a value of the unknown type {kind:,}")
        inner, count = self.number("I"), self.number("Q")
        if inner != _TEXT and inner not in _NUMBERS:
            raise self.broken(f"its metadata holds a list of the unknown type {inner:,}")
        size = 8 if inner == _TEXT else struct.calcsize(f"<{_NUMBERS[inner]}")  # of a text at least its length
        self._require(size * count)
        self._items += count
        if self._items > MAX_ITEMS:
            raise self.broken(f"its lists have more than {MAX_ITEMS:,} items")
        if inner == _TEXT:
            return [self.text() for _ in range(count)]
        return [*struct.unpack(f"<{count}{_NUMBERS[inner]}", self.take(size * count))]
