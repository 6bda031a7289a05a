"""What tests need of git: a home of its own, repositories, and commits by somebody else."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

CARD = """schema: zoo.card/v1
kind: model
id: {id}
version: {version}
family: phoenix
summary: {summary}
"""


@pytest.fixture
def git_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No setting of whoever runs the tests: a user called Ada, whose new repositories begin with the branch `main`."""
    for name in os.environ:
        if name.startswith("GIT_"):
            monkeypatch.delenv(name)
    home = tmp_path / "home"
    temporary = tmp_path / "temporary"
    home.mkdir()
    temporary.mkdir()
    config = home / "gitconfig"
    config.write_text("[user]\nname = Ada\nemail = ada@example.org\n[init]\ndefaultBranch = main\n")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(config))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    return home


def git(folder: Path, *arguments: str) -> str:
    """Run git in a folder."""
    done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def repository(path: Path, files: dict[str, str] | None = None) -> Path:
    """A bare repository whose branch `main` has one commit with these files, or none."""
    path.mkdir(parents=True)
    git(path, "init", "--quiet", "--bare")
    if files is not None:
        push(path, files)
    return path


def push(remote: Path, files: dict[str, str | None], branch: str = "main") -> None:
    """Push a commit by somebody else, that writes files and removes those that are None."""
    work = remote.parent / f"{remote.name}-work"
    if not work.exists():
        git(remote.parent, "clone", "--quiet", str(remote), str(work))
    git(work, "fetch", "--quiet", "origin")
    if git(work, "branch", "--remotes", "--list", f"origin/{branch}"):
        git(work, "checkout", "--quiet", "-B", branch, f"origin/{branch}")
    else:
        git(work, "checkout", "--quiet", "-B", branch)
    for name, content in files.items():
        path = work / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if content is None:
            path.unlink()
        else:
            path.write_text(content, encoding="utf-8")
    git(work, "add", "--all", "--force")
    git(work, "commit", "--quiet", "--message=By somebody else")
    git(work, "push", "--quiet", "origin", f"HEAD:refs/heads/{branch}")


def heads(remote: Path) -> dict[str, str]:
    """The branches of a repository and their commits."""
    lines = git(remote, "for-each-ref", "--format=%(refname:short) %(objectname)", "refs/heads").splitlines()
    return dict(line.split(" ") for line in lines)


def card(name: str = "parrot", version: str = "1.0.0", summary: str = "A bird that talks.", more: str = "") -> str:
    """The YAML of a card."""
    return CARD.format(id=name, version=version, summary=summary) + more
