"""A GGUF file's header is checked before llama.cpp sees it: files that are none, cut short, or made to do harm."""

from __future__ import annotations

import contextlib
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

pytest.importorskip("gguf", reason="the package gguf is not installed")

import numpy as np
from gguf import GGUFWriter

from zoo_core import WeightsError
from zoo_core.checkpoints.gguf import MAX_ITEMS
from zoo_gguf.header import ENDS, read_header

U32, U64, STRING, ARRAY = 4, 10, 8, 9


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()


def entry(key: str, kind: int, value: bytes) -> bytes:
    return text(key) + struct.pack("<I", kind) + value


def strings(*values: str) -> bytes:
    return struct.pack("<IQ", STRING, len(values)) + b"".join(map(text, values))


def tensor(name: str, shape: tuple[int, ...], kind: int, offset: int) -> bytes:
    return text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)


def experts(count: int, used: int) -> bytes:
    said = {"llama.expert_count": count, "llama.expert_used_count": used}
    return b"".join(entry(key, U32, struct.pack("<I", value)) for key, value in said.items())


ARCHITECTURE = entry("general.architecture", STRING, text("llama"))
TOKENS = entry("tokenizer.ggml.tokens", ARRAY, strings("a", "b"))
KIND = entry("tokenizer.ggml.model", STRING, text("gpt2"))
NAMED = ARCHITECTURE + KIND + TOKENS
WEIGHTS = tensor("w", (4, 4), 0, 0)


def gguf(
    metadata: bytes = NAMED, entries: int = 3, tensors: bytes = WEIGHTS, count: int = 1, version: int = 3
) -> bytes:
    """A small file; every part of it can be replaced by one that is wrong."""
    head = b"GGUF" + struct.pack("<IQQ", version, count, entries) + metadata + tensors
    return head + bytes(-len(head) % 32) + bytes(64)


@pytest.fixture
def refused(tmp_path: Path) -> Callable[[bytes], str]:
    """What is said of a file's content."""

    def say(content: bytes) -> str:
        path = tmp_path / "model.gguf"
        path.write_bytes(content)
        with pytest.raises(WeightsError) as raised:
            read_header(path)
        message = str(raised.value)
        assert str(path) in message
        assert message.count(". ") == 0
        return message

    return say


def test_a_good_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(gguf())
    header = read_header(path)
    assert header.architecture == "llama"
    assert header.tensors == {"w": ((4, 4), 0)}
    assert header.metadata["tokenizer.ggml.tokens"] == ["a", "b"]
    assert header.context is None


def test_a_header_without_end_takes_no_memory(tmp_path: Path) -> None:
    """A file of which nothing but the beginning is on the disk claims a list as long as itself."""
    path = tmp_path / "model.gguf"
    path.write_bytes(gguf(entry("a", ARRAY, struct.pack("<IQ", 0, 150_000_000)), 1))
    os.truncate(path, 10**9)
    with pytest.raises(WeightsError, match="more than 4,000,000 items"):
        read_header(path)
    assert path.stat().st_blocks * 512 < 10**6


def test_what_the_library_writes_is_read(tmp_path: Path) -> None:
    """Every type of value, and two tensors of different types."""
    path = tmp_path / "model.gguf"
    writer = GGUFWriter(path, "bloom")
    writer.add_context_length(512)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(["<s>", "b", "中"])
    writer.add_token_types([3, 1, 1])
    said: dict[str, Any] = {"int8": -1, "uint8": 1, "int16": -2, "uint64": 2**63, "float32": 0.5, "float64": 0.25}
    for name, value in said.items():
        getattr(writer, f"add_{name}")(f"a.{name}", value)
    writer.add_bool("a.bool", True)
    writer.add_array("a.array", [1, -2, 3])
    writer.add_tensor("one", np.ones((3, 32), dtype=np.float16))
    writer.add_tensor("two", np.ones(5, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    header = read_header(path)
    assert (header.architecture, header.context, header.specials) == ("bloom", 512, {"<s>": 0})
    assert {key: header.metadata[f"a.{key}"] for key in said} == said
    assert (header.metadata["a.bool"], header.metadata["a.array"]) == (True, [1, -2, 3])
    assert header.tensors == {"one": ((32, 3), 1), "two": ((5,), 0)}
    assert list(msgspec.structs.asdict(header)) == ["path", "metadata", "tensors"]


@pytest.mark.parametrize("size", range(0, len(gguf()), 7))
def test_a_file_that_is_cut_short_is_refused(refused: Callable[[bytes], str], size: int) -> None:
    assert "no GGUF file that can be trusted" in refused(gguf()[:size])


HUGE = struct.pack("<Q", 2**63)
WRONG = {
    "another kind of file": (b"PK\3\4" + bytes(100), "does not begin like one"),
    "version 1": (gguf(version=1), "version 1"),
    "a newer version": (gguf(version=4), "version 4"),
    "the other byte order": (gguf(version=3 << 24), "version 50,331,648"),
    "no tensors": (gguf(tensors=b"", count=0), "holds no tensors"),
    "too many tensors": (gguf(count=2**60), "1,152,921,504,606,846,976 tensors"),
    "too many entries": (gguf(entries=2**40), "entries of metadata"),
    "more entries than there are": (gguf(entries=4), ""),
    "a key without an end": (gguf(HUGE), "bytes that are not there"),
    "a text without an end": (gguf(text("a") + struct.pack("<I", STRING) + HUGE, 1), "bytes that are not there"),
    "an array without an end": (gguf(entry("a", ARRAY, struct.pack("<I", U32) + HUGE), 1), "not there"),
    "an array of texts without an end": (gguf(entry("a", ARRAY, struct.pack("<I", STRING) + HUGE), 1), "not there"),
    "more items than memory should take": (
        gguf(entry("a", ARRAY, struct.pack("<IQ", 0, MAX_ITEMS + 1) + bytes(MAX_ITEMS + 1)), 1),
        "more than 4,000,000 items",
    ),
    "many lists of too many items together": (
        gguf(b"".join(entry(key, ARRAY, struct.pack("<IQ", 0, 1_500_000) + bytes(1_500_000)) for key in "abc"), 3),
        "more than 4,000,000 items",
    ),
    "an array of arrays": (gguf(entry("a", ARRAY, struct.pack("<IQ", ARRAY, 1)), 1), "unknown type 9"),
    "a value of an unknown type": (gguf(entry("a", 99, bytes(8)), 1), "unknown type 99"),
    "a key twice": (gguf(ARCHITECTURE * 3), "twice"),
    "no architecture": (gguf(TOKENS, 1), "does not name its architecture"),
    "an architecture that is a number": (
        gguf(entry("general.architecture", U32, struct.pack("<I", 1)) + KIND + TOKENS),
        "does not name its architecture",
    ),
    "an unknown architecture": (
        gguf(entry("general.architecture", STRING, text("griffin")) + KIND + TOKENS),
        "'griffin', which is not known here",
    ),
    "a network without layers": (
        gguf(NAMED + entry("llama.block_count", U32, struct.pack("<I", 0)), 4),
        "its 'block_count' is 0",
    ),
    "a network of too many layers": (
        gguf(NAMED + entry("llama.block_count", U32, struct.pack("<I", 2**31)), 4),
        "its 'block_count' is 2147483648",
    ),
    "heads in another number for each layer": (
        gguf(NAMED + entry("llama.attention.head_count", ARRAY, struct.pack("<IQ2I", U32, 2, 4, 2**20)), 4),
        "its 'attention.head_count' is [4, 1048576]",
    ),
    "an epsilon that is no number": (
        gguf(NAMED + entry("llama.attention.layer_norm_rms_epsilon", 6, struct.pack("<f", float("nan"))), 4),
        "epsilon' is nan",
    ),
    "an epsilon below zero": (
        gguf(NAMED + entry("llama.attention.layer_norm_rms_epsilon", 6, struct.pack("<f", -1.0)), 4),
        "epsilon' is -1.0",
    ),
    "no vocabulary": (gguf(ARCHITECTURE, 1), "no vocabulary"),
    "a vocabulary of a kind that gives no answers": (
        gguf(ARCHITECTURE + entry("tokenizer.ggml.model", STRING, text("bert")) + TOKENS),
        "the unknown kind bert",
    ),
    "a vocabulary of no kind": (gguf(ARCHITECTURE + TOKENS, 2), "the unknown kind None"),
    "ends that are no list": (gguf(NAMED + entry(ENDS, U32, struct.pack("<I", 2)), 4), "its 'zoo.tokenizer.ends' is 2"),
    "ends that are no tokens": (gguf(NAMED + entry(ENDS, ARRAY, strings("a")), 4), "its 'zoo.tokenizer.ends' is ['a']"),
    "more experts in use than there are": (gguf(NAMED + experts(4, 9), 5), "of 4 experts it uses 9"),
    "experts that are not used": (gguf(NAMED + experts(4, 0), 5), "of 4 experts it uses 0"),
    "a token twice": (
        gguf(ARCHITECTURE + KIND + entry("tokenizer.ggml.tokens", ARRAY, strings("a", "a"))),
        "a token twice",
    ),
    "types of other tokens": (
        gguf(NAMED + entry("tokenizer.ggml.token_type", ARRAY, struct.pack("<IQi", 5, 1, 1)), 4),
        "not one entry for each token",
    ),
    "pieces that cannot spell": (
        gguf(ARCHITECTURE + entry("tokenizer.ggml.model", STRING, text("llama")) + TOKENS),
        "cannot spell every byte",
    ),
    "no dimensions": (gguf(tensors=tensor("w", (), 0, 0)), "0 dimensions"),
    "five dimensions": (gguf(tensors=tensor("w", (1,) * 5, 0, 0)), "5 dimensions"),
    "a tensor twice": (gguf(tensors=WEIGHTS * 2, count=2), "stands there twice"),
    "a tensor of an unknown type": (gguf(tensors=tensor("w", (4, 4), 77, 0)), "unknown type 77"),
    "a dimension of nothing": (gguf(tensors=tensor("w", (4, 0), 0, 0)), "cannot have"),
    "rows that are no blocks": (gguf(tensors=tensor("w", (4, 4), 8, 0)), "Q8_0 cannot have"),
    "a tensor beyond the end": (gguf(tensors=tensor("w", (4, 5), 0, 0)), "incomplete"),
    "a tensor far beyond the end": (gguf(tensors=tensor("w", (2**31, 2**31), 0, 0)), "incomplete"),
    "an offset far beyond the end": (gguf(tensors=tensor("w", (4, 4), 0, 2**62)), "incomplete"),
    "an offset between two places": (gguf(tensors=tensor("w", (4, 3), 0, 8)), "between two places"),
    "tensors over each other": (
        gguf(tensors=tensor("w", (4, 3), 0, 0) + tensor("v", (4, 3), 0, 32), count=2),
        "where another one is",
    ),
    "an alignment that is none": (
        gguf(NAMED + entry("general.alignment", U32, struct.pack("<I", 33)), 4),
        "aligned to 33 bytes",
    ),
}


@pytest.mark.parametrize(("content", "reason"), WRONG.values(), ids=WRONG)
def test_a_file_that_cannot_be_trusted_is_refused(refused: Callable[[bytes], str], content: bytes, reason: str) -> None:
    assert reason in refused(content)


@pytest.mark.parametrize("position", range(4, 150))
def test_no_changed_byte_does_more_than_be_refused(tmp_path: Path, position: int) -> None:
    """Whatever a byte is changed to, the header is read or refused in a sentence."""
    path = tmp_path / "model.gguf"
    for value in (0, 1, 7, 127, 128, 255):
        content = bytearray(gguf())
        content[position] = value
        path.write_bytes(content)
        with contextlib.suppress(WeightsError):
            assert read_header(path).tensors


def test_a_file_that_is_not_there_is_an_error_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="cannot be read: No such file"):
        read_header(tmp_path / "none.gguf")
