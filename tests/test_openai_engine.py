"""Models behind an API, with OpenAI's own library against a real service on loopback."""

from __future__ import annotations

import email.utils
import json
import logging
import re
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import Result
from openai_standin import Answer, Service, events, failed, hanging_up, part, refusing, serving, silent, streamed

from zoo_core import Message, Rendered, Sampling, Zoo, open_session
from zoo_core.errors import CardError, Unreachable, UsageProblem, ZooError
from zoo_core.history import History
from zoo_core.session import Session
from zoo_openai import engine as engine_module
from zoo_openai import retrying

Run = Callable[..., Result]
KEY = "sk-test-0123456789abcdef"


@pytest.fixture
def service() -> Iterator[Service]:
    with serving() as running:
        yield running


@pytest.fixture
def card(service: Service, tmp_path: Path) -> Callable[..., str]:
    """Write a card for the service; the fields of `extra.openai` and of the card may be other ones."""

    def write(fields: dict[str, Any] | None = None, **more: Any) -> str:
        data = {
            "schema": "zoo.card/v1",
            "kind": "model",
            "id": "hosted",
            "family": "hosted",
            "summary": "A model behind an API",
            "format": "api",
            "template": {"name": "openai"},
            "extra": {"openai": {"base_url": service.url, "model": "tiny-1"} | (fields or {})},
        } | more
        path = tmp_path / "hosted.yaml"
        path.write_bytes(msgspec.json.encode(data))
        return str(path)

    return write


@pytest.fixture
def session(card: Callable[..., str]) -> Iterator[Callable[..., Session]]:
    """Open a session with the service; closed after the test."""
    opened = []

    def open_one(fields: dict[str, Any] | None = None, **options: Any) -> Session:
        opened.append(open_session(Zoo(), card(fields), **options))
        return opened[-1]

    yield open_one
    for each in opened:
        each.engine.close()


@pytest.fixture
def key(service: Service, monkeypatch: pytest.MonkeyPatch) -> str:
    """A key for the service, in the environment."""
    monkeypatch.setenv("ZOO_KEY_STANDIN", KEY)
    monkeypatch.setenv("ZOO_KEY_STANDIN_FOR", service.url)
    return KEY


def say(session: Session, text: str = "Hi") -> str:
    return "".join(session.reply(text))


# -- what goes over the wire -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content", ["Hi", 'say "hi"\n\t\\', "中文 é 🙂", "</s> {{ x }} {% y %}", "\u2028\x7f<script>&", ""]
)
def test_what_explain_shows_is_what_is_sent_byte_for_byte(
    run: Run, card: Callable[..., str], service: Service, content: str
) -> None:
    told = json.loads(run("explain", card(), content, "--system", "Be brief.", "--json").stdout)
    assert run("chat", card(), content, "--system", "Be brief.").exit_code == 0 or not content
    if content:
        assert b'"messages":' + told["prompt"].encode() + b"," in service.requests[-1][2]
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": content}]
    assert json.loads(told["prompt"]) == messages
    assert (told["ids"], told["ids_missing"]) == (None, "only the service behind the engine sees tokens")


def test_explain_asks_nobody_and_needs_no_key(run: Run, card: Callable[..., str], service: Service) -> None:
    result = run("explain", card({"key": "nobody-has-it"}), "Hi")
    assert (result.exit_code, service.requests) == (0, [])
    assert '[{"role":"user","content":"Hi"}]' in result.stdout


def test_a_conversation_is_sent_whole_every_time(session: Callable[..., Session], service: Service) -> None:
    talk = session()
    assert [say(talk), say(talk, "And?")] == ["Hello!", "Hello!"]
    assert [(each["role"], each["content"]) for each in service.bodies[1]["messages"]] == [
        ("user", "Hi"),
        ("assistant", "Hello!"),
        ("user", "And?"),
    ]


def test_sampling_is_sent_under_the_names_of_the_api(session: Callable[..., Session], service: Service) -> None:
    options = {"temperature": 0.2, "top_p": 0.9, "seed": 5, "max_new_tokens": 9, "stop": ["a", "b", "c", "d", "e"]}
    say(session(sampling=options))
    (body,) = service.bodies
    del body["messages"]
    assert body == {
        "model": "tiny-1",
        "temperature": 0.2,
        "top_p": 0.9,
        "seed": 5,
        "max_tokens": 9,
        "stop": ["a", "b", "c", "d"],
        "stream": True,
        "stream_options": {"include_usage": True},
    }


@pytest.mark.parametrize("off", [{"top_p": 0, "top_k": 0}, {"repetition_penalty": 1.0}, {}])
def test_what_is_switched_off_is_not_sent(
    session: Callable[..., Session], service: Service, off: dict[str, float]
) -> None:
    say(session(sampling=off))
    assert service.bodies[0].keys() & {"top_p", "top_k", "repetition_penalty", "stop"} == set()


@pytest.mark.parametrize(("name", "value"), [("top_k", 40), ("repetition_penalty", 1.2)])
def test_a_parameter_that_the_api_has_not_is_refused_by_name_unless_the_card_knows_better(
    session: Callable[..., Session], service: Service, name: str, value: float
) -> None:
    with pytest.raises(UsageProblem, match=rf"no parameter for {name}, {value};.*extra.openai.accepts"):
        say(session(sampling={name: value}))
    assert service.requests == []
    say(session({"accepts": [name]}, sampling={name: value}))
    assert service.bodies[0][name] == value


def test_the_card_names_the_parameter_for_the_length(session: Callable[..., Session], service: Service) -> None:
    say(session({"max_tokens_name": "max_completion_tokens"}, sampling={"max_new_tokens": 9}))
    assert (service.bodies[0]["max_completion_tokens"], "max_tokens" in service.bodies[0]) == (9, False)


@pytest.mark.parametrize("code", [400, 422])
@pytest.mark.parametrize("said", ["Unrecognized request argument supplied: {}", "property '{}' is unsupported"])
def test_what_the_service_does_not_take_and_nobody_misses_is_left_out_and_noted(
    session: Callable[..., Session], service: Service, code: int, said: str
) -> None:
    service.answers = [refusing("seed", "stream_options", "stop", code=code, said=said)]
    talk = session(sampling={"stop": ["END"]})
    assert [say(talk), say(talk)] == ["ok", "ok"]
    assert len(service.requests) == 3 + 1 + 1  # learnt once
    assert talk.engine.facts["left_out"] == "seed, stop, stream_options"


def test_many_may_ask_at_once(session: Callable[..., Session], service: Service) -> None:
    service.answers = [refusing("seed", "stream_options")]
    engine = session().engine
    prompt = Rendered(text='[{"role":"user","content":"Hi"}]')
    with ThreadPoolExecutor(16) as pool:
        futures = [pool.submit(lambda: list(engine.stream(prompt, Sampling()))) for _ in range(64)]
    assert {"".join(piece.text for piece in each.result()) for each in futures} == {"ok"}


def test_the_other_name_for_the_length_is_tried_once(session: Callable[..., Session], service: Service) -> None:
    service.answers = [refusing("max_tokens")]
    assert say(session(sampling={"max_new_tokens": 9})) == "ok"
    assert service.bodies[1]["max_completion_tokens"] == 9
    service.answers = [refusing("max_tokens", "max_completion_tokens")]
    with pytest.raises(ZooError, match="supplied: max_completion_tokens"):
        say(session())


def test_what_was_asked_for_is_never_left_out(session: Callable[..., Session], service: Service) -> None:
    said = "Unsupported value: 'temperature' does not support 0.2 with this model."
    service.answers = [failed(400, said, "unsupported_value", "temperature")]
    with pytest.raises(ZooError, match=r"does not support 0.2"):
        say(session(sampling={"temperature": 0.2}))
    assert len(service.requests) == 1


def test_headers_say_no_more_than_they_must(
    session: Callable[..., Session], service: Service, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-the-vendor")
    monkeypatch.setenv("OPENAI_ADMIN_KEY", "sk-admin")
    monkeypatch.setenv("OPENAI_ORG_ID", "org-1")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "X-Secret: 1\nAuthorization: Bearer other")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    say(session())
    _, headers, _ = service.requests[0]
    assert headers.pop("authorization") == f"Bearer {key}"
    assert headers.pop("user-agent").startswith("llm-zoo/")
    assert set(headers) == {"host", "accept", "accept-encoding", "connection", "content-type", "content-length"}


def test_without_a_key_none_is_sent(session: Callable[..., Session], service: Service) -> None:
    say(session())
    assert "authorization" not in service.requests[0][1]


# -- what goes wrong ---------------------------------------------------------------------------------------------------

ERRORS: dict[str, tuple[Answer, str]] = {
    "401": (
        failed(401, "Incorrect API key provided: sk-t***cdef"),
        r"does not accept the key 'standin' \(ZOO_KEY_STANDIN\)",
    ),
    "403": (failed(403, "not in your country"), "does not allow this to the key 'standin': not in your country"),
    "404 of a model": (failed(404, "gone", "model_not_found"), "has no model 'tiny-l'. Did you mean tiny-"),
    "429 without quota": (failed(429, "pay", "insufficient_quota"), "the key 'standin' has no quota left"),
    "429 for long": (failed(429, Retry_After="3600"), r"no more requests .*it asks to wait 3600 seconds"),
    "400": (failed(400, f"too long for {KEY}\n\x1b[31mreally"), r"\(HTTP 400\): too long for \[key\] \[31mreally"),
    "400 without an envelope": (lambda each: each.reply(400, b"<html>no</html>", "text/html"), "HTTP 400.*<html>no"),
    "418 without a word": (lambda each: each.reply(418, b""), r"\(HTTP 418\): it does not say why"),
    "redirect": (lambda each: each.reply(307, b"", Location="http://127.0.0.1:1/"), "leads to another address"),
    "web page": (lambda each: each.reply(200, b"<html>", "text/html"), "answers with text/html instead of a stream"),
    "no stream": (lambda each: each.reply(200, {"error_code": 110}), 'application/json instead.*"error_code": 110'),
    "no JSON": (events("{oops"), "is no part of one"),
    "error in the stream": (
        events(part([{"index": 0, "delta": {"content": "x"}}]), {"error": {"message": f"boom {KEY}"}}),
        r"broke off the answer: boom \[key\]",
    ),
    "bare error in the stream": (events({"error": "boom"}), "broke off the answer: boom"),
    "FastChat's error in the stream": (
        events({"text": "NETWORK ERROR", "error_code": 50001}),
        "broke off its answer without a word",
    ),
    "stream cut off": (hanging_up("Hel"), "hung up before its answer was complete"),
    "stream without an end": (streamed("Hel", finish=None, done=False), "broke off its answer without a word"),
    "content filter": (streamed("Hel", finish="content_filter"), "content filter"),
    "tool call": (streamed(finish="tool_calls"), "'hosted' wants to call a tool"),
    "unknown end": (streamed(finish="abort\x1b"), "the zoo does not know: abort$"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_every_problem_is_one_sentence_without_the_key(
    run: Run, card: Callable[..., str], service: Service, key: str, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    answer, expected = ERRORS[name]
    service.answers = [answer]
    result = run("chat", card({"model": "tiny-l"}), "Hi")
    assert result.exit_code == 1
    (line,) = result.stderr.strip().splitlines()
    assert line.startswith("Error: ")
    assert re.search(expected, line), line
    assert len(service.bodies) == 1
    for secret in (key, "0123456789abcdef", "cdef"):
        assert secret not in result.output + result.stderr + caplog.text


def test_a_model_that_is_there_gets_the_services_own_words(session: Callable[..., Session], service: Service) -> None:
    for models in (["tiny-1"], None, []):
        service.models = models
        service.answers = [failed(404, "use /v1/responses")]
        with pytest.raises(ZooError, match=r"knows no model 'tiny-1', or has no chat.*: use /v1/responses"):
            say(session())


def test_without_a_key_a_401_tells_how_to_set_one(session: Callable[..., Session], service: Service) -> None:
    service.answers = [failed(401)]
    with pytest.raises(ZooError, match=f"wants a key; set one with: zoo keys set NAME --for {service.origin}$"):
        say(session())


def test_what_was_said_before_a_problem_is_kept(session: Callable[..., Session], service: Service) -> None:
    service.answers = [hanging_up("Hel")]
    talk = session()
    with pytest.raises(Unreachable):
        say(talk)
    assert talk.messages == [Message("user", "Hi"), Message("assistant", "Hel")]


def test_a_service_that_is_not_there_is_told_at_once(session: Callable[..., Session], service: Service) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}/v1"
    with pytest.raises(Unreachable, match=r"cannot be reached .*is the address right"):
        say(session({"base_url": url}))


def test_a_proxy_that_leads_nowhere_is_told(
    session: Callable[..., Session], service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", service.origin)  # which knows nothing of CONNECT
    with pytest.raises(Unreachable, match=r"The proxy .* does not lead to https://models.example \(501"):
        say(session({"base_url": "https://models.example/v1"}))


@pytest.mark.parametrize("words", [(), ("Hel",)])
def test_a_service_that_falls_silent_is_given_up(
    session: Callable[..., Session], service: Service, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    monkeypatch.setattr(engine_module, "SILENCE", 0.2)
    service.answers = [silent(*words)]
    with pytest.raises(Unreachable, match="does not answer in time"):
        say(session())
    assert len(service.requests) == 1


def test_a_certificate_that_nobody_vouches_for_is_refused(
    session: Callable[..., Session], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(certificate(tmp_path)) as safe:
        monkeypatch.setenv("ZOO_KEY_STANDIN", KEY)
        monkeypatch.setenv("ZOO_KEY_STANDIN_FOR", safe.url)
        with pytest.raises(
            Unreachable, match=r"certificate of https://127.0.0.1:.* cannot be trusted, so nothing was sent"
        ):
            say(session({"base_url": safe.url}))
        assert safe.requests == []


def certificate(folder: Path) -> ssl.SSLContext:
    """A certificate for loopback that only its maker trusts."""
    import datetime

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    secret, now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.now(datetime.UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    builder = x509.CertificateBuilder(name, name, secret.public_key(), x509.random_serial_number())
    signed = (
        builder.not_valid_before(now).not_valid_after(now + datetime.timedelta(days=1)).sign(secret, hashes.SHA256())
    )
    private = serialization.PrivateFormat.PKCS8
    pem = secret.private_bytes(serialization.Encoding.PEM, private, serialization.NoEncryption())
    (folder / "tls.pem").write_bytes(pem + signed.public_bytes(serialization.Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "tls.pem")
    return context


# -- asking again ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [408, 409, 429, 500, 503])
def test_what_passes_is_asked_for_again_after_the_wait_that_the_service_asks_for(
    session: Callable[..., Session], service: Service, code: int
) -> None:
    service.answers = [failed(code, Retry_After="0.01"), failed(code, Retry_After="0")]
    assert say(session()) == "Hello!"
    assert len(service.requests) == 3


def test_what_does_not_pass_is_given_up(session: Callable[..., Session], service: Service) -> None:
    service.answers = [failed(503, "busy", Retry_After="0")] * 9
    with pytest.raises(Unreachable, match=r"a problem of its own \(HTTP 503: busy\); try again later"):
        say(session())
    assert len(service.requests) == retrying.RETRIES + 1


def test_a_connection_that_broke_before_the_answer_is_made_again(
    session: Callable[..., Session], service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retrying, "FIRST", 0.01)
    service.answers = [hanging_up()]
    assert say(session()) == "Hello!"
    assert len(service.requests) == 2


def test_pauses_grow_and_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    import httpx2
    import openai

    def error(code: int, **headers: str) -> openai.APIStatusError:
        request = httpx2.Request("POST", "http://127.0.0.1/")
        response = httpx2.Response(code, headers={k.replace("_", "-"): v for k, v in headers.items()}, request=request)
        return openai.APIStatusError("x", response=response, body=None)

    pauses = [retrying.pause(error(500), taken) or 0.0 for taken in range(8)]
    assert all(first < second for first, second in pairwise(pauses[:6]))
    assert max(pauses) <= retrying.LONGEST
    assert len({retrying.pause(error(500), 0) for _ in range(20)}) > 1
    assert retrying.pause(error(429, Retry_After="7"), 0) == 7
    in_ten = email.utils.formatdate(time.time() + 10, usegmt=True)
    assert 5 < (retrying.pause(error(429, Retry_After=in_ten), 0) or 0) <= 10
    for odd in ("nan", "soon", "Mon, 99 Foo 99999 99:99:99 GMT"):
        assert 0 < (retrying.pause(error(429, Retry_After=odd), 0) or 0) <= retrying.FIRST
    assert retrying.pause(error(429, Retry_After="61"), 0) is None
    assert retrying.pause(error(429, Retry_After="inf"), 0) is None
    assert retrying.pause(error(500, x_should_retry="false"), 0) is None
    assert retrying.pause(error(400, x_should_retry="true"), 0) is not None
    assert retrying.pause(error(400), 0) is None


# -- cards and options -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"modle": "x"}, "the field 'modle' is unknown. Did you mean model?"),
        ({"zzz": 1}, "the field 'zzz' is unknown. Known: model, base_url, key, max_tokens_name, accepts."),
        ({"model": ""}, "model is not the name"),
        ({"model": 5}, "Expected 'str', got 'int'"),
        ({"accepts": ["top_a"]}, "Invalid enum value 'top_a'"),
        ({"max_tokens_name": "n"}, "Invalid enum value 'n'"),
        ({"base_url": "http://example.com/v1"}, "not encrypted, which is only allowed on this machine"),
        ({"base_url": "https://me:secret@example.com/v1"}, "without a user"),
        ({"base_url": "https://example.com/v1?x=1"}, "without a user, '[?]'"),
        ({"base_url": "https://api.openai.com\\@evil.example"}, "written https://HOST/PATH"),
        ({"base_url": "https://API.openai.com"}, "in small letters"),
        ({"base_url": "https://example.com:99999"}, "a port that there cannot be"),
        ({"base_url": "ftp://example.com"}, "written https://HOST/PATH"),
        ({"key": "x; echo oops"}, "key is no name of a key"),
    ],
)
def test_a_wrong_field_is_named(session: Callable[..., Session], fields: dict[str, Any], expected: str) -> None:
    with pytest.raises(CardError, match=f"card of 'hosted', extra.openai: .*{expected}") as raised:
        session(fields)
    assert "secret" not in str(raised.value)


def test_a_card_must_say_where_its_model_is(card: Callable[..., str]) -> None:
    with pytest.raises(CardError, match=r"extra.openai: this is missing"):
        open_session(Zoo(), card(extra={}))
    with pytest.raises(CardError, match="missing required field 'model'"):
        open_session(Zoo(), card(extra={"openai": {}}))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"device": "cuda"}, "takes no --device cuda"),
        ({"dtype": "float16"}, "takes no --dtype float16"),
        ({"device_map": "auto"}, "cannot be spread"),
        ({"weights": Path()}, "takes no folder of them"),
    ],
)
def test_options_of_models_on_this_machine_are_refused(
    session: Callable[..., Session], options: dict[str, Any], expected: str
) -> None:
    with pytest.raises(UsageProblem, match=f"'hosted' .*{expected}"):
        session(**options)


def test_other_templates_and_engines_are_refused(session: Callable[..., Session], service: Service) -> None:
    with pytest.raises(
        UsageProblem, match=r"'phoenix' does not give the messages .*'hosted' speaks the template 'openai'"
    ):
        say(session(template="phoenix"))
    with pytest.raises(UsageProblem, match="'api', which the engine 'transformers' does not load"):
        session(engine="transformers")
    with pytest.raises(ZooError, match="no Unicode text"):
        say(session(), "\udcff")
    assert service.requests == []


@pytest.mark.parametrize("command", ["pull", "verify", "fit", "train"])
def test_commands_for_weights_say_that_there_are_none(run: Run, tmp_path: Path, command: str) -> None:
    (tmp_path / "t.jsonl").write_text('{"instruction": "a", "output": "b"}')
    more = ["--data", tmp_path / "t.jsonl", "--out", tmp_path / "out"] if command == "train" else []
    result = run(command, "chatgpt", *more)
    assert result.exit_code == 1
    (line,) = result.stderr.strip().splitlines()
    assert "hosted service" in line or "runs elsewhere" in line


@pytest.mark.parametrize(("name", "origin"), [("chatgpt", "api.openai.com"), ("wenxin", "qianfan.baidubce.com")])
def test_cards_of_the_registry_can_be_used(run: Run, name: str, origin: str) -> None:
    session = open_session(Zoo(), name)
    assert origin in session.engine.facts["url"]
    result = run("chat", name, "Hi")
    assert (result.exit_code, result.stderr.count("zoo keys set")) == (1, 1)


# -- models by their names ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("variable", ["ZOO_OPENAI_BASE_URL", "OPENAI_BASE_URL"])
@pytest.mark.parametrize("model", ["tiny-1", "Org/Tiny-1", "tiny:8b"])
def test_a_model_is_talked_to_by_its_name(
    run: Run, service: Service, monkeypatch: pytest.MonkeyPatch, variable: str, model: str
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "https://other.example/v1")
    monkeypatch.setenv(variable, service.url)
    result = run("chat", f"openai:{model}", "Hi")
    assert (result.exit_code, result.stdout) == (0, "Hello!\n"), result.stderr
    assert service.bodies[0]["model"] == model


def test_without_an_address_it_is_the_vendors(monkeypatch: pytest.MonkeyPatch) -> None:
    session = open_session(Zoo(), "openai:gpt-4.1-mini")
    assert session.engine.facts["url"] == "https://api.openai.com/v1"
    assert session.card.extra["openai"]["key"] == "openai"


@pytest.mark.parametrize(
    ("address", "url", "expected"),
    [
        ("openai:", "", "is no name of a model"),
        ("openai:two words", "", "is no name of a model"),
        ("openai:x", "http://example.com/v1", "What ZOO_OPENAI_BASE_URL holds cannot be used: .*not encrypted"),
    ],
)
def test_addresses_that_name_nothing(monkeypatch: pytest.MonkeyPatch, address: str, url: str, expected: str) -> None:
    monkeypatch.setenv("ZOO_OPENAI_BASE_URL", url)
    with pytest.raises(UsageProblem, match=expected):
        open_session(Zoo(), address)


# -- the record --------------------------------------------------------------------------------------------------------


def test_answers_are_recorded_and_replayed_letter_by_letter(
    run: Run, card: Callable[..., str], service: Service
) -> None:
    assert run("chat", card(), "Hi").exit_code == 0
    record = History().reply(1)
    assert (record.reply, record.ids, record.prompt_tokens, record.engine) == ("Hello!", [], 7, "openai")
    assert record.facts["answered_by"] == "tiny-1-2026"
    same = run("logs", "replay", "1")
    assert (same.exit_code, "is the same, letter by letter" in same.stdout) == (0, True)
    service.says = ("Help",)
    other = run("logs", "replay", "1")
    assert other.exit_code == 1
    assert "differs from letter 3 on" in other.stdout
    assert "a hosted model need not answer the same way twice" in other.stdout
