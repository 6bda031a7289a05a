"""Talk to a model behind an OpenAI-compatible API, through OpenAI's own library.

The prompt that the engine gets is the JSON of the messages; they are sent as they are. What a service does not take is found
out by asking: what the zoo can do without is left out and noted in `facts`, anything else is an error. Knows no token ids.
"""

from __future__ import annotations

import re
import weakref
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import cached_property, partial
from typing import Any

import httpx2
import msgspec
import openai

from zoo_core import EngineRequest, Piece, Rendered, Sampling, UsageProblem, ZooError, did_you_mean
from zoo_openai.answers import LONGEST_TOKEN, Chunk, Delta, Words, chunks_of, usage_of
from zoo_openai.connection import connect
from zoo_openai.endpoint import endpoint_of
from zoo_openai.keys import Key, find_key
from zoo_openai.retrying import retried
from zoo_openai.wording import clean, in_words

#: Seconds to connect, and to wait for the first words and between words. Models that think are silent for minutes.
CONNECT, SILENCE = 10.0, 300.0
#: What can be left out: the session stops at stop strings itself, and seeds are promised nothing anywhere.
DISPENSABLE = ("stream_options", "seed", "stop")
#: The two names that services have for the longest answer.
OTHER_LONGEST = {"max_tokens": "max_completion_tokens", "max_completion_tokens": "max_tokens"}
#: Stop strings that OpenAI's API takes.
MOST_STOPS = 4
#: What services call an end: OpenAI's word, Baidu's, and those of Hugging Face's server.
STOPPED = {"stop", "normal", "eos_token", "stop_sequence"}

_NOT_TAKEN = re.compile(
    r"unsupported|not support|does not support|unrecogni[sz]ed|unknown|unexpected|not permitted|not allowed|extra_forbidden",
    re.IGNORECASE,
)


class _Message(msgspec.Struct):
    role: str
    content: str


class _Listed(msgspec.Struct):
    id: str


class _Models(msgspec.Struct):
    data: list[_Listed]


class OpenAIEngine:
    """One model at one service. Nothing is asked, and no key is read, before the first reply is asked for."""

    name = "openai"
    #: Only the service can count tokens.
    context_length: int | None = None

    def __init__(self, request: EngineRequest) -> None:
        """Read the card's `extra.openai`. Raises `ZooError` for options of models that run on this machine."""
        self._card = request.card.id
        for option, value in (("device", request.device), ("dtype", request.dtype)):
            if value != "auto":
                raise UsageProblem(f"'{self._card}' runs at its service, so it takes no --{option} {value}.")
        if request.device_map or request.max_memory:
            raise UsageProblem(f"'{self._card}' runs at its service, so it cannot be spread over devices.")
        self._endpoint = endpoint_of(request.card)
        self._template = request.template.name
        self._longest: str = self._endpoint.longest
        self._left_out: set[str] = set()
        self._answered: dict[str, str] = {}

    @property
    def facts(self) -> dict[str, str]:
        """Who answered, for the record: the address, and the model and the fingerprint as the service names them."""
        facts = {"url": self._endpoint.base_url, "model": self._endpoint.model, "openai": openai.__version__}
        if self._left_out:
            facts["left_out"] = ", ".join(sorted(self._left_out))
        return facts | self._answered

    def encode(self, prompt: Rendered) -> list[int]:
        """Nothing: token ids are the service's own."""
        return []

    def stream(self, prompt: Rendered, sampling: Sampling) -> Iterator[Piece]:
        """Ask the service and yield the words as they come. Closing the iterator closes the connection at once."""
        messages = self._messages(prompt)
        self._refuse_unknown(sampling)
        with in_words(self._endpoint, self._key):
            stream = self._ask(messages, sampling)
            try:
                yield from self._pieces(stream, sampling)
            finally:
                stream.close()

    def close(self) -> None:
        """Close the connections."""
        if client := self.__dict__.pop("_client", None):
            client.close()

    @cached_property
    def _key(self) -> Key | None:
        return find_key(self._endpoint.key, self._endpoint.origin)

    @cached_property
    def _client(self) -> openai.OpenAI:
        http = connect(self._endpoint, self._key)
        weakref.finalize(self, http.close)  # for whoever forgets to
        timeout = httpx2.Timeout(SILENCE, connect=CONNECT)
        # The library wants a key, which the connection then replaces or takes away; retries are ours.
        return openai.OpenAI(
            api_key="none", base_url=self._endpoint.base_url, http_client=http, timeout=timeout, max_retries=0
        )

    def _messages(self, prompt: Rendered) -> list[dict[str, Any]]:
        """The messages that a prompt is the JSON of."""
        try:
            messages = msgspec.json.decode(prompt.text, type=list[dict[str, Any]])
            msgspec.convert(messages, list[_Message])
        except UnicodeEncodeError:
            raise ZooError("The prompt holds a character that is no Unicode text.") from None
        except msgspec.DecodeError:
            raise UsageProblem(
                f"The template '{self._template}' does not give the messages that a service is sent; "
                f"'{self._card}' speaks the template 'openai'."
            ) from None
        return messages

    def _refuse_unknown(self, sampling: Sampling) -> None:
        """Raise `UsageProblem` for sampling options that this API has no parameter for."""
        for name, value in _extras(sampling).items():
            if name not in self._endpoint.accepts:
                raise UsageProblem(
                    f"The API of '{self._card}' has no parameter for {name}, {value}; leave it out, or say in the card, under "
                    "extra.openai.accepts, that this service takes it."
                )

    def _parameters(self, sampling: Sampling) -> dict[str, Any]:
        wanted: dict[str, Any] = {
            "temperature": sampling.temperature,
            self._longest: sampling.max_new_tokens,
            "seed": sampling.seed,
            "stream_options": {"include_usage": True},
        }
        if sampling.top_p:
            wanted["top_p"] = sampling.top_p
        if sampling.stop:
            wanted["stop"] = list(sampling.stop[:MOST_STOPS])
        return {name: value for name, value in wanted.items() if name not in self._left_out}

    def _ask(self, messages: list[dict[str, Any]], sampling: Sampling) -> openai.Stream[object]:
        """Begin an answer, without what the service does not take and the zoo can do without."""
        while True:
            sent = self._parameters(sampling)
            body = {"model": self._endpoint.model, "messages": messages, "stream": True, **sent, **_extras(sampling)}
            # The library's types for chats promise what it does not check: an event would be of one, whatever it holds.
            post = partial(self._client.post, "/chat/completions", cast_to=object, body=body)
            try:
                return self._checked(retried(partial(post, stream=True, stream_cls=openai.Stream[object])))
            except openai.NotFoundError:
                self._suggest_models()
                raise
            except openai.APIStatusError as error:
                if error.status_code not in {400, 422} or not self._gives_way(error, sent):
                    raise

    def _gives_way(self, error: openai.APIStatusError, sent: Mapping[str, Any]) -> bool:
        """Whether to ask again because the service named something that it does not take and that need not be sent."""
        text = f"{error.param or ''} {error.code or ''} {error.response.text}"
        if not _NOT_TAKEN.search(text):
            return False
        named = [name for name in sent if re.search(rf"\b{name}\b", str(error.param or text))]
        if left_out := [name for name in named if name in DISPENSABLE]:
            self._left_out.add(left_out[0])
            return True
        first = self._endpoint.longest
        if first in named and self._endpoint.max_tokens_name is None:
            self._longest = OTHER_LONGEST[first]  # and not back again
            return True
        return False

    def _checked(self, stream: openai.Stream[object]) -> openai.Stream[object]:
        """Refuse what is no stream, such as the web page behind a wrong address."""
        kind = stream.response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if kind == "text/event-stream":
            return stream
        try:
            begin = next(stream.response.iter_bytes(), b"")[:4096].decode(errors="replace")
        finally:
            stream.close()
        told = clean(begin, self._key) if kind == "application/json" else ""
        raise ZooError(
            f"{self._endpoint.base_url} answers with {clean(kind, None) or 'something unnamed'} instead of a stream of "
            f"events; is base_url right? It mostly ends in /v1{': ' if told else ''}{told}"
        )

    def _pieces(self, stream: openai.Stream[object], sampling: Sampling) -> Iterator[Piece]:
        finish, usage, said, words = "", None, 0, Words()
        try:
            for chunk in chunks_of(stream, self._endpoint.origin):
                self._note(chunk)
                usage = chunk.usage or usage
                for choice in chunk.choices or ():
                    finish = choice.finish_reason or finish
                    delta = choice.delta or Delta()
                    if text := words.whole(delta.content or delta.refusal or ""):
                        said += len(text)
                        yield Piece(text=text)
                if said > sampling.max_new_tokens * LONGEST_TOKEN:  # the service does not keep to what it was asked for
                    finish = "length"
                    break
        except (openai.APIConnectionError, httpx2.TransportError):
            if not finish:  # else only the usage is missing
                raise
        tokens = usage_of(usage)
        yield Piece(
            text=words.whole("", last=True),
            finish=self._finish(finish),
            prompt_tokens=tokens.prompt_tokens,
            completion_tokens=tokens.completion_tokens,
        )

    def _note(self, chunk: Chunk) -> None:
        for name, value in (("answered_by", chunk.model), ("fingerprint", chunk.system_fingerprint)):
            if isinstance(value, str) and value:
                self._answered[name] = clean(value, self._key)

    def _finish(self, reason: str) -> Any:
        if reason in STOPPED:
            return "stop"
        if reason == "length":
            return "length"
        where = self._endpoint.origin
        if not reason:
            raise ZooError(f"{where} broke off its answer without a word; try again.")
        if reason == "content_filter":
            raise ZooError(f"{where} stopped the answer: its content filter does not let it through.")
        if reason in {"tool_calls", "function_call"}:
            raise ZooError(f"'{self._card}' wants to call a tool, and the zoo offers it none.")
        raise ZooError(f"{where} ended the answer for a reason that the zoo does not know: {clean(reason, self._key)}")

    def _suggest_models(self) -> None:
        """Raise a `ZooError` with the names that the service has, where it tells them and ours is not among them."""
        names = self._models()
        if not names or self._endpoint.model in names:
            return
        hint = did_you_mean(self._endpoint.model, names) or f" It has: {', '.join(sorted(names)[:10])}."
        raise ZooError(f"{self._endpoint.origin} has no model '{self._endpoint.model}'. {clean(hint, self._key)}")

    def _models(self) -> list[str]:
        """The names of the service's models; none where it does not tell them."""
        with suppress(ZooError, openai.APIError, msgspec.ValidationError, ValueError, RecursionError):
            answer = self._client.get("/models", cast_to=object, options={"timeout": CONNECT})
            return [each.id for each in msgspec.convert(answer, _Models).data]
        return []


def _extras(sampling: Sampling) -> dict[str, float]:
    """Sampling options that are not in OpenAI's API, where they are switched on."""
    wanted = {"top_k": sampling.top_k, "repetition_penalty": sampling.repetition_penalty}
    return {
        name: value for name, value in wanted.items() if value and not (name == "repetition_penalty" and value == 1)
    }
