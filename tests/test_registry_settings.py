"""The registries that a user has added: adding, listing, removing, mirroring, and the settings file."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from static_registry import ZOO, Run, build, contents, index_of, write_cards

from zoo_core.registries.signing import make_key, public_key, read_key


@pytest.fixture
def cards(tmp_path: Path) -> Path:
    return write_cards(tmp_path / "cards", "a", "b")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "public"


@pytest.fixture
def key(tmp_path: Path) -> Path:
    make_key(tmp_path / "key.pem")
    return tmp_path / "key.pem"


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["Big", "./public"], "'Big' cannot name a registry"),
        (["../up", "./public"], "'../up' cannot name a registry"),
        (["a\0b", "./public"], "cannot name a registry"),
        (["раypal", "./public"], "cannot name a registry"),
        (["x" * 81, "./public"], "cannot name a registry"),
        (["hf", "./public"], "'hf:' already begins the addresses of a card source"),
        (["https", "./public"], "'https:' already begins the addresses of a card source"),
        (["r", "public"], "'public' is no address"),
        (["r", ""], "'' is no address"),
        (["r", "ftp://host/x"], "No installed plugin brings registries from 'ftp:'"),
        (["r", "htps://host/x"], "Did you mean https"),
        (["r", "hf:owner/x"], "No installed plugin brings registries from 'hf:'"),
        (["r", "dir:x"], "No installed plugin brings registries from 'dir:'"),
        (["r", "https://me:secret@host/x"], "must not hold a user or a password"),
        (["r", "https://secret@host/x"], "must not hold a user or a password"),
        (["r", "HTTPS://secret@host/x"], "must not hold a user or a password"),
        (["r", "git:https://secret@host/x"], "must not hold a user or a password"),
        (["r", "git:git:http://secret@host/x"], "must not hold a user or a password"),
        (["r", "git:ssh://git:secret@host/x"], "must not hold a user or a password"),
        (["r", "./public", "--mirror", "git:https://secret@host/x"], "must not hold a user or a password"),
        (["r", "./public", "--mirror", "git:/srv/x"], "are of one kind"),
        (["r", "git:/srv/x", "--mirror", "https://host/x"], "are of one kind"),
        (["r", "https://host/x?key=1"], "without a user, '?' or '#'"),
        (["r", "https:///x"], "has a host and a path"),
        (["r", "https://[::1/x"], "cannot be read"),
        (["r", "https://ho\nst/x"], "is no address"),
        (["r", "file:public"], "depends on the folder that you are in"),
        (["r", "file://other/x"], "is no address of a folder on this machine"),
        (["r", "./nothing"], "there is no file"),
        (["r", "./public", "--mirror", "ftp://host/x"], "No installed plugin brings registries from 'ftp:'"),
        (["r", "./public", "--trust", "enforce"], "needs the publisher's public key"),
        (["r", "./public", "--trust", "warn"], "needs the publisher's public key"),
        (["r", "./public", "--trust", "off", "--key", "x"], "is no public key"),
        (["r", "./public", "--key", "?" * 44], "is no public key"),
        (["r", "./public", "--key", base64.b64encode(b"x" * 31).decode()], "is no public key"),
    ],
    ids=lambda each: " ".join(each)[:40] if isinstance(each, list) else "",
)
def test_what_cannot_be_added(
    run: Run, cards: Path, root: Path, arguments: list[str], problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(run, root, cards)
    monkeypatch.chdir(root.parent)
    before = contents(Path(os.environ["ZOO_CONFIG"])), contents(Path(os.environ["ZOO_CACHE"]))
    result = run("registry", "add", *arguments)
    assert result.exit_code in {1, 2}
    assert problem in result.stderr
    assert "secret" not in result.stderr
    assert result.stderr.count("\n") == 1
    assert run("registry", "list").stderr.startswith("You use no registry.")
    left = {path.name for path in (Path(os.environ["ZOO_DATA"]) / "registries").glob("*")}
    assert {name for name in left if not name.startswith(".")} == set()
    assert contents(Path(os.environ["ZOO_CONFIG"])) == before[0]


def test_registries_are_listed_in_their_order(run: Run, cards: Path, root: Path, key: Path, tmp_path: Path) -> None:
    build(run, root, cards, "--key", key)
    public = public_key(read_key(key))
    assert run("registry", "add", "second", root).exit_code == 0
    assert run("registry", "add", "first", root, "--key", public, "--mirror", tmp_path).exit_code == 0
    found = msgspec.json.decode(run("registry", "list", "--json").stdout)
    assert found["schema"] == "zoo.registries/v1"
    second, first = found["items"]
    assert (second["name"], second["trust"], second["key"]) == ("second", "off", "")
    assert (first["name"], first["trust"], first["key"]) == ("first", "enforce", public)
    assert first["addresses"] == [root.as_uri(), tmp_path.as_uri()]
    assert (first["serial"], first["cards"]) == (1, 2)
    assert first["generated"].endswith(" UTC")
    assert first["updated"].endswith(" UTC")
    table = run("registry", "list").stdout
    assert [line.split()[0] for line in table.splitlines()] == ["NAME", "second", "first"]


def test_a_name_is_taken_once(run: Run, cards: Path, root: Path) -> None:
    build(run, root, cards)
    assert run("registry", "add", "r", root).exit_code == 0
    result = run("registry", "add", "r", root)
    assert (result.exit_code, "already called 'r'" in result.stderr) == (1, True)
    assert run("show", "r:a").exit_code == 0


def test_a_removed_registry_is_gone(run: Run, cards: Path, root: Path) -> None:
    build(run, root, cards)
    run("registry", "add", "r", root)
    assert "a" in run("list", "a").stdout
    assert run("registry", "remove", "r").stdout == "The registry 'r' is removed.\n"
    assert run("list", "a").stdout == ""
    left = [path for name in ("ZOO_DATA", "ZOO_CACHE") for path in (Path(os.environ[name]) / "registries").iterdir()]
    assert [path for path in left if not path.name.startswith(".")] == []
    for command in ("remove", "update"):
        result = run("registry", command, "r")
        assert (result.exit_code, "No registry is called 'r'." in result.stderr) == (1, True)


def test_a_name_that_is_almost_right_is_suggested(run: Run, cards: Path, root: Path) -> None:
    build(run, root, cards)
    run("registry", "add", "ours", root)
    assert "Did you mean ours?" in run("registry", "update", "our").stderr
    assert "did you mean" in run("registry", "lst").stderr.lower()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("registries: [{name: r}]", "missing required field `addresses`"),
        ("registries: [{name: R, addresses: [file:///x]}]", "Expected `str` matching"),
        ("registries: [{name: r, addresses: []}]", "Expected `array` of length >= 1"),
        ("registries: [{name: r, addresses: [file:///x], trust: warn}]", "needs the publisher's public key"),
        ("registries: [{name: r, addresses: [file:///x], key: x}]", "is no public key"),
        ("registries: [{name: r, addresses: [file:///x]}, {name: r, addresses: [file:///x]}]", "'r' twice"),
        ("registeries: []", "unknown field `registeries`"),
        ("- r", "a mapping of fields"),
        ("registries: &x [*x]", "anchors"),
        ("\xff\xfe", "a mapping of fields"),
    ],
    ids=lambda each: each[:40],
)
def test_damaged_settings_cost_a_warning_and_no_listing(run: Run, zoo_folders: Path, text: str, problem: str) -> None:
    (zoo_folders / "config" / "registries.yaml").write_text(text, encoding="utf-8")
    result = run("list")
    assert (result.exit_code, result.stderr.count("\n")) == (0, 1)
    assert "no registry is used" in result.stderr
    assert problem in result.stderr
    assert run("registry", "list").exit_code in {1, 2}


def test_edited_settings_are_read_again(run: Run, cards: Path, root: Path) -> None:
    build(run, root, cards)
    for name in ("x", "y"):
        run("registry", "add", name, root)
    settings = Path(os.environ["ZOO_CONFIG"]) / "registries.yaml"
    assert "earlier ones count more" in settings.read_text()
    settings.write_text(f"registries: [{{name: y, addresses: [{root.as_uri()}]}}]")
    names = [each["name"] for each in msgspec.json.decode(run("registry", "list", "--json").stdout)["items"]]
    assert names == ["y"]


def test_registries_added_at_once_are_all_kept(run: Run, cards: Path, root: Path) -> None:
    build(run, root, cards)
    commands = [[sys.executable, "-c", ZOO, "registry", "add", f"r{number}", str(root)] for number in range(3)]
    runs = [subprocess.Popen(command, stdout=subprocess.DEVNULL) for command in commands]
    assert [each.wait() for each in runs] == [0, 0, 0]
    found = msgspec.json.decode(run("registry", "list", "--json").stdout)["items"]
    assert sorted(each["name"] for each in found) == ["r0", "r1", "r2"]


def test_names_are_completed(run: Run, cards: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build(run, root, cards)
    run("registry", "add", "ours", root)
    monkeypatch.setenv("_ZOO_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", "zoo registry update o")
    monkeypatch.setenv("COMP_CWORD", "3")
    assert run().stdout.split() == ["plain,ours"]


# -- mirrors -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("signed", [False, True])
def test_a_mirror_is_the_registry_byte_for_byte(
    run: Run, cards: Path, root: Path, key: Path, tmp_path: Path, signed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ["--key", public_key(read_key(key))] if signed else []
    build(run, root, cards, *(["--key", key] if signed else []))
    assert run("registry", "add", "r", root, *options).exit_code == 0
    target = tmp_path / "stick"
    assert run("registry", "mirror", "r", target).stdout == f"{target} now holds the registry 'r' with serial 1.\n"
    assert contents(target) == contents(root)
    write_cards(cards, "c")
    build(run, root, cards, *(["--key", key] if signed else []))
    assert run("registry", "update").exit_code == 0
    assert run("registry", "mirror", "r", target).exit_code == 0
    assert index_of(target)["serial"] == 2
    monkeypatch.setenv("ZOO_CONFIG", str(tmp_path / "other-config"))
    monkeypatch.setenv("ZOO_DATA", str(tmp_path / "other-data"))
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "other-cache"))
    assert run("registry", "add", "r", target, *options).exit_code == 0
    assert run("show", "r:c").exit_code == 0


def test_a_mirror_never_replaces_something_newer(run: Run, cards: Path, root: Path, tmp_path: Path) -> None:
    build(run, root, cards)
    run("registry", "add", "r", root)
    write_cards(cards, "c")
    before = contents(build(run, root, cards))
    result = run("registry", "mirror", "r", root)
    assert (result.exit_code, contents(root)) == (1, before)
    assert "holds a registry with a higher serial than 1" in result.stderr


def test_only_a_whole_copy_is_mirrored(run: Run, cards: Path, root: Path, tmp_path: Path) -> None:
    build(run, root, cards)
    run("registry", "add", "r", root)
    next((Path(os.environ["ZOO_DATA"]) / "registries" / "r" / "cards").iterdir()).write_bytes(b"{}")
    result = run("registry", "mirror", "r", tmp_path / "stick")
    assert (result.exit_code, contents(tmp_path / "stick")) == (1, {})
    assert "repair it with: zoo registry update r" in result.stderr
