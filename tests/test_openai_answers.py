"""What a service sends in answer: in every way that is right, and in those that are wrong, too much, or meant to harm."""

from __future__ import annotations

import gzip
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pexpect
import pytest
from click.testing import Result
from openai_standin import Answer, Service, endless, events, part, raw, serving, streamed

from zoo_core import Message, Zoo, open_session
from zoo_core.errors import ZooError
from zoo_core.history import History
from zoo_core.session import Session
from zoo_openai import connection

Open = Callable[..., Session]
Run = Callable[..., Result]


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    """A service that `openai:NAME` asks."""
    with serving() as running:
        monkeypatch.setenv("ZOO_OPENAI_BASE_URL", running.url)
        yield running


@pytest.fixture
def session(service: Service) -> Iterator[Open]:
    """Open a session with the service; closed after the test."""
    opened = []

    def open_one(**sampling: Any) -> Session:
        opened.append(open_session(Zoo(), "openai:tiny-1", sampling=sampling))
        return opened[-1]

    yield open_one
    for each in opened:
        each.engine.close()


def say(session: Session) -> str:
    return "".join(session.reply("Hi"))


def choice(**fields: Any) -> dict[str, Any]:
    return part([{"index": 0, "delta": {"content": "x"}, "finish_reason": None} | fields])


# -- what is right -----------------------------------------------------------------------------------------------------


def test_words_come_as_they_are_said_and_usage_with_the_last(session: Open, service: Service) -> None:
    service.says = ("He", "l", "lo 中", "文🙂")
    talk = session()
    assert list(talk.reply("Hi")) == ["He", "l", "lo 中", "文🙂"]
    assert talk.last is not None
    assert (talk.last.finish, talk.last.prompt_tokens, talk.last.completion_tokens) == ("stop", 7, 3)
    assert (talk.last.ids, talk.last.text) == ([], "Hello 中文🙂")
    facts = talk.engine.facts
    assert (facts["url"], facts["model"]) == (service.url, "tiny-1")
    assert (facts["answered_by"], facts["fingerprint"]) == ("tiny-1-2026", "fp_1")


@pytest.mark.parametrize(
    ("answer", "finish"),
    [
        (streamed("x", finish="length"), "length"),
        (streamed("x", finish="normal"), "stop"),
        (streamed("x", done=False), "stop"),
        (streamed("x", usage=False), "stop"),
        (lambda handler: (handler.begin(), handler.word("x"), handler.word(finish="stop"), handler.hang_up()), "stop"),
    ],
    ids=["length", "Baidu's normal", "without DONE", "without usage", "broken off after the end"],
)
def test_every_way_to_end(session: Open, service: Service, answer: Answer, finish: str) -> None:
    service.answers = [answer]
    talk = session()
    assert say(talk) == "x"
    assert talk.last is not None
    assert talk.last.finish == finish


END = choice(finish_reason="stop", delta={})
HELD = b'{"choices": [{"delta": {"content": "\xc3\xa9 \xf0\x9f\x99\x82"}, "finish_reason": "stop"}]}'
ODD = {
    "no choices": (events(part([]), choice(), END), "x"),
    "choices that are null": (events({"choices": None}, choice(), END), "x"),
    "delta that is null": (events(choice(delta=None), choice(), END), "x"),
    "refusal": (events(choice(delta={"refusal": "No."}), END), "No."),
    "bytes one by one": (raw(*[bytes([each]) for each in b"data: %s\n\n" % HELD]), "é 🙂"),
    "comments and other fields": (raw(b": hello\n\nevent: message\nid: 7\nretry: 1\ndata: %s\n\n" % HELD), "é 🙂"),
    "carriage returns": (raw(b": hello\r\n\r\ndata: %s\r\n\r\n" % HELD), "é 🙂"),
    "several lines of data": (raw(b"data: %s\ndata: %s\n\n" % (HELD[:12], HELD[12:])), "é 🙂"),
    "character in two halves": (
        events(r'{"choices":[{"delta":{"content":"a\ud83d"}}]}', r'{"choices":[{"delta":{"content":"\ude42b"}}]}', END),
        "a🙂b",
    ),
    "half a character": (events(r'{"choices":[{"delta":{"content":"a\ud83d"}}]}', choice(), END), "a\ufffdx"),
    "half a character at the end": (events(r'{"choices":[{"delta":{"content":"a\ud83d"}}]}', END), "a\ufffd"),
}


@pytest.mark.parametrize("name", ODD)
def test_odd_streams_are_understood(session: Open, service: Service, name: str) -> None:
    answer, text = ODD[name]
    service.answers = [answer]
    assert say(session()) == text


def test_closing_the_answer_hangs_up_at_once(session: Open, service: Service) -> None:
    service.answers = [endless]
    talk = session()
    answer = talk.reply("Hi")
    said = next(answer) + next(answer)
    answer.close()  # type: ignore[attr-defined]
    assert service.hung_up.wait(10)
    assert talk.last is not None
    assert (talk.last.finish, talk.last.text) == ("cancelled", said)
    assert talk.messages == [Message("user", "Hi"), Message("assistant", said)]


def test_a_stop_string_ends_the_answer_even_where_the_service_ignores_it(session: Open, service: Service) -> None:
    service.answers = [endless]
    talk = session(stop=["on and on"])
    assert say(talk) == ""
    assert service.hung_up.wait(10)
    assert talk.last is not None
    assert talk.last.finish == "stop"


# -- what is wrong -----------------------------------------------------------------------------------------------------

NO_PART = "sent something in the middle of its answer that is no part of one"
WRONG: dict[str, object] = {
    "null": "null",
    "a list": "[1]",
    "a text": '"x"',
    "choices of text": part("x"),  # type: ignore[arg-type]
    "choices of numbers": part([1]),
    "choice that is null": part([None]),
    "delta of text": choice(delta="x"),
    "content of numbers": choice(delta={"content": 5}),
    "content in a list": choice(delta={"content": ["x"]}),
    "content that is no number": '{"choices": [{"delta": {"content": NaN}}]}',
    "finish of numbers": choice(finish_reason=5),
    "finish in a list": choice(finish_reason=["stop"]),
    "too many levels": "[" * 100_000,
    "too many digits": '{"created": ' + "1" * 5000 + "}",
}


@pytest.mark.parametrize("name", WRONG)
def test_events_of_other_types_are_one_sentence(session: Open, service: Service, name: str) -> None:
    service.answers = [events(WRONG[name], END)]
    with pytest.raises(ZooError, match=NO_PART):
        say(session())


@pytest.mark.parametrize("line", [b"data: \xff\xfe\n\n", b"data: {oops\n\n", gzip.compress(b"data: {}\n\n") + b"\n\n"])
def test_bytes_that_are_no_text_are_one_sentence(session: Open, service: Service, line: bytes) -> None:
    service.answers = [raw(line)]
    with pytest.raises(ZooError, match=NO_PART):
        say(session())


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"prompt_tokens": 7, "completion_tokens": 3}, 7),
        ("many", 0),
        ({"prompt_tokens": "7", "completion_tokens": []}, 0),
        ({"prompt_tokens": -7, "completion_tokens": 2.5}, 0),
        ({"prompt_tokens": 10**30, "completion_tokens": 2**63}, 0),
    ],
)
def test_what_the_zoo_can_do_without_may_be_anything(run: Run, service: Service, usage: object, expected: int) -> None:
    named = r'{"model": "half a \ud800 character", "system_fingerprint": 5}'
    service.answers = [events(named, choice(), part([], usage=usage, model=[]), END)]
    assert run("chat", "openai:tiny-1", "Hi").exit_code == 0
    record = History().reply(1)
    assert (record.reply, record.prompt_tokens) == ("x", expected)
    assert record.facts["answered_by"] == "tiny-1-2026"


ERRORS = [
    {"message": 5, "code": [1], "type": {}, "param": ["seed"]},
    {"message": "unsupported seed", "param": ["nothing"], "code": 7},
    {"message": "half a \ud800 character"},
    [1],
    "text",
]


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("code", [400, 429])
def test_errors_of_other_types_are_one_sentence(session: Open, service: Service, error: object, code: int) -> None:
    service.answers = [lambda each: each.reply(code, {"error": error}, Retry_After="9999")]
    with pytest.raises(ZooError, match=f"HTTP {code}") as raised:
        say(session())
    str(raised.value).encode()


# -- what is too much --------------------------------------------------------------------------------------------------


def without_end(content: bytes, code: int = 200, kind: str = "text/event-stream", **headers: str) -> Answer:
    """Sends the same again and again until somebody hangs up."""

    def answer(handler: Any) -> None:
        handler.send_response(code)
        for name, value in {"Content-Type": kind, "Transfer-Encoding": "chunked", **headers}.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        while True:
            handler.chunk(content)

    return answer


@pytest.mark.parametrize(
    "answer",
    [
        without_end(b"x" * 65_536),
        without_end(b"data: x\n" * 8_192),
        without_end(b" " * 65_536, 400, "application/json"),
        without_end(b"\n\n" * 8_192, 400, "text/plain"),
        without_end(gzip.compress(bytes(10_000_000)), Content_Encoding="gzip"),
    ],
    ids=["a line", "an event", "an error", "an error of empty lines", "what is compressed"],
)
def test_what_does_not_end_is_hung_up_on(session: Open, service: Service, answer: Answer) -> None:
    service.answers = [answer]
    with pytest.raises(ZooError, match=r"sends more than 4,000,000 bytes in one piece|no part of one"):
        say(session())
    assert service.hung_up.wait(10)


def test_a_list_of_models_without_an_end_is_no_help(
    session: Open, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "MOST", 2_000)
    service.models = ["tiny"] * 1_000
    service.answers = [lambda each: each.reply(404, {"error": {"message": "gone"}})]
    with pytest.raises(ZooError, match=r"knows no model 'tiny-1'.*: gone"):
        say(session())


def test_an_event_may_be_large(session: Open, service: Service) -> None:
    large = "é" * 1_000_000
    service.answers = [events(*[choice(delta={"content": large})] * 3, END)]
    assert say(session(max_new_tokens=100_000)) == 3 * large


def test_an_answer_without_an_end_is_cut_where_it_must_be_long_enough(session: Open, service: Service) -> None:
    service.answers = [endless]
    talk = session(max_new_tokens=3)
    said = say(talk)
    assert service.hung_up.wait(10)
    assert talk.last is not None
    assert (talk.last.finish, len(said) // 7) == ("length", 3 * 128 // 7 + 1)


@pytest.mark.parametrize(
    "location", ["https://[::1::2]/", "//\xff", "/v1/chat/completions", "http://evil.example/", ""]
)
def test_redirects_lead_nowhere(session: Open, service: Service, location: str) -> None:
    service.answers = [lambda each: each.reply(302, b"", Location=location)]
    with pytest.raises(ZooError, match="leads to another address, where no key is sent"):
        say(session())
    assert len(service.requests) == 1


# -- what is meant to harm ---------------------------------------------------------------------------------------------


def test_a_terminal_is_not_shown_what_it_would_obey(service: Service, zoo_folders: Path) -> None:
    service.answers = [events(choice(delta={"content": "\x1b]0;title\x07\x1b[31mred\x9b2J\u202e"}), END)]
    command = ["-c", "from zoo_core.cli import main; main()", "chat", "--style", "simple", "openai:tiny-1", "Hi"]
    child = pexpect.spawn(sys.executable, command, encoding="utf-8", timeout=60)
    child.expect(pexpect.EOF)
    assert child.before == "]0;title[31mred2J\r\n"
