"""The compiled index of card files: what it remembers, and when it reads again."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from zoo_core.cards import index
from zoo_core.cards.index import CardIndex, Row
from zoo_core.cards.reading import read_card
from zoo_core.cards.writing import card_digest

CARD = "schema: zoo.card/v1\nid: {id}\nsummary: {summary}\n"
SHARED = "family: {family}\nlicense: {{spdx: MIT}}\n"


def write(path: Path, text: str) -> Path:
    """Write a file whose modification time differs from the one before, whatever the clock's steps are."""
    before = path.stat().st_mtime_ns if path.exists() else 0
    path.write_text(text)
    status = path.stat()
    os.utime(path, ns=(status.st_atime_ns, max(status.st_mtime_ns, before + 1_000_000)))
    return path


@pytest.fixture
def cards(tmp_path: Path) -> Path:
    folder = tmp_path / "cards"
    folder.mkdir()
    write(folder / "plain.yaml", CARD.format(id="plain", summary="s") + "family: f\n")
    write(folder / "small.yaml", CARD.format(id="small", summary="s") + "extends: all.collection.yaml\n")
    write(folder / "all.collection.yaml", SHARED.format(family="shared"))
    return folder


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the card files that are read from now on."""
    names: list[str] = []
    real = index.read_row

    def counted(path: Path) -> tuple[Row, list[Path]]:
        names.append(path.name)
        return real(path)

    monkeypatch.setattr(index, "read_row", counted)
    return names


def rows(cards: Path, place: Path | None) -> dict[str, Row]:
    cache = CardIndex(place)
    found = {row.id or Path(row.path).name: row for row in cache.rows(cards)}
    cache.save()
    return found


def test_collection_is_no_card_and_its_fields_are_listed(cards: Path) -> None:
    found = rows(cards, None)
    assert sorted(found) == ["plain", "small"]
    assert (found["small"].family, found["small"].license) == ("shared", "MIT")


def test_row_carries_the_digest_of_the_whole_card(cards: Path) -> None:
    assert rows(cards, None)["small"].digest == card_digest(read_card(cards / "small.yaml"))


def test_nothing_is_read_twice(cards: Path, tmp_path: Path, reads: list[str]) -> None:
    first = rows(cards, tmp_path / "index")
    assert sorted(reads) == ["plain.yaml", "small.yaml"]
    assert rows(cards, tmp_path / "index") == first
    assert len(reads) == 2


@pytest.mark.parametrize(
    ("changed", "text", "read_again"),
    [
        ("plain.yaml", CARD.format(id="plain", summary="t") + "family: f\n", ["plain.yaml"]),
        ("all.collection.yaml", SHARED.format(family="shaped"), ["small.yaml"]),
        ("all.collection.yaml", SHARED.format(family="longer-than-before"), ["small.yaml"]),
    ],
)
def test_change_is_seen(
    cards: Path, tmp_path: Path, reads: list[str], changed: str, text: str, read_again: list[str]
) -> None:
    rows(cards, tmp_path / "index")
    reads.clear()
    write(cards / changed, text)
    rows(cards, tmp_path / "index")
    assert reads == read_again


def test_collection_of_a_collection_is_watched_too(cards: Path, tmp_path: Path) -> None:
    write(cards / "all.collection.yaml", "extends: root.collection.yaml\nlicense: {spdx: MIT}\n")
    write(cards / "root.collection.yaml", "family: first\n")
    assert rows(cards, tmp_path / "index")["small"].family == "first"
    write(cards / "root.collection.yaml", "family: second\n")
    assert rows(cards, tmp_path / "index")["small"].family == "second"


def test_broken_collection_breaks_its_cards_alone_until_it_is_mended(cards: Path, tmp_path: Path) -> None:
    write(cards / "all.collection.yaml", "family: [no\n")
    found = rows(cards, tmp_path / "index")
    assert found["plain"].problem == ""
    assert "all.collection.yaml" in found["small.yaml"].problem
    write(cards / "all.collection.yaml", SHARED.format(family="mended"))
    assert rows(cards, tmp_path / "index")["small"].family == "mended"


def test_collection_that_goes_away_and_comes_back(cards: Path, tmp_path: Path) -> None:
    assert rows(cards, tmp_path / "index")["small"].problem == ""
    text = (cards / "all.collection.yaml").read_text()
    (cards / "all.collection.yaml").unlink()
    assert "there is no file" in rows(cards, tmp_path / "index")["small.yaml"].problem
    write(cards / "all.collection.yaml", text)
    assert rows(cards, tmp_path / "index")["small"].family == "shared"
