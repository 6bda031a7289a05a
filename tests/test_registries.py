"""Publishing registries: building, being killed while building, keys and signatures, adding single cards."""

from __future__ import annotations

import base64
import hashlib
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from filelock import FileLock
from static_registry import ZOO, Run, build, contents, index_of, local, write_cards

from zoo_core import PublishRequest, ZooError, card_digest, read_card
from zoo_core.registries.signing import make_key, public_key, read_key, sign, signature_problem, signatures_bytes
from zoo_static.publication import FolderCards


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


# -- building ----------------------------------------------------------------------------------------------------------


def test_a_registry_holds_the_cards_by_their_digests(run: Run, cards: Path, root: Path) -> None:
    (cards / "shared.collection.yaml").write_text("family: f\nlicense: {spdx: MIT}\nlanguages: [en, zh]\n")
    (cards / "c.yaml").write_text("schema: zoo.card/v1\nid: c\nsummary: ü 象\nextends: shared.collection.yaml\n")
    result = run("registry", "build", root, "--from", cards)
    assert result.stdout == f"{root} has serial 1 and 3 cards (not signed): 3 new.\n"
    index = index_of(root)
    assert (index["schema"], index["serial"]) == ("zoo.index/v1", 1)
    assert [each["id"] for each in index["cards"]] == ["a", "b", "c"]
    listed = index["cards"][2]
    assert listed["digest"] == card_digest(read_card(cards / "c.yaml"))
    wanted = {"kind": "model", "version": "1.0.0", "family": "f", "license": "MIT", "languages": ["en", "zh"]}
    assert {name: listed[name] for name in wanted} == wanted
    assert not {"path", "problem", "package"} & set(listed)
    for each in index["cards"]:
        content = (root / "cards" / f"{each['digest']}.json").read_bytes()
        assert hashlib.sha256(content).hexdigest() == each["digest"]
        assert read_card(root / "cards" / f"{each['digest']}.json").id == each["id"]
    assert len(contents(root)) == 4
    assert (root / "index.json").read_text().count("\n") == 3 + 2  # a card in a line, so that changes can be read


def test_what_does_not_change_is_not_written(run: Run, cards: Path, root: Path) -> None:
    build(run, root, cards)
    before = contents(root), (root / "index.json").stat().st_mtime_ns
    assert run("registry", "build", root, "--from", cards).stdout.endswith("(not signed): nothing has changed.\n")
    assert (contents(root), (root / "index.json").stat().st_mtime_ns) == before


def test_changes_raise_the_serial_and_are_told(run: Run, cards: Path, root: Path) -> None:
    build(run, root, cards)
    write_cards(cards, "a", version="1.1.0")
    write_cards(cards, "c", "d")
    (cards / "b.yaml").unlink()
    result = run("registry", "build", root, "--from", cards, "--json")
    assert msgspec.json.decode(result.stdout) == {
        "schema": "zoo.registry-build/v1",
        "folder": str(root),
        "serial": 2,
        "cards": 3,
        "signed": False,
        "new": ["c", "d"],
        "changed": ["a"],
        "removed": ["b"],
    }
    assert len(list((root / "cards").iterdir())) == 5  # those of the index before are kept for who still has it
    build(run, root, cards, "--prune")
    assert index_of(root)["serial"] == 2
    assert {path.stem for path in (root / "cards").iterdir()} == {each["digest"] for each in index_of(root)["cards"]}


@pytest.mark.parametrize("version", ["1.1.0", "1.0.9", "0.9.0"])
def test_what_was_published_under_a_version_never_changes(run: Run, cards: Path, root: Path, version: str) -> None:
    write_cards(cards, "a", version="1.1.0")
    before = contents(build(run, root, cards))
    write_cards(cards, "a", version=version, summary="other")
    result = run("registry", "build", root, "--from", cards)
    assert result.exit_code == 1
    assert f"raise the version of 'a' (published 1.1.0, now {version})" in result.stderr
    assert contents(root) == before
    write_cards(cards, "a", version="1.10.0", summary="other")  # versions are numbers, not texts
    build(run, root, cards)


def test_a_version_that_was_removed_does_not_come_back_as_another(run: Run, cards: Path, root: Path) -> None:
    build(run, root, cards)
    (cards / "a.yaml").unlink()
    before = contents(build(run, root, cards))
    write_cards(cards, "a", summary="other")
    result = run("registry", "build", root, "--from", cards)
    assert (result.exit_code, contents(root)) == (1, before)
    assert "raise the version of the card" in result.stderr
    write_cards(cards, "a")  # as it was
    build(run, root, cards)
    write_cards(cards, "a", version="1.0.1", summary="other")
    build(run, root, cards)
    assert index_of(root)["serial"] == 4


def test_the_serial_can_be_raised(run: Run, cards: Path, root: Path) -> None:
    build(run, root, cards, "--serial", "58")
    assert index_of(root)["serial"] == 58
    build(run, root, cards, "--serial", "58")
    assert index_of(root)["serial"] == 58
    build(run, root, cards, "--serial", "60")  # though nothing else changes
    assert index_of(root)["serial"] == 60
    assert run("registry", "build", root, "--from", cards, "--serial", str(2**53 + 1)).exit_code == 2
    before = contents(build(run, root, cards, "--serial", str(2**53)))
    result = run("registry", "build", root, "--from", write_cards(cards, "c"))
    assert (result.exit_code, contents(root)) == (1, before)
    assert "has the highest serial there is" in result.stderr


def test_all_that_is_wrong_is_told_and_nothing_is_written(run: Run, cards: Path, root: Path) -> None:
    (cards / "c.yaml").write_text("schema: zoo.card/v1\nid: c\nfamily: f\nsummary: s\nlicence: {}\n")
    write_cards(cards, "d", status="stable")
    write_cards(cards / "deep", "a")
    write_cards(cards, "e", aliases=["b"])
    write_cards(cards, "f", aliases=["same"])
    write_cards(cards, "g", aliases=["same"])
    result = run("registry", "build", root, "--from", cards)
    assert (result.exit_code, root.exists()) == (1, False)
    for told in (
        "c.yaml, line 5",
        "d.yaml: status is stable, but it has no source",
        f"deep/a.yaml: 'a' is also the id of {cards / 'a.yaml'}",
        "e.yaml: the alias 'b' is taken by 'b'",
        "g.yaml: the alias 'same' is taken by 'f'",
    ):
        assert told in result.stderr
    assert "Nothing was built:" in result.stderr


def test_a_card_that_readers_would_refuse_is_refused(run: Run, cards: Path, root: Path) -> None:
    (cards / "c.yaml").write_text(
        "schema: zoo.card/v1\nid: c\nfamily: f\nsummary: s\nevals: [{dataset: {id: d}, metric: m, value: .nan}]\n"
    )
    result = run("registry", "build", root, "--from", cards)
    assert (result.exit_code, root.exists()) == (1, False) or contents(root) == {}
    assert "The card 'c' cannot be published, for readers would refuse it" in result.stderr


def test_a_folder_without_cards_builds_nothing(run: Run, cards: Path, root: Path, tmp_path: Path) -> None:
    before = contents(build(run, root, cards))
    (tmp_path / "empty").mkdir()
    result = run("registry", "build", root, "--from", tmp_path / "empty")
    assert (result.exit_code, contents(root)) == (1, before)
    assert "there is no card below" in result.stderr


def test_the_users_own_cards_are_built_unless_others_are_named(run: Run, root: Path, zoo_folders: Path) -> None:
    write_cards(zoo_folders / "config" / "cards", "mine")
    assert run("registry", "build", root).exit_code == 0
    assert [each["id"] for each in index_of(root)["cards"]] == ["mine"]


@pytest.mark.parametrize("content", [b"", b"{}", b"garbage", b'{"schema": "zoo.index/v2"}'], ids=str)
def test_a_damaged_index_is_never_begun_anew(run: Run, cards: Path, root: Path, content: bytes) -> None:
    build(run, root, cards)
    (root / "index.json").write_bytes(content)
    before = contents(root)
    result = run("registry", "build", root, "--from", cards)
    assert (result.exit_code, contents(root)) == (1, before)
    assert "put back a good copy" in result.stderr


def test_lost_cards_are_written_again(run: Run, cards: Path, root: Path) -> None:
    before = contents(build(run, root, cards))
    first, second = sorted((root / "cards").iterdir())
    first.unlink()
    second.write_bytes(b"damaged")
    build(run, root, cards)
    assert contents(root) == before


def test_a_folder_that_cannot_be_written_is_said(run: Run, cards: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    result = run("registry", "build", tmp_path / "file" / "below", "--from", cards)
    assert result.exit_code == 1
    assert "cannot be" in result.stderr
    assert result.stderr.count("\n") == 1


# -- being killed --------------------------------------------------------------------------------------------------------

#: Builds a registry; stops for good where it has written as many files as the last argument says.
GATED = """
import sys, time
from pathlib import Path
from zoo_core.registries import building
write, count = building.write_whole, 0

def write_whole(path, content):
    global count
    if count == int(sys.argv[5]):
        (path.parent / f".{path.name}.0123abcd").write_bytes(content[:10])  # as far as it had come
        print("gate", flush=True)
        time.sleep(600)
    count += 1
    write(path, content)

building.write_whole = write_whole
building.ThreadPoolExecutor = lambda workers: __import__("concurrent.futures").futures.ThreadPoolExecutor(1)
from zoo_core.cli import cli
cli(["registry", "build", sys.argv[1], "--from", sys.argv[2], "--key", sys.argv[3]], standalone_mode=False)
"""


@pytest.mark.parametrize("written", [0, 1, 2, 3])
def test_a_build_that_is_killed_leaves_the_old_registry_and_is_carried_on(
    run: Run, cards: Path, root: Path, key: Path, written: int
) -> None:
    """Two cards, then the signatures, then the index: wherever the run ends, readers find what is signed."""
    build(run, root, cards, "--key", key)
    old = (root / "index.json").read_bytes()
    write_cards(cards, "a", "b", version="2.0.0")
    command = [sys.executable, "-c", GATED, str(root), str(cards), str(key), "-", str(written)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "gate\n"
        process.send_signal(signal.SIGKILL)
    public = public_key(read_key(key))
    assert (root / "index.json").read_bytes() == old
    assert signature_problem((root / "index.json.sig").read_bytes(), old, public) == ""
    assert all((root / "cards" / f"{each['digest']}.json").exists() for each in index_of(root)["cards"])
    build(run, root, cards, "--key", key)
    new = (root / "index.json").read_bytes()
    assert (index_of(root)["serial"], [each["version"] for each in index_of(root)["cards"]]) == (2, ["2.0.0"] * 2)
    assert signature_problem((root / "index.json.sig").read_bytes(), new, public) == ""
    assert not [name for name in contents(root) if ".0123abcd" in name]
    assert run("registry", "add", "r", root, "--key", public).exit_code == 0


def test_two_builds_at_once_wait_for_each_other(run: Run, cards: Path, root: Path) -> None:
    """The second finds the work of the first; neither fails."""
    write_cards(cards, *(f"c{number}" for number in range(50)))
    command = [sys.executable, "-c", ZOO, "registry", "build", str(root), "--from", str(cards)]
    runs = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    told = [each.communicate()[0] for each in runs]
    assert [each.returncode for each in runs] == [0, 0, 0]
    assert sum("52 new" in each for each in told) == 1
    assert index_of(root)["serial"] == 1


def test_the_lock_is_waited_for_and_said(run: Run, cards: Path, root: Path) -> None:
    root.mkdir()
    held = threading.Event()

    def hold() -> None:
        with FileLock(root / ".lock"):
            held.set()
            time.sleep(0.3)

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait()
    result = run("registry", "build", root, "--from", cards)
    holder.join()
    assert result.exit_code == 0
    assert "another run is writing the registry" in result.stderr


# -- keys and signatures -------------------------------------------------------------------------------------------------


def test_a_key_is_for_its_owner_alone_and_never_overwritten(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    result = run("registry", "keygen", path)
    assert result.exit_code == 0
    assert path.stat().st_mode & 0o777 == 0o600
    assert len(base64.b64decode(result.stdout)) == 32
    assert result.stdout.strip() == public_key(read_key(path))
    before = path.read_bytes()
    again = run("registry", "keygen", path)
    assert (again.exit_code, path.read_bytes()) == (1, before)
    assert "exists, and a key is never overwritten" in again.stderr
    assert run("registry", "keygen", tmp_path / "no" / "key.pem").exit_code == 1
    assert {each.name for each in tmp_path.iterdir()} == {"zoo", "key.pem"}


def test_the_signature_is_ed25519_over_the_bytes_of_the_index(run: Run, cards: Path, root: Path, key: Path) -> None:
    assert "(signed)" in run("registry", "build", root, "--from", cards, "--key", key).stdout
    (signed,) = msgspec.json.decode((root / "index.json.sig").read_bytes())["signatures"]
    index = (root / "index.json").read_bytes()
    assert signed["index"] == hashlib.sha256(index).hexdigest()
    public = Ed25519PublicKey.from_public_bytes(base64.b64decode(public_key(read_key(key))))
    public.verify(base64.b64decode(signed["signature"]), index)


def test_a_signed_registry_stays_signed(run: Run, cards: Path, root: Path, key: Path, tmp_path: Path) -> None:
    before = contents(build(run, root, cards, "--key", key))
    build(run, root, cards)  # nothing changes, so no key is needed
    assert contents(root) == before
    write_cards(cards, "c")
    result = run("registry", "build", root, "--from", cards)
    assert (result.exit_code, contents(root)) == (2, before)
    assert "is signed; name its key with --key" in result.stderr
    make_key(tmp_path / "other.pem")
    result = run("registry", "build", root, "--from", cards, "--key", tmp_path / "other.pem")
    assert (result.exit_code, contents(root)) == (2, before)
    assert "is signed, and not with this key" in result.stderr
    build(run, root, cards, "--key", tmp_path / "other.pem", "--new-key")
    signatures = (root / "index.json.sig").read_bytes()
    index = (root / "index.json").read_bytes()
    assert signature_problem(signatures, index, public_key(read_key(tmp_path / "other.pem"))) == ""
    assert signature_problem(signatures, before["index.json"], public_key(read_key(key))) == ""


def test_the_key_may_be_named_by_the_environment(
    run: Run, cards: Path, root: Path, key: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(run, root, cards)
    monkeypatch.setenv("ZOO_REGISTRY_KEY", str(key))
    build(run, root, cards)  # signs what is there
    assert index_of(root)["serial"] == 1
    index = (root / "index.json").read_bytes()
    assert signature_problem((root / "index.json.sig").read_bytes(), index, public_key(read_key(key))) == ""


def other_keys(folder: Path) -> dict[str, bytes | None]:
    rsa = generate_private_key(65537, 2048)
    pem, plain = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    secret = serialization.BestAvailableEncryption(b"secret")
    make_key(folder / "good.pem")
    good = read_key(folder / "good.pem")
    return {
        "absent": None,
        "empty": b"",
        "garbage": b"\x00\xff" * 100,
        "RSA": rsa.private_bytes(pem, plain, serialization.NoEncryption()),
        "with a password": good.private_bytes(pem, plain, secret),
        "a public key": good.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo),
    }


def test_other_keys_are_refused(run: Run, cards: Path, root: Path, tmp_path: Path) -> None:
    for name, content in other_keys(tmp_path).items():
        if content is not None:
            (tmp_path / name).write_bytes(content)
        result = run("registry", "build", root, "--from", cards, "--key", tmp_path / name)
        assert (result.exit_code, root.exists(), result.stderr.count("\n")) == (1, False, 1), name
        assert "cannot be read" in result.stderr or "is no private ed25519 key without a password" in result.stderr


def test_a_private_key_in_the_place_of_another_argument_is_not_printed(
    run: Run, cards: Path, root: Path, key: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = key.read_text()
    line = text.splitlines()[1]
    for command in (
        ["add", "r", root, "--key", line],
        ["build", root, "--from", cards, "--key", line],
        ["build", root, "--from", cards, "--key", text],
    ):
        result = run("registry", *command)
        assert (result.exit_code in (1, 2), result.stderr.count("\n")) == (True, 1)
        assert line[20:] not in result.output
    monkeypatch.setenv("ZOO_REGISTRY_KEY", text)
    with pytest.raises(ZooError) as caught:
        publish(cards / "a.yaml", root)
    assert line[20:] not in str(caught.value)


def test_signatures_of_something_else_do_not_pass(key: Path, tmp_path: Path) -> None:
    good, index = read_key(key), b"index"
    public = public_key(good)
    make_key(tmp_path / "other.pem")
    forged = msgspec.structs.replace(sign(b"another", good), index=sign(index, good).index)
    by_other = sign(index, read_key(tmp_path / "other.pem"))
    assert signature_problem(signatures_bytes([sign(index, good)]), index, public) == ""
    assert signature_problem(signatures_bytes([by_other, sign(index, good)]), index, public) == ""
    for content, problem in (
        (None, "is not signed"),
        (b"", "has a signature of something else"),
        (b"[" * 100_000, "has a signature of something else"),
        (signatures_bytes([]), "has a signature of something else"),
        (signatures_bytes([sign(b"another", good)]), "has a signature of something else"),
        (signatures_bytes([forged]), "is not signed with the key that you trust"),
        (signatures_bytes([by_other]), "is not signed with the key that you trust"),
        (signatures_bytes([msgspec.structs.replace(by_other, signature="?")]), "is not signed with the key"),
    ):
        assert signature_problem(content, index, public).startswith(problem)


# -- publishing single cards -----------------------------------------------------------------------------------------------


def publish(card: Path, root: Path) -> Any:
    return FolderCards().publish(PublishRequest(card=read_card(card), address=str(root)))


@pytest.mark.parametrize("signed", [False, True])
def test_a_card_is_added_to_a_registry(
    run: Run, cards: Path, root: Path, key: Path, tmp_path: Path, signed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(build(run, root, cards, *(["--key", key] if signed else [])))
    if signed:
        monkeypatch.setenv("ZOO_REGISTRY_KEY", str(key))
    publication = publish(write_cards(tmp_path / "new", "c") / "c.yaml", root)
    assert (contents(root), publication.where) == (before, str(root))
    digest = card_digest(read_card(tmp_path / "new" / "c.yaml"))
    changed = [f"cards/{digest}.json", "index.json", *(["index.json.sig"] if signed else [])]
    assert [change.path for change in publication.changes] == changed
    for change in publication.changes:
        assert (change.before or "").encode() == before.get(change.path, b"")
    told = publication.carry_out()
    after = contents(root)
    assert after == before | {change.path: change.after.encode() for change in publication.changes}
    assert "serial 2" in told
    assert [each["id"] for each in index_of(root)["cards"]] == ["a", "b", "c"]
    assert publish(tmp_path / "new" / "c.yaml", root).changes == []
    options = ["--key", public_key(read_key(key))] if signed else []
    assert run("registry", "add", "r", root, *options).stdout.endswith("3 cards: 3 new, 0 changed, 0 removed.\n")


def test_a_registry_can_begin_with_one_card(run: Run, cards: Path, root: Path) -> None:
    publish(cards / "a.yaml", root).carry_out()
    assert index_of(root)["serial"] == 1
    assert run("registry", "add", "r", root).exit_code == 0


def test_what_cannot_be_published_into_a_folder(
    run: Run, cards: Path, root: Path, key: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(run, root, cards, "--key", key)
    write_cards(tmp_path / "new", "a", summary="other")
    write_cards(tmp_path / "new", "c")
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "lone" / "other").mkdir(parents=True)
    before = contents(tmp_path)
    for card, target, problem in (
        ("a", root, "raise the version of 'a'"),
        ("c", root, "is signed; name its key"),
        ("c", tmp_path / "file", "is no folder"),
        ("c", tmp_path / "lone", "is no static registry"),
        ("c", "~nobody-has-this-name/x", "home folder of nobody"),
        ("c", tmp_path / ("x" * 300), "cannot be read: File name too long"),
        ("c", tmp_path / "file" / "below", "cannot be"),
    ):
        with pytest.raises(ZooError, match=problem):
            publish(tmp_path / "new" / f"{card}.yaml", target)
    make_key(tmp_path / "other.pem")
    monkeypatch.setenv("ZOO_REGISTRY_KEY", str(tmp_path / "other.pem"))
    with pytest.raises(ZooError, match="is signed, and not with this key"):
        publish(tmp_path / "new" / "c.yaml", root)
    (tmp_path / "other.pem").unlink()
    assert contents(tmp_path) == before


def test_a_registry_that_changed_meanwhile_is_not_overwritten(
    run: Run, cards: Path, root: Path, tmp_path: Path
) -> None:
    build(run, root, cards)
    late = publish(write_cards(tmp_path / "new", "c") / "c.yaml", root)
    publish(write_cards(tmp_path / "new", "d") / "d.yaml", root).carry_out()
    before = contents(root)
    with pytest.raises(ZooError, match="was changed meanwhile; nothing was written"):
        late.carry_out()
    assert contents(root) == before


# -- mirrors and removal -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("serial", [1, 2])
def test_a_mirror_never_replaces_another_registry(
    run: Run, cards: Path, root: Path, tmp_path: Path, serial: int
) -> None:
    build(run, root, cards, "--serial", str(serial))
    other = build(run, tmp_path / "other", write_cards(tmp_path / "birds", "owl"))
    before = contents(other)
    run("registry", "add", "r", root)
    result = run("registry", "mirror", "r", other)
    assert (result.exit_code, contents(other)) == (1, before)
    assert "holds another registry" in result.stderr


def test_a_mirror_goes_into_no_folder_of_other_files(run: Run, cards: Path, root: Path, tmp_path: Path) -> None:
    run("registry", "add", "r", build(run, root, cards))
    before = contents(cards)
    result = run("registry", "mirror", "r", cards)
    assert (result.exit_code, {path.name for path in cards.iterdir()}) == (1, set(before))
    assert "holds other files, and no registry" in result.stderr
    run("registry", "mirror", "r", tmp_path / "stick")
    (tmp_path / "stick" / "index.json").unlink()  # as a run that is killed leaves it
    assert run("registry", "mirror", "r", tmp_path / "stick").exit_code == 0
    assert contents(tmp_path / "stick") == contents(root)


@pytest.mark.parametrize("damage", [None, b"damaged"])
def test_a_copy_whose_signature_is_lost_is_not_mirrored(
    run: Run, cards: Path, root: Path, key: Path, tmp_path: Path, damage: bytes | None
) -> None:
    build(run, root, cards, "--key", key)
    run("registry", "add", "r", root, "--key", public_key(read_key(key)))
    signatures = local() / "index.json.sig"
    signatures.unlink() if damage is None else signatures.write_bytes(damage)
    result = run("registry", "mirror", "r", tmp_path / "stick")
    assert (result.exit_code, contents(tmp_path / "stick")) == (1, {})
    assert "repair it with: zoo registry update r" in result.stderr
    assert run("registry", "update", "r").exit_code == 0
    assert run("registry", "mirror", "r", tmp_path / "stick").exit_code == 0


def test_a_registry_is_removed_whole_or_not_at_all(
    run: Run, cards: Path, root: Path, zoo_folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("registry", "add", "r", build(run, root, cards))
    before = contents(local())

    def refuse(*arguments: object, **options: object) -> None:
        if not options.get("ignore_errors"):
            raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", refuse)
        result = run("registry", "remove", "r")
    assert (result.exit_code, result.stderr.count("\n"), contents(local())) == (1, 1, before)
    assert "cannot be removed: Permission denied; nothing was changed" in result.stderr
    cache = next((zoo_folders / "cache" / "registries").glob("r.*"))
    cache.unlink()
    cache.mkdir()  # so that it cannot be deleted as a file
    with monkeypatch.context() as patch:
        patch.setattr("shutil.rmtree", refuse)
        result = run("registry", "remove", "r")
    assert (result.exit_code, result.stderr.count("\n"), local().exists()) == (1, 1, False)
    assert "is removed, but its copy in" in result.stderr
    assert run("registry", "list").stdout == ""
