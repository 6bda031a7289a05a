"""Registries that are hostile, odd or edited by hand: none stops the others, fills the memory or is told a secret."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from static_registry import (
    Handler,
    Run,
    Server,
    build,
    contents,
    index_of,
    local,
    replied,
    rewrite,
    serving,
    write_cards,
)

from zoo_core import Offer, Zoo, ZooError, hookimpl
from zoo_core.plugins import Plugins
from zoo_core.registries import index, updating
from zoo_core.registries.copies import LocalCopy
from zoo_core.registries.managing import update_registry_copy
from zoo_core.registries.settings import Registry, change_registries, normal_address, settings_file
from zoo_core.registries.signing import make_key
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


def settings(*registries: dict[str, Any]) -> None:
    """Write the settings as a user might by hand."""
    settings_file().write_bytes(msgspec.json.encode({"registries": registries}))


# -- what servers send -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tag", ["\xe9", "x" * 201, "a\tb"], ids=["no ASCII", "long", "control"])
@pytest.mark.parametrize("field", ["ETag", "Last_Modified"])
def test_a_mark_that_cannot_be_sent_back_is_not_kept(
    run: Run, server: Server, root: Path, field: str, tag: str
) -> None:
    content = (root / "index.json").read_bytes()
    server.answers["index.json"] = lambda handler: handler.reply(200, content, **{field: tag})
    assert run("registry", "add", "r", server.address).exit_code == 0
    state = msgspec.json.decode((local() / "state.json").read_bytes())
    assert (state["etag"], state["modified"]) == ("", "")
    assert "nothing has changed" in run("registry", "update").stdout


def test_a_mark_that_an_older_zoo_kept_is_not_sent(run: Run, server: Server) -> None:
    assert run("registry", "add", "r", server.address).exit_code == 0
    state = local() / "state.json"
    state.write_bytes(msgspec.json.encode(msgspec.json.decode(state.read_bytes()) | {"etag": "\xe9"}))
    assert run("registry", "update").exit_code == 0


@pytest.mark.parametrize("host", ["a..b", "x" * 70, "a" * 64 + ".b"])
def test_a_redirect_to_a_host_that_cannot_be_is_refused(run: Run, server: Server, root: Path, host: str) -> None:
    assert run("registry", "add", "r", server.address).exit_code == 0
    assert run("registry", "add", "s", root).exit_code == 0
    server.answers["index.json"] = replied(302, Location=f"http://{host}/index.json")
    result = run("registry", "update")
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert "cannot be fetched" in result.stderr
    assert "The registry 's' has serial 1" in result.stdout


class Failing:
    """A card source with a mistake."""

    def update(self, request: object) -> str:
        raise KeyError("mistake")


def test_a_card_source_with_a_mistake_stops_no_other(tmp_path: Path) -> None:
    offer = Offer(name="odd", target=f"{__name__}:Failing", summary="odd", supports={"does": ["update"]})
    plugin = SimpleNamespace(zoo_card_sources=hookimpl(lambda: [offer]))
    zoo = Zoo(plugins=Plugins([], modules={"odd": plugin}))
    with pytest.raises(ZooError, match=r"'r' was not updated: its card source failed \(KeyError: 'mistake'\)"):
        update_registry_copy(zoo, Registry(name="r", addresses=["odd:x"]), lambda done, all: None, print)


def test_headers_without_end_are_given_up(run: Run, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    stop = threading.Event()
    asked = threading.Event()

    def drip(handler: Handler) -> None:
        asked.set()
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nX: ")
        while not stop.wait(0.02):
            handler.wfile.write(b"x")

    assert run("registry", "add", "r", server.address).exit_code == 0
    server.answers["index.json"] = drip
    monkeypatch.setattr(http, "WHOLE", 0.3)
    result = run("registry", "update")
    stop.set()
    assert (asked.is_set(), result.exit_code, "is too slow" in result.stderr) == (True, 1, True)


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (replied(200, b"<html>"), "is a web page"),
        (replied(200), "is empty"),
        (replied(200, b"x" * 10_001), "is larger than"),
    ],
)
def test_a_file_of_signatures_that_is_none_is_a_warning_where_one_is_asked_for(
    run: Run, server: Server, tmp_path: Path, answer: Callable[[Handler], Any], problem: str
) -> None:
    server.answers["index.json.sig"] = answer
    key = make_key(tmp_path / "key.pem")
    refused = run("registry", "add", "r", server.address, "--key", key)
    assert (refused.exit_code, problem in refused.stderr) == (1, True)
    result = run("registry", "add", "r", server.address, "--key", key, "--trust", "warn")
    assert result.exit_code == 0
    assert problem in result.stderr
    assert "it is used all the same" in result.stderr


# -- how much ----------------------------------------------------------------------------------------------------------------


def refused(run: Run, problem: str) -> None:
    """Update, which must fail for this reason and leave the copy as it was."""
    before = (local() / "index.json").read_bytes()
    result = run("registry", "update")
    assert (result.exit_code, problem in result.stderr) == (1, True), result.stderr
    assert (local() / "index.json").read_bytes() == before


def test_a_registry_has_at_most_so_many_cards(run: Run, root: Path) -> None:
    assert run("registry", "add", "r", root).exit_code == 0
    more = [
        {"id": f"c{number}", "kind": "model", "version": "1.0.0", "digest": "0" * 64}
        for number in range(index.MAX_CARDS)
    ]
    rewrite(root, lambda data: (data.update(serial=2), data["cards"].extend(more)))
    refused(run, "lists 50,002 cards; a registry has at most 50,000")


def test_cards_are_fetched_in_windows_and_up_to_a_size(
    run: Run, server: Server, root: Path, cards: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("registry", "add", "r", server.address).exit_code == 0
    build(run, root, write_cards(cards, *(f"c{number}" for number in range(30))))
    os.utime(root / "index.json", (time.time() + 10,) * 2)
    server.requests.clear()
    monkeypatch.setattr(updating, "WINDOW", 4)
    monkeypatch.setattr(updating, "MAX_TOTAL", 1_000)
    refused(run, "more than 1,000 bytes together")
    assert sum(path.startswith("cards/") for path in server.paths) < 20
    monkeypatch.setattr(updating, "MAX_TOTAL", 1_000_000)
    assert "30 new" in run("registry", "update").stdout


LONG: list[dict[str, Any]] = [
    {"training": {"instruction": "x" * 1_001}},
    {"training": {"conversation": "x" * 1_001}},
    {"languages_note": "x" * 1_001},
    {"license": {"name": "x" * 1_001}},
    {"aliases": [f"{'x' * 70}{number}" for number in range(200)]},
]


@pytest.mark.parametrize("fields", LONG, ids=lambda fields: next(iter(fields)))
def test_a_card_with_too_much_text_for_listings_is_refused(
    run: Run, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any]
) -> None:
    assert run("registry", "add", "r", root).exit_code == 0
    more = write_cards(tmp_path / "more", "c", **fields)
    result = run("registry", "build", root, "--from", more)
    assert (result.exit_code, "too much text for listings" in result.stderr) == (1, True)
    with monkeypatch.context() as patch:  # a publisher without this limit
        patch.setattr(index, "MAX_TEXT", 10**6)
        patch.setattr(index, "MAX_TEXTS", 10**6)
        build(run, root, more)
    refused(run, "too much text for listings")


# -- locks and caches ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["adding", "settings", "copy-adding"])
def test_no_name_of_a_registry_is_a_lock_of_the_zoo(run: Run, root: Path, name: str) -> None:
    lock = LocalCopy(name, local().parent / name).lock.name
    assert lock not in {".adding.lock", ".settings.lock"}  # else the next line would wait for itself without end
    assert run("registry", "add", name, root).exit_code == 0
    assert run("registry", "update", name).exit_code == 0
    assert run("registry", "remove", name).exit_code == 0


def test_rows_are_not_remembered_for_an_index_that_came_meanwhile(
    run: Run, root: Path, cards: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another run installs a new index between this one's look at the old one and its last word."""
    assert run("registry", "add", "r", root).exit_code == 0
    build(run, root, write_cards(cards, "c"))
    cache = Path(os.environ["ZOO_CACHE"]) / "registries" / "r.msgpack"
    cache.unlink()
    copy = LocalCopy("r", local())
    before = copy._read_row
    rows = []

    def between(listed: Any) -> Any:
        row = before(listed)
        if not rows:
            assert run("registry", "update").exit_code == 0
        rows.append(row)
        return row

    monkeypatch.setattr(copy, "_read_row", between)
    assert len(copy.rows()[0]) == 2
    assert len(LocalCopy("r", local()).rows()[0]) == 3


# -- addresses and tokens ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("file:///x/index.json", "file:///x"),
        ("file:///x/", "file:///x"),
        ("file:///", "file:///"),
        ("/x/index.json", "file:///x"),
        ("https://host/x/index.json", "https://host/x"),
        ("git:ssh://git@host/x", "git:ssh://git@host/x"),
        ("git:git@host:x", "git:git@host:x"),
        ("git:/srv/a@b", "git:/srv/a@b"),
    ],
)
def test_an_address_is_kept_in_one_form(text: str, kept: str) -> None:
    assert normal_address(text) == kept


def test_an_address_with_a_token_in_edited_settings_is_not_shown(run: Run) -> None:
    settings({"name": "r", "addresses": ["git:https://secret@host/x"]})
    for command in (["list"], ["registry", "list"]):
        result = run(*command)
        assert "must not hold a user or a password" in result.stderr
        assert "secret" not in result.output


def test_two_registries_never_share_a_token(run: Run, root: Path) -> None:
    assert run("registry", "add", "a-b", root).exit_code == 0
    result = run("registry", "add", "a.b", root)
    assert (result.exit_code, "ZOO_REGISTRY_TOKEN_A_B" in result.stderr) == (2, True)
    assert not (local().parent / "a.b").exists()


# -- edited settings -----------------------------------------------------------------------------------------------------------


def test_settings_that_cannot_be_read_are_not_none(run: Run, root: Path) -> None:
    settings_file().symlink_to(settings_file())  # what cannot be opened even by root
    result = run("list")
    assert (result.exit_code, result.stderr.count("\n")) == (0, 1)
    assert "no registry is used: The settings" in result.stderr
    assert run("registry", "add", "r", root).exit_code == 1
    with pytest.raises(ZooError, match="cannot be read"):
        change_registries(lambda known: [*known, Registry(name="r", addresses=["file:///x"])])
    assert settings_file().is_symlink()


def test_a_registry_that_is_called_like_a_card_source_is_left_out(run: Run, root: Path) -> None:
    settings({"name": "hf", "addresses": [root.as_uri()]})
    result = run("list", "a")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "the registry 'hf' is not used: a card source is called 'hf'" in result.stderr


@pytest.mark.parametrize("after", ["off", "warn"])
def test_a_copy_that_was_not_verified_with_the_key_is_not_used(
    run: Run, cards: Path, root: Path, tmp_path: Path, after: str
) -> None:
    key, other = make_key(tmp_path / "key.pem"), make_key(tmp_path / "other.pem")
    build(run, root, cards, "--key", tmp_path / "key.pem")
    given = ["--key", other, "--trust", "warn"] if after == "warn" else []
    assert run("registry", "add", "r", root, *given).exit_code == 0
    before = contents(local())
    settings({"name": "r", "addresses": [root.as_uri()], "trust": "enforce", "key": other})
    result = run("list", "a")
    assert (result.stdout, "was not verified with the key that you trust" in result.stderr) == ("", True)
    failed = run("registry", "update")
    assert (failed.exit_code, "stays in use" in failed.stderr, contents(local())) == (1, False, before)
    settings({"name": "r", "addresses": [root.as_uri()], "trust": "enforce", "key": key})
    assert "was not verified" in run("list", "a").stderr
    assert run("registry", "update").exit_code == 0
    result = run("list", "a")
    assert ("a" in result.stdout, result.stderr) == (True, "")
    assert index_of(local())["serial"] == 1
