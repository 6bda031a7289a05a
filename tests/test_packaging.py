"""Nothing that the project needs may be missing from the wheel, and nothing in the tree may go unlisted."""

from __future__ import annotations

import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
TOOLS = PROJECT["tool"]["setuptools"]
#: Where packages live in the tree, by the first part of their import name.
HOMES: dict[str, str] = TOOLS["package-dir"]


def test_every_package_in_the_tree_is_listed() -> None:
    found = set()
    for name, home in HOMES.items():
        for init in (ROOT / home).rglob("__init__.py"):
            found.add(".".join([name, *init.parent.relative_to(ROOT / home).parts]))
    assert found == set(TOOLS["packages"])


def test_every_plugin_folder_is_mapped_and_has_an_entry_point() -> None:
    folders = {path.name for path in (ROOT / "plugins").iterdir() if (path / "__init__.py").exists()}
    entry_points = {target.partition(".")[0] for target in PROJECT["project"]["entry-points"]["zoo"].values()}
    assert folders == {name for name, home in HOMES.items() if home.startswith("plugins/")}
    assert entry_points == folders | {"zoo_registry"}


def test_plugins_and_registry_are_folders_not_packages() -> None:
    assert not (ROOT / "plugins" / "__init__.py").exists()
    assert (ROOT / "registry" / "__init__.py").exists()


@pytest.mark.install
def test_every_tracked_file_of_a_package_is_in_the_wheel(tmp_path: Path) -> None:
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    names = [name.decode() for name in tracked.split(b"\0") if name and (ROOT / name.decode()).is_file()]
    for name in names:
        target = tmp_path / "source" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((ROOT / name).read_bytes())
    command = [sys.executable, "-m", "build", "--wheel", "--outdir", str(tmp_path), str(tmp_path / "source")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        packed = {name for name in wheel.namelist() if ".dist-info/" not in name}
    expected = set()
    for package, home in HOMES.items():
        expected |= {package + name.removeprefix(home) for name in names if name.startswith(f"{home}/")}
    assert packed == expected


def test_torch_range_admits_the_tested_release_and_nothing_newer() -> None:
    wanted = next(each for each in PROJECT["project"]["optional-dependencies"]["chat"] if each.startswith("torch"))
    assert wanted.endswith("<=2.13.0")
