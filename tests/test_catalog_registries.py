"""The catalog and what is not in a folder of cards: registries, how they count, and sources that read single cards."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from click.testing import Result

from zoo_core import NotFound, Offer, Zoo, ZooError, card_digest, hookimpl, read_card
from zoo_core.catalog import Catalog
from zoo_core.plugins import Plugins

Run = Callable[..., Result]


def write(path: Path, **fields: Any) -> Path:
    """Write a model's card that is called like its file."""
    data = {"schema": "zoo.card/v1", "id": path.stem, "family": "f", "summary": "s"} | fields
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.encode(data))
    return path


def registry(run: Run, tmp_path: Path, name: str, **cards: dict[str, Any]) -> None:
    """Build a registry with these cards, and add it under a name."""
    for card, fields in cards.items():
        write(tmp_path / name / "cards" / f"{card}.yaml", **fields)
    assert run("registry", "build", tmp_path / name / "public", "--from", tmp_path / name / "cards").exit_code == 0
    assert run("registry", "add", name, tmp_path / name / "public").exit_code == 0


def zoo_with(warnings: list[str], folder: Path) -> Zoo:
    """A zoo with the user's registries and one plugin with cards."""
    plugin = SimpleNamespace(zoo_card_folders=hookimpl(lambda: [folder]))
    return Zoo(plugins=Plugins([], modules={"other": plugin}), warn=warnings.append)


def test_registries_count_between_the_users_cards_and_plugins(run: Run, tmp_path: Path) -> None:
    registry(run, tmp_path, "first", x={"summary": "first"}, y={"summary": "first"}, z={"summary": "first"})
    registry(run, tmp_path, "second", x={"summary": "second"}, w={"summary": "second"})
    for name in ("x", "z", "w", "v"):
        write(tmp_path / "plugin" / f"{name}.yaml", summary="plugin")
    write(Path(os.environ["ZOO_CONFIG"]) / "cards" / "y.yaml", summary="mine")
    warnings: list[str] = []
    catalog = zoo_with(warnings, tmp_path / "plugin").catalog
    owners = {name: catalog.owner(name) for name in "vwxyz"}
    assert owners == {
        "v": "plugin other",
        "w": "registry second",
        "x": "registry first",
        "y": "your cards",
        "z": "registry first",
    }
    assert len(warnings) == 5
    assert any(
        "'x'" in each and "(registry first) is used" in each and "(registry second) is not" in each for each in warnings
    )
    assert any(
        "'y'" in each and "(your cards) is used" in each and "(registry first) is not" in each for each in warnings
    )
    summaries = {name: catalog.card(name)[0].summary for name in ("first:x", "second:x", "first:y", "second:w", "x")}
    assert summaries == {
        "first:x": "first",
        "second:x": "second",
        "first:y": "first",
        "second:w": "second",
        "x": "first",
    }


def test_the_same_card_in_two_registries_is_nothing_to_report(run: Run, tmp_path: Path) -> None:
    for name in ("first", "second"):
        registry(run, tmp_path, name, x={"aliases": ["y"]})
    warnings: list[str] = []
    assert zoo_with(warnings, tmp_path / "none").catalog.owner("x") == "registry first"
    assert warnings == []


def test_an_alias_of_two_registries_goes_to_the_first_and_is_reported(run: Run, tmp_path: Path) -> None:
    registry(run, tmp_path, "first", a={"aliases": ["same"]})
    registry(run, tmp_path, "second", b={"aliases": ["same"]})
    warnings: list[str] = []
    catalog = zoo_with(warnings, tmp_path / "none").catalog
    assert warnings == ["the alias 'same' is claimed by 'a' (registry first) and 'b' (registry second); 'a' is used"]
    assert [catalog.card(name)[0].id for name in ("same", "first:same", "second:same")] == ["a", "a", "b"]


def test_many_registries_stay_above_plugins(run: Run, tmp_path: Path) -> None:
    for number in range(12):
        registry(run, tmp_path, f"r{number:02}", x={"summary": f"r{number:02}"})
    (tmp_path / "plugin").mkdir()
    write(tmp_path / "plugin" / "x.yaml", summary="plugin")
    catalog = zoo_with([], tmp_path / "plugin").catalog
    assert catalog.owner("x") == "registry r00"
    run("registry", "remove", "r00")
    assert zoo_with([], tmp_path / "plugin").catalog.owner("x") == "registry r01"


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("r:y", "The registry 'r' has no card called 'y'. If it is new there: zoo registry update r"),
        (
            "r:birt",
            "The registry 'r' has no card called 'birt'. Did you mean bird? If it is new there: zoo registry update r",
        ),
        ("r:", "The registry 'r' has no card called ''. If it is new there: zoo registry update r"),
        ("r:x@2.0.0", "The card of 'x' has version 1.0.0, not 2.0.0."),
        ("r:../x", "The registry 'r' has no card called '../x'. If it is new there: zoo registry update r"),
        ("r:mine", "The registry 'r' has no card called 'mine'. Did you mean"),
        ("s:x", "'s:x' names no card: no registry and no source of cards is called 's'."),
        (":x", "':x' names no card: no registry and no source of cards is called ''."),
        ("R:x", "'R:x' names no card: no registry and no source of cards is called 'R'."),
        ("rr:x", "'rr:x' names no card: no registry and no source of cards is called 'rr'. Did you mean r?"),
    ],
)
def test_names_of_registries_that_name_nothing(run: Run, tmp_path: Path, reference: str, message: str) -> None:
    registry(run, tmp_path, "r", x={"aliases": ["bird"]})
    write(Path(os.environ["ZOO_CONFIG"]) / "cards" / "mine.yaml")
    catalog = zoo_with([], tmp_path / "none").catalog
    with pytest.raises(NotFound) as caught:
        catalog.model(reference)
    assert str(caught.value).startswith(message.removesuffix(" Did you mean"))
    assert catalog.knows(reference) is ("@" in reference)  # the name alone
    assert [catalog.card(name)[0].id for name in ("r:x", "r:bird", "r:x@1.0.0", "r:bird@1.0.0")] == ["x"] * 4
    assert catalog.knows("r:bird@1.0.0")


def test_the_cards_of_a_registry_are_installed_with_nothing(run: Run, tmp_path: Path) -> None:
    """However a registry's card describes itself, it never becomes the model that is used when none is named."""
    registry(run, tmp_path, "r", x={"sources": [{"hub": "package", "repo": "p", "path": "weights"}]})
    with pytest.raises(NotFound, match=r"^No model is installed with its weights"):
        zoo_with([], tmp_path / "none").catalog.default_model()


class Shelf:
    """A source of cards."""

    def read(self, address: str) -> bytes:
        if address == "nothing":
            raise NotFound("The shelf has no card called 'nothing'.")
        return f"schema: zoo.card/v1\nid: {address}\nfamily: f\nsummary: from the shelf\n".encode()


@pytest.fixture
def shelf() -> Catalog:
    """A catalog with a source that reads cards and one that does not."""
    target = f"{__name__}:Shelf"
    offers = [
        Offer(name="shelf", target=target, supports={"does": ["read"]}),
        Offer(name="box", target=target, supports={"does": ["publish"]}),
    ]
    plugin = SimpleNamespace(zoo_card_sources=hookimpl(lambda: offers))
    return Zoo(plugins=Plugins([], modules={"other": plugin})).catalog


def test_a_source_reads_the_card_at_an_address(shelf: Catalog) -> None:
    card, path = shelf.model("shelf:book")
    assert (card.id, path.name) == ("book", f"{card_digest(card)}.yaml")
    assert path.parent == Path(os.environ["ZOO_CACHE"]) / "cards"
    assert read_card(path) == card
    assert shelf.rows() == []  # it is used this once, not listed


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("shelf:nothing", "The shelf has no card called 'nothing'."),
        ("shelf:../up", "shelf:../up, line 2, id: "),
        ("shelf:a: b", "shelf:a: b, line 2, column 6: the YAML cannot be read"),
        ("box:book", "'box:book' names no card: no registry and no source of cards is called 'box'."),
        (
            "shelve:book",
            "'shelve:book' names no card: no registry and no source of cards is called 'shelve'. Did you mean shelf?",
        ),
    ],
)
def test_addresses_without_a_card(shelf: Catalog, reference: str, message: str) -> None:
    with pytest.raises(ZooError) as caught:
        shelf.card(reference)
    assert str(caught.value).startswith(message)
    assert not (Path(os.environ["ZOO_CACHE"]) / "cards").exists()
