"""The files that a registry in a git repository begins with: folders for cards, a README, and a workflow that checks cards."""

from __future__ import annotations

import subprocess
from importlib.resources import files
from typing import TYPE_CHECKING

from zoo_core.errors import UsageProblem, ZooError
from zoo_core.files import write_whole

if TYPE_CHECKING:
    from pathlib import Path

#: Where each file of the skeleton goes.
_FILES = {"README.md": "README.md", "cards.yml": ".github/workflows/cards.yml", "gitignore": ".gitignore"}
_FOLDERS = ("models", "datasets", "benchmarks")


def first_serial(root: Path) -> int:
    """The serial with which the index of a registry in `root` begins: above the number of commits where that is git's.

    Until then its readers took the number of commits for the serial, and refuse a lower one, or the same with another index.
    """
    try:
        told = subprocess.run(
            ["git", "rev-list", "--count", "HEAD"], cwd=root, capture_output=True, text=True, check=False
        ).stdout
    except OSError:  # no such folder yet, or no git
        return 1
    return int(told) + 1 if told.strip().isdigit() else 1


def write_skeleton(folder: Path) -> list[str]:
    """Write the skeleton and return the paths of its files. Raises `UsageProblem` rather than overwrite one."""
    contents = {path: (files(__package__) / "skeleton" / name).read_bytes() for name, path in _FILES.items()}
    contents |= {f"{name}/.gitkeep": b"" for name in _FOLDERS}
    try:
        if there := [path for path in contents if (folder / path).is_symlink() or (folder / path).exists()]:
            raise UsageProblem(f"{folder} already holds {', '.join(there)}; name a new folder.")
        for path, content in contents.items():
            write_whole(folder / path, content)
    except OSError as error:
        raise ZooError(f"The registry in {folder} cannot be written: {error.strerror or error}.") from error
    return list(contents)
