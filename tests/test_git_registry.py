"""Registries that are kept in git: how one begins, what its workflow checks, and how others bring its cards here."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from click.testing import Result
from git_repositories import card, git, git_home, heads, push, repository

from zoo_core.cli.card import COMMANDS as CARD_COMMANDS
from zoo_core.cli.registry import COMMANDS as REGISTRY_COMMANDS

__all__ = ["git_home"]

Run = Callable[..., Result]
FILES = {
    ".gitignore",
    "README.md",
    ".github/workflows/cards.yml",
    *(f"{name}s/.gitkeep" for name in ("model", "dataset")),
}
FILES |= {"benchmarks/.gitkeep"}


# -- the skeleton ------------------------------------------------------------------------------------------------------


def files_in(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_skeleton_is_written_whole(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "our cards"
    result = run("registry", "init", str(folder))
    assert result.exit_code == 0, result.stderr
    assert files_in(folder) == FILES
    assert set(result.stdout.splitlines()) == {str(folder / name) for name in FILES}


@pytest.mark.parametrize("name", sorted(FILES))
@pytest.mark.parametrize("kind", ["file", "folder", "link to nothing"])
def test_skeleton_overwrites_nothing(run: Run, tmp_path: Path, name: str, kind: str) -> None:
    path = tmp_path / "cards" / name
    path.parent.mkdir(parents=True)
    if kind == "file":
        path.write_text("mine")
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to(tmp_path / "nothing")
    result = run("registry", "init", str(tmp_path / "cards"))
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert f"already holds {name}" in result.stderr
    assert files_in(tmp_path / "cards") == ({name} if kind == "file" else set())
    assert not (tmp_path / "nothing").exists()


def test_skeleton_joins_other_files(run: Run, tmp_path: Path) -> None:
    (tmp_path / "LICENSE").write_text("mine")
    assert run("registry", "init", str(tmp_path)).exit_code == 0
    assert (tmp_path / "LICENSE").read_text() == "mine"
    assert files_in(tmp_path) >= FILES


def test_skeleton_that_cannot_be_written(run: Run, tmp_path: Path) -> None:
    (tmp_path / "models").write_text("no folder")
    result = run("registry", "init", str(tmp_path))
    assert (result.exit_code, result.stderr.count("\n"), "cannot be written" in result.stderr) == (1, 1, True)


def test_readme_names_commands_that_exist(run: Run, tmp_path: Path) -> None:
    run("registry", "init", str(tmp_path / "cards"))
    readme = (tmp_path / "cards" / "README.md").read_text()
    told = set(re.findall(r"zoo (card|registry) (\w+)", readme))
    assert {("card", "publish"), ("registry", "add"), ("registry", "build")} <= told
    assert [
        each for each in told if each[1] not in {"card": CARD_COMMANDS, "registry": REGISTRY_COMMANDS}[each[0]]
    ] == []


# -- the workflow ------------------------------------------------------------------------------------------------------


@pytest.fixture
def registry(run: Run, tmp_path: Path, git_home: Path) -> Path:
    """A registry that has just begun, as a repository with one commit."""
    folder = tmp_path / "registry"
    run("registry", "init", str(folder))
    git(folder, "init", "--quiet")
    commit(folder)
    return folder


def commit(folder: Path) -> str:
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message=Cards")
    return git(folder, "rev-parse", "HEAD")


def write(folder: Path, files: dict[str, str | None]) -> None:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if text is None:
            path.unlink()
        else:
            path.write_text(text)


def workflow(folder: Path) -> dict[str, object]:
    found: dict[str, object] = yaml.load((folder / ".github/workflows/cards.yml").read_text(), yaml.BaseLoader)
    return found


def check(folder: Path, base: str) -> subprocess.CompletedProcess[str]:
    """Run the workflow's own script, as a runner does, with a `zoo` that is this one and tells what it was called with."""
    (step,) = [each for each in workflow(folder)["jobs"]["check"]["steps"] if "zoo card check" in each.get("run", "")]  # type: ignore[index]
    tools = folder.parent / "tools"
    tools.mkdir(exist_ok=True)
    zoo = tools / "zoo"
    code = "import json, sys; print(json.dumps(sys.argv[3:])); from zoo_core.cli import main; main()"
    zoo.write_text(f"#!{sys.executable}\n{code}\n")
    zoo.chmod(0o755)
    return subprocess.run(
        ["bash", "--noprofile", "--norc", "-e", "-o", "pipefail", "-c", step["run"]],
        cwd=folder,
        env=os.environ | {"BASE": base, "RUNNER_TEMP": str(tools), "PATH": f"{tools}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )


def checked(done: subprocess.CompletedProcess[str]) -> list[list[str]]:
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]


def test_workflow_has_few_rights_and_no_holes(registry: Path) -> None:
    found = workflow(registry)
    assert found["permissions"] == {"contents": "read"}
    assert set(found["on"]) == {"pull_request", "push"}  # type: ignore[call-overload]
    steps = found["jobs"]["check"]["steps"]  # type: ignore[index]
    assert [
        each["uses"] for each in steps if "uses" in each if not re.fullmatch(r"actions/[\w-]+@v\d+", each["uses"])
    ] == []
    assert [each["run"] for each in steps if "${{" in each.get("run", "")] == []
    assert steps[0]["with"]["persist-credentials"] == "false"


ODD = [
    "models/a b.yaml",
    "models/$(touch made).yaml",
    "models/`touch made`.yml",
    "models/;touch made;.yaml",
    "models/'quoted\".yaml",
    "models/two\nlines.yaml",
    "models/-x.yaml",
    "models/--offline.yaml",
    "-x.yaml",
    "--help.yaml",
    "~root.yaml",
    "models/鹦鹉.yaml",
    "models/*.yaml",
    "models/\\n.yaml",
]


@pytest.mark.parametrize("name", ODD)
@pytest.mark.parametrize("good", [True, False])
def test_workflow_checks_a_card_of_any_name(registry: Path, name: str, good: bool) -> None:
    base = git(registry, "rev-parse", "HEAD")
    write(registry, {name: card() if good else card(more="colour: green\n")})
    commit(registry)
    done = check(registry, base)
    assert (done.returncode == 0) == good, done.stdout + done.stderr
    assert "colour" in done.stdout or good
    if good:
        assert checked(done) == [["--offline", "."], [f"./{name}"]]
    assert not (registry / "made").exists()


@pytest.mark.parametrize(
    ("before", "after", "good", "calls"),
    [
        ({"models/owl.yaml": card("owl")}, {"README.md": "Owls."}, True, [["--offline", "."]]),
        (
            {"models/owl.yaml": card("owl")},
            {"models/crow.yaml": card("crow")},
            True,
            [["--offline", "."], ["./models/crow.yaml"]],
        ),
        ({"models/owl.yaml": card("owl")}, {"models/other.yaml": card("owl")}, False, [["--offline", "."]]),
        (
            {"models/owl.yaml": card("owl"), "models/crow.yaml": card("crow", more="runtime: {variants: [owl]}\n")},
            {"models/owl.yaml": None},
            False,
            [["--offline", "."]],
        ),
        ({"models/owl.yaml": card("owl")}, {"models/owl.yaml": None}, True, []),
        (
            {
                "models/a.collection.yaml": "family: phoenix\n",
                "models/owl.yaml": "schema: zoo.card/v1\nid: owl\nsummary: Owl\nextends: a.collection.yaml\n",
            },
            {"models/a.collection.yaml": "family: phoenix\nlanguages: [en]\n"},
            True,
            [["--offline", "."], ["."]],
        ),
        (
            {
                "models/a.collection.yaml": "family: phoenix\n",
                "models/owl.yaml": "schema: zoo.card/v1\nid: owl\nsummary: Owl\nextends: a.collection.yaml\n",
            },
            {"models/a.collection.yaml": "familie: phoenix\n"},
            False,
            [["--offline", "."]],
        ),
        ({"models/owl.yaml": card("owl")}, {".hidden/x.yaml": "no card"}, True, [["--offline", "."]]),
    ],
)
def test_workflow_checks_what_a_change_touches(
    registry: Path, before: dict[str, str | None], after: dict[str, str | None], good: bool, calls: list[list[str]]
) -> None:
    write(registry, before)
    base = commit(registry)
    write(registry, after)
    commit(registry)
    done = check(registry, base)
    assert (done.returncode == 0, checked(done)) == (good, calls), done.stdout + done.stderr


@pytest.mark.parametrize("base", ["", "0" * 40])
def test_workflow_checks_everything_on_the_first_push(registry: Path, base: str) -> None:
    assert check(registry, base).returncode == 0  # there is no card yet
    write(registry, {"models/owl.yaml": card("owl"), "datasets/x/y.yml": card("crow")})
    commit(registry)
    done = check(registry, base)
    assert checked(done)[1:] == [["./datasets/x/y.yml", "./models/owl.yaml"]], done.stderr
    write(registry, {"models/owl.yaml": card("owl", version="one")})
    commit(registry)
    assert check(registry, base).returncode != 0


def test_workflow_sees_a_bad_card_among_very_many(registry: Path) -> None:
    base = git(registry, "rev-parse", "HEAD")
    write(registry, {f"models/{'x' * 100}{number}/y{number}.yaml": card(f"y{number}") for number in range(1500)})
    write(registry, {"models/zz.yaml": card("y0", more="colour: green\n")})
    commit(registry)
    done = check(registry, base)
    assert done.returncode != 0
    assert "colour" in done.stdout
    (registry / "models/zz.yaml").unlink()
    commit(registry)
    done = check(registry, base)
    assert done.returncode == 0, done.stdout + done.stderr
    assert sum(map(len, checked(done)[1:])) == 1500


# -- the cards of others -----------------------------------------------------------------------------------------------


@pytest.fixture
def remote(tmp_path: Path, git_home: Path) -> Path:
    return repository(tmp_path / "our cards.git", {"models/owl.yaml": card("owl"), "README.md": "Our cards"})


def names(run: Run) -> set[str]:
    return {row["id"] for row in json.loads(run("list", "--json").stdout)["items"]} & {"owl", "crow", "parrot", "wren"}


def test_registry_comes_and_follows(run: Run, remote: Path) -> None:
    result = run("registry", "add", "birds", f"git:{remote}")
    assert (result.exit_code, result.stderr) == (0, "")
    assert "serial 1 and 1 card" in result.stdout
    assert names(run) == {"owl"}
    assert json.loads(run("show", "birds:owl", "--json").stdout)["card"]["summary"] == "A bird that talks."
    assert "nothing has changed" in run("registry", "update", "birds").stdout
    push(remote, {"models/crow.yaml": card("crow"), "models/owl.yaml": card("owl", "1.0.1", "A bird of the night.")})
    assert "serial 2 and 2 cards: 1 new, 1 changed, 0 removed" in run("registry", "update", "birds").stdout
    assert json.loads(run("show", "owl", "--json").stdout)["card"]["summary"] == "A bird of the night."
    push(remote, {"models/owl.yaml": None})
    assert "1 removed" in run("registry", "update", "birds").stdout
    assert names(run) == {"crow"}


def test_branch_of_a_registry(run: Run, remote: Path) -> None:
    push(remote, {"models/crow.yaml": card("crow")}, branch="next")
    assert run("registry", "add", "birds", f"git:{remote}#next").exit_code == 0
    assert names(run) == {"owl", "crow"}


def test_path_is_kept_whole(run: Run, remote: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(remote.parent)
    result = run("registry", "add", "birds", f"git:{remote.name}")
    assert (result.exit_code, f"write git:{remote} instead" in result.stderr) == (2, True)
    assert run("registry", "add", "birds", f"git:./{remote.name}").exit_code == 0
    monkeypatch.chdir("/")
    assert run("registry", "update", "birds").exit_code == 0


def test_broken_cards_are_left_out_and_told(run: Run, remote: Path, tmp_path: Path) -> None:
    push(
        remote,
        {
            "models/a/crow.yaml": card("crow"),
            "models/b/crow.yaml": card("crow", summary="Another crow."),
            "models/parrot.yaml": card(more="colour: green\n"),
            "models/bomb.yaml": "a: &a [x]\nb: [*a, *a]\n",
            ".github/x.yaml": "no card",
            "models/shared.collection.yaml": "family: phoenix\n",
            "models/wren.yaml": "schema: zoo.card/v1\nid: wren\nsummary: Wren\nextends: shared.collection.yaml\n",
        },
    )
    result = run("registry", "add", "birds", f"git:{remote}")
    assert result.exit_code == 0
    assert [line.partition(" left out: ")[2] for line in result.stderr.splitlines()] == [
        "models/b/crow.yaml is called 'crow', like models/a/crow.yaml",
        "models/bomb.yaml, line 1: anchors and aliases are not allowed in a card; write the value out",
        "models/parrot.yaml, line 7, colour: the field is unknown. Fields of a plugin's own belong under 'extra'",
    ]
    assert names(run) == {"owl", "crow", "wren"}


def test_most_broken_cards_are_only_counted(run: Run, remote: Path) -> None:
    push(remote, {f"models/{number}.yaml": "no card" for number in range(25)})
    lines = run("registry", "add", "birds", f"git:{remote}").stderr.splitlines()
    assert (len(lines), lines[-1]) == (11, "Warning: 15 more cards of the registry 'birds' are left out")


def test_link_out_of_the_repository_is_not_read(run: Run, remote: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside.yaml"
    outside.write_text(card("crow"))
    (tmp_path / "our cards.git-work" / "models" / "crow.yaml").symlink_to(outside)
    push(remote, {"README.md": "changed"})
    assert git(remote, "ls-tree", "main", "models/crow.yaml").startswith("120000")
    assert run("registry", "add", "birds", f"git:{remote}").exit_code == 0
    assert names(run) == {"owl"}


@pytest.mark.parametrize("damage", ["gone", "no card", "history", "empty"])
def test_copy_stays_when_the_repository_is_no_good(run: Run, remote: Path, tmp_path: Path, damage: str) -> None:
    push(remote, {"models/crow.yaml": card("crow")})
    run("registry", "add", "birds", f"git:{remote}")
    if damage == "gone":
        remote.rename(tmp_path / "elsewhere")
    elif damage == "no card":
        push(remote, {"models/crow.yaml": None, "models/owl.yaml": "no card"})
    elif damage == "history":
        git(remote, "update-ref", "refs/heads/main", "main~1")
    else:
        git(remote, "update-ref", "-d", "refs/heads/main")
    result = run("registry", "update", "birds")
    assert result.exit_code == 1
    assert "Error: " in result.stderr.splitlines()[-1]
    assert names(run) == {"owl", "crow"}


def test_history_that_was_rewritten_is_refused(run: Run, remote: Path, tmp_path: Path) -> None:
    push(remote, {"models/crow.yaml": card("crow")})
    run("registry", "add", "birds", f"git:{remote}")
    work = tmp_path / "our cards.git-work"
    (work / "models/crow.yaml").write_text(card("crow", summary="Another crow."))
    git(work, "commit", "--quiet", "--all", "--amend", "--message=Rewritten")
    git(work, "push", "--quiet", "--force", "origin", "HEAD:main")
    for more in ("as many commits", "more commits"):
        result = run("registry", "update", "birds")
        assert (result.exit_code, result.stderr.count("\n")) == (1, 1), more
        assert "its history was rewritten; to use it all the same, remove the registry 'birds'" in result.stderr
        push(remote, {"README.md": more})
    assert json.loads(run("show", "crow", "--json").stdout)["card"]["summary"] == "A bird that talks."
    run("registry", "remove", "birds")
    assert run("registry", "add", "birds", f"git:{remote}").exit_code == 0
    assert json.loads(run("show", "crow", "--json").stdout)["card"]["summary"] == "Another crow."


def test_signed_index_follows_the_number_of_commits(run: Run, remote: Path, tmp_path: Path) -> None:
    for name in ("crow", "wren"):
        push(remote, {f"models/{name}.yaml": card(name)})
    run("registry", "add", "birds", f"git:{remote}")
    work = tmp_path / "our cards.git-work"
    assert "has serial 4" in run("registry", "build", str(work), "--from", str(work / "models")).stdout
    push(remote, {"README.md": "now with an index"})
    result = run("registry", "update", "birds")
    assert (result.exit_code, "serial 4" in result.stdout) == (0, True), result.stderr


def test_repository_of_too_many_cards_is_refused(run: Run, remote: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    push(remote, {"models/crow.yaml": card("crow"), "models/huge.yaml": card("wren", more="# " + "x" * 1_000_000)})
    monkeypatch.setattr("zoo_git.cards._MOST_CARDS", 2)
    result = run("registry", "add", "birds", f"git:{remote}")
    assert (result.exit_code, "holds more than 2 cards" in result.stderr) == (1, True)
    monkeypatch.setattr("zoo_git.cards._MOST_CARDS", 3)
    result = run("registry", "add", "birds", f"git:{remote}")
    assert (result.exit_code, "models/huge.yaml: the file is larger than 1,000,000 bytes" in result.stderr) == (0, True)
    assert names(run) == {"owl", "crow"}


def test_mirrors_are_tried_in_order(run: Run, remote: Path, tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere.git"
    result = run("registry", "add", "birds", f"git:{nowhere}", "--mirror", f"git:{remote}")
    assert result.exit_code == 0
    assert f"was passed over: There is no git repository at {nowhere}" in result.stderr
    assert names(run) == {"owl"}


def test_key_needs_a_signed_index(run: Run, remote: Path, tmp_path: Path) -> None:
    key = run("registry", "keygen", str(tmp_path / "key.pem")).stdout.split()[-1]
    result = run("registry", "add", "birds", f"git:{remote}", "--key", key)
    assert (result.exit_code, "holds no index.json whose signature could be verified" in result.stderr) == (1, True)
    assert names(run) == set()
    work = tmp_path / "our cards.git-work"
    built = run("registry", "build", str(work), "--from", str(work / "models"), "--key", str(tmp_path / "key.pem"))
    assert built.exit_code == 0, built.stderr
    push(remote, {"README.md": "signed"})
    assert run("registry", "add", "birds", f"git:{remote}", "--key", key).exit_code == 0
    assert names(run) == {"owl"}
    push(remote, {"index.json": (work / "index.json").read_text().replace("owl", "awl")})
    result = run("registry", "update", "birds")
    assert (result.exit_code, "index.json has a signature of something else" in result.stderr) == (1, True)
    assert names(run) == {"owl"}


def test_from_beginning_to_end(run: Run, registry: Path, tmp_path: Path) -> None:
    """Begin a registry, publish to it, merge what was published, and use it elsewhere."""
    remote = repository(tmp_path / "published.git")
    git(registry, "push", "--quiet", str(remote), "HEAD:main")
    (tmp_path / "parrot.yaml").write_text(card())
    result = run("card", "publish", str(tmp_path / "parrot.yaml"), "--to", f"git:{remote}", "--yes")
    assert result.exit_code == 0, result.stderr
    git(registry, "fetch", "--quiet", str(remote), "card/parrot-1.0.0")
    done_before = git(registry, "rev-parse", "HEAD")
    git(registry, "merge", "--quiet", "--ff-only", "FETCH_HEAD")
    assert check(registry, done_before).returncode == 0
    git(registry, "push", "--quiet", str(remote), "HEAD:main")
    assert heads(remote)["main"] == heads(remote)["card/parrot-1.0.0"]
    assert run("registry", "add", "birds", f"git:{remote}").exit_code == 0
    assert names(run) == {"parrot"}
