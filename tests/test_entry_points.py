"""Which plugins are installed, and the cache of the answer."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from zoo_core.entry_points import EntryPoint, installed_plugins

Install = Callable[[str, str], None]


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder on `sys.path`, old enough that any change to it is seen on a coarse clock."""
    folder = tmp_path / "site"
    folder.mkdir()
    os.utime(folder, (1_000_000_000, 1_000_000_000))
    monkeypatch.syspath_prepend(folder)
    return folder


@pytest.fixture
def install(site: Path) -> Install:
    """Install a distribution with the given lines of entry points, as pip would."""

    def install(distribution: str, lines: str) -> None:
        info = site / f"{distribution.replace('-', '_')}-2.5.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 2.5\n")
        (info / "entry_points.txt").write_text(lines)

    return install


def cache_file() -> Path:
    (file,) = Path(os.environ["ZOO_CACHE"]).glob("plugins-*.msgpack")
    return file


def others() -> list[EntryPoint]:
    return [each for each in installed_plugins() if each.distribution != "llm-zoo"]


def test_ours_come_first_and_all_are_sorted(install: Install) -> None:
    install("b-dist", "[zoo]\nzebra = b.plugin\nant = b.plugin:second\n")
    install("a-dist", "[zoo]\nant = a\n\n[console_scripts]\nother = a:main\n")
    found = installed_plugins()
    ours = [each.name for each in found if each.distribution == "llm-zoo"]
    assert ours == sorted(ours) == [each.name for each in found[: len(ours)]]
    assert found[len(ours) :] == [
        EntryPoint("ant", "a", "a-dist", "2.5"),
        EntryPoint("ant", "b.plugin:second", "b-dist", "2.5"),
        EntryPoint("zebra", "b.plugin", "b-dist", "2.5"),
    ]


def test_nothing_is_imported(install: Install, site: Path) -> None:
    (site / "never_imported.py").write_text("raise RuntimeError\n")
    install("a-dist", "[zoo]\na = never_imported\n")
    assert [each.target for each in others()] == ["never_imported"]
    assert "never_imported" not in sys.modules


def test_the_answer_is_remembered() -> None:
    first = installed_plugins()
    key, _ = msgspec.msgpack.decode(cache_file().read_bytes())
    made_up = EntryPoint("made-up", "nowhere", "", "")
    cache_file().write_bytes(msgspec.msgpack.encode([key, [made_up]]))
    assert installed_plugins() == [made_up] != first


def test_the_second_answer_equals_the_first(install: Install) -> None:
    install("a-dist", "[zoo]\na = b\n")
    first = installed_plugins()
    written = cache_file().stat().st_mtime_ns
    assert installed_plugins() == first
    assert cache_file().stat().st_mtime_ns == written


def test_an_installation_is_seen(install: Install) -> None:
    assert others() == []
    install("a-dist", "[zoo]\na = b\n")
    assert [each.name for each in others()] == ["a"]


def test_a_removal_is_seen(install: Install, site: Path) -> None:
    install("a-dist", "[zoo]\na = b\n")
    os.utime(site, (1_000_000_000, 1_000_000_000))
    assert [each.name for each in others()] == ["a"]
    for file in (site / "a_dist-2.5.dist-info").iterdir():
        file.unlink()
    (site / "a_dist-2.5.dist-info").rmdir()
    assert others() == []


def test_another_path_is_another_answer(install: Install, monkeypatch: pytest.MonkeyPatch, site: Path) -> None:
    install("a-dist", "[zoo]\na = b\n")
    assert len(others()) == 1
    monkeypatch.setattr(sys, "path", [each for each in sys.path if each != str(site)])
    assert others() == []


def test_folders_that_do_not_exist_are_passed_over(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    before = installed_plugins()
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path / "nowhere"), ""])
    assert installed_plugins() == before


DAMAGED: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda good: b"",
    "garbage": lambda good: b"garbage",
    "cut": lambda good: good[:-3],
    "too long": lambda good: good + b"\x00",
    "another shape": lambda good: msgspec.msgpack.encode({"key": 1}),
    "no UTF-8": lambda good: good.replace(b"llm-zoo", b"llm-\xffoo"),
    "nested without end": lambda good: b"\x91" * 100_000,
    "wrong types": lambda good: msgspec.msgpack.encode([[["a", "b"]], []]),
}


@pytest.mark.parametrize("damage", DAMAGED.values(), ids=DAMAGED.keys())
def test_a_damaged_cache_is_made_anew(damage: Callable[[bytes], bytes]) -> None:
    expected = installed_plugins()
    good = cache_file().read_bytes()
    cache_file().write_bytes(damage(good))
    assert installed_plugins() == expected
    assert cache_file().read_bytes() == good


def test_a_cache_that_is_a_folder_does_no_harm() -> None:
    expected = installed_plugins()
    file = cache_file()
    file.unlink()
    file.mkdir()
    assert installed_plugins() == expected


def test_a_cache_folder_that_cannot_be_made_does_no_harm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    expected = installed_plugins()
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "file" / "below"))
    assert installed_plugins() == expected
    assert (tmp_path / "file").read_bytes() == b""
