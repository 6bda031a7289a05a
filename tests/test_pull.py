"""`zoo pull`: weights come from where a card says, are verified, recorded, and found by `zoo chat`."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from click.testing import Result
from far_model import FILES, SIZE, at, listed, write_card
from hub_standin import Hub

from zoo_core import Source, card_yaml, read_card
from zoo_core.weights.pulled import pulled_folder, pulled_ids, record_of
from zoo_core.weights.store import find_weights

Run = Callable[..., Result]
HATCHLING = Path(__file__).parent.parent / "plugins" / "zoo_hatchling"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the files of the model."""
    place = tmp_path / "publisher"
    place.mkdir()
    for path, content in FILES.items():
        (place / path).write_bytes(content)
    return place


@pytest.fixture
def web(hub: Hub) -> str:
    """The address of a web server with the files of the model."""
    hub.add("a/b", FILES)
    return f"{hub.url}/a/b/resolve/main"


def record_file() -> Path:
    return Path(os.environ["ZOO_DATA"], "pulled.json")


def pulled(run: Run, *words: str) -> Path:
    """Pull; the folder that is printed."""
    result = run("pull", *words)
    assert result.exit_code == 0, result.stderr
    (line,) = result.stdout.splitlines()
    return Path(line)


def content(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# -- what comes, and from where ----------------------------------------------------------------------------------------


def test_a_model_is_pulled(run: Run, web: str, hub: Hub) -> None:
    path = write_card(at(web))
    result = run("pull", "far")
    assert result.exit_code == 0
    place = Path(result.stdout.removesuffix("\n"))
    assert content(place) == FILES
    lines = result.stderr.splitlines()
    assert sorted(lines[:-1]) == ["config.json  23 bytes", "model.safetensors  1.02 MB", "tokenizer.json  2 bytes"]
    assert lines[-1] == "3 files, 1.02 MB, verified"
    card = read_card(path)
    assert find_weights(card, path) == place == pulled_folder(card)
    assert pulled_ids() == {"far"}
    asked = len(hub.requests)
    again = run("pull", "far")
    assert (again.stdout, again.stderr.splitlines()[0]) == (result.stdout, "The weights of 'far' are here already.")
    assert len(hub.requests) == asked


def test_the_result_as_json(run: Run, folder: Path) -> None:
    write_card(at(folder.as_uri()))
    data = json.loads(run("pull", "far", "--json").stdout)
    assert data["schema"] == "zoo.pull/v1"
    assert (data["card"], data["hub"], data["url"], data["bytes"]) == ("far", "url", folder.as_uri(), SIZE)
    assert data["files"] == listed()
    assert content(Path(data["folder"])) == FILES


def test_the_plan_changes_nothing(run: Run, web: str, hub: Hub) -> None:
    write_card(at(web))
    result = run("pull", "far", "--dry-run")
    assert [line.split() for line in result.stdout.splitlines()] == [
        ["FILE", "SIZE", "HERE"],
        ["config.json", "23", "bytes", "no"],
        ["model.safetensors", "1.02", "MB", "no"],
        ["tokenizer.json", "2", "bytes", "no"],
    ]
    assert result.stderr == "To be downloaded: 1.02 MB\n"
    assert hub.requests == []
    assert list(Path(os.environ["ZOO_DATA"]).iterdir()) == []
    place = pulled(run, "far")
    (place / "tokenizer.json").unlink()
    plan = json.loads(run("pull", "far", "--dry-run", "--json").stdout)
    assert (plan["bytes"], plan["source"]) == (2, at(web))
    assert [(file["here"], file["verified"]) for file in plan["files"]] == [(True, True), (True, True), (False, False)]
    (place / "config.json").write_bytes(FILES["config.json"][::-1])  # of the right size
    here = [line.split("  ")[-1].strip() for line in run("pull", "far", "--dry-run").stdout.splitlines()]
    assert here == ["HERE", "not verified", "yes", "no"]


def test_a_model_in_a_package_needs_no_pull(run: Run) -> None:
    result = run("pull", "hatchling")
    assert Path(result.stdout.strip()) == HATCHLING / "weights"
    assert "come with the package zoo_hatchling: there is nothing to download" in result.stderr
    assert not record_file().exists()
    assert run("pull", "hatchling", "--dry-run").stderr.endswith("To be downloaded: 0 bytes\n")


def test_a_model_in_a_folder_is_verified_in_place(run: Run, folder: Path) -> None:
    write_card({"hub": "folder", "path": str(folder)})
    result = run("pull", "far")
    assert (result.stdout, result.exit_code) == (f"{folder}\n", 0)
    (folder / "config.json").write_bytes(FILES["config.json"][::-1])
    result = run("pull", "far")
    assert result.exit_code == 1
    assert "config.json has the sha256" in result.stderr


def test_a_damaged_folder_is_passed_over_where_there_is_another_source(run: Run, folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "mine")
    (tmp_path / "mine" / "config.json").write_bytes(b"x")
    path = write_card({"hub": "folder", "path": str(tmp_path / "mine")}, at(folder.as_uri()))
    result = run("pull", "far")
    assert "config.json has 1 bytes, but the card of 'far' says 23" in result.stderr
    assert content(Path(result.stdout.strip())) == FILES
    assert find_weights(read_card(path), path) == Path(result.stdout.strip())


def test_local_sources_that_are_not_there_are_passed_over(run: Run, folder: Path) -> None:
    write_card({"hub": "folder", "path": "nowhere"}, {"hub": "package", "repo": "no_such"}, at(folder.as_uri()))
    assert content(pulled(run, "far")) == FILES


def test_the_first_source_that_answers_gives_the_files(run: Run, web: str) -> None:
    write_card({"hub": "nohub", "repo": "a/b"}, at("http://127.0.0.1:1"), at(web))
    result = run("pull", "far")
    assert result.exit_code == 0
    first, second, *_ = result.stderr.splitlines()
    assert first.startswith("No installed plugin brings the weight source 'nohub'.")
    assert second.startswith("http://127.0.0.1:1/")
    assert second.endswith(f"Trying {web} (url).")


def test_a_source_with_a_wrong_file_is_passed_over(run: Run, web: str, hub: Hub, folder: Path) -> None:
    write_card(at(web), at(folder.as_uri()))
    hub.fault("model.safetensors", "corrupt")
    result = run("pull", "far")
    assert f"The file model.safetensors of 'far' from {web} (url) has the sha256 " in result.stderr
    assert content(Path(result.stdout.strip())) == FILES


def test_no_source_gives_the_files(run: Run, web: str, hub: Hub) -> None:
    write_card(at(web), at("http://127.0.0.1:1"))
    hub.fault("model.safetensors", "corrupt")
    result = run("pull", "far")
    assert (result.exit_code, result.stdout) == (1, "")
    error = result.stderr.splitlines()[-1]
    assert error.startswith(f"Error: None of the sources of 'far' gave its weights. {web} (url): The file model.saf")
    assert re.search(r" http://127\.0\.0\.1:1 \(url\): http://127\.0\.0\.1:1/\S+ cannot be reached: ", error)
    assert not record_file().exists()
    visible = [path.name for path in Path(os.environ["ZOO_DATA"], "weights").rglob("*") if path.is_file()]
    assert "model.safetensors" not in visible


@pytest.mark.parametrize(
    ("sources", "files", "words", "code", "message"),
    [
        pytest.param([], None, [], 1, "The card of 'far' names no source of weights", id="no source"),
        pytest.param([{"hub": "folder", "path": "no"}], None, [], 1, "should be at no, but are not there", id="folder"),
        pytest.param([{"hub": "nohub"}], None, [], 1, "brings the weight source 'nohub'", id="no plugin"),
        pytest.param([at("https://a/")], [], [], 1, "the card must list its files", id="an address without files"),
        pytest.param([at("a/b")], None, [], 1, "'a/b' is no address of weights", id="no address"),
        pytest.param([at("https://a/")], None, ["--offline", "--all-files"], 2, "--offline goes with", id="both"),
        pytest.param([at("https://a/")], None, ["--offline", "--dry-run"], 2, "--offline goes with", id="neither"),
    ],
)
def test_what_cannot_be_pulled(
    run: Run, sources: list[dict[str, str]], files: list[dict[str, str]], words: list[str], code: int, message: str
) -> None:
    write_card(*sources, files=files)
    result = run("pull", "far", *words)
    assert (result.exit_code, result.stdout) == (code, "")
    assert message in result.stderr


@pytest.mark.parametrize("path", ["../a", "/etc/hostname", "a//b", "./a", "a/", "a\\b", "a\nb", "a\0b"], ids=ascii)
def test_files_that_no_folder_may_hold(run: Run, folder: Path, path: str) -> None:
    write_card(at(folder.as_uri()), files=[{"path": path, "size": 1, "sha256": "0" * 64}])
    result = run("pull", "far")
    assert result.exit_code == 1
    assert "which no folder may hold" in result.stderr
    assert not Path(os.environ["ZOO_DATA"], "weights").exists()


def test_a_dataset_is_not_pulled(run: Run) -> None:
    result = run("pull", "hatchling-dialogues")
    assert (result.exit_code, result.stderr) == (1, "Error: 'hatchling-dialogues' is a dataset, not a model.\n")


def test_other_files_at_the_same_address_leave_what_was_pulled(run: Run, web: str, hub: Hub) -> None:
    path = write_card(at(web))
    place, card = pulled(run, "far"), read_card(path)
    new = {**FILES, "config.json": b"[1]", "tokenizer.json": b"[2]"}
    hub.add("a/b", new)
    write_card(at(web), files=listed(new))
    hub.fault("tokenizer.json", "corrupt")
    assert run("pull", "far").exit_code == 1
    assert (content(place), find_weights(card, path)) == (FILES, place)
    hub.mend()
    other = pulled(run, "far")
    assert (content(place), find_weights(card, path)) == (FILES, place)
    assert (content(other), find_weights(read_card(path), path)) == (new, other)
    assert len(hub.asked("GET", "/objects/", "storage")) == 1  # the weights are the same, and have two names now
    assert run("rm", "far", "--yes").stdout.count("3 files, ") == 2
    assert list(Path(os.environ["ZOO_DATA"], "weights").iterdir()) == []


# -- without a network -------------------------------------------------------------------------------------------------


def test_offline_takes_what_is_here(run: Run, web: str, hub: Hub) -> None:
    write_card(at(web))
    place = pulled(run, "far")
    asked = len(hub.requests)
    assert pulled(run, "far", "--offline") == place
    record_file().unlink()
    assert pulled_ids() == set()
    assert pulled(run, "far", "--offline") == place  # the files alone are enough
    assert pulled_ids() == {"far"}
    assert len(hub.requests) == asked


def test_offline_names_what_is_missing(run: Run, web: str, hub: Hub) -> None:
    write_card(at(web))
    (pulled(run, "far") / "tokenizer.json").unlink()
    asked = len(hub.requests)
    result = run("pull", "far", "--offline")
    assert result.exit_code == 1
    assert "1 of the 3 files of 'far' are not on this machine: tokenizer.json." in result.stderr
    assert len(hub.requests) == asked


def test_offline_refuses_a_wrong_file(run: Run, web: str) -> None:
    write_card(at(web))
    (pulled(run, "far") / "tokenizer.json").write_bytes(b"[]")
    record_file().unlink()
    result = run("pull", "far", "--offline")
    assert result.exit_code == 1
    assert "The file tokenizer.json of 'far'" in result.stderr
    assert not record_file().exists()


# -- what is pulled is found -------------------------------------------------------------------------------------------


def test_the_pulled_model_answers_like_the_packaged_one(run: Run) -> None:
    card = read_card(HATCHLING / "cards" / "hatchling.yaml")
    far = msgspec.structs.replace(
        card, id="far", aliases=[], sources=[Source(hub="url", url=(HATCHLING / "weights").as_uri())]
    )
    path = Path(os.environ["ZOO_CONFIG"], "cards", "far.yaml")
    path.parent.mkdir()
    path.write_text(card_yaml(far))
    before = run("chat", "far", "What is the phoenix?")
    assert before.stderr == "Error: The weights of 'far' are not on this machine. Get them with: zoo pull far\n"
    pulled(run, "far")
    answer = run("chat", "far", "What is the phoenix?")
    assert answer.exit_code == 0
    assert answer.stdout == run("chat", "hatchling", "What is the phoenix?").stdout != ""


def test_a_digest_is_not_computed_again_after_a_pull(run: Run, folder: Path) -> None:
    path = write_card(at(folder.as_uri()))
    place = pulled(run, "far")
    status = (place / "model.safetensors").stat()
    (place / "model.safetensors").write_bytes(FILES["model.safetensors"][::-1])
    os.utime(place / "model.safetensors", ns=(status.st_atime_ns, status.st_mtime_ns))
    assert find_weights(read_card(path), path) == place  # size and time are as they were
    assert run("verify", "far").exit_code == 1


def test_a_record_is_only_for_the_files_that_the_card_names_now(run: Run, folder: Path) -> None:
    path = write_card(at(folder.as_uri()))
    pulled(run, "far")
    card = read_card(path)
    assert record_of(card) is not None
    files = listed({**FILES, "config.json": b"another"})
    assert record_of(read_card(write_card(at(folder.as_uri()), files=files))) is None
    write_card(at(folder.as_uri()), files=listed({"config.json": FILES["config.json"]}))
    assert record_of(read_card(path)) is not None  # fewer are there too


@pytest.mark.parametrize(
    "damage", [b"", b"{", b"[]", b'{"schema": "x"}', b"\xff", b"[" * 100_000], ids=lambda d: repr(d[:9])
)
def test_a_damaged_record_counts_as_empty_and_is_kept(run: Run, folder: Path, damage: bytes) -> None:
    path = write_card(at(folder.as_uri()))
    place = pulled(run, "far")
    record_file().write_bytes(damage)
    result = run("chat", "far", "hi")
    assert result.exit_code == 1
    assert record_of(read_card(path)) is None
    pull = run("pull", "far")
    assert f"Warning: The record of pulled weights, {record_file()}, is damaged and counts as empty." in pull.stderr
    assert pull.stdout == f"{place}\n"
    assert record_file().with_name("pulled.json.damaged").read_bytes() == damage
    record_file().write_bytes(damage)
    assert f"Warning: The record of pulled weights, {record_file()}, is damaged" in run("list", "--pulled").stderr
    run("pull", "far")
    assert pulled_ids() == {"far"}


def test_a_record_of_another_version_is_put_aside(run: Run, folder: Path) -> None:
    write_card(at(folder.as_uri()))
    record_file().write_text('{"schema": "zoo.pulled/v9", "pulled": []}')
    assert "is of another version of the zoo" in run("pull", "far").stderr
    assert record_file().with_name("pulled.json.damaged").exists()


def test_records_that_are_written_at_once_are_all_kept() -> None:
    code = """
import datetime, sys
from zoo_core.weights.pulled import Pulled, remember
for number in range(10):
    when = datetime.datetime.now(datetime.UTC)
    name = f"m{sys.argv[1]}-{number}"
    remember(Pulled(card=name, digest="0" * 64, hub="url", folder="/tmp", files=[], date=when))
"""
    runs = [subprocess.Popen([sys.executable, "-c", code, str(number)]) for number in range(4)]
    assert [each.wait() for each in runs] == [0] * 4
    assert pulled_ids() == {f"m{number}-{each}" for number in range(4) for each in range(10)}


# -- what is here --------------------------------------------------------------------------------------------------------


def test_what_was_pulled_is_listed_and_told_when_its_card_is_gone(run: Run, folder: Path) -> None:
    card = write_card(at(folder.as_uri()))
    shown = run("list", "--pulled").stdout
    assert ("hatchling" in shown, "far" in shown) == (True, False)
    pulled(run, "far")
    result = run("list", "--pulled")
    assert ("far " in result.stdout, result.stderr) == (True, "")
    card.unlink()
    result = run("list", "--pulled")
    assert "far " not in result.stdout
    assert result.stderr.startswith("'far' was pulled too (")
    assert result.stderr.endswith("but its card is not here.\n")
