"""What a service sends in answer, event by event, made into pieces of a reply. Believes no type that it has not looked at."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from contextlib import suppress
from typing import Annotated, Any

import msgspec
import openai

from zoo_core import ZooError

#: Characters of OpenAI's longest token. An answer of more characters has more tokens than that part of them.
LONGEST_TOKEN = 128

_Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]


class Delta(msgspec.Struct, frozen=True):
    """Words that are new."""

    content: str | None = None
    refusal: str | None = None


class Choice(msgspec.Struct, frozen=True):
    """A part of the answer, or why it is over."""

    delta: Delta | None = None
    finish_reason: str | None = None


class Usage(msgspec.Struct, frozen=True):
    """How many tokens there were."""

    prompt_tokens: _Count | None = None
    completion_tokens: _Count | None = None


class Chunk(msgspec.Struct, frozen=True):
    """An event of an answer. The zoo can do without what is `Any` here, so it may be of whatever type."""

    choices: list[Choice] | None = None
    usage: Any = None
    model: Any = None
    system_fingerprint: Any = None


class Words:
    """Whole characters: services that count in UTF-16 cut some in two, and half of one can neither be shown nor kept."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-16-le")("replace")

    def whole(self, text: str, *, last: bool = False) -> str:
        """`text` with what was held back before, without a half at its end that may be completed."""
        return self._decoder.decode(text.encode("utf-16-le", "surrogatepass"), last)


def chunks_of(stream: openai.Stream[object], origin: str) -> Iterator[Chunk]:
    """The events of an answer. Raises `ZooError` for what is none, and what the library raises."""
    try:
        for event in stream:
            body: Any = stream.response.stream
            body.taken()
            yield msgspec.convert(event, Chunk)
    except (ValueError, RecursionError, msgspec.ValidationError):  # no JSON, no UTF-8, too many levels or digits
        raise ZooError(f"{origin} sent something in the middle of its answer that is no part of one.") from None


def usage_of(chunk_usage: Any) -> Usage:
    """The numbers of tokens, where they are numbers."""
    with suppress(msgspec.ValidationError):
        return msgspec.convert(chunk_usage, Usage)
    return Usage()
