"""A conversation with a model: card → template → engine → streamed reply. The one path of all surfaces.

Nothing is cut in silence: a prompt that does not fit is an error unless the user chose to drop the oldest turns, and then
the reply says how many were dropped.
"""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from zoo_core.cards.writing import card_digest
from zoo_core.conversation import Message, Rendered, Template, render
from zoo_core.errors import ContextOverflow, UsageProblem
from zoo_core.interfaces import Engine, Sampling
from zoo_core.sampling import check_sampling
from zoo_core.stopping import StopFilter

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from zoo_core.cards.schema import ModelCard

Overflow = Literal["error", "drop-oldest"]


class Reply(msgspec.Struct, kw_only=True):
    """What a model answered, and everything that is needed to ask for it again."""

    messages: tuple[Message, ...]
    sampling: Sampling
    text: str = ""
    ids: list[int] = []
    prompt_tokens: int = 0
    completion_tokens: int = 0
    dropped: int = 0
    finish: Literal["stop", "length", "cancelled"] = "cancelled"
    seconds: float = 0.0
    first_token_seconds: float = 0.0


class Prompt(msgspec.Struct, frozen=True, kw_only=True):
    """A prompt as it is sent: rendered, counted, and with as many of the oldest turns dropped as the user allowed."""

    rendered: Rendered
    ids: list[int]
    dropped: int
    room: int


class Session:
    """A conversation in progress."""

    def __init__(
        self,
        card: ModelCard,
        template: Template,
        engine: Engine,
        *,
        sampling: Mapping[str, Any] | None = None,
        system: str | None = None,
        overflow: Overflow | None = None,
    ) -> None:
        """`sampling` overrides what the card says; without a `seed` in it every reply draws a new one.

        `overflow` is the user's choice; None leaves it to the card.
        """
        self.card = card
        self.template = template
        self.engine = engine
        self.system = system
        self.overflow: Overflow = overflow or (card.context.on_overflow if card.context else "error")
        self.messages: list[Message] = []
        self.last: Reply | None = None
        #: The folder of weights that the user named in place of the card's sources, for the record.
        self.weights = ""
        self._sampling: dict[str, Any] = {}
        self.set(sampling or {})

    @property
    def card_digest(self) -> str:
        """The identity of the card that the session speaks with."""
        return card_digest(self.card)

    def set(self, options: Mapping[str, Any]) -> None:
        """Change sampling options; None brings back the card's own. Raises `UsageProblem` for a wrong one."""
        wanted = {key: value for key, value in {**self._sampling, **options}.items() if value is not None}
        check_sampling(wanted)
        self._sampling = wanted

    @property
    def chosen(self) -> dict[str, Any]:
        """The sampling options that the user set."""
        return dict(self._sampling)

    @property
    def seed(self) -> int | None:
        """The seed that the user chose, if any."""
        return self._sampling.get("seed")

    @property
    def sampling(self) -> Sampling:
        """How the next reply is sampled: the user's choice, else the card's, else the zoo's defaults."""
        from_card = {k: v for k, v in msgspec.structs.asdict(self.card.generation).items() if v is not None}
        drawn = {"seed": secrets.randbelow(2**31)}
        stop = {"stop": (*self.template.stop, *self._sampling.get("stop", ()))}
        return check_sampling(drawn | from_card | self._sampling | stop)

    def prompt(self, messages: Sequence[Message], max_new_tokens: int) -> Prompt:
        """Render and count a prompt. Raises `ContextOverflow` when it does not fit and nothing may be dropped."""
        turns = list(messages)
        head = [Message("system", self.system)] if self.system is not None else []
        limit = self.engine.context_length
        dropped = 0
        while True:
            rendered = render(self.template, [*head, *turns])
            ids = self.engine.encode(rendered)
            room = max_new_tokens if limit is None else limit - len(ids)
            wanted = 1 if self.overflow == "error" or len(turns) < 3 else min(max_new_tokens, (limit or 0) // 4)
            if room >= wanted:
                return Prompt(rendered=rendered, ids=ids, dropped=dropped, room=min(room, max_new_tokens))
            if self.overflow == "error" or len(turns) < 3:
                raise self._overflow_error(len(ids), limit or 0, len(turns))
            del turns[:2]
            dropped += 2

    def reply(self, text: str) -> Iterator[str]:
        """Say something and stream the answer. Both join the conversation when the answer is over or stopped.

        Closing the iterator stops the engine at once; what was said until then is kept.
        """
        return self._stream([*self.messages, Message("user", text)], self.sampling)

    def again(self) -> Iterator[str]:
        """Take back the last answer and stream another one to the same question."""
        if not self.messages:
            raise UsageProblem("There is no answer yet that could be given again.")
        return self._stream(self.messages[:-1], self.sampling)

    def undo(self) -> bool:
        """Take back the last question and its answer; False when there is none."""
        had = bool(self.messages)
        del self.messages[-2:]
        return had

    def replay(self, messages: Sequence[Message], sampling: Sampling) -> Iterator[str]:
        """Stream the answer to recorded messages, system prompt included, with the recorded sampling."""
        turns = list(messages)
        self.system = turns.pop(0).content if turns and turns[0].role == "system" else None
        return self._stream(turns, sampling)

    def _stream(self, messages: list[Message], sampling: Sampling) -> Iterator[str]:
        started = time.perf_counter()
        self.last = None  # so that nobody takes an earlier answer for this one when it cannot begin
        prompt = self.prompt(messages, sampling.max_new_tokens)
        reply = Reply(
            messages=prompt.rendered.messages,
            sampling=sampling,
            prompt_tokens=len(prompt.ids),
            dropped=prompt.dropped,
        )
        stops = StopFilter(sampling.stop)
        allowed = msgspec.structs.replace(sampling, max_new_tokens=prompt.room)
        pieces = self.engine.stream(prompt.rendered, allowed)
        try:
            for piece in pieces:
                reply.first_token_seconds = reply.first_token_seconds or time.perf_counter() - started
                reply.ids.extend(piece.ids)
                shown = stops.feed(piece.text)
                if piece.finish:
                    shown += stops.end()
                    reply.prompt_tokens = piece.prompt_tokens or reply.prompt_tokens
                    reply.completion_tokens = piece.completion_tokens or 0
                if not reply.text:  # many tokenizers begin a word with its space, which is no part of the answer
                    shown = shown.lstrip()
                reply.text += shown
                if stops.stopped or piece.finish:
                    reply.finish = "stop" if stops.stopped else piece.finish or "stop"
                if shown:
                    yield shown
                if stops.stopped or piece.finish:
                    break
        finally:
            _close(pieces)
            reply.seconds = time.perf_counter() - started
            reply.completion_tokens = reply.completion_tokens or len(reply.ids)
            self.last = reply
            if reply.ids or reply.text:
                self.messages = [*messages[prompt.dropped :], Message("assistant", reply.text)]

    def _overflow_error(self, tokens: int, limit: int, turns: int) -> ContextOverflow:
        advice = "shorten it" if turns < 3 else "start anew, or allow --overflow drop-oldest"
        return ContextOverflow(
            f"The prompt has {tokens:,} tokens, but '{self.card.id}' takes {limit:,} with its answer; {advice}."
        )


def _close(pieces: Any) -> None:
    """Stop an engine's stream; protocols allow any iterator, and only generators can be closed."""
    if close := getattr(pieces, "close", None):
        close()
