"""Offers: targets are imported on use, and a missing library is told apart from a broken plugin."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from zoo_core.errors import MissingDependency, PluginError
from zoo_core.offers import Offer, install_name


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str], None]]:
    """Write a module that can be imported during the test."""
    monkeypatch.syspath_prepend(tmp_path)
    written: list[str] = []

    def write(name: str, source: str) -> None:
        path = tmp_path / f"{name.replace('.', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source, encoding="utf-8")
        written.append(name)

    yield write
    for name in written:
        sys.modules.pop(name, None)
        sys.modules.pop(name.partition(".")[0], None)


def test_load_gives_the_target() -> None:
    assert Offer(name="dump", target="json:dumps").load() is json.dumps


def test_nothing_is_imported_before_use(module: Callable[[str, str], None]) -> None:
    module("offered_lazily", "THING = 'loaded'\n")
    offer = Offer(name="lazy", target="offered_lazily:THING")
    assert "offered_lazily" not in sys.modules
    assert offer.load() == "loaded"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        pytest.param("import no_such_library", "needs the package 'no_such_library'", id="library"),
        pytest.param("import no_such_library.part", "needs the package 'no_such_library'", id="part of a library"),
        pytest.param("import yaml.no_such_part", "needs the package 'yaml.no_such_part'", id="library that is too old"),
        pytest.param("from json import no_such_name", "cannot be imported (cannot import name", id="name"),
        pytest.param("raise ImportError('needs CUDA')", "cannot be imported (needs CUDA)", id="other reason"),
    ],
)
def test_a_missing_library_is_named_with_the_command_that_installs_it(
    module: Callable[[str, str], None], source: str, message: str
) -> None:
    module("offered_heavily", source)
    offer = Offer(name="heavy", target="offered_heavily:Thing", extra="fast", distribution="zoo-fast")
    with pytest.raises(MissingDependency) as caught:
        offer.load()
    assert str(caught.value).startswith("'heavy' ")
    assert message in str(caught.value)
    assert str(caught.value).endswith("Install it with: pip install 'zoo-fast[fast]'")


@pytest.mark.parametrize(
    "target",
    [
        pytest.param("no_such_module:Thing", id="no module"),
        pytest.param("json.no_such_part:Thing", id="no submodule"),
        pytest.param("json:NoSuchThing", id="no attribute"),
        pytest.param("json:decoder.JSONDecoder", id="a path of attributes"),
        pytest.param("json", id="no colon"),
    ],
)
def test_a_target_that_is_not_there_is_the_plugins_fault(target: str) -> None:
    with pytest.raises(PluginError, match="report it to its plugin"):
        Offer(name="wrong", target=target).load()


def test_a_missing_module_of_the_plugin_itself_is_no_missing_library(module: Callable[[str, str], None]) -> None:
    module("offering.__init__", "")
    module("offering.engine", "from offering.helper import help\n")
    with pytest.raises(PluginError, match=r"offering\.helper"):
        Offer(name="forgetful", target="offering.engine:Engine", extra="chat").load()


@pytest.mark.parametrize(
    ("extra", "distribution", "expected"),
    [("", "llm-zoo", "llm-zoo"), ("chat", "llm-zoo", "'llm-zoo[chat]'"), ("a", "other", "'other[a]'")],
)
def test_install_name(extra: str, distribution: str, expected: str) -> None:
    assert install_name(extra, distribution) == expected


def test_offers_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        Offer(name="a", target="b:c").name = "d"  # type: ignore[misc]
