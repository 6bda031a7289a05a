"""Pulls of cards that list no files or no commit: what is taken, what is refused, and how files are verified then."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from zoo_core import (
    Download,
    File,
    ModelCard,
    Offer,
    RemoteFile,
    Repository,
    Source,
    Unreachable,
    WeightsError,
    Zoo,
    data_folder,
    hookimpl,
    write_whole,
)
from zoo_core.plugins import Plugins
from zoo_core.weights.choosing import wanted_files
from zoo_core.weights.pulled import Pulled, pulled_folder
from zoo_core.weights.pulling import Plan, plan, pull
from zoo_core.weights.store import find_weights

COMMIT = "c" * 40
FILES = {
    "config.json": b"{}",
    "model.safetensors": b"numbers" * 100,
    "pytorch_model.bin": b"pickled",
    "README.md": b"# Read",
}


def git_id(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class Shelf:
    """A hub of one repository. Tells SHA-256 of weights and git's ids of the rest, as hubs do; `lies` changes what it tells."""

    files: Mapping[str, bytes] = FILES
    lies: Mapping[str, Mapping[str, Any]] = {}
    revision = COMMIT
    reachable = True

    def inspect(self, source: Source) -> Repository:
        if not self.reachable:
            raise Unreachable("The shelf does not answer.")
        return Repository(repo=source.repo, revision=source.revision or self.revision, files=self._listed())

    def _listed(self) -> list[RemoteFile]:
        return [
            msgspec.structs.replace(
                RemoteFile(
                    path=path,
                    size=len(content),
                    sha256=hashlib.sha256(content).hexdigest() if path.endswith((".safetensors", ".bin")) else None,
                    git_id="" if path.endswith((".safetensors", ".bin")) else git_id(content),
                ),
                **self.lies.get(path, {}),
            )
            for path, content in self.files.items()
        ]

    def present(self, source: Source, files: Sequence[RemoteFile]) -> dict[str, Path]:
        folder = data_folder() / "shelf" / source.revision
        return {file.path: folder / file.path for file in files if (folder / file.path).is_file()}

    def store(self, source: Source) -> Path:
        return data_folder() / "shelf" / "begun"

    def begun(self, source: Source, file: RemoteFile) -> Path:
        return self.store(source) / file.path

    def download(self, download: Download) -> Path:
        if not self.reachable:
            raise Unreachable("The shelf does not answer.")
        folder = data_folder() / "shelf" / download.source.revision
        for file in download.files:
            begun = self.begun(download.source, file)
            write_whole(begun, self.files[file.path])
            download.check(begun, file)
            (folder / file.path).parent.mkdir(parents=True, exist_ok=True)
            begun.rename(folder / file.path)
        return folder


@hookimpl
def zoo_weight_sources() -> list[Offer]:
    return [Offer(name="shelf", target="test_pull_unpinned:Shelf")]


class Said:
    """A watcher that remembers."""

    def __init__(self) -> None:
        self.text: list[str] = []
        self.files: list[str] = []

    def say(self, text: str) -> None:
        self.text.append(text)

    def finished(self, path: str, size: int) -> None:
        self.files.append(path)

    def begin(self, files: object) -> None: ...

    def moved(self, path: str, done: int, total: int) -> None: ...

    verified = moved


@pytest.fixture
def shelf(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Change the shelf for this test."""
    return lambda **changes: [monkeypatch.setattr(Shelf, name, value) for name, value in changes.items()]


def card(revision: str = "", files: Mapping[str, bytes] | None = None) -> ModelCard:
    listed = [File(path=p, size=len(c), sha256=hashlib.sha256(c).hexdigest()) for p, c in (files or {}).items()]
    source = Source(hub="shelf", repo="a/b", revision=revision)
    return ModelCard(schema="zoo.card/v1", id="x", family="f", summary="s", sources=[source], files=listed)


def pulled(model: ModelCard, said: Said | None = None, **options: bool) -> Pulled:
    return pull(zoo(), model, Path("x.yaml"), said or Said(), **options)


def zoo() -> Zoo:
    return Zoo(plugins=Plugins([], modules={"shelf": SimpleNamespace(zoo_weight_sources=zoo_weight_sources)}))


def names(record: Pulled) -> set[str]:
    return {file.path for file in record.files}


# -- what is taken -----------------------------------------------------------------------------------------------------


def test_the_newest_commit_is_taken_and_told() -> None:
    said = Said()
    record = pulled(card(), said)
    assert names(record) == {"config.json", "model.safetensors"} == set(said.files)
    assert record.revision == COMMIT
    assert said.text == [
        "Warning: the card of 'x' lists no files: these are what a/b (shelf) has at commit cccccccccccc; "
        "2 other files are left out."
    ]
    expected = {path: hashlib.sha256(FILES[path]).hexdigest() for path in names(record)}
    assert {file.path: file.sha256 for file in record.files} == expected
    assert find_weights(card(), Path("x.yaml")) == Path(record.folder)


def test_all_files_are_taken_where_that_is_wanted() -> None:
    assert names(pulled(card(), all_files=True)) == set(FILES)
    some = card(COMMIT, {"config.json": FILES["config.json"]})
    assert names(pulled(some)) == set(FILES)  # all of them are here already
    assert names(pulled(some, all_files=True)) == set(FILES)


def test_a_new_commit_is_pulled_beside_the_old_one(shelf: Callable[..., None]) -> None:
    first = pulled(card())
    shelf(revision="d" * 40, files={**FILES, "config.json": b"[]"})
    second = pulled(card())
    assert second.revision == "d" * 40
    assert first.folder != second.folder
    assert pulled_folder(card()) == Path(second.folder)
    assert pulled_folder(card(COMMIT)) == Path(first.folder)


def test_a_commit_that_is_here_is_not_asked_for(shelf: Callable[..., None]) -> None:
    first = pulled(card(COMMIT))
    shelf(reachable=False)
    said = Said()
    assert pulled(card(COMMIT), said) == first
    assert said.text == ["The weights of 'x' are here already."]
    assert pulled(card(), offline=True) == first  # the newest that is here
    with pytest.raises(Unreachable, match="The shelf does not answer"):
        pulled(card())  # there may be a newer one


def test_offline_without_files_and_without_a_record() -> None:
    with pytest.raises(WeightsError, match=r"lists no files, so only a/b \(shelf\) itself can tell which they are"):
        pulled(card(), offline=True)


def test_digests_decide_where_the_card_names_no_commit() -> None:
    files = {path: FILES[path] for path in ("config.json", "model.safetensors")}
    said = Said()
    record = pulled(card(files=files), said)
    assert (record.revision, names(record), said.text) == (COMMIT, set(files), [])


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"gone.json": b""}, r"a/b \(shelf\) has no file gone.json at commit c{12}, but the card lists one"),
        ({"config.json": b"longer"}, r"has another config.json at commit c{12} than the card of 'x' lists"),
        ({"model.safetensors": FILES["model.safetensors"][::-1]}, r"has another model.safetensors at commit"),
    ],
)
def test_other_files_are_noticed_before_they_are_downloaded(files: dict[str, bytes], message: str) -> None:
    said = Said()
    with pytest.raises(WeightsError, match=message):
        pulled(card(files=files), said)
    assert said.files == []
    assert not (data_folder() / "shelf").exists()


def test_the_plan_names_the_commit() -> None:
    planned = plan(zoo(), card(), Path("x.yaml"), Said())
    assert isinstance(planned, Plan)
    assert planned.source.revision == COMMIT
    assert [file.path for file in planned.missing] == ["config.json", "model.safetensors"]
    assert not (data_folder() / "shelf").exists()
    pulled(card(COMMIT))
    assert plan(zoo(), card(COMMIT), Path("x.yaml"), Said()).missing == []


# -- hubs that lie -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "lie", "message"),
    [
        (
            "config.json",
            {"git_id": "0" * 40},
            "The file config.json of 'x' from a/b .shelf. has not git's id 000000000000",
        ),
        ("config.json", {"size": 3}, "The file config.json of 'x' from a/b .shelf. has 2 bytes, not 3"),
        ("model.safetensors", {"sha256": "0" * 64}, "has the sha256 [0-9a-f]{12}…, not 000000000000…"),
        ("config.json", {"size": -1}, "is said to have -1 bytes"),
        ("config.json", {"path": "../config.json"}, "which no folder may hold"),
        ("config.json", {"path": "/config.json"}, "which no folder may hold"),
        ("config.json", {"path": "a" * 300 + ".json"}, "which no folder may hold"),
        ("config.json", {"path": "con\u202efig.json"}, "which no folder may hold"),
        ("config.json", {"path": "README.md"}, "has a file called 'README.md' twice"),
        ("config.json", {"path": "README.md/x/y"}, "has a file called 'README.md' which is the folder of another"),
    ],
)
def test_lies_are_refused(shelf: Callable[..., None], path: str, lie: dict[str, Any], message: str) -> None:
    shelf(lies={path: lie})
    with pytest.raises(WeightsError, match=message):
        pulled(card(), all_files=True)
    assert pulled_folder(card()) is None


def test_a_file_that_is_changed_after_it_was_checked_is_refused(shelf: Callable[..., None]) -> None:
    def download(self: Shelf, request: Download) -> Path:
        folder = original(self, request)
        write_whole(folder / "config.json", b"[]")
        return folder

    original = Shelf.download
    shelf(download=download)
    with pytest.raises(WeightsError, match=r"config\.json"):
        pulled(card())
    assert pulled_folder(card()) is None


def test_a_file_that_is_not_delivered_is_noticed(shelf: Callable[..., None]) -> None:
    shelf(download=lambda self, request: data_folder())
    with pytest.raises(WeightsError, match=r"The file config\.json of 'x' from a/b \(shelf\) was not delivered"):
        pulled(card())


# -- which files are wanted --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("there", "wanted"),
    [
        ("config.json model.safetensors", "config.json model.safetensors"),
        (
            "config.json tokenizer.model vocab.txt merges.txt chat_template.jinja qwen.tiktoken m.safetensors",
            "chat_template.jinja config.json m.safetensors merges.txt qwen.tiktoken tokenizer.model vocab.txt",
        ),
        (".gitattributes README.md LICENSE run.py p.png m.safetensors requirements.txt", "m.safetensors"),
        ("a.bin model.safetensors model.pt optimizer.pth", "model.safetensors"),
        ("onnx/model.safetensors model.safetensors original/consolidated.00.pth", "model.safetensors"),
        ("consolidated.safetensors model.safetensors", "model.safetensors"),
        ("model.fp16.safetensors model.safetensors", "model.safetensors"),
        (
            "model-00001-of-00002.safetensors model-00002-of-00002.safetensors model.safetensors model.safetensors.index.json",
            "model-00001-of-00002.safetensors model-00002-of-00002.safetensors model.safetensors.index.json",
        ),
        (
            "gptq_model-4bit-128g.safetensors quantize_config.json",
            "gptq_model-4bit-128g.safetensors quantize_config.json",
        ),
        ("adapter_config.json adapter_model.safetensors", "adapter_config.json adapter_model.safetensors"),
    ],
)
def test_what_a_model_needs(there: str, wanted: str) -> None:
    files = [RemoteFile(path=path, size=1) for path in there.split()]
    assert [file.path for file in wanted_files(files, "a/b")] == wanted.split()


@pytest.mark.parametrize(
    ("there", "message"),
    [
        ("config.json pytorch_model.bin", r"a/b has only pickled weights \(pytorch_model.bin\), and reading a pickle"),
        ("config.json model.gguf", "a/b has no safetensors; --all-files fetches what it has"),
        ("onnx/model.safetensors", "a/b has no safetensors"),
        ("", "a/b has no safetensors"),
    ],
)
def test_repositories_without_safetensors(there: str, message: str) -> None:
    with pytest.raises(WeightsError, match=message):
        wanted_files([RemoteFile(path=path, size=1) for path in there.split()], "a/b")
