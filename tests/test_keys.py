"""Keys of model services: stored for their user alone, shown to nobody, and sent only where they belong."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pexpect
import pytest
from click.testing import Result
from openai_standin import serving

from zoo_core.errors import NotFound, UsageProblem, ZooError
from zoo_openai import keys
from zoo_openai.endpoint import check_url, is_local, origin_of
from zoo_openai.keys import Key, find_key, keys_file

Run = Callable[..., Result]
VENDOR = "https://api.openai.com"
SECRET = "sk-0123456789-abcdefgh"


def store(run: Run, name: str, *options: str, key: str = SECRET) -> Result:
    return run("keys", "set", name, *options, input=f"{key}\n")


def listed(run: Run) -> list[dict[str, str]]:
    told = json.loads(run("keys", "list", "--json").stdout)
    assert told["schema"] == "zoo.keys/v1"
    items: list[dict[str, str]] = told["items"]
    return items


# -- set, list, remove -------------------------------------------------------------------------------------------------


def test_a_key_is_stored_for_its_user_alone_and_never_shown(run: Run) -> None:
    result = store(run, "openai")
    assert (result.exit_code, result.stdout) == (0, f"The key 'openai' is stored. It is sent to {VENDOR} alone.\n")
    assert listed(run) == [{"name": "openai", "for": VENDOR, "from": "stored", "ending": "…efgh"}]
    shown = run("keys", "list")
    assert shown.stdout.splitlines()[1].split() == ["openai", VENDOR, "stored", "…efgh"]
    for text in (result.output, shown.output, repr(find_key("openai", VENDOR)), repr(keys._read())):
        assert SECRET[:-4] not in text
    assert SECRET in keys_file().read_text()
    assert [path.name for path in keys_file().parent.iterdir()] == ["keys.json"]


@pytest.mark.skipif(os.name != "posix", reason="other systems have no such permissions")
def test_the_file_has_the_mode_of_a_secret(run: Run) -> None:
    before = os.umask(0)
    try:
        store(run, "openai")
        assert stat.S_IMODE(keys_file().stat().st_mode) == 0o600
        store(run, "qianfan")
        assert stat.S_IMODE(keys_file().stat().st_mode) == 0o600
    finally:
        os.umask(before)


@pytest.mark.skipif(os.name != "posix", reason="other systems have no such permissions")
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_a_file_that_others_can_read_is_refused(run: Run, mode: int) -> None:
    store(run, "openai")
    keys_file().chmod(mode)
    for result in (run("keys", "list"), run("keys", "remove", "openai"), store(run, "qianfan")):
        assert result.exit_code == 1
        assert result.stderr == (
            f"Error: The keys in {keys_file()} could be read by others; make them yours alone: chmod 600 {keys_file()}\n"
        )
    keys_file().chmod(0o600)
    assert len(listed(run)) == 1


def test_a_key_is_typed_unseen(zoo_folders: Path) -> None:
    command = ["-c", "from zoo_core.cli import main; main()", "keys", "set", "openai"]
    child = pexpect.spawn(sys.executable, command, encoding="utf-8", timeout=60)
    child.expect(r"The key 'openai' \(it is not shown\): ")
    child.waitnoecho()
    child.sendline(SECRET)
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0
    assert SECRET not in child.before
    assert find_key("openai", VENDOR) == Key(name="openai", value=SECRET, origin=VENDOR, where="stored")


def test_nothing_is_stored_where_the_user_stops(zoo_folders: Path) -> None:
    command = ["-c", "from zoo_core.cli import main; main()", "keys", "set", "openai"]
    child = pexpect.spawn(sys.executable, command, encoding="utf-8", timeout=60)
    child.expect("not shown")
    child.waitnoecho()
    child.sendintr()
    child.expect(pexpect.EOF)
    child.close()
    assert (child.exitstatus, keys_file().exists()) == (130, False)


def test_keys_that_are_set_at_once_are_all_kept(run: Run) -> None:
    program = "from zoo_core.cli import main; main()"
    command = [sys.executable, "-c", program, "keys", "set", "--for", "https://a.example"]
    children = [subprocess.Popen([*command, name], stdin=subprocess.PIPE, stdout=subprocess.PIPE) for name in "abcd"]
    for child in children:
        child.communicate(SECRET.encode())
    assert [child.returncode for child in children] == [0, 0, 0, 0]
    assert [each["name"] for each in listed(run)] == ["a", "b", "c", "d"]


@pytest.mark.skipif(os.name != "posix", reason="links need a right of their own elsewhere")
def test_of_a_linked_file_no_removed_key_is_left(run: Run, tmp_path: Path) -> None:
    link, real = keys_file(), tmp_path / "my-keys.json"
    store(run, "openai")
    link.rename(real)
    link.symlink_to(real)
    store(run, "mine", "--for", "https://a.example", key="another-key-of-mine-1")
    assert run("keys", "remove", "openai").exit_code == 0
    assert link.is_symlink()
    assert SECRET not in real.read_text()
    assert "another-key-of-mine-1" in real.read_text()
    assert stat.S_IMODE(real.stat().st_mode) == 0o600


def test_a_key_is_never_an_argument(run: Run) -> None:
    result = run("keys", "set", "openai", SECRET)
    assert result.exit_code == 2
    assert not keys_file().exists()


@pytest.mark.parametrize(
    ("name", "options", "key", "expected"),
    [
        ("openai", [], "", "is no key"),
        ("openai", [], "two words", "is no key"),
        ("openai", [], "schlüssel", "is no key"),
        ("openai", [], "x" * 5000, "is no key"),
        ("Open AI", [], SECRET, "is no name of a key"),
        ("mine", [], SECRET, "say it with --for https://HOST"),
        ("mine", ["--for", "http://example.com"], SECRET, "not encrypted"),
        ("mine", ["--for", "https://u:p@example.com"], SECRET, "without a user"),
    ],
)
def test_what_is_no_key_is_refused(run: Run, name: str, options: list[str], key: str, expected: str) -> None:
    result = store(run, name, *options, key=key)
    assert result.exit_code == 2
    assert expected in result.stderr
    assert not keys_file().exists()
    for secret in (key, "u:p"):
        assert not secret or secret not in result.stderr


def test_a_key_keeps_its_address_until_it_is_given_another(run: Run) -> None:
    store(run, "mine", "--for", "https://a.example/v1")
    store(run, "mine", key="another-key-of-mine-1")
    assert [each["for"] for each in listed(run)] == ["https://a.example"]
    store(run, "mine", "--for", "https://b.example:443/v2")
    assert [each["for"] for each in listed(run)] == ["https://b.example"]


def test_removing(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    store(run, "openai")
    wrong = run("keys", "remove", "openia")
    assert (wrong.exit_code, wrong.stderr) == (1, "Error: No key called 'openia' is stored. Did you mean openai?\n")
    assert run("keys", "remove", "openai").exit_code == 0
    assert listed(run) == []
    assert run("keys", "list").stderr == "There are no keys. Store one with: zoo keys set openai\n"
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    assert "It is in the environment; unset OPENAI_API_KEY." in run("keys", "remove", "openai").stderr


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b'{"keys": {"a": "sk-secret"}}',
        b'{"keys": {"a": {"key": "sk-secret"}}}',
        b'"\xff"',
        b'{"kyes": {}}',
    ],
)
def test_a_damaged_file_is_one_sentence_without_its_content(run: Run, content: bytes) -> None:
    keys_file().write_bytes(content)
    keys_file().chmod(0o600)
    result = run("keys", "list")
    assert result.exit_code == 1
    assert result.stderr.startswith(f"Error: The file {keys_file()} is damaged; ")
    assert "sk-secret" not in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize(("key", "ending"), [("a" * 15, "…"), ("a" * 12 + "wxyz", "…wxyz")])
def test_of_a_short_key_nothing_is_shown(run: Run, key: str, ending: str) -> None:
    store(run, "openai", key=key)
    assert listed(run)[0]["ending"] == ending


# -- the environment ---------------------------------------------------------------------------------------------------

ENVIRONMENTS = [
    ({"OPENAI_API_KEY": "k1"}, "openai", VENDOR, "k1"),
    ({"ZOO_KEY_OPENAI": "k1", "OPENAI_API_KEY": "k2"}, "openai", VENDOR, "k1"),
    ({"OPENAI_API_KEY": "k1", "OPENAI_BASE_URL": "https://p.example/v1"}, "openai", "https://p.example", "k1"),
    ({"OPENAI_API_KEY": "k1", "OPENAI_BASE_URL": "https://p.example/v1"}, "openai", VENDOR, "stored-openai-key"),
    ({"ZOO_KEY_QIANFAN": "k1"}, "qianfan", "https://qianfan.baidubce.com", "k1"),
    ({"ZOO_KEY_MY_OWN": "k1", "ZOO_KEY_MY_OWN_FOR": "https://m.example/v1"}, "my-own", "https://m.example", "k1"),
    ({"ZOO_KEY_MY_OWN": "k1", "ZOO_KEY_MY_OWN_FOR": "https://m.example/v1"}, "", "https://m.example", "k1"),
    ({"ZOO_KEY_KEPT": "k1"}, "kept", "https://kept.example", "k1"),
    ({}, "kept", "https://kept.example", "stored-kept-key"),
    ({}, "", "https://kept.example", "stored-kept-key"),
    ({"OPENAI_API_KEY": "k1"}, "", "https://other.example", None),
]


@pytest.mark.parametrize(("environment", "name", "origin", "expected"), ENVIRONMENTS)
def test_the_environment_wins_where_it_is_for_the_address(
    run: Run, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], name: str, origin: str, expected: str | None
) -> None:
    store(run, "openai", key="stored-openai-key")
    store(run, "kept", "--for", "https://kept.example", key="stored-kept-key")
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)
    found = find_key(name, origin)
    assert (found.value if found else None) == expected


def test_variables_are_listed_by_their_names(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZOO_KEY_MINE", SECRET)
    monkeypatch.setenv("OPENAI_API_KEY", "short")
    assert listed(run) == [
        {"name": "mine", "for": "", "from": "ZOO_KEY_MINE", "ending": "…efgh"},
        {"name": "openai", "for": VENDOR, "from": "OPENAI_API_KEY", "ending": "…"},
    ]


def test_what_a_variable_holds_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "two words\n")
    with pytest.raises(UsageProblem, match=r"The key 'openai' \(OPENAI_API_KEY\) is no key"):
        find_key("openai", VENDOR)


# -- whom a key is sent to ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "http://api.openai.com",
        "https://api.openai.com:8443",
        "https://api.openai.com.evil.example",
        "https://xapi.openai.com",
    ],
)
@pytest.mark.parametrize("environment", [True, False])
def test_a_key_is_for_its_own_address(
    run: Run, monkeypatch: pytest.MonkeyPatch, origin: str, environment: bool
) -> None:
    if environment:
        monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    else:
        store(run, "openai")
    with pytest.raises(ZooError, match=f"'openai' is for {VENDOR} and is not sent to {origin}, which the card names"):
        find_key("openai", origin)
    assert find_key("", origin) is None


def test_a_key_that_is_nowhere_is_told_with_what_to_do() -> None:
    with pytest.raises(NotFound, match=r"There is no key called 'openai'; store it with: zoo keys set openai$"):
        find_key("openai", VENDOR)
    with pytest.raises(NotFound, match=r"no key called 'a'; store it with: zoo keys set a --for https://a\.example$"):
        find_key("a", "https://a.example")
    with pytest.raises(ZooError, match=r"'openai' is for https://api.openai.com and is not sent to https://evil"):
        find_key("openai", "https://evil.example")


def test_a_key_without_an_address_is_sent_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZOO_KEY_A", SECRET)
    monkeypatch.setenv("ZOO_KEY_A_FOR", "https://u:p@a.example")
    with pytest.raises(
        NotFound, match=r"was set for no address; store it with: zoo keys set a --for https://a.example"
    ):
        find_key("a", "https://a.example")


@pytest.mark.parametrize("known", [True, False], ids=["named in the card", "by its address"])
def test_a_card_cannot_send_a_key_elsewhere(run: Run, tmp_path: Path, known: bool) -> None:
    store(run, "openai")
    with serving() as thief, serving() as friend:
        store(run, "friend", "--for", friend.url, key="the-key-of-a-friend")
        card = {
            "schema": "zoo.card/v1",
            "kind": "model",
            "id": "nice",
            "family": "nice",
            "summary": "Give me your key",
            "format": "api",
            "template": {"name": "openai"},
            "extra": {"openai": {"base_url": thief.url, "model": "m"} | ({"key": "openai"} if known else {})},
        }
        path = tmp_path / "nice.yaml"
        path.write_bytes(msgspec.json.encode(card))
        result = run("chat", path, "Hi")
        assert result.exit_code == (1 if known else 0)
        assert ("is not sent to" in result.stderr) == known
        assert all("authorization" not in headers for _, headers, _ in thief.requests)

        # Not even by way of a friend.
        thief.requests.clear()
        friend.answers = [lambda each: each.reply(307, b"", Location=f"{thief.url}/chat/completions")]
        card["extra"] = {"openai": {"base_url": friend.url, "model": "m"}}
        path.write_bytes(msgspec.json.encode(card))
        assert "leads to another address, where no key is sent" in run("chat", path, "Hi").stderr
        assert friend.requests[0][1]["authorization"] == "Bearer the-key-of-a-friend"
        assert thief.requests == []


@pytest.mark.parametrize(
    ("url", "origin", "local"),
    [
        ("https://api.openai.com/v1", VENDOR, False),
        ("https://api.openai.com:443", VENDOR, False),
        ("https://a.example:8443/x/y-z/", "https://a.example:8443", False),
        ("http://127.0.0.1:8000/v1", "http://127.0.0.1:8000", True),
        ("http://127.9.9.9", "http://127.9.9.9", True),
        ("http://localhost:80/v1", "http://localhost", True),
        ("http://[::1]:8000/v1", "http://[::1]:8000", True),
    ],
)
def test_addresses_and_whom_they_mean(url: str, origin: str, local: bool) -> None:
    check_url(url)
    assert (origin_of(url), is_local(url)) == (origin, local)


@pytest.mark.parametrize(
    "url",
    [
        *(
            "",
            "api.openai.com",
            "https://",
            "https:///v1",
            "https://-a",
            "https://a b",
            "https://a/v1#x",
            "https://a/%2e",
        ),
        *("https://a@b", "https://a\\@b", "https://a:b", "https://a:", "https://A.example", "https://é.example"),
        *("https://a.example\n", "http://10.0.0.1", "http://localhost.evil.example", "http://127.0.0.1.evil.example"),
        *("http://[::2]", "http://0.0.0.0", "http://2130706433", "file:///etc/passwd"),
        # what programs read differently, or cannot look up
        *(
            "https://2130706433",
            "https://127.1",
            "https://0x7f.1",
            "https://256.1.1.1",
            "https://1.2.3",
            "https://0177.0.0.1",
        ),
        *("https://[1::2::3]", "http://[:::]", "https://[ffff]", "https://a:0443", "https://a:0", "https://a:65536"),
        *(
            "https://a..b",
            "https://a.",
            "https://a-.b",
            f"https://{'a' * 64}.b",
            f"https://{'a.' * 127}b",
            "https://xn--/v1",
        ),
    ],
)
def test_addresses_that_are_refused(url: str) -> None:
    with pytest.raises(UsageProblem):
        check_url(url)
