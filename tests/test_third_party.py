"""A plugin in a package of its own, installed beside the wheel and beside the editable install, and broken ones beside it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.install

ROOT = Path(__file__).parent.parent
HELLO = ROOT / "tests" / "third_party" / "zoo_hello"

#: Seven ways to break a plugin: the name of its entry point, the module's text, and what the warning must say.
BROKEN = {
    "bad_import": ("badimport", "import a_module_that_is_not_there", "No module named 'a_module_that_is_not_there'"),
    "exits": ("exits", "import sys\nsys.exit(3)", "it called sys.exit(3)"),
    "raises": (
        "raises",
        "from zoo_core import hookimpl\n@hookimpl\ndef zoo_trainers():\n    return 1 / 0",
        "ZeroDivisionError",
    ),
    "misspelt": (
        "misspelt",
        "from zoo_core import hookimpl\n@hookimpl\ndef zoo_trainer():\n    return []",
        "no hook is called 'zoo_trainer'. Did you mean zoo_trainers?",
    ),
    "argument": (
        "argument",
        "from zoo_core import hookimpl\n@hookimpl\ndef zoo_trainers(trainer):\n    return []",
        "Argument(s) {'trainer'}",
    ),
    "name_taken": ("phoenix", "", "the plugin name 'phoenix' is taken by phoenix (llm-zoo"),
    "offer_taken": (
        "offertaken",
        "from zoo_core import Offer, hookimpl\n@hookimpl\ndef zoo_commands():\n"
        "    return [Offer(name='list', target='x:y')]",
        "zoo_commands offers 'list', which the zoo itself brings",
    ),
}


class Installation:
    """A virtual environment with the zoo and the plugin in it."""

    def __init__(self, folder: Path) -> None:
        self.bin = folder / "venv" / ("Scripts" if os.name == "nt" else "bin")
        self.environment = {key: value for key, value in os.environ.items() if not key.startswith(("ZOO_", "PYTHON"))}
        for name in ("DATA", "CACHE", "CONFIG"):
            self.environment[f"ZOO_{name}"] = str(folder / name.lower())
        subprocess.run([sys.executable, "-m", "venv", str(folder / "venv")], check=True)

    def pip(self, *arguments: str) -> None:
        command = [
            str(self.bin / "python"),
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            *arguments,
        ]
        done = subprocess.run(command, capture_output=True, text=True, env=self.environment, check=False)
        assert done.returncode == 0, done.stderr

    def zoo(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [str(self.bin / "zoo"), *arguments]
        return subprocess.run(
            command, capture_output=True, text=True, env=self.environment, cwd=self.bin, check=False, encoding="utf-8"
        )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's own wheel, built from a clean copy of what git tracks, so that no leftover of a build is in it."""
    folder = tmp_path_factory.mktemp("wheel")
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout.split(b"\0")
    for name in filter(None, names):
        source, target = ROOT / name.decode(), folder / "source" / name.decode()
        if source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read_bytes())
    command = [sys.executable, "-m", "build", "--wheel", "--outdir", str(folder), str(folder / "source")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module", params=["wheel", "editable"])
def installation(request: pytest.FixtureRequest, wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """The zoo, as a wheel or editable, and the plugin `zoo-hello` beside it."""
    made = Installation(tmp_path_factory.mktemp(request.param))
    made.pip(*([str(wheel)] if request.param == "wheel" else ["--editable", str(ROOT)]))
    made.pip("setuptools>=77")
    made.pip("--no-deps", "--no-build-isolation", str(_copy(HELLO, tmp_path_factory.mktemp("hello"))))
    return made


def test_plugin_from_its_own_package_works(installation: Installation) -> None:
    listed = installation.zoo("list", "hello*", "--json")
    assert listed.returncode == 0, listed.stderr
    assert [item["id"] for item in json.loads(listed.stdout)["items"]] == ["hello-tiny"]
    assert "A model that does not exist" in installation.zoo("show", "hello").stdout
    explained = installation.zoo("explain", "hello-tiny", "Good day")
    assert explained.returncode == 0, explained.stderr
    assert "[system] Be brief.\n[user] Good day\n[hello]" in explained.stdout
    assert "Hello to all" in installation.zoo("hello").stdout
    assert "Greet the models" in installation.zoo("--help").stdout


def test_plugin_keeps_the_rules(installation: Installation) -> None:
    checked = installation.zoo("plugins", "check", "zoo-hello")
    assert checked.returncode == 0, checked.stdout
    assert checked.stdout.count("ok ") == 5


def test_all_cards_are_there_and_true(installation: Installation) -> None:
    for plugin in ("registry", "hatchling", "phoenix"):
        checked = installation.zoo("plugins", "check", plugin)
        assert checked.returncode == 0, checked.stdout


def test_broken_plugins_cost_a_warning_each_and_nothing_else(
    installation: Installation, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("broken")
    projects = [_broken_project(folder / name, name, *BROKEN[name][:2]) for name in BROKEN]
    installation.pip("--no-deps", "--no-build-isolation", *map(str, projects))
    for arguments in (["list"], ["show", "phoenix"], ["explain", "hello-tiny"], ["hello"], ["plugins", "list"]):
        done = installation.zoo(*arguments)
        assert done.returncode == 0, done.stderr
        warnings = [line for line in done.stderr.splitlines() if line.startswith("Warning: plugin ")]
        assert len(warnings) == len(BROKEN), done.stderr
        for _, _, reason in BROKEN.values():
            assert any(reason in warning for warning in warnings), (reason, done.stderr)
    assert installation.zoo("--version").stderr == ""
    doctor = installation.zoo("plugins", "doctor")
    assert doctor.returncode == 1
    assert doctor.stdout.count("pip uninstall zoo-broken") == len(BROKEN)


def _broken_project(folder: Path, name: str, entry_point: str, text: str) -> Path:
    folder.mkdir()
    (folder / f"zoo_broken_{name}.py").write_text(text)
    (folder / "pyproject.toml").write_text(
        f"""
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"
[project]
name = "zoo-broken-{name.replace("_", "-")}"
version = "1.0"
[project.entry-points.zoo]
{entry_point} = "zoo_broken_{name}"
[tool.setuptools]
py-modules = ["zoo_broken_{name}"]
"""
    )
    return folder


def _copy(project: Path, folder: Path) -> Path:
    """A copy to build in, so that the build leaves nothing in the tree."""
    import shutil

    return Path(shutil.copytree(project, folder / project.name))
