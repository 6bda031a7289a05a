"""Cards that share fields: what is joined, where an error is said to be, and the ways in which a collection is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from zoo_core.cards.index import CardIndex
from zoo_core.cards.reading import parse_card, read_card, read_extended
from zoo_core.cards.schema import ModelCard
from zoo_core.errors import CardError

CARD = "schema: zoo.card/v1\nid: x\nfamily: f\nsummary: s\n"
SHARED = "a.collection.yaml"


def write(folder: Path, **files: str) -> Path:
    """Files of a folder; `__` in a name stands for a dot. Returns the card `x.yaml`."""
    for name, text in files.items():
        (folder / f"{name.replace('__', '.')}.yaml").write_text(text, encoding="utf-8")
    return folder / "x.yaml"


def test_what_the_card_says_wins(tmp_path: Path) -> None:
    card = write(
        tmp_path,
        x=CARD + f"extends: {SHARED}\nlanguages: [fr]\narchitecture: {{layers: 2}}\nlicense: {{spdx: MIT}}\n",
        a__collection=(
            "family: other\nlanguages: [en, de]\narchitecture: {layers: 9, heads: 4}\n"
            "license:\n  link: https://example.org\ncontext: {max: 7}\n"
        ),
    )
    read = read_card(card)
    assert isinstance(read, ModelCard)
    assert read.family == "f"
    assert read.languages == ["fr"]
    assert (read.architecture.layers, read.architecture.heads) == (2, 4)
    assert (read.license.spdx, read.license.link) == ("MIT", "https://example.org")
    assert read.context is not None
    assert read.context.max == 7


def test_collections_extend_collections_and_the_nearer_wins(tmp_path: Path) -> None:
    card = write(
        tmp_path,
        x=CARD + f"extends: {SHARED}\n",
        a__collection="extends: b.collection.yaml\nlanguages: [fr]\n",
        b__collection="languages: [en]\nnotes: [from b]\nkind: model\n",
    )
    read, parents = read_extended(card)
    assert (read.languages, read.notes) == (["fr"], ["from b"])
    assert [parent.name for parent in parents] == [SHARED, "b.collection.yaml"]


def test_an_error_is_said_to_be_where_it_is(tmp_path: Path) -> None:
    card = write(
        tmp_path,
        x=CARD + f"extends: {SHARED}\nlicense: {{spdx: MIT}}\n",
        a__collection="languages: [en]\nlicense:\n  link: https://example.org\n  comercial: x\n",
    )
    with pytest.raises(CardError) as caught:
        read_card(card)
    expected = f"{tmp_path / SHARED}, line 4, license.comercial: the field is unknown. Did you mean 'commercial'?"
    assert str(caught.value) == expected


@pytest.mark.parametrize("field", ["id", "aliases", "version", "replaced_by"])
def test_what_belongs_to_one_card_alone(field: str, tmp_path: Path) -> None:
    card = write(tmp_path, x=CARD + f"extends: {SHARED}\n", a__collection=f"notes: []\n{field}: y\n")
    with pytest.raises(CardError, match=f"line 2, {field}: a collection cannot say this; it belongs to one card"):
        read_card(card)


NAMES = {
    "nothing": "",
    "null": "null",
    "a number": "5",
    "a list": "[a.collection.yaml]",
    "a card": "y.yaml",
    "above": "../a.collection.yaml",
    "absolute": "/tmp/a.collection.yaml",
    "below": "b/a.collection.yaml",
    "home": "~/a.collection.yaml",
    "backslash": "..\\a.collection.yaml",
    "NUL": '"a\\0.collection.yaml"',
    "line break": '"a.collection.yaml\\n"',
    "hidden": ".a.collection.yaml",
    "capital": "A.collection.yaml",
    "look-alike": "а.collection.yaml",
    "full width": "ａ.collection.yaml",
    "very long": "a" * 100_000 + ".collection.yaml",
    "web address": "https://example.org/a.collection.yaml",
}


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES.keys())
def test_names_that_are_no_collection_beside_the_card(name: str, tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    for place in (tmp_path, tmp_path / "b", tmp_path.parent):
        (place / SHARED).write_text("notes: [stolen]\n")
    card = write(tmp_path / "b", x=CARD + f"extends: {name}\n")
    with pytest.raises(
        CardError, match=r"line 5, extends: the name of a collection beside the card was expected"
    ) as caught:
        read_card(card)
    assert len(str(caught.value)) < 1000


def test_a_collection_that_is_not_there(tmp_path: Path) -> None:
    card = write(tmp_path, x=CARD + "extends: b.collection.yaml\n")
    with pytest.raises(CardError, match=r"x\.yaml, line 5, extends: there is no file .*b\.collection\.yaml\.$"):
        read_card(card)


def test_a_folder_is_no_collection(tmp_path: Path) -> None:
    (tmp_path / SHARED).mkdir()
    with pytest.raises(CardError, match="there is no file"):
        read_card(write(tmp_path, x=CARD + f"extends: {SHARED}\n"))


def test_a_link_out_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "s.yaml").write_text("notes: [secret]\n")
    (tmp_path / "cards").mkdir()
    (tmp_path / "cards" / SHARED).symlink_to(tmp_path / "secret" / "s.yaml")
    with pytest.raises(CardError, match=r"'a\.collection\.yaml' is a link that leads out of its folder"):
        read_card(write(tmp_path / "cards", x=CARD + f"extends: {SHARED}\n"))


@pytest.mark.parametrize(
    "files",
    [
        {"a__collection": f"extends: {SHARED}\n"},
        {"a__collection": "extends: b.collection.yaml\n", "b__collection": f"extends: {SHARED}\n"},
        {
            "a__collection": "extends: b.collection.yaml\n",
            "b__collection": "extends: c.collection.yaml\n",
            "c__collection": f"extends: {SHARED}\n",
        },
    ],
    ids=["itself", "two", "three"],
)
def test_circles(files: dict[str, str], tmp_path: Path) -> None:
    card = write(tmp_path, x=CARD + f"extends: {SHARED}\n", **files)
    with pytest.raises(
        CardError, match=r"line 1, extends: 'a\.collection\.yaml' leads round in a circle back to itself"
    ):
        read_card(card)


def test_a_long_line_of_collections(tmp_path: Path) -> None:
    for number in range(500):
        (tmp_path / f"c{number}.collection.yaml").write_text(f"extends: c{number + 1}.collection.yaml\n")
    (tmp_path / "c500.collection.yaml").write_text("notes: [end]\n")
    assert read_card(write(tmp_path, x=CARD + "extends: c0.collection.yaml\n")).notes == ["end"]


HOSTILE = {
    "bomb": ("a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n", "anchors and aliases are not allowed"),
    "tag": ("notes: !!python/object/apply:os.system [id]\n", "the tag .* is not allowed"),
    "twice": ("notes: []\nnotes: []\n", "the field 'notes' stands here twice"),
    "deep": ("notes: " + "[" * 1000 + "\n", "nested too deeply"),
    "a list": ("- a\n", "a mapping of fields to values was expected"),
    "large": ("notes: [" + "x, " * 400_000 + "]\n", "larger than 1,000,000 bytes"),
    "binary": ("notes: \x00\n", "the YAML cannot be read"),
}


@pytest.mark.parametrize(("text", "expected"), HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_collections(text: str, expected: str, tmp_path: Path) -> None:
    card = write(tmp_path, x=CARD + f"extends: {SHARED}\n", a__collection=text)
    with pytest.raises(CardError, match=rf"a\.collection\.yaml.*{expected}"):
        read_card(card)


def test_a_card_from_elsewhere_extends_nothing() -> None:
    with pytest.raises(CardError, match="line 5: only a card file can extend a collection beside it"):
        parse_card((CARD + f"extends: {SHARED}\n").encode(), "hf:a/b")


def test_a_collection_is_not_listed_and_its_changes_are_seen(tmp_path: Path) -> None:
    write(tmp_path, x=CARD + f"extends: {SHARED}\n", a__collection="languages: [en]\n")
    place = tmp_path / "index"
    index = CardIndex(place)
    assert [(row.id, row.languages) for row in index.rows(tmp_path)] == [("x", ["en"])]
    index.save()
    write(tmp_path, a__collection="languages: [de, fr]\n")
    assert [(row.id, row.languages) for row in CardIndex(place).rows(tmp_path)] == [("x", ["de", "fr"])]
