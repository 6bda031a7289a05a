"""Weights on disk: where they are looked for, that they are the card's, and the memory of digests."""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import shutil
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from zoo_core.cards.schema import File, ModelCard, Source
from zoo_core.errors import WeightsError
from zoo_core.weights.pulled import Pulled, pulled_folder, records, remember
from zoo_core.weights.store import find_weights, verify

CONTENT = b"weights" * 1000
DIGEST = hashlib.sha256(CONTENT).hexdigest()


def model(*, files: list[File] | None = None, sources: list[Source] | None = None) -> ModelCard:
    if files is None:
        files = [File(path="model.bin", size=len(CONTENT), sha256=DIGEST)]
    return ModelCard(schema="zoo.card/v1", id="x", family="f", summary="s", files=files, sources=sources or [])


def file(path: str = "model.bin", size: int = len(CONTENT), sha256: str = DIGEST) -> File:
    return File(path=path, size=size, sha256=sha256)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A folder with the weights of the card."""
    folder = tmp_path / "weights"
    (folder / "deep").mkdir(parents=True)
    (folder / "model.bin").write_bytes(CONTENT)
    (folder / "deep" / "model.bin").write_bytes(CONTENT)
    return folder


def problem(card: ModelCard, folder: Path) -> str:
    with pytest.raises(WeightsError) as caught:
        verify(card, folder)
    return str(caught.value)


# -- the files are the card's ------------------------------------------------------------------------------------------


def test_weights_that_are_right(weights: Path) -> None:
    verify(model(files=[file(), file("deep/model.bin")]), weights)


def test_a_card_without_files_promises_nothing(weights: Path) -> None:
    verify(model(files=[]), weights)


def test_a_missing_file(weights: Path) -> None:
    (weights / "model.bin").unlink()
    expected = f"The weights of 'x' lack the file {weights / 'model.bin'}; get the whole folder again."
    assert problem(model(), weights) == expected


@pytest.mark.parametrize(
    "path",
    [
        pytest.param("deep", id="a folder"),
        pytest.param("model.bin/x", id="below a file"),
        pytest.param("a\0b", id="a name with a zero"),
        pytest.param("龙" * 255, id="a name that is too long"),
        pytest.param("broken-link", id="a broken link"),
        pytest.param("endless-link", id="a link to itself"),
    ],
)
def test_what_is_no_file_is_missing(weights: Path, path: str) -> None:
    (weights / "broken-link").symlink_to("nothing")
    (weights / "endless-link").symlink_to("endless-link")
    size = (weights / "deep").stat().st_size  # so that the size gives no hint
    assert problem(model(files=[file(path, size)]), weights).startswith("The weights of 'x' lack the file ")


@pytest.mark.parametrize("size", [0, len(CONTENT) - 1, len(CONTENT) + 1])
def test_a_file_of_another_size(weights: Path, size: int) -> None:
    (weights / "model.bin").write_bytes(CONTENT.ljust(size, b"x")[:size])
    assert problem(model(), weights) == (
        f"The file {weights / 'model.bin'} has {size:,} bytes, but the card of 'x' says 7,000: "
        "it is incomplete or another one; get it again."
    )


def test_a_file_of_the_same_size_with_another_content(weights: Path) -> None:
    (weights / "model.bin").write_bytes(CONTENT[::-1])
    digest = hashlib.sha256(CONTENT[::-1]).hexdigest()
    assert problem(model(), weights) == (
        f"The file {weights / 'model.bin'} has the sha256 {digest[:12]}…, but the card of 'x' says {DIGEST[:12]}…: "
        "it is damaged or another one; get it again."
    )


def test_the_second_of_two_files_is_looked_at_too(weights: Path) -> None:
    (weights / "deep" / "model.bin").write_bytes(CONTENT[::-1])
    assert str(weights / "deep" / "model.bin") in problem(model(files=[file(), file("deep/model.bin")]), weights)


@pytest.mark.parametrize("relative", [False, True], ids=["absolute folder", "relative folder"])
@pytest.mark.parametrize("path", ["../model.bin", "/etc/hostname", "deep/../../model.bin", "..", "deep/../model.bin"])
def test_paths_that_leave_the_folder_are_refused(
    weights: Path, monkeypatch: pytest.MonkeyPatch, path: str, relative: bool
) -> None:
    (weights.parent / "model.bin").write_bytes(CONTENT)
    monkeypatch.chdir(weights.parent)
    folder = Path("weights") if relative else weights
    expected = f"The card of 'x' names the file '{path}', which is outside its folder."
    assert problem(model(files=[file(path)]), folder) == expected


def test_linked_files_are_followed_as_hubs_lay_them_out(weights: Path, tmp_path: Path) -> None:
    blob = tmp_path / "blob"
    blob.write_bytes(CONTENT)
    (weights / "linked.bin").symlink_to(blob)
    verify(model(files=[file("linked.bin")]), weights)


# -- where the weights are ---------------------------------------------------------------------------------------------


def test_a_given_folder_goes_before_all_sources(weights: Path, tmp_path: Path) -> None:
    card = model(sources=[Source(hub="folder", path="elsewhere")])
    assert find_weights(card, tmp_path / "x.yaml", weights) == weights


def test_a_given_folder_may_begin_with_the_home(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(weights.parent))
    assert find_weights(model(), Path("x.yaml"), Path("~/weights")) == weights


@pytest.mark.parametrize("given", ["nothing", "weights/model.bin", "~no-such-user/x"])
def test_a_given_folder_that_is_none(weights: Path, monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    monkeypatch.chdir(weights.parent)
    with pytest.raises(WeightsError, match=f"^There is no folder {given} with the weights of 'x'"):
        find_weights(model(), Path("x.yaml"), Path(given))


def test_a_given_folder_is_verified(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="lack the file"):
        find_weights(model(), tmp_path / "x.yaml", tmp_path)


@pytest.mark.parametrize("path", ["weights", "./weights", "deeper/../weights"])
def test_a_folder_beside_the_card(weights: Path, path: str) -> None:
    (weights.parent / "deeper").mkdir()
    found = find_weights(model(sources=[Source(hub="folder", path=path)]), weights.parent / "x.yaml")
    assert found.samefile(weights)


def test_the_cards_own_folder(weights: Path) -> None:
    assert find_weights(model(sources=[Source(hub="folder", path=".")]), weights / "zoo.yaml").samefile(weights)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installed package with weights, whose code must not run."""
    folder = tmp_path / "site" / "package_of_weights"
    (folder / "weights").mkdir(parents=True)
    (folder / "__init__.py").write_text("raise RuntimeError\n")
    (folder / "weights" / "model.bin").write_bytes(CONTENT)
    (tmp_path / "site" / "module_of_weights.py").write_text("raise RuntimeError\n")
    monkeypatch.syspath_prepend(tmp_path / "site")
    return folder


def test_a_package_is_not_imported(package: Path) -> None:
    source = Source(hub="package", repo="package_of_weights", path="weights")
    assert find_weights(model(sources=[source]), Path("x.yaml")) == package / "weights"
    assert "package_of_weights" not in sys.modules


@pytest.mark.parametrize(
    ("repo", "path"),
    [
        pytest.param("no_such_package", "weights", id="not installed"),
        pytest.param("package_of_weights", "nothing", id="no such folder"),
        pytest.param("package_of_weights", "__init__.py", id="a file"),
        pytest.param("package_of_weights", "..", id="above"),
        pytest.param("package_of_weights", "../package_of_weights_too", id="beside, with its name's start"),
        pytest.param("package_of_weights", "weights/../../..", id="above by a detour"),
        pytest.param("package_of_weights", "/etc", id="elsewhere"),
        pytest.param("package_of_weights", "linked", id="a link that leads out"),
        pytest.param("package_of_weights", "a\0b", id="a path that cannot be"),
        pytest.param("package_of_weights.weights", ".", id="a part, which would import the whole"),
        pytest.param("module_of_weights", ".", id="a module"),
        pytest.param("sys", ".", id="built in"),
        pytest.param("", "weights", id="nothing"),
        pytest.param("..", ".", id="dots"),
        pytest.param("a/b", ".", id="a path"),
        pytest.param("silent_module", ".", id="a module that says nothing of itself"),
    ],
)
def test_packages_without_such_a_folder(package: Path, monkeypatch: pytest.MonkeyPatch, repo: str, path: str) -> None:
    (package.parent / "package_of_weights_too").mkdir()
    (package / "linked").symlink_to(package.parent)
    monkeypatch.setitem(sys.modules, "silent_module", ModuleType("silent_module"))
    card = model(files=[], sources=[Source(hub="package", repo=repo, path=path)])
    with pytest.raises(WeightsError, match=r"^The weights of 'x' should be at "):
        find_weights(card, Path("x.yaml"))
    assert "package_of_weights" not in sys.modules


def test_the_first_folder_that_exists_is_used(weights: Path) -> None:
    sources = [
        Source(hub="huggingface", repo="a/b"),
        Source(hub="package", repo="no_such_package", path="weights"),
        Source(hub="folder", path="nothing"),
        Source(hub="folder", path="weights"),
    ]
    assert find_weights(model(sources=sources), weights.parent / "x.yaml") == weights


@pytest.mark.parametrize(
    ("sources", "message"),
    [
        pytest.param([], "The card of 'x' names no source of weights; name a folder with --model-path.", id="none"),
        pytest.param(
            [Source(hub="huggingface", repo="a/b"), Source(hub="modelscope", repo="c/d")],
            "The weights of 'x' are not on this machine. Get them with: zoo pull x",
            id="hubs",
        ),
        pytest.param(
            [Source(hub="folder", path="nothing"), Source(hub="modelscope", repo="c/d")],
            "The weights of 'x' are not on this machine. Get them with: zoo pull x",
            id="folder and hub",
        ),
        pytest.param(
            [Source(hub="folder", path="nothing")],
            "The weights of 'x' should be at nothing, but are not there.",
            id="folder",
        ),
    ],
)
def test_weights_that_are_nowhere(tmp_path: Path, sources: list[Source], message: str) -> None:
    with pytest.raises(WeightsError) as caught:
        find_weights(model(sources=sources), tmp_path / "x.yaml")
    assert str(caught.value) == message


def test_the_way_to_get_weights_is_the_one_that_the_user_took(tmp_path: Path) -> None:
    card = model(sources=[Source(hub="huggingface", repo="a/b")])
    with pytest.raises(WeightsError, match=r"Get them with: zoo pull \./x\.yaml$"):
        find_weights(card, tmp_path / "x.yaml", reference="./x.yaml")


def pulled(place: Path, **changes: Any) -> Pulled:
    now = datetime.datetime.now(datetime.UTC)
    facts = {"card": "x", "digest": DIGEST, "hub": "huggingface", "repo": "a/b", "revision": "c" * 40}
    return Pulled(**{**facts, "folder": str(place), "files": [file()], "date": now, **changes})


HUB = Source(hub="huggingface", repo="a/b")


def test_what_was_pulled_is_found_after_what_is_local(weights: Path, tmp_path: Path) -> None:
    remember(pulled(weights))
    assert find_weights(model(sources=[HUB]), tmp_path / "x.yaml") == weights
    shutil.copytree(weights, tmp_path / "mine")
    sources = [HUB, Source(hub="folder", path="mine")]
    assert find_weights(model(sources=sources), tmp_path / "x.yaml") == tmp_path / "mine"
    (tmp_path / "mine" / "model.bin").write_bytes(CONTENT[::-1])
    assert find_weights(model(sources=sources), tmp_path / "x.yaml") == weights
    (weights / "model.bin").unlink()
    with pytest.raises(WeightsError, match=r"mine/model\.bin has the sha256"):  # what is wrong with the first
        find_weights(model(sources=sources), tmp_path / "x.yaml")


@pytest.mark.parametrize(
    ("changes", "source", "found"),
    [
        pytest.param({}, {}, True, id="the same"),
        pytest.param({}, {"revision": "c" * 40}, True, id="the same commit"),
        pytest.param({}, {"revision": "d" * 40}, False, id="another commit"),
        pytest.param({}, {"repo": "a/c"}, False, id="another repository"),
        pytest.param({"card": "y"}, {}, False, id="another card"),
        pytest.param({"folder": "/nowhere"}, {}, False, id="a folder that is gone"),
    ],
)
def test_which_record_is_of_a_card_without_files(
    weights: Path, changes: dict[str, Any], source: dict[str, str], found: bool
) -> None:
    remember(pulled(weights, **changes))
    card = model(files=[], sources=[Source(**{"hub": "huggingface", "repo": "a/b", **source})])
    assert pulled_folder(card) == (weights if found else None)


def test_recorded_files_are_verified_where_the_card_lists_none(weights: Path) -> None:
    remember(pulled(weights))
    (weights / "model.bin").write_bytes(CONTENT[::-1])
    with pytest.raises(WeightsError, match="has the sha256"):
        find_weights(model(files=[], sources=[HUB]), Path("x.yaml"))


def test_the_newest_record_is_used(weights: Path, tmp_path: Path) -> None:
    early = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    remember(pulled(weights))
    remember(pulled(tmp_path, revision="b" * 40, date=early))
    assert pulled_folder(model(sources=[HUB])) == weights
    remember(pulled(weights, date=early))  # in place of the first
    assert [record.date for record in records()] == [early, early]


def test_a_damaged_record_is_told(tmp_path: Path) -> None:
    Path(os.environ["ZOO_DATA"], "pulled.json").write_bytes(b"{")
    with pytest.raises(WeightsError) as caught:
        find_weights(model(sources=[HUB]), tmp_path / "x.yaml")
    assert str(caught.value) == (
        "The weights of 'x' are not on this machine (the record of pulled weights, "
        f"{os.environ['ZOO_DATA']}/pulled.json, is damaged and counts as empty). Get them with: zoo pull x"
    )


# -- the memory of digests ---------------------------------------------------------------------------------------------


def memory() -> Path:
    return Path(os.environ["ZOO_CACHE"]) / "verified.json"


def test_a_digest_is_computed_once(weights: Path) -> None:
    verify(model(), weights)
    path = weights / "model.bin"
    status = path.stat()
    path.write_bytes(CONTENT[::-1])
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    verify(model(), weights)  # the same size and time: the remembered digest is taken
    memory().unlink()
    assert "has the sha256" in problem(model(), weights)


@pytest.mark.parametrize("shift", [1, -1_000_000_000], ids=["newer", "older"])
def test_a_changed_file_is_read_again(weights: Path, shift: int) -> None:
    verify(model(), weights)
    path = weights / "model.bin"
    status = path.stat()
    path.write_bytes(CONTENT[::-1])
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + shift))
    assert "has the sha256" in problem(model(), weights)


def test_another_digest_in_the_card_is_not_taken_for_verified(weights: Path) -> None:
    verify(model(), weights)
    assert "has the sha256" in problem(model(files=[file(sha256="0" * 64)]), weights)


def test_another_file_of_the_same_size_is_not_taken_for_verified(weights: Path) -> None:
    verify(model(), weights)
    status = (weights / "model.bin").stat()
    other = weights / "deep" / "model.bin"
    other.write_bytes(CONTENT[::-1])
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert "has the sha256" in problem(model(files=[file("deep/model.bin")]), weights)


def test_a_wrong_digest_is_not_remembered(weights: Path) -> None:
    (weights / "model.bin").write_bytes(CONTENT[::-1])
    problem(model(), weights)
    assert not memory().exists()


def test_the_memory_grows_and_is_not_written_without_need(weights: Path) -> None:
    verify(model(), weights)
    written = memory().stat().st_mtime_ns
    verify(model(), weights)
    assert memory().stat().st_mtime_ns == written
    verify(model(files=[file("deep/model.bin")]), weights)
    assert set(json.loads(memory().read_bytes()).values()) == {DIGEST}
    assert len(json.loads(memory().read_bytes())) == 2


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b'{"a": 1}', b'{"a": "\xff"}', b"\xff\xfe", b"[" * 100_000],
    ids=lambda each: ascii(each[:9]),
)
def test_a_damaged_memory_is_made_anew(weights: Path, content: bytes) -> None:
    memory().write_bytes(content)
    verify(model(), weights)
    assert list(json.loads(memory().read_bytes()).values()) == [DIGEST]


def test_a_cache_folder_that_cannot_be_made_does_no_harm(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "file" / "below"))
    verify(model(), weights)
    (weights / "model.bin").write_bytes(CONTENT[::-1])
    assert "has the sha256" in problem(model(), weights)
