"""The grammar of names, what counts as a path, and suggestions for names that nobody knows."""

from __future__ import annotations

import pytest

from zoo_core.names import did_you_mean, is_name, is_path, nearest

KNOWN = ["phoenix", "phoenix-chat-7b", "phoenix-inst-chat-7b", "chimera", "vicuna-7b", "vicuna-13b", "wenxin"]


@pytest.mark.parametrize("text", ["a", "7", "phoenix-chat-7b", "a.b_c-d", "0.1", "a" * 80, "a..b"])
def test_names(text: str) -> None:
    assert is_name(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "A",
        "Phoenix",
        "-a",
        ".a",
        "_a",
        "a" * 81,
        "a/b",
        "a\\b",
        "../a",
        "a b",
        "a\n",
        "\na",
        "a@1",
        "hf:a",
        "é",
        "龙",
        "a\0",
        "٣",
    ],
    ids=ascii,
)
def test_no_names(text: str) -> None:
    assert not is_name(text)


@pytest.mark.parametrize(
    "text",
    ["./x", "../x", "/x", "~", "~/x", "~user/x", ".\\x", ".", "..", "x.yaml", "a/b.yml", "./x.txt", "a/b", "a/b:c"],
)
def test_paths(text: str) -> None:
    assert is_path(text)


@pytest.mark.parametrize(
    "text", ["", "x", "phoenix", "phoenix@1.0.0", "team:x", ".x", "hf:a/b", "yaml", "x.yaml.txt", "x~"]
)
def test_no_paths(text: str) -> None:
    assert not is_path(text)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        pytest.param("pheonix", ["phoenix"], id="swapped letters"),
        pytest.param("PHOENIX", ["phoenix", "phoenix-chat-7b", "phoenix-inst-chat-7b"], id="letter case"),
        pytest.param("vicuna", ["vicuna-7b", "vicuna-13b"], id="nearest first"),
        pytest.param("7b", [], id="two letters are inside too much"),
        pytest.param("inst", ["phoenix-inst-chat-7b"], id="a part of a name"),
        pytest.param("", [], id="nothing"),
        pytest.param("zebra", [], id="far from all"),
    ],
)
def test_nearest(name: str, expected: list[str]) -> None:
    assert nearest(name, KNOWN) == expected


def test_what_is_far_behind_the_nearest_is_not_suggested() -> None:
    assert nearest("phenix", ["openai", "phoenix"]) == ["phoenix"]


def test_nearest_gives_each_name_once_and_at_most_three() -> None:
    many = [f"model-{number}" for number in range(9)] * 2
    assert len(nearest("model", many)) == len(set(nearest("model", many))) == 3
    assert len(nearest("model", many, most=5)) == 5


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        pytest.param(["chimera"], "", id="none"),
        pytest.param(["phoenix"], " Did you mean phoenix?", id="one"),
        pytest.param(["phoenix", "phoenixx"], " Did you mean phoenix or phoenixx?", id="two"),
        pytest.param(["phoenix", "phoenixx", "phoenixy"], " Did you mean phoenix, phoenixy or phoenixx?", id="three"),
    ],
)
def test_did_you_mean(known: list[str], expected: str) -> None:
    assert did_you_mean("phoenix", iter(known)) == expected
