"""The rules of the house: a light core that names no model, light plugins that use only what others can."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CORE = sorted((ROOT / "zoo_core").rglob("*.py"))
PLUGINS = sorted((ROOT / "plugins").rglob("*.py"))
MODELS = re.compile(r"(?i)\b(phoenix|chimera|camel|huatuo\w*|vicuna|alpaca|bloomz?|llama|hatchling)\b")

#: What `zoo list` may have imported: the standard library and these.
LIGHT = {
    "zoo_core",
    "zoo_registry",
    "zoo_data",
    "zoo_git",
    "zoo_hatchling",
    "zoo_hub",
    "zoo_phoenix",
    "zoo_sft",
    "zoo_static",
}
LIGHT |= {"zoo_camel", "zoo_chimera", "zoo_classics", "zoo_gguf", "zoo_gptq", "zoo_int8", "zoo_openai", "zoo_weights"}
LIGHT |= {"zoo_transformers"}
LIGHT |= {"click", "pluggy", "msgspec", "yaml", "_yaml", "platformdirs", "typing_extensions"}


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imports(path: Path, top_only: bool) -> Iterator[str]:
    """The modules that a file imports, everywhere or at module level only."""
    tree = ast.parse(path.read_text())
    for node in tree.body if top_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


@pytest.mark.parametrize("path", CORE, ids=name)
def test_core_names_no_model(path: Path) -> None:
    assert MODELS.findall(path.read_text()) == []


@pytest.mark.parametrize("path", CORE, ids=name)
def test_core_file_is_short(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 300


@pytest.mark.parametrize("path", CORE, ids=name)
def test_core_imports_no_heavy_library_at_the_top(path: Path) -> None:
    from zoo_core.plugins import HEAVY

    assert not HEAVY & {module.partition(".")[0] for module in imports(path, top_only=True)}


@pytest.mark.parametrize("path", PLUGINS, ids=name)
def test_plugin_uses_public_names_and_no_other_plugin(path: Path) -> None:
    own = path.relative_to(ROOT / "plugins").parts[0]
    modules = set(imports(path, top_only=False))
    others = {module.partition(".")[0] for module in modules if module.startswith("zoo_")} - {"zoo_core", own}
    assert others <= {"zoo_weights"}
    assert {module for module in modules if module.startswith("zoo_core.")} == set()


def test_listing_imports_nothing_but_light_modules(run: object) -> None:
    code = """
import sys
before = set(sys.modules)
from zoo_core.cli import cli
cli(["list"], standalone_mode=False)
cli(["list"], standalone_mode=False)
print(*sorted({name.partition(".")[0] for name in set(sys.modules) - before} - sys.stdlib_module_names), file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    modules = {module for module in done.stderr.split() if not module.startswith(("__editable__", "_cython", "cython"))}
    assert modules <= LIGHT


def test_second_listing_reads_neither_yaml_nor_metadata(zoo_folders: Path) -> None:
    code = "import sys\nfrom zoo_core.cli import cli\ncli(['list'], standalone_mode=False)\n"
    code += "print(*sys.modules, file=sys.stderr)"
    for _ in range(2):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"yaml", "jinja2", "importlib.metadata", "sqlite3"} & set(done.stderr.split())


def test_project_speaks_of_itself_alone() -> None:
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split(
        "\n"
    )
    words = re.compile("|".join(["/wo" + "rk/", r"\.lib" + "rary", "pypi" + r"\.org", "dev" + "pi"]))
    for each in filter(None, tracked):
        path = ROOT / each
        if path.is_file() and path.suffix in {".py", ".md", ".toml", ".yaml", ".yml", ".jinja", ".json", ""}:
            assert not words.findall(path.read_text(encoding="utf-8", errors="ignore")), each
