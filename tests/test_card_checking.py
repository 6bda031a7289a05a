"""The rules of a card beyond its types: what `stable` promises, true renderings, paths, and what replaces it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from zoo_core.cards.checking import card_template, check_card
from zoo_core.cards.index import COLLECTION
from zoo_core.cards.reading import parse_card, read_card
from zoo_core.cards.schema import AnyCard, ModelCard, TemplateChoice
from zoo_core.conversation import Template
from zoo_core.errors import NotFound
from zoo_core.zoo import Zoo

ROOT = Path(__file__).parent.parent
FIRST_PARTY = sorted([*(ROOT / "registry").rglob("*.yaml"), *(ROOT / "plugins").rglob("cards/*.yaml")])
FIRST_PARTY = [path for path in FIRST_PARTY if not path.name.endswith(COLLECTION)]

PLAIN = Template(
    name="plain",
    text=(
        "{{ system }}|{% for m in messages %}{{ roles[m.role] }}:{{ m.content }};{% endfor %}"
        "{{ 'a:' if add_generation_prompt }}"
    ),
    system="S",
    roles={"user": "u", "assistant": "a"},
    stop=("END",),
    summary="for tests",
)
GOLDEN = {"messages": [{"role": "user", "content": "Hi"}], "text": "S|u:Hi;a:"}
STABLE: dict[str, Any] = {
    "schema": "zoo.card/v1",
    "kind": "model",
    "id": "x",
    "family": "f",
    "summary": "s",
    "status": "stable",
    "sources": [{"hub": "huggingface", "repo": "a/b", "revision": "0123456789abcdef" * 2 + "01234567"}],
    "files": [{"path": "model.safetensors", "size": 1, "sha256": "a" * 64}],
    "format": "safetensors",
    "license": {"spdx": "MIT"},
    "context": {"max": 2048},
    "template": {"name": "plain", "golden": [GOLDEN]},
}


def find_template(name: str) -> Template:
    if name != "plain":
        raise NotFound(f"No installed plugin brings the template '{name}'.")
    return PLAIN


def card(**changes: Any) -> AnyCard:
    """The stable card with other fields; those that are None are left out."""
    data = {key: value for key, value in (STABLE | changes).items() if value is not None}
    return parse_card(msgspec.json.encode(data), "card.yaml")


def problems(**changes: Any) -> list[str]:
    return check_card(card(**changes), find_template)


# -- what stable promises ----------------------------------------------------------------------------------------------


def test_a_stable_card_without_problems() -> None:
    assert problems() == []


REVISION = "the revision of its first source is not a commit of 40 hexadecimal digits"
LACKS: dict[str, tuple[dict[str, Any], str]] = {
    "sources": ({"sources": None}, "it has no source"),
    "no revision": ({"sources": [{"hub": "huggingface", "repo": "a/b"}]}, REVISION),
    "a branch": ({"sources": [{"hub": "modelscope", "repo": "a/b", "revision": "main"}]}, REVISION),
    "a short commit": ({"sources": [{"hub": "huggingface", "repo": "a/b", "revision": "0" * 39}]}, REVISION),
    "a long commit": ({"sources": [{"hub": "huggingface", "repo": "a/b", "revision": "0" * 41}]}, REVISION),
    "capital digits": ({"sources": [{"hub": "huggingface", "repo": "a/b", "revision": "A" * 40}]}, REVISION),
    "files": ({"files": []}, "it lists no files with their sha256"),
    "format": ({"format": None}, "it does not say its format"),
    "license": ({"license": None}, "it does not say its license"),
    "license with a link only": ({"license": {"link": "https://example.org"}}, "it does not say its license"),
    "context": ({"context": None}, "it does not say its context"),
    "template": ({"template": None}, "its template has no golden rendering"),
    "golden renderings": ({"template": {"name": "plain"}}, "its template has no golden rendering"),
}


@pytest.mark.parametrize(("changes", "lack"), LACKS.values(), ids=LACKS.keys())
def test_what_a_stable_card_lacks(changes: dict[str, Any], lack: str) -> None:
    assert problems(**changes) == [f"status is stable, but {lack}"]


@pytest.mark.parametrize(("changes", "lack"), LACKS.values(), ids=LACKS.keys())
def test_experimental_promises_nothing(changes: dict[str, Any], lack: str) -> None:
    assert problems(status="experimental", **changes) == []


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"sources": [{"hub": "package", "repo": "a", "path": "w"}]}, id="a package needs no revision"),
        pytest.param(
            {"sources": [*STABLE["sources"], {"hub": "huggingface", "repo": "c/d"}]}, id="only the first source"
        ),
        pytest.param({"license": {"name": "My licence"}}, id="a licence without an SPDX identifier"),
    ],
)
def test_other_ways_to_be_stable(changes: dict[str, Any]) -> None:
    assert problems(**changes) == []


def test_all_lacks_are_told_at_once() -> None:
    nothing = dict.fromkeys(("sources", "files", "format", "license", "context", "template"))
    assert len(problems(**nothing)) == 6


def test_a_stable_dataset_promises_nothing_more() -> None:
    data = {key: STABLE[key] for key in ("schema", "id", "summary", "status")} | {"kind": "dataset"}
    assert check_card(parse_card(msgspec.json.encode(data), "card.yaml"), find_template) == []


# -- deprecation and paths ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["model", "dataset"])
def test_a_deprecated_card_says_what_replaces_it(kind: str) -> None:
    text = f"schema: zoo.card/v1\nkind: {kind}\nid: x\nsummary: s\nstatus: deprecated\n"
    text += "family: f\n" if kind == "model" else ""
    expected = ["status is deprecated, but replaced_by does not say what to use instead"]
    assert check_card(parse_card(text.encode(), "card.yaml"), find_template) == expected
    assert check_card(parse_card(f"{text}replaced_by: y\n".encode(), "card.yaml"), find_template) == []


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (["config.json", "config.json/x"], ["the file path 'config.json' is also the folder of 'config.json/x'"]),
        (["a/b/c/d", "A/b"], ["the file path 'A/b' is also the folder of 'a/b/c/d'"]),
        (["a", "ab/c", "b/a", "a.d/e"], []),
    ],
)
def test_file_paths_that_are_folders_of_others(paths: list[str], expected: list[str]) -> None:
    files = [{"path": path, "size": 1, "sha256": "a" * 64} for path in paths]
    assert check_card(card(files=files), find_template) == expected


@pytest.mark.parametrize(
    "path",
    [
        *("/etc/passwd", "../x", "a/../../x", "a/..", "..", ".", "./x", "a/./x", "a//x", "a/", "~/x", "~root/x"),
        *("a\\b", "..\\x", "C:\\x", "c:x", "a\0b", "a*", "a?", 'a"b', "a<b", "a>b", "a|b"),
    ],
    ids=ascii,
)
def test_file_paths_that_leave_the_folder_or_do_not_exist_everywhere(path: str) -> None:
    expected = f"the file path '{path}' leaves the folder of weights or is not portable"
    assert problems(files=[{"path": path, "size": 1, "sha256": "a" * 64}]) == [expected]


@pytest.mark.parametrize(
    "path", ["a", "model.safetensors", "a/b/c.json", ".hidden", "..a", "a..b", "...", "é 龙.txt", "a~"]
)
def test_file_paths_that_are_fine(path: str) -> None:
    assert problems(files=[{"path": path, "size": 1, "sha256": "a" * 64}]) == []


# -- golden renderings -------------------------------------------------------------------------------------------------


def golden(text: str, **changes: Any) -> dict[str, Any]:
    return {"name": "plain", "golden": [GOLDEN | {"text": text} | changes]}


@pytest.mark.parametrize(
    ("template", "problem"),
    [
        pytest.param(
            golden("S|u:Ho;a:"), "differs at character 5: the template gives 'i;a:', the card says 'o;a:'", id="differs"
        ),
        pytest.param(
            golden("S|u:Hi;a: "), "differs at character 9: the template gives '', the card says ' '", id="too long"
        ),
        pytest.param(
            golden("S|u:Hi"), "differs at character 6: the template gives ';a:', the card says ''", id="too short"
        ),
        pytest.param(
            golden(""), "differs at character 0: the template gives 'S|u:Hi;a:', the card says ''", id="empty"
        ),
        pytest.param(
            golden("S|u:Hi;a:", reply=False),
            "differs at character 7: the template gives '', the card says 'a:'",
            id="reply",
        ),
        pytest.param(
            golden("x", messages=[{"role": "assistant", "content": "Hi"}]),
            "Turn 1 is said by 'assistant', but after the system prompt user and assistant take turns.",
            id="turns out of order",
        ),
        pytest.param(
            {"text": "{% if %}", "golden": [GOLDEN]},
            "The template cannot be read (line 1): Expected an expression, got 'end of statement block'.",
            id="template that cannot be read",
        ),
        pytest.param(
            {"text": "{{ ''.__class__ }}", "golden": [GOLDEN]},
            "The template was stopped: the attribute '__class__' is not allowed in a template.",
            id="template that is stopped",
        ),
    ],
)
def test_golden_renderings_that_are_not_true(template: dict[str, Any], problem: str) -> None:
    (found,) = problems(template=template)
    assert found.startswith("golden rendering 1")
    assert found.removeprefix("golden rendering 1").lstrip(": ") == problem


def test_long_differences_are_cut_and_each_rendering_has_its_number() -> None:
    texts = ["S|u:Hi;a:", "x" * 500]
    found = problems(template={"name": "plain", "golden": [GOLDEN | {"text": text} for text in texts]})
    assert found == [
        f"golden rendering 2 differs at character 0: the template gives 'S|u:Hi;a:', the card says '{'x' * 30}'"
    ]


@pytest.mark.parametrize(
    ("messages", "reply", "text"),
    [
        ([{"role": "system", "content": "T"}, {"role": "user", "content": "Hi"}], True, "T|u:Hi;a:"),
        ([{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yo"}], False, "S|u:Hi;a:Yo;"),
    ],
    ids=["system", "no reply"],
)
def test_golden_renderings_that_are_true(messages: list[Any], reply: bool, text: str) -> None:
    assert problems(template=golden(text, messages=messages, reply=reply)) == []


@pytest.mark.parametrize(
    ("template", "problem"),
    [
        pytest.param({"name": "nobodys", "golden": [GOLDEN]}, "No installed plugin brings the template", id="unknown"),
        pytest.param(
            {"golden": [GOLDEN]}, "The card of 'x' names no conversation template.", id="neither name nor text"
        ),
    ],
)
def test_a_template_that_cannot_be_found_is_a_problem(template: dict[str, Any], problem: str) -> None:
    (found,) = problems(template=template)
    assert found.startswith(problem)


# -- which template a card chooses ---------------------------------------------------------------------------------------

CHOICES: dict[str, tuple[TemplateChoice, Callable[[Template], Template]]] = {
    "a plugin's": (TemplateChoice(name="plain"), lambda base: base),
    "another system prompt": (
        TemplateChoice(name="plain", system="T"),
        lambda base: msgspec.structs.replace(base, system="T"),
    ),
    "no system prompt": (
        TemplateChoice(name="plain", system=""),
        lambda base: msgspec.structs.replace(base, system=""),
    ),
    "one more role": (
        TemplateChoice(name="plain", roles={"user": "me"}),
        lambda base: msgspec.structs.replace(base, roles={"user": "me", "assistant": "a"}),
    ),
    "other stops": (TemplateChoice(name="plain", stop=["X"]), lambda base: msgspec.structs.replace(base, stop=("X",))),
    "a beginning": (
        TemplateChoice(name="plain", add_bos=True),
        lambda base: msgspec.structs.replace(base, add_bos=True),
    ),
    "another text": (TemplateChoice(name="plain", text="t"), lambda base: msgspec.structs.replace(base, text="t")),
    "its own": (TemplateChoice(text="t", system="T"), lambda base: Template(name="x", text="t", system="T")),
}


@pytest.mark.parametrize(("choice", "expected"), CHOICES.values(), ids=CHOICES.keys())
def test_a_card_changes_what_it_says_of_a_template(
    choice: TemplateChoice, expected: Callable[[Template], Template]
) -> None:
    chosen = card()
    assert isinstance(chosen, ModelCard)
    assert card_template(msgspec.structs.replace(chosen, template=choice), find_template) == expected(PLAIN)


@pytest.mark.parametrize("choice", [None, TemplateChoice()], ids=["none", "empty"])
def test_a_card_without_a_template(choice: TemplateChoice | None) -> None:
    chosen = card()
    assert isinstance(chosen, ModelCard)
    with pytest.raises(NotFound, match=r"^The card of 'x' names no conversation template\. Choose one with --template"):
        card_template(msgspec.structs.replace(chosen, template=choice), find_template)


# -- our own cards -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", FIRST_PARTY, ids=lambda path: path.stem)
def test_first_party_cards_have_no_problem(path: Path, zoo: Zoo) -> None:
    assert check_card(read_card(path), zoo.template) == []


@pytest.mark.parametrize("path", FIRST_PARTY, ids=lambda path: path.stem)
def test_first_party_cards_are_called_like_their_files(path: Path) -> None:
    assert read_card(path).id == path.stem
