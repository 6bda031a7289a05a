"""`zoo pull` from the Hugging Face hub, with its real client library against the stand-in: the hub's own cache is used."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import huggingface_hub
import msgspec
import pytest
from click.testing import Result
from far_model import FILES, at, listed, until, write_card, zoo
from hub_standin import TOKEN, Hub

from zoo_core import Source, card_yaml, read_card
from zoo_core.weights.pulled import pulled_ids

Run = Callable[..., Result]
HATCHLING = Path(__file__).parent.parent / "plugins" / "zoo_hatchling"
SIZE = len(FILES["model.safetensors"])
MORE = {**FILES, "pytorch_model.bin": b"pickled", "README.md": b"# Read"}


def on_hub(revision: str = "", repo: str = "a/b") -> dict[str, str]:
    return {"hub": "huggingface", "repo": repo, **({"revision": revision} if revision else {})}


@pytest.fixture
def commit(hub: Hub) -> str:
    """A commit on the hub with the files of the model and more; the card `far` names it."""
    commit = hub.add("a/b", MORE)
    write_card(on_hub(commit))
    return commit


def content(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def cached() -> list[str]:
    """The contents in the hub's cache, complete ones."""
    return sorted(path.name for path in Path(os.environ["HF_HUB_CACHE"]).glob("models--*/blobs/*"))


def ranges(hub: Hub) -> list[str | None]:
    return [each.headers.get("range") for each in hub.asked("GET", "/objects/", "storage")]


# -- what comes --------------------------------------------------------------------------------------------------------


def test_a_pinned_model_comes_into_the_cache_of_the_hub(commit: str, hub: Hub, run: Run) -> None:
    result = run("pull", "far")
    assert result.exit_code == 0, result.stderr
    place = Path(result.stdout.removesuffix("\n"))
    assert content(place) == FILES
    assert huggingface_hub.snapshot_download("a/b", revision=commit, local_files_only=True) == str(place)
    asked = len(hub.requests)
    assert run("pull", "far").stdout == result.stdout
    assert run("verify", "far").exit_code == 0
    assert len(hub.requests) == asked


def test_the_newest_commit_of_an_unpinned_card_is_taken(commit: str, hub: Hub, run: Run) -> None:
    write_card(on_hub(), files=[])
    result = run("pull", "far", "--json")
    assert (
        f"Warning: the card of 'far' lists no files: these are what a/b (huggingface) has at commit {commit[:12]}; "
        "2 other files are left out." in result.stderr
    )
    data = json.loads(result.stdout)
    assert (data["revision"], content(Path(data["folder"]))) == (commit, FILES)
    newer = hub.add("a/b", {"config.json": b"[]"})
    assert json.loads(run("pull", "far", "--json").stdout)["revision"] == newer
    assert run("verify", "far").exit_code == 0
    everything = json.loads(run("pull", "far", "--all-files", "--json").stdout)
    assert set(content(Path(everything["folder"]))) == set(MORE)


def test_the_plan_downloads_nothing(hub: Hub, run: Run) -> None:
    commit = hub.add("a/b", MORE)
    write_card(on_hub(), files=[])
    plan = json.loads(run("pull", "far", "--dry-run", "--json").stdout)
    assert (plan["source"]["revision"], plan["bytes"]) == (commit, sum(map(len, FILES.values())))
    assert [each.path for each in hub.requests] == ["/api/models/a/b"]
    assert cached() == []


def test_the_pulled_model_answers_like_the_packaged_one(hub: Hub, run: Run) -> None:
    weights = HATCHLING / "weights"
    commit = hub.add("a/hatchling", {path.name: path.read_bytes() for path in weights.iterdir()})
    source = Source(hub="huggingface", repo="a/hatchling", revision=commit)
    packaged = read_card(HATCHLING / "cards" / "hatchling.yaml")
    card = msgspec.structs.replace(packaged, id="far", aliases=[], sources=[source])
    write_card().write_text(card_yaml(card))
    assert run("pull", "far").exit_code == 0
    for question in ("What is the phoenix?", "我该怎么训练一个模型？"):
        answer = run("chat", "far", question)
        assert answer.stdout == run("chat", "hatchling", question).stdout != ""


# -- what fails --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["html", "error"])
def test_the_next_source_is_tried_where_the_hub_does_not_answer(
    commit: str, hub: Hub, run: Run, tmp_path: Path, fault: str
) -> None:
    for path, data in FILES.items():
        (tmp_path / path).write_bytes(data)
    write_card(on_hub(commit), at(tmp_path.as_uri()))
    hub.fault("/", "html" if fault == "html" else "error")
    result = run("pull", "far")
    assert result.exit_code == 0, result.stderr
    assert f" Trying {tmp_path.as_uri()} (url)." in result.stderr.splitlines()[0]
    assert content(Path(result.stdout.strip())) == FILES


@pytest.mark.parametrize("kind", ["corrupt", "short", "lying", "missing"])
def test_wrong_files_never_become_visible(commit: str, hub: Hub, run: Run, kind: str) -> None:
    hub.fault("model.safetensors", kind)  # type: ignore[arg-type]
    result = run("pull", "far")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "model.safetensors" in result.stderr
    visible = [path.name for path in Path(os.environ["HF_HUB_CACHE"]).glob("models--a--b/snapshots/*/*")]
    assert "model.safetensors" not in visible
    assert pulled_ids() == set()
    hub.mend()
    assert run("pull", "far").exit_code == 0


@pytest.mark.parametrize("path", ["model.safetensors", "config.json"])
def test_a_damaged_file_in_the_cache_is_fetched_anew(commit: str, hub: Hub, run: Run, path: str) -> None:
    place = Path(run("pull", "far").stdout.strip())
    (place / path).resolve().write_bytes(FILES[path][::-1])
    assert run("verify", "far").exit_code == 1
    assert run("pull", "far").stdout == f"{place}\n"
    assert run("verify", "far").exit_code == 0


def test_another_file_in_the_cache_is_named_with_the_way_out(commit: str, hub: Hub, run: Run) -> None:
    place = Path(run("pull", "far").stdout.strip())
    other = (place / "config.json").resolve()
    (place / "model.safetensors").unlink()
    (place / "model.safetensors").symlink_to(other)
    result = run("pull", "far")
    assert result.exit_code == 1
    assert f"remove it with zoo rm, or delete {other}, then pull again" in result.stderr


@pytest.mark.parametrize(
    ("options", "token", "message"),
    [
        ({"gated": True}, "", "accept it at "),
        ({"private": True}, "", "or it is private"),
        ({"gated": True}, TOKEN, None),
    ],
)
def test_who_may_have_the_files(
    hub: Hub, run: Run, monkeypatch: pytest.MonkeyPatch, options: dict[str, bool], token: str, message: str | None
) -> None:
    write_card(on_hub(hub.add("a/b", FILES, **options)))  # type: ignore[arg-type]
    monkeypatch.setenv("HF_TOKEN", token)
    result = run("pull", "far")
    if message is None:
        assert result.exit_code == 0, result.stderr
        assert all("authorization" not in each.headers for each in hub.requests if each.host == "storage")
    else:
        assert (result.exit_code, result.stdout) == (1, "")
        assert message in result.stderr
        assert TOKEN not in result.stderr


def test_only_pickled_weights_are_refused(hub: Hub, run: Run) -> None:
    hub.add("a/b", {"config.json": b"{}", "pytorch_model.bin": b"pickled"})
    write_card(on_hub(), files=[])
    result = run("pull", "far")
    assert result.exit_code == 1
    assert "a/b (huggingface) has only pickled weights (pytorch_model.bin)" in result.stderr
    assert run("pull", "far", "--all-files").exit_code == 0


# -- what is interrupted -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("signal_", [signal.SIGKILL, signal.SIGINT])
def test_a_pull_that_is_stopped_is_gone_on_with(commit: str, hub: Hub, run: Run, signal_: int) -> None:
    slow = hub.fault("model.safetensors", "slow")

    def half_is_here() -> bool:
        begun = Path(os.environ["HF_HUB_CACHE"]).glob("models--a--b/.zoo-incoming/*")
        return slow.reached.is_set() and any(path.stat().st_size > SIZE // 4 for path in begun)

    with zoo("pull", "far") as process:
        until(half_is_here, "half of the file")
        process.send_signal(signal_)
        assert process.wait() == (130 if signal_ == signal.SIGINT else -9)
    assert pulled_ids() == set()
    hub.mend()
    result = run("pull", "far")
    assert result.exit_code == 0, result.stderr
    assert content(Path(result.stdout.strip())) == FILES
    first, second = ranges(hub)
    assert first in {None, "bytes=0-"}
    assert int(str(second).removeprefix("bytes=").removesuffix("-")) > SIZE // 4


def test_two_pulls_at_once(commit: str, hub: Hub) -> None:
    slow = hub.fault("model.safetensors", "slow")
    with zoo("pull", "far") as first:
        until(slow.reached.is_set, "the download")
        with zoo("pull", "far") as second:
            assert second.stderr is not None
            assert "Another pull of the weights of 'far' is running" in second.stderr.readline()
            slow.release.set()
            outputs = [process.communicate()[0] for process in (first, second)]
    assert outputs[0] == outputs[1] != ""
    assert len(ranges(hub)) == 1


# -- without a network, and away again ---------------------------------------------------------------------------------


@pytest.mark.parametrize("pinned", [True, False], ids=["pinned", "without a commit"])
def test_what_another_program_has_downloaded_is_taken(commit: str, hub: Hub, run: Run, pinned: bool) -> None:
    write_card(on_hub(commit if pinned else ""))
    place = huggingface_hub.snapshot_download("a/b")
    asked = len(hub.requests)
    result = run("pull", "far", "--offline")
    assert (result.exit_code, result.stdout) == (0, f"{place}\n")
    assert len(hub.requests) == asked
    assert run("verify", "far").exit_code == 0


def test_offline_without_the_files(commit: str, hub: Hub, run: Run) -> None:
    result = run("pull", "far", "--offline")
    assert result.exit_code == 1
    assert "3 of the 3 files of 'far' are not on this machine: config.json, model.safetensors, tok" in result.stderr
    assert hub.requests == []


def test_pulled_weights_are_removed_from_the_cache(commit: str, hub: Hub, run: Run) -> None:
    place = Path(run("pull", "far").stdout.strip())
    result = run("rm", "far", "--yes")
    assert (result.exit_code, result.stderr) == (0, "Removed 1.02 MB\n")
    assert not place.exists()
    assert cached() == []


def test_what_a_failed_pull_had_complete_is_removed(commit: str, hub: Hub, run: Run) -> None:
    hub.fault("model.safetensors", "corrupt")
    assert run("pull", "far").exit_code == 1
    (*complete,) = cached()
    few = {"config.json": FILES["config.json"]}
    write_card(on_hub(commit), files=listed(few), name="near")
    place = Path(run("pull", "near").stdout.strip())
    assert set(complete) <= set(cached())
    result = run("rm", "far", "--yes")
    assert (result.exit_code, "an unfinished pull, 2 bytes" in result.stdout) == (0, True), result.output
    assert content(place) == few
    assert run("rm", "near", "--yes").exit_code == 0
    assert cached() == []


def test_another_commit_stays(commit: str, hub: Hub, run: Run) -> None:
    newer = hub.add("a/b", {"config.json": b"[]"})
    other = huggingface_hub.snapshot_download("a/b", revision=newer)
    run("pull", "far")
    assert run("rm", "far", "--yes").stderr == "Removed 23 bytes\n"
    assert content(Path(other)) == {**MORE, "config.json": b"[]"}


def test_a_branch_that_has_moved_is_not_taken_for_what_was_pulled(commit: str, hub: Hub, run: Run) -> None:
    write_card(on_hub())
    huggingface_hub.snapshot_download("a/b")
    place = run("pull", "far", "--offline").stdout.strip()
    hub.add("a/b", {"config.json": b"[]"})
    other = huggingface_hub.snapshot_download("a/b")
    result = run("rm", "far", "--yes")
    assert result.exit_code == 1
    assert f"are now others than those in {place}; remove that folder by hand" in result.stderr
    assert set(content(Path(other))) == set(MORE)
