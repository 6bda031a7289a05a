"""Pulls that are stopped, killed, started twice, or run out of disk: the old state stays whole, the next pull goes on."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pexpect
import pytest
from click.testing import Result
from far_model import FILES, at, listed, until, write_card, zoo
from hub_standin import Hub

from zoo_core import Zoo, read_card
from zoo_core.cli.progress import watching
from zoo_core.weights.pulled import pulled_ids
from zoo_core.weights.pulling import needed, plan

Run = Callable[..., Result]
SIZE = len(FILES["model.safetensors"])


@pytest.fixture
def web(hub: Hub) -> str:
    """The address of a web server with the files of the model, whose card is `far`."""
    hub.add("a/b", FILES)
    write_card(at(f"{hub.url}/a/b/resolve/main"))
    return f"{hub.url}/a/b/resolve/main"


def weights() -> dict[str, int]:
    """The files of weights, finished and begun, by name, with their sizes."""
    place = Path(os.environ["ZOO_DATA"], "weights")
    return {path.name: path.stat().st_size for path in place.rglob("*") if path.is_file()}


def half_is_here() -> bool:
    return SIZE // 2 in weights().values()


def ranges(hub: Hub) -> list[str | None]:
    return [each.headers.get("range") for each in hub.asked("GET", "/objects/", "storage")]


@pytest.mark.parametrize(
    ("signal_", "code"), [pytest.param(signal.SIGKILL, -9, id="kill -9"), pytest.param(signal.SIGINT, 130, id="Ctrl-C")]
)
def test_a_pull_that_is_stopped_is_gone_on_with(web: str, hub: Hub, run: Run, signal_: int, code: int) -> None:
    hub.fault("model.safetensors", "slow")
    with zoo("pull", "far") as process:
        until(half_is_here, "half of the file")
        process.send_signal(signal_)
        assert process.wait() == code
    assert "model.safetensors" not in weights()
    assert pulled_ids() == set()
    hub.mend()
    result = run("pull", "far")  # the lock of the stopped one is free
    assert result.exit_code == 0, result.stderr
    assert weights() == {path: len(content) for path, content in FILES.items()}
    assert ranges(hub) == [None, f"bytes={SIZE // 2}-"]


def test_two_pulls_at_once(web: str, hub: Hub) -> None:
    slow = hub.fault("model.safetensors", "slow")
    with zoo("pull", "far") as first:
        until(half_is_here, "half of the file")
        with zoo("pull", "far") as second:
            assert second.stderr is not None
            line = second.stderr.readline()
            assert line == "Another pull of the weights of 'far' is running; waiting for it.\n"
            slow.release.set()
            outputs = [process.communicate()[0] for process in (first, second)]
            assert (first.returncode, second.returncode) == (0, 0)
    assert outputs[0] == outputs[1] != ""
    assert ranges(hub) == [None]  # one download for both


def test_a_running_pull_is_not_removed(web: str, hub: Hub, run: Run) -> None:
    slow = hub.fault("model.safetensors", "slow")
    with zoo("pull", "far") as process:
        until(half_is_here, "half of the file")
        result = run("rm", "far", "--yes")
        assert result.exit_code == 1
        assert "A pull of the weights of 'far' is running; nothing was removed." in result.stderr
        slow.release.set()
        assert process.wait() == 0
    assert weights() == {path: len(content) for path, content in FILES.items()}


def test_what_a_stopped_pull_has_left_can_be_removed(web: str, hub: Hub, run: Run) -> None:
    hub.fault("model.safetensors", "slow")
    with zoo("pull", "far") as process:
        until(half_is_here, "half of the file")
        process.kill()
    result = run("rm", "far", "--yes")
    assert result.exit_code == 0, result.stderr
    assert re.search(r"files-\w+  an unfinished pull, 512 KB$", result.stdout.strip())
    assert weights() == {}


def test_what_a_failed_pull_had_complete_can_be_removed(web: str, hub: Hub, run: Run) -> None:
    hub.fault("model.safetensors", "corrupt")
    assert run("pull", "far").exit_code == 1
    left = sum(weights().values())
    assert left == len(FILES["config.json"]) + len(FILES["tokenizer.json"])
    result = run("rm", "far", "--yes")
    assert (result.exit_code, result.stderr) == (0, f"Removed {left} bytes\n")
    assert weights() == {}
    assert "nothing to remove" in run("rm", "far", "--yes").stderr


def test_what_was_begun_beside_a_finished_pull_is_removed_and_counted(web: str, hub: Hub, run: Run) -> None:
    place = Path(run("pull", "far").stdout.strip())
    write_card(at(web), files=[*listed(), {"path": "README.md", "size": 10**6, "sha256": "0" * 64}])
    begun = place.parent / "begun" / "half"
    begun.write_bytes(bytes(SIZE))
    result = run("rm", "far", "--yes")
    assert (result.stdout, result.stderr) == (f"{place}  3 files, 2.05 MB\n", "Removed 2.05 MB\n")
    assert weights() == {}


def test_a_damaged_record_lets_finished_files_be(web: str, hub: Hub, run: Run) -> None:
    """Nobody knows then which of them another model uses."""
    run("pull", "far")
    Path(os.environ["ZOO_DATA"], "pulled.json").write_bytes(b"{")
    result = run("rm", "far", "--yes")
    assert "is damaged and counts as empty" in result.stderr
    assert "nothing to remove" in result.stderr
    assert weights() == {path: len(content) for path, content in FILES.items()}


# -- the disk ----------------------------------------------------------------------------------------------------------


def test_a_disk_without_room_is_not_begun_with(web: str, hub: Hub, run: Run) -> None:
    huge = [*listed(), {"path": "huge.safetensors", "size": 10**17, "sha256": "0" * 64}]
    write_card(at(web), files=huge)
    result = run("pull", "far")
    assert result.exit_code == 1
    assert re.search(
        r"'far' needs 100,000 TB on the disk of .*, which has .* free: make room for .* more", result.stderr
    )
    assert hub.requests == []


def test_what_was_begun_needs_no_room_again(web: str, hub: Hub, run: Run) -> None:
    """The disk that a stopped pull has nearly filled is large enough for the rest. What others have begun does not count."""
    hub.fault("model.safetensors", "slow")
    with zoo("pull", "far") as process:
        until(half_is_here, "half of the file")
        process.kill()
    (begun,) = Path(os.environ["ZOO_DATA"], "weights").glob("*/begun")
    (begun / "of another pull").write_bytes(bytes(SIZE // 4))
    card = Path(os.environ["ZOO_CONFIG"], "cards", "far.yaml")
    with watching() as watcher:
        planned = plan(Zoo(), read_card(card), card, watcher)
    assert needed(planned) == sum(file.size for file in planned.missing) - SIZE // 2


def test_a_disk_that_is_full_in_the_middle(web: str, hub: Hub, run: Run) -> None:
    """The system refuses files of more than half a megabyte, with the error that it has for this."""
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, 500_000))"
    with zoo("pull", "far", before=limit) as process:
        output, errors = process.communicate()
    assert (process.returncode, output) == (1, "")
    assert errors.splitlines()[-1] == (
        "Error: The disk is full, so the weights of 'far' are not complete: make room, then run zoo pull again, "
        "which goes on where this one stopped."
    )
    assert 500_000 in weights().values()
    assert pulled_ids() == set()
    assert run("pull", "far").exit_code == 0
    assert ranges(hub) == [None, "bytes=500000-"]


@pytest.fixture
def small_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A disk of 2 MB with the zoo's data, where this machine lets us mount one."""
    place = tmp_path / "small"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(place)]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no disk can be mounted here")
    monkeypatch.setenv("ZOO_DATA", str(place / "data"))
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_disk_that_others_fill_meanwhile(small_disk: Path, web: str, hub: Hub, run: Run) -> None:
    slow = hub.fault("model.safetensors", "slow")
    with zoo("pull", "far") as process:
        until(half_is_here, "half of the file")
        with (small_disk / "filler").open("wb", buffering=0) as filler, contextlib.suppress(OSError):
            while filler.write(bytes(4096)):
                pass
        slow.release.set()
        output, errors = process.communicate()
    assert (process.returncode, output) == (1, "")
    assert "Error: The disk is full, so the weights of 'far' are not complete" in errors
    result = run("pull", "far")
    assert "make room for" in result.stderr  # before anything is asked
    (small_disk / "filler").unlink()
    assert run("pull", "far").exit_code == 0
    assert len(ranges(hub)) == 2
    assert pulled_ids() == {"far"}


def test_a_folder_that_cannot_be_written(web: str, run: Run) -> None:
    Path(os.environ["ZOO_DATA"], "weights").write_bytes(b"")
    result = run("pull", "far")
    assert result.exit_code == 1
    assert "The weights of 'far' cannot be written to " in result.stderr


# -- what is seen ------------------------------------------------------------------------------------------------------


def test_bars_on_a_terminal(web: str, hub: Hub) -> None:
    slow = hub.fault("model.safetensors", "slow")
    child = pexpect.spawn("zoo", ["pull", "far"], encoding="utf-8", timeout=60, dimensions=(30, 120))
    child.expect("model.safetensors .*512.0/1,024|model.safetensors .*0.5/1.0 MB")
    child.expect("all files")
    slow.release.set()
    child.expect("model.safetensors  1.02 MB")
    child.expect("3 files, 1.02 MB, verified")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0
