"""The tokens of a tokenizer, as its files tell them, to see whether two models number the same words.

Reads the vocabulary of `tokenizer.json`, else the pieces of a SentencePiece model; no tokenizer is built, no code runs.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from zoo_core import WeightsError

#: The largest tokenizer that is read; those of the largest vocabularies have some tens of megabytes.
_MAX_TOKENIZER = 200_000_000


def tokens_of(folder: Path, *, added: bool) -> dict[int, str] | None:
    """The tokens of a tokenizer by their numbers, with or without those `added` to it; None where no file tells them."""
    try:
        if (folder / "tokenizer.json").is_file():
            return _of_json(_content(folder / "tokenizer.json"), added)
        if (folder / "tokenizer.model").is_file():
            return dict(enumerate(_pieces(_content(folder / "tokenizer.model"))))
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, OverflowError, RecursionError):
        raise WeightsError(f"The tokenizer in {folder} cannot be read; get its files again.") from None
    except OSError as error:
        raise WeightsError(f"The tokenizer in {folder} cannot be read: {error.strerror or error}.") from error
    return None


def first_difference(base: dict[int, str], other: dict[int, str]) -> str:
    """What tells two vocabularies apart, as part of a sentence; nothing where all tokens of `base` are the same in `other`."""
    for number in sorted(base):
        if number in other and other[number] != base[number]:
            return f"token {number} is {base[number][:40]!r} in the one and {other[number][:40]!r} in the other"
    if lacking := base.keys() - other.keys():
        return f"token {min(lacking)}, {base[min(lacking)][:40]!r}, is in the base alone"
    return ""


def _of_json(content: bytes, added: bool) -> dict[int, str]:
    tokenizer: dict[str, Any] = json.loads(content)
    vocabulary = tokenizer["model"]["vocab"]
    if isinstance(vocabulary, list):  # tokens with their scores, in order
        tokens = {number: str(token[0]) for number, token in enumerate(vocabulary)}
    else:
        tokens = {int(number): str(token) for token, number in vocabulary.items()}
    others = {int(each["id"]): str(each["content"]) for each in tokenizer.get("added_tokens") or []}
    return tokens | others if added else {n: token for n, token in tokens.items() if n not in others}


def _pieces(content: bytes) -> Iterator[str]:
    """The pieces of a SentencePiece model: a protocol buffer whose field 1 is a piece, whose own field 1 is its text."""
    for number, value in _fields(content):
        if number == 1:
            yield next((text for field, text in _fields(value) if field == 1), b"").decode()


def _fields(content: bytes) -> Iterator[tuple[int, bytes]]:
    """The fields of a protocol buffer that have a length, with their numbers; others are passed over."""
    position = 0
    while position < len(content):
        tag, position = _number(content, position)
        kind = tag & 7
        if kind == 0:
            _, position = _number(content, position)
        elif kind == 2:
            length, position = _number(content, position)
            if position + length > len(content):
                raise ValueError
            yield tag >> 3, content[position : position + length]
            position += length
        elif kind in (1, 5):
            position += 8 if kind == 1 else 4
        else:
            raise ValueError


def _number(content: bytes, position: int) -> tuple[int, int]:
    """A whole number of seven bits per byte, and the place behind it."""
    value = shift = 0
    while True:
        byte = content[position]
        value |= (byte & 127) << shift
        position, shift = position + 1, shift + 7
        if byte < 128:
            return value, position
        if shift > 63:
            raise ValueError


def _content(path: Path) -> bytes:
    if path.stat().st_size > _MAX_TOKENIZER:
        raise ValueError
    return path.read_bytes()
