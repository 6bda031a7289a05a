"""Using registries: what is fetched and when, what is refused, mirrors, being killed, and repairing a damaged copy."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import Result
from static_registry import (
    ZOO,
    Handler,
    Run,
    Server,
    broken_off,
    build,
    contents,
    copied,
    endless,
    hung_up,
    index_of,
    local,
    no_http,
    replied,
    rewrite,
    serving,
    write_cards,
)

from zoo_core.registries.signing import make_key, read_key, sign, signatures_bytes
from zoo_static import http


@pytest.fixture(autouse=True)
def _no_credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither proxies nor a netrc file of whoever runs the tests."""
    for name in os.environ:
        if name.lower().endswith("_proxy") or name.startswith("ZOO_REGISTRY"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))


@pytest.fixture
def cards(tmp_path: Path) -> Path:
    return write_cards(tmp_path / "cards", "a", "b")


@pytest.fixture
def root(run: Run, cards: Path, tmp_path: Path) -> Path:
    """A registry with two cards."""
    return build(run, tmp_path / "public", cards)


@pytest.fixture
def server(root: Path) -> Iterator[Server]:
    with serving(root) as server:
        yield server


@pytest.fixture
def added(run: Run, server: Server) -> Server:
    """The server of a registry that the user has added as `r`."""
    result = run("registry", "add", "r", server.address)
    assert result.exit_code == 0, result.stderr
    server.requests.clear()
    return server


def refused(run: Run, problem: str) -> Result:
    """Update, which must fail for this reason and change nothing."""
    before = copied()
    result = run("registry", "update")
    assert result.exit_code == 1
    assert problem in result.stderr
    assert "stays in use" in result.stderr
    assert result.stderr.count("\n") == 1
    assert copied() == before
    assert run("show", "r:a").exit_code == 0
    return result


# -- what is fetched -----------------------------------------------------------------------------------------------------


def test_a_registry_is_fetched_whole(run: Run, server: Server, root: Path) -> None:
    result = run("registry", "add", "r", server.address)
    assert result.stdout == "The registry 'r' has serial 1 and 2 cards: 2 new, 0 changed, 0 removed.\n"
    assert copied() == contents(root)
    assert [row["id"] for row in msgspec.json.decode(run("list", "--json", "a", "b").stdout)["items"]] == ["a", "b"]
    assert run("show", "r:b").stdout.startswith("b  about b")


@pytest.mark.parametrize("end", ["/", "/index.json"])
def test_addresses_are_written_in_several_ways(run: Run, server: Server, end: str) -> None:
    assert run("registry", "add", "r", server.address + end).exit_code == 0
    assert set(server.paths) <= {"index.json", "index.json.sig", *(f"cards/{path.name}" for path in cards_of(server))}


def cards_of(server: Server) -> list[Path]:
    return sorted((server.root / "cards").iterdir())


def test_only_what_is_new_is_fetched(run: Run, added: Server, cards: Path) -> None:
    write_cards(cards, "a", version="1.1.0")
    write_cards(cards, "c")
    (cards / "b.yaml").unlink()
    build(run, added.root, cards)
    os.utime(added.root / "index.json", (time.time() + 10,) * 2)
    result = run("registry", "update", "r")
    assert result.stdout == "The registry 'r' has serial 2 and 2 cards: 1 new, 1 changed, 1 removed.\n"
    assert sorted(path.split("/")[0] for path in added.paths) == ["cards", "cards", "index.json", "index.json.sig"]
    assert {path.stem for path in (local() / "cards").iterdir()} == {
        each["digest"] for each in index_of(added.root)["cards"]
    }
    assert run("show", "a@1.1.0").exit_code == 0


def test_an_index_that_has_not_changed_is_not_sent_again(run: Run, added: Server) -> None:
    assert run("registry", "update").stdout == "The registry 'r' has serial 1 and 2 cards; nothing has changed.\n"
    (headers,) = [headers for path, headers in added.requests if path == "index.json"]
    assert "If-Modified-Since" in headers
    assert added.paths == ["index.json", "index.json.sig"]


def test_an_entity_tag_is_preferred_and_sent_as_it_came(run: Run, server: Server, root: Path) -> None:
    content = (root / "index.json").read_bytes()

    def tagged(handler: Handler) -> None:
        same = handler.headers.get("If-None-Match") == 'W/"one"'
        handler.reply(304 if same else 200, b"" if same else content, ETag='W/"one"', Last_Modified="yesterday")

    server.answers["index.json"] = tagged
    assert run("registry", "add", "r", server.address).exit_code == 0
    for _ in range(2):
        assert "nothing has changed" in run("registry", "update").stdout
    asked = [headers for path, headers in server.requests if path == "index.json"]
    assert ["If-None-Match" in headers for headers in asked] == [False, True, True]
    assert not any("If-Modified-Since" in headers for headers in asked)


def test_connections_are_kept_and_few(run: Run, cards: Path, root: Path) -> None:
    build(run, root, write_cards(cards, *(f"c{number}" for number in range(60))))
    connections = set()
    with serving(root) as server:
        server.answers["*"] = lambda handler: connections.add(handler.client_address) or False
        assert run("registry", "add", "r", server.address).exit_code == 0
        assert len(server.requests) == 64
    assert len(connections) <= 8 + 1  # the server closes the one on which it said that there is no signature


def test_without_a_network_everything_but_updating_works(run: Run, root: Path) -> None:
    with serving(root) as server:
        assert run("registry", "add", "r", server.address).exit_code == 0
    refused(run, "cannot be fetched")
    assert "a" in run("list", "a").stdout
    assert run("registry", "list").exit_code == 0


# -- what is refused -------------------------------------------------------------------------------------------------------


LIES: dict[str, tuple[Callable[[Handler], Any], str]] = {
    "a web page": (replied(200, b"<!DOCTYPE html><html>Log in</html>", Content_Type="text/html"), "is a web page"),
    "a web page after spaces": (replied(200, b"\xef\xbb\xbf \n<html>"), "is a web page"),
    "nothing": (replied(200), "is empty"),
    "no content": (replied(204), "HTTP 204"),
    "white space": (replied(200, b" \n"), "is empty"),
    "no JSON": (replied(200, b"garbage"), "is no index"),
    "cut": (replied(200, b'{"schema": "zoo.index/v1", "serial": 2, "cards": ['), "is no index"),
    "nested": (replied(200, b"[" * 100_000), "is no index"),
    "no UTF-8": (replied(200, b'{"schema": "\xff"}'), "is no index"),
    "another document": (replied(200, b'{"error": "none"}'), "is no index"),
    "a newer schema": (replied(200, b'{"schema": "zoo.index/v2"}'), "has the schema 'zoo.index/v2'"),
    "too large, and says so": (replied(200, b"{}", Content_Length="64000001"), "is larger than the 64,000,000 bytes"),
    "too large": (endless, "is larger than the 64,000,000 bytes"),
    "broken off": (broken_off, "cannot be fetched"),
    "hung up": (hung_up, "cannot be fetched"),
    "no HTTP": (no_http, "cannot be fetched"),
    "compressed": (replied(200, b"\x1f\x8b", Content_Encoding="gzip"), "is compressed"),
    "not found": (replied(404, b"<html>"), "there is no http://"),
    "gone": (replied(410), "there is no http://"),
    "a login": (replied(401), "asks for a login (HTTP 401)"),
    "forbidden": (replied(403), "asks for a login (HTTP 403)"),
    "an error": (replied(500, b"{}"), "answers with HTTP 500"),
    "busy": (replied(503), "answers with HTTP 503"),
    "a part": (replied(206, b"{}"), "answers with HTTP 206"),
    "a redirect to nowhere": (replied(302), "answers with HTTP 302"),
    "a redirect to a file": (replied(302, Location="file:///etc/passwd"), "leads to an address that is not on the web"),
    "a redirect to no address": (replied(302, Location="http://[::1"), "cannot be fetched"),
    "a redirect to itself": (replied(302, Location="/index.json"), "more than 5 times"),
}


@pytest.mark.parametrize(("lie", "problem"), LIES.values(), ids=LIES.keys())
def test_an_index_that_is_none_is_refused(run: Run, added: Server, lie: Callable[[Handler], Any], problem: str) -> None:
    added.answers["index.json"] = lie
    result = refused(run, problem)
    assert f"The registry 'r' was not updated: {'there is no ' if 'there is' in problem else ''}http" in result.stderr
    other = run("registry", "add", "other", added.address)
    assert (other.exit_code, problem in other.stderr) == (1, True)
    assert [each["name"] for each in msgspec.json.decode(run("registry", "list", "--json").stdout)["items"]] == ["r"]


def test_not_changed_is_no_answer_to_a_first_question(run: Run, server: Server) -> None:
    server.answers["index.json"] = replied(304)
    result = run("registry", "add", "r", server.address)
    assert (result.exit_code, "and it was not asked that" in result.stderr) == (1, True)


def card(**fields: Any) -> dict[str, Any]:
    return {"id": "c", "kind": "model", "version": "1.0.0", "digest": "0" * 64} | fields


BAD_CARDS = {
    "up": card(id="../../etc/passwd"),
    "absolute": card(id="/etc/passwd"),
    "NUL": card(id="c\0"),
    "line": card(id="c\nd"),
    "look-alike": card(id="сс"),
    "capital": card(id="C"),
    "empty": card(id=""),
    "long": card(id="c" * 81),
    "very long": card(id="c" * 1_000_000),
    "no text": card(id=7),
    "twice": card(id="a"),
    "digest that is a path": card(digest="../" * 21 + "x"),
    "digest in capitals": card(digest="A" * 64),
    "digest with a line": card(digest="0" * 64 + "\n"),
    "digest of other digits": card(digest="٠" * 64),
    "kind": card(kind="program"),
    "version": card(version="latest"),
    "version of other digits": card(version="١.٠.٠"),
    "version without end": card(version="1." + "0" * 5000 + ".0"),
    "nothing": {},
    "null": None,
}


@pytest.mark.parametrize("bad", BAD_CARDS.values(), ids=BAD_CARDS.keys())
def test_an_index_with_a_bad_entry_is_refused(run: Run, added: Server, bad: Any) -> None:
    def add(index: Any) -> None:
        index["serial"] = 2
        index["cards"].append(bad)

    rewrite(added.root, add)
    outside = set(local().parent.parent.rglob("*"))
    refused(run, "lists 'a' twice" if bad and bad.get("id") == "a" else "is no index of a registry")
    assert set(local().parent.parent.rglob("*")) == outside


@pytest.mark.parametrize("serial", [0, -1, 2**60, "2", 1.5, None])
def test_an_index_with_a_bad_serial_is_refused(run: Run, added: Server, serial: Any) -> None:
    rewrite(added.root, lambda index: index.update(serial=serial))
    refused(run, "is no index of a registry")


@pytest.mark.parametrize("generated", ["yesterday", "2026-01-01", 0, None])
def test_an_index_with_a_bad_time_is_refused(run: Run, added: Server, generated: Any) -> None:
    rewrite(added.root, lambda index: index.update(serial=2, generated=generated))
    refused(run, "is no index of a registry")


def test_a_registry_is_never_rolled_back(run: Run, added: Server, cards: Path) -> None:
    old = (added.root / "index.json").read_bytes()
    write_cards(cards, "c")
    build(run, added.root, cards)
    os.utime(added.root / "index.json", (time.time() + 10,) * 2)
    assert run("registry", "update").exit_code == 0
    (added.root / "index.json").write_bytes(old)
    os.utime(added.root / "index.json", (time.time() + 20,) * 2)
    refused(run, "has the serial 1, which is older than 2")
    (local() / "index.json").write_bytes(b"damaged")  # the serial is remembered beside it
    assert "which is older than 2" in run("registry", "update").stderr


def test_one_serial_stands_for_one_index(run: Run, added: Server) -> None:
    rewrite(added.root, lambda index: index["cards"].pop())
    refused(run, "says something else than before under the same serial 1")


def test_a_card_that_changed_under_its_version_is_told(run: Run, added: Server, cards: Path, tmp_path: Path) -> None:
    write_cards(cards, "a", summary="other")
    other = build(run, tmp_path / "other", cards)
    shutil.copytree(other / "cards", added.root / "cards", dirs_exist_ok=True)
    shutil.copy(other / "index.json", added.root / "index.json")
    rewrite(added.root, lambda index: index.update(serial=2))
    result = run("registry", "update")
    assert result.exit_code == 0
    assert "the registry 'r' changed the card 'a' without raising its version" in result.stderr


# -- cards that are refused ----------------------------------------------------------------------------------------------


def replace_card(root: Path, content: bytes, **listed: str) -> None:
    """Put other bytes in the place of the card `a`, under their own digest and a new serial."""
    digest = hashlib.sha256(content).hexdigest()

    def change(index: Any) -> None:
        index["serial"] += 1
        index["cards"][0] |= {"digest": digest} | listed

    rewrite(root, change)
    (root / "cards" / f"{digest}.json").write_bytes(content)


def changed(root: Path, change: Callable[[bytes], bytes]) -> bytes:
    return change((root / "cards" / f"{index_of(root)['cards'][0]['digest']}.json").read_bytes())


CARD_LIES: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "another id": (lambda good: good.replace(b'"id":"a"', b'"id":"b"'), "is the model 'b' 1.0.0, and the index says"),
    "another version": (lambda good: good.replace(b"1.0.0", b"1.0.1"), "is the model 'a' 1.0.1, and the index says"),
    "spaces": (lambda good: good.replace(b",", b", ", 1), "is not the canonical JSON of a card"),
    "a line end": (lambda good: good + b"\n", "is not the canonical JSON of a card"),
    "a repeated key": (lambda good: good[:-1] + b',"id":"a"}', "is not the canonical JSON of a card"),
    "an unknown field": (lambda good: good[:-1] + b',"zzz":1}', "a newer zoo may read it"),
    "YAML": (lambda good: b"schema: zoo.card/v1\nid: a\nfamily: f\nsummary: s\n", "is not the canonical JSON"),
    "a bad id": (lambda good: good.replace(b'"id":"a"', b'"id":"../a"'), "a newer zoo may read it"),
    "nested": (lambda good: b"[" * 100_000, "nested too deeply"),
    "nothing": (lambda good: b"", "is empty"),
    "a web page": (lambda good: b"<html></html>", "is a web page"),
    "too large": (lambda good: b" " * 1_000_001, "is larger than the 1,000,000 bytes"),
}


@pytest.mark.parametrize(("lie", "problem"), CARD_LIES.values(), ids=CARD_LIES.keys())
def test_a_card_that_is_not_what_the_index_says_is_refused(
    run: Run, added: Server, lie: Callable[[bytes], bytes], problem: str
) -> None:
    replace_card(added.root, changed(added.root, lie))
    result = run("registry", "update")
    before = copied()
    assert (result.exit_code, problem in result.stderr, result.stderr.count("\n")) == (1, True, 1), result.stderr
    assert (index_of(local())["serial"], copied()) == (1, before)
    assert run("show", "r:a").exit_code == 0


@pytest.mark.parametrize("content", [b"{}", b"cut", None], ids=str)
def test_a_card_with_another_digest_is_refused(run: Run, server: Server, content: bytes | None) -> None:
    path = cards_of(server)[0]
    path.unlink() if content is None else path.write_bytes(content)
    result = run("registry", "add", "r", server.address)
    assert result.exit_code == 1
    assert ("has the sha256" if content else "there is no http") in result.stderr
    assert not local().exists()


def test_a_known_card_under_another_name_is_refused(run: Run, added: Server) -> None:
    """The card is here already, so that nothing is fetched; it is looked at all the same."""
    rewrite(added.root, lambda index: (index.update(serial=2), index["cards"][0].update(id="stolen")))
    refused(run, "is the model 'a' 1.0.0, and the index says the model 'stolen' 1.0.0")


# -- signatures ----------------------------------------------------------------------------------------------------------


def signature_cases(good: Path, other: Path, index: bytes) -> dict[str, bytes | None]:
    return {
        "absent": None,
        "garbage": b"garbage",
        "of another index": signatures_bytes([sign(b"another", read_key(good))]),
        "by another key": signatures_bytes([sign(index, read_key(other))]),
    }


@pytest.mark.parametrize("trust", ["off", "warn", "enforce"])
@pytest.mark.parametrize("case", ["good", "absent", "garbage", "of another index", "by another key"])
def test_what_a_wrong_signature_means(run: Run, server: Server, tmp_path: Path, trust: str, case: str) -> None:
    good, other = tmp_path / "good.pem", tmp_path / "other.pem"
    public = make_key(good)
    make_key(other)
    index = (server.root / "index.json").read_bytes()
    cases = signature_cases(good, other, index) | {"good": signatures_bytes([sign(index, read_key(good))])}
    if (content := cases[case]) is not None:
        (server.root / "index.json.sig").write_bytes(content)
    result = run("registry", "add", "r", server.address, "--key", public, "--trust", trust)
    fine = case == "good" or trust == "off"
    assert result.exit_code == (0 if fine or trust == "warn" else 1)
    assert (result.stderr == "") is fine
    if not fine:
        assert "is not signed" in result.stderr or "has a signature of something else" in result.stderr
        assert ("it is used all the same" in result.stderr) is (trust == "warn")
    assert (run("show", "r:a").exit_code == 0) is (fine or trust == "warn")


def test_an_index_and_a_signature_of_two_moments_are_asked_for_again(
    run: Run, cards: Path, root: Path, tmp_path: Path
) -> None:
    """A cache in between still has the old index, and already the new signatures."""
    public = make_key(tmp_path / "key.pem")
    build(run, root, cards, "--key", tmp_path / "key.pem")
    old = (root / "index.json").read_bytes()
    for name in ("c", "d"):
        build(run, root, write_cards(cards, name), "--key", tmp_path / "key.pem")
    with serving(root) as server:

        def once(handler: Handler) -> None:
            del server.answers["index.json"]
            handler.reply(200, old)

        server.answers["index.json"] = once
        assert run("registry", "add", "r", server.address, "--key", public).exit_code == 0
        assert server.paths[:4] == ["index.json", "index.json.sig"] * 2
    assert index_of(local())["serial"] == 3


def test_a_trusted_copy_stays_when_the_signature_is_lost(run: Run, cards: Path, root: Path, tmp_path: Path) -> None:
    public = make_key(tmp_path / "key.pem")
    build(run, root, cards, "--key", tmp_path / "key.pem")
    with serving(root) as server:
        assert run("registry", "add", "r", server.address, "--key", public).exit_code == 0
        signed = (root / "index.json.sig").read_bytes()
        (root / "index.json.sig").unlink()
        refused(run, "index.json is not signed")
        (root / "index.json.sig").write_bytes(signed)
        rewrite(root, lambda index: index.update(serial=2))
        refused(run, "has a signature of something else")


# -- mirrors ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def mirror(root: Path, tmp_path: Path) -> Iterator[Server]:
    """A web server with a copy of the registry as it was at first."""
    shutil.copytree(root, tmp_path / "mirror")
    with serving(tmp_path / "mirror") as server:
        yield server


def test_the_next_address_is_used_when_one_fails(run: Run, added: Server, mirror: Server, cards: Path) -> None:
    run("registry", "remove", "r")
    assert run("registry", "add", "r", added.address, "--mirror", mirror.address).exit_code == 0
    assert mirror.requests == []
    build(run, mirror.root, write_cards(cards, "c"))
    for answer, problem in ((replied(503), "answers with HTTP 503"), (replied(200, b"<html>"), "is a web page")):
        added.answers["*"] = answer
        result = run("registry", "update")
        assert (result.exit_code, "has serial 2" in result.stdout) == (0, True)
        assert "an address of the registry 'r' was passed over" in result.stderr
        assert problem in result.stderr


def test_a_mirror_that_is_behind_is_passed_over(run: Run, server: Server, mirror: Server, cards: Path) -> None:
    build(run, server.root, write_cards(cards, "c"))
    assert run("registry", "add", "r", server.address, "--mirror", mirror.address).exit_code == 0
    server.answers["*"] = replied(503)
    result = refused(run, "which is older than 2")
    assert "answers with HTTP 503" in result.stderr
    server.answers.clear()
    assert run("registry", "update").exit_code == 0


def test_a_folder_may_mirror_a_web_server(run: Run, root: Path, tmp_path: Path) -> None:
    with serving(root) as server:
        assert run("registry", "add", "r", server.address, "--mirror", root).exit_code == 0
    result = run("registry", "update")
    assert (result.exit_code, "nothing has changed" in result.stdout) == (0, True)


# -- being slow, being killed, being many ------------------------------------------------------------------------------------


@pytest.mark.parametrize("whole", [False, True])
def test_a_server_that_is_too_slow_is_given_up(
    run: Run, added: Server, monkeypatch: pytest.MonkeyPatch, whole: bool
) -> None:
    stop = threading.Event()

    def drip(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "1000000")
        handler.end_headers()
        while not stop.wait(0.02):
            if whole:
                handler.wfile.write(b" ")

    monkeypatch.setattr(http, "WHOLE" if whole else "READ", 0.1)
    added.answers["index.json"] = drip
    refused(run, "is too slow" if whole else "does not answer in time")
    stop.set()


def test_an_update_that_is_killed_leaves_the_old_copy_and_is_carried_on(run: Run, added: Server, cards: Path) -> None:
    build(run, added.root, write_cards(cards, *(f"c{number}" for number in range(20)), version="2.0.0"))
    os.utime(added.root / "index.json", (time.time() + 10,) * 2)
    reached, stop = threading.Event(), threading.Event()
    fetched = {path.name for path in (local() / "cards").iterdir()}

    def gate(handler: Handler) -> bool:
        if len(cards_fetched()) > 12:
            reached.set()
            stop.wait()
        return False

    def cards_fetched() -> list[str]:
        return [path for path in added.paths if path.startswith("cards/")]

    added.answers["*"] = gate
    before = copied()
    with subprocess.Popen([sys.executable, "-c", ZOO, "registry", "update"]) as process:
        reached.wait()
        process.send_signal(signal.SIGKILL)
    stop.set()
    assert {name: copied()[name] for name in before} == before
    assert (index_of(local())["serial"], run("show", "r:a").exit_code) == (1, 0)
    kept = {path.name for path in (local() / "cards").glob("[!.]*.json")} - fetched
    added.answers.clear()
    added.requests.clear()
    assert run("registry", "update").exit_code == 0
    assert len(cards_fetched()) == 20 - len(kept)
    assert copied() == contents(added.root)


def test_two_updates_at_once_wait_for_each_other(run: Run, added: Server, cards: Path) -> None:
    build(run, added.root, write_cards(cards, *(f"c{number}" for number in range(20))))
    os.utime(added.root / "index.json", (time.time() + 10,) * 2)
    command = [sys.executable, "-c", ZOO, "registry", "update"]
    runs = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    told = [each.communicate()[0] for each in runs]
    assert [each.returncode for each in runs] == [0, 0, 0]
    assert sorted("20 new" in each for each in told) == [False, False, True]
    assert len([path for path in added.paths if path.startswith("cards/")]) == 20
    assert copied() == contents(added.root)


def test_one_registry_that_fails_does_not_stop_the_others(run: Run, root: Path, cards: Path, tmp_path: Path) -> None:
    other = build(run, tmp_path / "other", cards)
    run("registry", "add", "one", root)
    run("registry", "add", "two", other)
    (root / "index.json").unlink()
    result = run("registry", "update")
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert "The registry 'two' has serial 1" in result.stdout
    assert run("registry", "update", "two").exit_code == 0


# -- damage ------------------------------------------------------------------------------------------------------------------


def _damage(name: str) -> None:
    card = sorted((local() / "cards").iterdir())[0]
    cache = Path(os.environ["ZOO_CACHE"]) / "registries" / "r.msgpack"
    index = local() / "index.json"
    actions: dict[str, Callable[[], object]] = {
        "no copy": lambda: shutil.rmtree(local()),
        "no index": index.unlink,
        "index cut": lambda: index.write_bytes(index.read_bytes()[:-10]),
        "index empty": lambda: index.write_bytes(b""),
        "index with another digest": lambda: index.write_bytes(
            index.read_bytes().replace(b'"digest": "', b'"digest": "0')
        ),
        "no card": lambda: (card.unlink(), cache.unlink()),
        "card changed": lambda: (card.write_bytes(card.read_bytes() + b" "), cache.unlink()),
        "no state": (local() / "state.json").unlink,
        "state damaged": lambda: (local() / "state.json").write_bytes(b"{"),
        "no cache": cache.unlink,
        "cache damaged": lambda: cache.write_bytes(b"\x93\x01"),
        "signature damaged": lambda: (local() / "index.json.sig").write_bytes(b"?"),
    }
    actions[name]()


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("no copy", "has no copy here; get it with: zoo registry update r"),
        ("no index", "has no copy here"),
        ("index cut", "is damaged"),
        ("index empty", "is damaged"),
        ("index with another digest", "is damaged"),
        ("no card", "lacks 1 of its 2 cards"),
        ("card changed", "lacks 1 of its 2 cards"),
        ("no state", ""),
        ("state damaged", ""),
        ("no cache", ""),
        ("cache damaged", ""),
        ("signature damaged", ""),
    ],
)
def test_a_damaged_copy_is_said_and_repaired(run: Run, added: Server, name: str, told: str) -> None:
    expected = run("list").stdout
    good = copied()
    _damage(name)
    result = run("list")
    assert result.exit_code == 0
    assert ("zoo registry update r" in result.stderr) is bool(told)
    assert told in result.stderr
    assert result.stderr.count("\n") == bool(told)
    assert run("registry", "list").exit_code == 0
    assert run("registry", "update").exit_code == 0
    assert copied() == good
    result = run("list")
    assert (result.stdout, result.stderr) == (expected, "")


def test_a_card_that_is_damaged_later_is_never_used(run: Run, added: Server) -> None:
    """The rows are remembered; the card itself is looked at whenever it is used."""
    card = local() / "cards" / f"{index_of(local())['cards'][0]['digest']}.json"
    card.write_bytes(card.read_bytes().replace(b"about a", b"about x"))
    result = run("show", "a")
    assert (result.exit_code, "repair it with: zoo registry update r" in result.stderr) == (1, True)
    assert "1 were fetched again" in run("registry", "update").stdout
    assert run("show", "a").exit_code == 0
