"""`zoo verify` reads every file anew; `zoo rm` removes what was pulled and nothing else."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pexpect
import pytest
from click.testing import Result
from far_model import FILES, SIZE, at, listed, write_card

from zoo_core import Zoo, sha256_of
from zoo_core.weights.pulled import pulled_ids
from zoo_core.weights.removing import removals, remove

Run = Callable[..., Result]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the files of the model, whose card is `far`."""
    place = tmp_path / "publisher"
    place.mkdir()
    for path, content in FILES.items():
        (place / path).write_bytes(content)
    write_card(at(place.as_uri()))
    return place


@pytest.fixture
def place(folder: Path, run: Run) -> Path:
    """The folder to which the model was pulled."""
    return Path(run("pull", "far").stdout.removesuffix("\n"))


# -- zoo verify --------------------------------------------------------------------------------------------------------


def test_files_that_are_right(place: Path, run: Run) -> None:
    result = run("verify", "far")
    assert result.stdout.splitlines() == [
        "ok       config.json",
        "ok       model.safetensors",
        "ok       tokenizer.json",
    ]
    assert (result.exit_code, result.stderr) == (0, "")


def test_files_that_are_not(place: Path, run: Run) -> None:
    (place / "config.json").unlink()
    status = (place / "model.safetensors").stat()
    (place / "model.safetensors").write_bytes(FILES["model.safetensors"][::-1])
    os.utime(place / "model.safetensors", ns=(status.st_atime_ns, status.st_mtime_ns))
    (place / "tokenizer.json").write_bytes(b"{} ")
    result = run("verify", "far")
    assert result.exit_code == 1
    assert [line.split() for line in result.stdout.splitlines()] == [
        ["missing", "config.json"],
        ["wrong", "model.safetensors"],
        ["wrong", "tokenizer.json"],
    ]
    problems = result.stderr.splitlines()
    assert [problem.split(" ")[3:5] for problem in problems[1:]] == [["has", "the"], ["has", "3"]]
    assert run("chat", "far", "hi").exit_code == 1  # what was remembered of the wrong file is forgotten
    data = json.loads(run("verify", "far", "--json").stdout)
    assert (data["schema"], data["ok"], data["folder"]) == ("zoo.verify/v1", False, str(place))
    assert [file["state"] for file in data["files"]] == ["missing", "wrong", "wrong"]


def test_another_folder_is_verified(folder: Path, run: Run, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "copy")
    assert run("verify", "far", "--model-path", str(tmp_path / "copy")).exit_code == 0
    (tmp_path / "copy" / "config.json").unlink()
    assert run("verify", "far", "--model-path", str(tmp_path / "copy")).exit_code == 1
    result = run("verify", "far", "--model-path", str(tmp_path / "none"))
    assert (result.exit_code, result.stdout) == (1, "")
    assert "There is no folder" in result.stderr


def test_a_packaged_model_is_verified(run: Run) -> None:
    result = run("verify", "hatchling")
    assert (result.exit_code, result.stdout.count("ok ")) == (0, 5)


def test_nothing_to_compare_with(folder: Path, run: Run) -> None:
    write_card({"hub": "folder", "path": str(folder)}, files=[])
    result = run("verify", "far")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "lists no files and none were pulled, so there is nothing to compare with" in result.stderr


def test_nothing_here(folder: Path, run: Run) -> None:
    result = run("verify", "far")
    assert result.stderr == "Error: The weights of 'far' are not on this machine. Get them with: zoo pull far\n"


# -- zoo rm ------------------------------------------------------------------------------------------------------------


def test_pulled_weights_are_removed(place: Path, run: Run, folder: Path) -> None:
    look = run("rm", "far", "--dry-run")
    assert (look.exit_code, look.stdout) == (0, f"{place}  3 files, 1.02 MB\n")
    assert place.is_dir()
    result = run("rm", "far", "--yes")
    assert (result.exit_code, result.stdout, result.stderr) == (0, look.stdout, "Removed 1.02 MB\n")
    assert not place.exists()
    assert pulled_ids() == set()
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == FILES
    assert "nothing to remove" in run("rm", "far", "--yes").stderr


def test_nobody_can_be_asked_in_a_script(place: Path, run: Run) -> None:
    result = run("rm", "far", input="y\n")
    assert result.exit_code == 2
    assert "say --yes, or look with --dry-run" in result.stderr
    assert place.is_dir()


@pytest.mark.parametrize(("answer", "code"), [("y", 0), ("n", 1), ("", 1)])
def test_a_user_is_asked(place: Path, answer: str, code: int) -> None:
    child = pexpect.spawn("zoo", ["rm", "far"], encoding="utf-8", timeout=60)
    child.expect(r"Remove\? \[y/N\]: ")
    child.sendline(answer)
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == code
    assert place.exists() == (code == 1)


def test_weights_that_are_not_ours_stay(folder: Path, run: Run) -> None:
    write_card({"hub": "folder", "path": str(folder)})
    result = run("rm", "far", "--yes")
    assert result.exit_code == 1
    assert f"They are in {folder}, which is yours." in result.stderr
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == FILES
    result = run("rm", "hatchling", "--yes")
    assert result.exit_code == 1
    assert "They belong to the installed package zoo_hatchling and go with it." in result.stderr


def test_a_model_whose_card_is_gone_is_removed(place: Path, run: Run) -> None:
    Path(os.environ["ZOO_CONFIG"], "cards", "far.yaml").unlink()
    assert run("rm", "far", "--yes").exit_code == 0
    assert not place.exists()
    assert "No model is called 'far'" in run("rm", "far", "--yes").stderr


def test_an_alias_is_removed_too(place: Path, run: Run, folder: Path) -> None:
    write_card(at(folder.as_uri()), aliases=["distant"])
    assert run("rm", "distant", "--yes").exit_code == 0
    assert not place.exists()


def test_files_of_two_models_stay_for_the_other(place: Path, run: Run, folder: Path) -> None:
    write_card(at(folder.as_uri()), name="near")
    assert Path(run("pull", "near").stdout.strip()) == place
    assert run("rm", "far", "--yes").stderr == "Removed 0 bytes\n"
    assert {path.name: path.read_bytes() for path in place.iterdir()} == FILES
    assert run("verify", "near").exit_code == 0
    assert run("rm", "near", "--yes").stderr == f"Removed {SIZE / 1e6:.2f} MB\n"
    assert not place.exists()


def test_a_model_with_fewer_files_has_a_folder_of_its_own(place: Path, run: Run, folder: Path) -> None:
    few = {path: FILES[path] for path in ("config.json", "model.safetensors")}
    write_card(at(folder.as_uri()), files=listed(few), name="near")
    assert run("pull", "near").exit_code == 0
    assert run("rm", "far", "--yes").stderr == "Removed 2 bytes\n"  # the others have a second name
    assert not place.exists()
    assert run("verify", "near").exit_code == 0
    assert run("rm", "near", "--yes").stderr == f"Removed {(SIZE - 2) / 1e6:.2f} MB\n"


@pytest.mark.parametrize("finished", [True, False])
def test_what_another_pull_uses_meanwhile_stays(place: Path, run: Run, folder: Path, zoo: Zoo, finished: bool) -> None:
    """The user is still being asked when another model's pull records the same files."""
    if not finished:
        Path(os.environ["ZOO_DATA"], "pulled.json").unlink()
    (found,) = removals(zoo, "far", print)
    assert (found.size, found.record is not None) == (SIZE, finished)
    write_card(at(folder.as_uri()), name="near")
    assert Path(run("pull", "near").stdout.strip()) == place
    assert remove(zoo, found) == 0
    assert {path.name: path.read_bytes() for path in place.iterdir()} == FILES
    assert pulled_ids() == {"near"}


def test_a_source_without_its_plugin_cannot_be_removed(place: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {path.name: sha256_of(path) for path in place.iterdir()}
    monkeypatch.setenv("ZOO_DISABLE_PLUGINS", "static")
    result = run("rm", "far", "--yes")
    assert result.exit_code == 1
    assert "No installed plugin brings the weight source 'url'." in result.stderr
    assert {path.name: sha256_of(path) for path in place.iterdir()} == before
    assert pulled_ids() == {"far"}
