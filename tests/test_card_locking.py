"""Locking a card: what the files say is written into it, comments stay, and places that contradict each other are refused."""

from __future__ import annotations

import hashlib
import json
import resource
import shutil
import signal
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import Result

from zoo_core.cards.reading import read_card
from zoo_core.cards.schema import ModelCard
from zoo_core.weights.store import verify

if TYPE_CHECKING:
    from hub_standin import Hub

Run = Callable[..., Result]
WEIGHTS = Path(__file__).parent.parent / "plugins" / "zoo_hatchling" / "weights"
FILES = {path.name: path.read_bytes() for path in sorted(WEIGHTS.iterdir())}
CARD = """\
# My model, written by hand.
schema: zoo.card/v1
kind: model
id: mine            # short
family: phoenix
summary: "Mine"
sources:
  # where it is
  - {hub: folder, path: weights}
license: {spdx: "Apache-2.0"}   # checked by hand
architecture: {size: 1M, layers: 9}
context: {max: 512}
"""


def model(folder: Path, card: str = CARD) -> Path:
    """A folder of weights beside a card; returns the card."""
    shutil.copytree(WEIGHTS, folder / "weights")
    (folder / "card.yaml").write_text(card, encoding="utf-8")
    return folder / "card.yaml"


def read(path: Path) -> ModelCard:
    card = read_card(path)
    assert isinstance(card, ModelCard)
    return card


def on_hub(folder: Path, *repos: str, **fields: Any) -> Path:
    """A card whose sources are repositories of the hub."""
    sources = "".join(f"  - {{hub: huggingface, repo: {repo}}}\n" for repo in repos)
    text = CARD.replace("  # where it is\n  - {hub: folder, path: weights}\n", sources)
    path = folder / "card.yaml"
    path.write_text(text + "".join(f"{key}: {json.dumps(value)}\n" for key, value in fields.items()))
    return path


# -- folders -----------------------------------------------------------------------------------------------------------


def test_a_folder(run: Run, tmp_path: Path) -> None:
    path = model(tmp_path)
    result = run("card", "lock", path)
    assert result.exit_code == 0, result.stderr
    card = read(path)
    verify(card, tmp_path / "weights")
    assert [file.path for file in card.files] == sorted(FILES)
    assert (card.format, card.memory.weights_bytes, card.memory.kv_bytes_per_token) == ("safetensors", 2_111_488, 2048)
    assert (card.architecture.size, card.architecture.layers, card.architecture.params) == ("1M", 4, 1_055_744)
    text = path.read_text()
    for kept in (
        "# My model, written by hand.",
        "# short",
        "  # where it is",
        '{spdx: "Apache-2.0"}   # checked by hand',
    ):
        assert kept in text
    assert "-architecture: {size: 1M, layers: 9}" in result.stdout
    assert f"Locked 'mine': 5 files in {path}." in result.stdout


def test_a_locked_card_is_left_alone(run: Run, tmp_path: Path) -> None:
    path = model(tmp_path)
    run("card", "lock", path)
    before = path.stat()
    result = run("card", "lock", path)
    assert (result.exit_code, result.stdout) == (0, "'mine' is locked already; nothing to change.\n")
    assert path.stat() == before


def test_a_dry_run_changes_nothing(run: Run, tmp_path: Path) -> None:
    path = model(tmp_path)
    result = run("card", "lock", path, "--dry-run")
    assert "+  weights_bytes: 2111488" in result.stdout
    assert "nothing was changed" in result.stdout
    assert path.read_text() == CARD


def test_a_model_by_its_folder(run: Run, tmp_path: Path) -> None:
    path = model(tmp_path, CARD.replace("path: weights", "path: ."))
    path = path.rename(tmp_path / "weights" / "zoo.yaml")
    assert run("card", "lock", path.parent).exit_code == 0
    verify(read(path), path.parent)


def test_a_folder_that_is_named(run: Run, tmp_path: Path) -> None:
    path = model(tmp_path, CARD.replace("path: weights", "path: elsewhere"))
    result = run("card", "lock", path)
    assert (result.exit_code, path.read_text()) == (1, CARD.replace("path: weights", "path: elsewhere"))
    assert "There is no folder elsewhere here." in result.stderr
    assert run("card", "lock", path, "--weights", tmp_path / "weights").exit_code == 0
    verify(read(path), tmp_path / "weights")


def test_changed_files_are_locked_anew(run: Run, tmp_path: Path) -> None:
    path = model(tmp_path)
    run("card", "lock", path)
    (tmp_path / "weights" / "tokenizer_config.json").write_text('{"eos_token": "</s>"}')
    result = run("card", "lock", path)
    digest = hashlib.sha256(b'{"eos_token": "</s>"}').hexdigest()
    assert f"+    sha256: {digest}" in result.stdout
    verify(read(path), tmp_path / "weights")


def test_other_files_that_the_card_lists_stay_listed(run: Run, tmp_path: Path) -> None:
    listed = f"files: [{{path: LICENSE.txt, size: 1, sha256: {'a' * 64}}}]\n"
    path = model(tmp_path, CARD + listed)
    (tmp_path / "weights" / "LICENSE.txt").write_text("free")
    (tmp_path / "weights" / "notes.txt").write_text("not part of it")
    assert run("card", "lock", path).exit_code == 0
    assert [file.path for file in read(path).files] == ["LICENSE.txt", *sorted(FILES)]


def test_a_collection_is_left_alone(run: Run, tmp_path: Path) -> None:
    path = model(tmp_path, CARD.replace("context: {max: 512}", "extends: a.collection.yaml"))
    shared = "context: {max: 512}\narchitecture: {backbone: B}\nformat: safetensors\n"
    (tmp_path / "a.collection.yaml").write_text(shared)
    assert run("card", "lock", path).exit_code == 0
    assert (tmp_path / "a.collection.yaml").read_text() == shared
    assert "extends: a.collection.yaml" in path.read_text()
    assert "format:" not in path.read_text()
    assert (read(path).architecture.backbone, read(path).architecture.layers) == ("B", 4)


def test_a_card_in_json(run: Run, tmp_path: Path) -> None:
    from zoo_core.cards.writing import card_data

    path = model(tmp_path)
    (tmp_path / "card.json").write_text(json.dumps(card_data(read(path))))
    (tmp_path / "card.json").rename(path)
    assert run("card", "lock", path).exit_code == 0
    verify(read(path), tmp_path / "weights")


REFUSED = {
    "a dataset": ("schema: zoo.card/v1\nkind: dataset\nid: d\nsummary: s\n", "is a card of another kind than model"),
    "no source": (CARD.replace("sources:\n  # where it is\n  - {hub: folder, path: weights}\n", ""), "names no source"),
    "a hub without plugin": (CARD.replace("folder, path: weights", "elsewhere, repo: a/b"), "weight source"),
    "a web address": (
        CARD.replace("folder, path: weights", "url, url: https://example.org/"),
        "names only sources whose files cannot be listed; name a folder with --weights.",
    ),
    "text at the end of the file": (CARD + "notes:\n- |\n  a\n  b", "cannot be changed safely"),
    "text at the end, further in": (CARD + "extra:\n  a:\n    b: |\n      c", "cannot be changed safely"),
    "explicit keys": (
        CARD.replace('license: {spdx: "Apache-2.0"}', "? license\n: spdx: MIT"),
        "cannot be changed safely; write it in the usual style",
    ),
    "explicit keys further in": (
        CARD.replace("{size: 1M, layers: 9}", "\n  ? size\n  : 1M\n  ? layers\n  : 9"),
        "cannot be changed safely; write it in the usual style",
    ),
    "not UTF-8": ("\ufeff" + CARD, "is not UTF-8 text"),
}


@pytest.mark.parametrize(("text", "expected"), REFUSED.values(), ids=REFUSED.keys())
def test_cards_that_cannot_be_locked(text: str, expected: str, run: Run, tmp_path: Path) -> None:
    path = model(tmp_path, text)
    if text.startswith("\ufeff"):
        path.write_bytes(text[1:].encode("utf-16"))
    before = path.read_bytes()
    result = run("card", "lock", path)
    assert result.exit_code == 1
    assert expected in result.stderr
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("model.safetensors", b"x" * 100, "is no safetensors file that can be trusted"),
        ("model.safetensors", None, "holds no weights"),
        ("config.json", b"{", "is no JSON that can be read"),
    ],
)
def test_damaged_files_are_not_locked(
    name: str, content: bytes | None, expected: str, run: Run, tmp_path: Path
) -> None:
    path = model(tmp_path)
    file = tmp_path / "weights" / name
    file.unlink() if content is None else file.write_bytes(content)
    result = run("card", "lock", path)
    assert (result.exit_code, path.read_text()) == (1, CARD)
    assert expected in result.stderr


def test_a_copy_that_the_zoo_keeps_is_not_locked(run: Run, zoo_folders: Path, tmp_path: Path) -> None:
    from zoo_core.paths import data_folder

    folder = data_folder() / "registries"
    folder.mkdir(parents=True)
    result = run("card", "lock", model(folder))
    assert result.exit_code == 1
    assert "is a copy from a registry" in result.stderr


def test_what_was_written_into_the_card_meanwhile_is_kept(run: Run, hub: Hub, tmp_path: Path) -> None:
    hub.add("a/b", FILES)
    path = on_hub(tmp_path, "a/b")
    theirs = path.read_text() + "# what the user added\n"
    fault = hub.fault("config.json", "slow")

    def edit() -> None:
        fault.reached.wait(60)
        path.write_text(theirs)
        fault.release.set()

    editor = threading.Thread(target=edit)
    editor.start()
    result = run("card", "lock", path)
    editor.join()
    assert (result.exit_code, path.read_text()) == (1, theirs)
    assert "was changed by somebody else meanwhile; nothing was written, lock it again." in result.stderr
    assert run("card", "lock", path).exit_code == 0
    assert "# what the user added" in path.read_text()


# -- hubs --------------------------------------------------------------------------------------------------------------


def test_a_hub_is_asked_and_no_weights_are_downloaded(run: Run, hub: Hub, tmp_path: Path) -> None:
    large = dict(FILES)
    header = int.from_bytes(FILES["model.safetensors"][:8], "little") + 8
    commit = hub.add("a/b", {**large, "README.md": b"# b\n", "run.py": b"print()"})
    path = on_hub(tmp_path, "a/b")
    result = run("card", "lock", path)
    assert result.exit_code == 0, result.stderr
    card = read(path)
    assert card.sources[0].revision == commit
    assert [(file.path, file.size, file.sha256) for file in card.files] == [
        (name, len(content), hashlib.sha256(content).hexdigest()) for name, content in sorted(FILES.items())
    ]
    assert (card.architecture.params, card.memory.weights_bytes) == (1_055_744, 2_111_488)
    asked = [each for each in hub.requests if each.path.endswith("model.safetensors") and each.method == "GET"]
    ranges = {each.headers.get("range") for each in asked}
    assert ranges <= {"bytes=0-7", f"bytes=8-{header - 1}"}, ranges


def test_the_same_from_folder_and_hub(run: Run, hub: Hub, tmp_path: Path) -> None:
    hub.add("a/b", FILES)
    path = on_hub(tmp_path, "a/b")
    assert run("card", "lock", path, "--weights", WEIGHTS).exit_code == 0
    result = run("card", "lock", path)
    assert "nothing to change" in result.stdout


def test_a_pinned_revision_stays(run: Run, hub: Hub, tmp_path: Path) -> None:
    commit = hub.add("a/b", FILES)
    hub.add("a/b", {**FILES, "config.json": b"{}"})
    path = on_hub(tmp_path)
    text = path.read_text().replace("sources:\n", f"sources: [{{hub: huggingface, repo: a/b, revision: {commit}}}]\n")
    path.write_text(text)
    assert run("card", "lock", path).exit_code == 0
    assert read(path).sources[0].revision == commit
    assert read(path).architecture.layers == 4


def test_a_gate_is_written_down(run: Run, hub: Hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from hub_standin import TOKEN

    monkeypatch.setenv("HF_TOKEN", TOKEN)
    hub.add("a/b", FILES, gated=True)
    path = on_hub(tmp_path, "a/b")
    result = run("card", "lock", path)
    assert result.exit_code == 0, result.stderr
    assert read(path).license.acceptance
    assert '{spdx: "Apache-2.0", acceptance: true}' in path.read_text()
    assert TOKEN not in result.output


def test_sources_that_differ(run: Run, hub: Hub, tmp_path: Path) -> None:
    hub.add("a/b", FILES)
    other = FILES["tokenizer.json"].replace(b"a", b"b", 1)
    hub.add("c/d", {**FILES, "tokenizer.json": other})
    path = on_hub(tmp_path, "a/b", "c/d")
    before = path.read_text()
    result = run("card", "lock", path)
    assert (result.exit_code, path.read_text()) == (1, before)
    digests = [hashlib.sha256(content).hexdigest() for content in (FILES["tokenizer.json"], other)]
    assert all(each in result.stderr for each in ["tokenizer.json", "a/b", "c/d", *digests])


def test_sources_that_agree(run: Run, hub: Hub, tmp_path: Path) -> None:
    commits = [hub.add("a/b", FILES), hub.add("c/d", {**FILES, "README.md": b"# other\n"})]
    path = on_hub(tmp_path, "a/b", "c/d")
    assert run("card", "lock", path).exit_code == 0
    assert [source.revision for source in read(path).sources] == commits


def test_a_source_that_is_gone(run: Run, hub: Hub, tmp_path: Path) -> None:
    commit = hub.add("c/d", FILES)
    path = on_hub(tmp_path, "a/gone", "c/d")
    result = run("card", "lock", path)
    assert result.exit_code == 0, result.stderr
    assert "huggingface was left out: " in result.stderr
    assert [source.revision for source in read(path).sources] == ["", commit]


def test_no_network_writes_nothing(run: Run, hub: Hub, tmp_path: Path) -> None:
    hub.add("a/b", FILES)
    path = on_hub(tmp_path, "a/b")
    before = path.read_bytes()
    hub.fault("/api/models/a/b", "error")
    result = run("card", "lock", path)
    assert (result.exit_code, path.read_bytes()) == (1, before)
    assert "Traceback" not in result.output


@pytest.mark.parametrize("kind", ["corrupt", "truncated", "html", "error", "missing"])
def test_a_hub_that_lies(kind: Any, run: Run, hub: Hub, tmp_path: Path) -> None:
    hub.add("a/b", FILES)
    path = on_hub(tmp_path, "a/b")
    before = path.read_bytes()
    hub.fault("config.json" if kind == "corrupt" else "model.safetensors", kind)
    result = run("card", "lock", path)
    assert (result.exit_code, path.read_bytes()) == (1, before)
    assert "Traceback" not in result.output


# -- writing -----------------------------------------------------------------------------------------------------------


def test_a_link_stays_a_link(run: Run, tmp_path: Path) -> None:
    path = model(tmp_path)
    (tmp_path / "link.yaml").symlink_to(path)
    assert run("card", "lock", tmp_path / "link.yaml").exit_code == 0
    assert (tmp_path / "link.yaml").is_symlink()
    assert read(path).files


@pytest.mark.parametrize("mode", [0o600, 0o664, 0o640])
def test_permissions_stay(mode: int, run: Run, tmp_path: Path) -> None:
    path = model(tmp_path)
    path.chmod(mode)
    assert run("card", "lock", path).exit_code == 0
    assert (stat.S_IMODE(path.stat().st_mode), path.read_text() == CARD) == (mode, False)


def test_a_full_disk_leaves_the_card_as_it_was(run: Run, tmp_path: Path) -> None:
    path = model(tmp_path)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
        result = run("card", "lock", path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert result.exit_code == 1
    assert f"The card {path} cannot be written: File too large." in result.stderr
    assert path.read_text() == CARD
    assert [each.name for each in tmp_path.iterdir() if each.name.startswith(".")] == []
