"""Changing fields of a YAML file in its text: what is meant changes, and not a character of anything else."""

from __future__ import annotations

import copy
import random
from pathlib import Path
from typing import Any

import pytest
import yaml

from zoo_core.cards.editing import edited

ROOT = Path(__file__).parent.parent
FIRST_PARTY = sorted([*(ROOT / "registry").rglob("*.yaml"), *(ROOT / "plugins").rglob("cards/*.yaml")])

TEXT = """\
# top
id: x       # the id
# about sources
sources:   # where
  # first
  - hub: huggingface  # the hub
    repo: 'a/b'
  - {hub: url, url: "https://x/y"}   # second
# licence
license: {spdx: "MIT"}  # keep
notes:
- >-
  folded
  text
- |
  a
  b

# end
"""


def change(path: list[Any], value: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The data of the text, and the same with another value at a place; None takes it out."""
    before = yaml.safe_load(TEXT)
    after = copy.deepcopy(before)
    inner = after
    for part in path[:-1]:
        inner = inner[part]
    if value is None:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return before, after


CHANGES: dict[str, tuple[list[Any], Any, str, str]] = {
    "a scalar": (["id"], "y", "id: x   ", "id: y   "),
    "a text that looks like a number": (["id"], "12", "id: x   ", "id: '12'   "),
    "a text that looks like a truth": (["id"], "yes", "id: x   ", "id: 'yes'   "),
    "a field in a block": (["sources", 0, "repo"], "c", "repo: 'a/b'", "repo: c"),
    "a new field in a block": (["sources", 0, "revision"], "r", "repo: 'a/b'\n", "repo: 'a/b'\n    revision: r\n"),
    "a new field in braces": (["sources", 1, "revision"], "r", '/y"}   #', '/y", revision: r}   #'),
    "a field in braces": (["license", "spdx"], "Apache-2.0", '{spdx: "MIT"}', "{spdx: Apache-2.0}"),
    "a mapping into braces": (["license", "x"], {"a": [1]}, '"MIT"}', '"MIT", x: {a: [1]}}'),
    "a new field of several lines": (["context"], {"max": 5}, "  b\n\n", "  b\n\ncontext:\n  max: 5\n"),
    "a field gone": (["license"], None, 'license: {spdx: "MIT"}  # keep\n', ""),
    "the first field gone": (["id"], None, "id: x       # the id\n", ""),
    "a list gone": (["notes"], None, TEXT[TEXT.index("notes:") : TEXT.index("# end")], ""),
    "lists of scripts": (["id"], "é 龙 🐉", "id: x   ", "id: é 龙 🐉   "),
    "a line break": (["id"], "a\nb", "id: x   ", 'id: "a\\nb"   '),
}


@pytest.mark.parametrize(("path", "value", "old", "new"), CHANGES.values(), ids=CHANGES.keys())
def test_one_change(path: list[Any], value: Any, old: str, new: str) -> None:
    before, after = change(path, value)
    assert old in TEXT
    assert edited(TEXT, before, after) == TEXT.replace(old, new, 1)


def test_no_change_is_no_change() -> None:
    data = yaml.safe_load(TEXT)
    assert edited(TEXT, data, copy.deepcopy(data)) == TEXT


def test_fields_that_the_text_leaves_to_others_stay_away() -> None:
    before = yaml.safe_load(TEXT) | {"format": "safetensors"}
    assert edited(TEXT, before, before | {"id": "y"}) == TEXT.replace("id: x", "id: y")
    assert "format: gguf" in edited(TEXT, before, before | {"format": "gguf"})


@pytest.mark.parametrize("text", [TEXT.replace("\n", "\r\n"), TEXT.rstrip()])
def test_other_line_ends(text: str) -> None:
    before = yaml.safe_load(text)
    after = copy.deepcopy(before)
    after["sources"][0]["revision"] = "r"
    after["files"] = [{"path": "a", "size": 1}]
    after["license"]["acceptance"] = True
    assert yaml.safe_load(edited(text, before, after)) == after


def test_a_mapping_in_braces_as_a_whole_is_written_anew() -> None:
    assert yaml.safe_load(edited('{"id": "x"}', {"id": "x"}, {"id": "y", "n": 1})) == {"id": "y", "n": 1}


VALUES: list[Any] = [
    *("x: y # z", "yes", "0x10", "1e5", "12:30:00", "two\nlines", "é 龙", " a ", "#c", "- d", ""),
    *(5, True, None, 0.5, [1, 2], [{"a": 1, "b": "c"}], {"q": {"r": [1, {"s": 2}]}}, [], {}),
]


def scrambled(data: dict[str, Any], chance: random.Random, depth: int = 0) -> dict[str, Any]:
    """Some fields taken out, changed, added, at every depth."""
    result: dict[str, Any] = {}
    for key, value in data.items():
        drawn = chance.random()
        if drawn < 0.15 and (depth or key != "schema"):
            continue
        if drawn < 0.3:
            result[key] = chance.choice(VALUES)
        elif isinstance(value, dict):
            result[key] = scrambled(value, chance, depth + 1)
        elif isinstance(value, list) and drawn < 0.7:
            result[key] = [scrambled(each, chance, depth + 1) if isinstance(each, dict) else each for each in value]
        else:
            result[key] = value
        if chance.random() < 0.1:
            result[f"new{len(result)}"] = chance.choice(VALUES)
    return result


@pytest.mark.parametrize("path", FIRST_PARTY[::5], ids=lambda path: path.stem)
def test_any_change_of_any_card_reads_back(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    before = yaml.safe_load(text)
    for seed in range(8):
        after = scrambled(before, random.Random(seed))
        assert yaml.safe_load(edited(text, before, after)) == after
