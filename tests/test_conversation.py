"""Rendering conversations: the text byte for byte, and which of its characters the assistant said."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from zoo_core.conversation import Message, Template, render
from zoo_core.errors import TemplateError
from zoo_core.zoo import Zoo

SYSTEM = (
    "A chat between a curious human and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the human's questions."
)
PLAIN = Template(
    name="plain",
    text=(
        "{{ '[' ~ system ~ ']' if system else '' }}{% for message in messages %}{{ roles[message.role] }}="
        "{% if message.role == 'assistant' %}{% generation %}{{ message.content }}{% endgeneration %}"
        "{% else %}{{ message.content }}{% endif %};{% endfor %}{{ 'a=' if add_generation_prompt else '' }}"
    ),
    system="S",
    roles={"user": "u", "assistant": "a"},
)

#: Contents that a template, a regular expression or a terminal could take for something else.
CONTENTS = {
    "word": "Hello",
    "nothing": "",
    "spaces": "  a  ",
    "lines": "\n\na\r\nb\n",
    "only a newline": "\n",
    "scripts": "龙凤 Ünïcödé اللغة 😀 e\u0301",
    "other line ends": "a\u2028b\x85c\x0bd",
    "zero": "a\0b",
    "expression": "{{ 7 * 7 }}",
    "statement": "{% generation %}x{% endgeneration %}{% endraw %}",
    "comment": "{# gone #}",
    "markup": "<b>&amp;</b>\"'",
    "signs of the template": "</s>Human: <s>",
    "like a mark": "<0123456789abcdef0123456789abcdef>x</0123456789abcdef0123456789abcdef>",
    "empty marks": "<></>",
    "format signs": "%s %(a)s {0} {a} \\1 \\g<0> $1",
}


def talk(*contents: str) -> list[Message]:
    """User and assistant in turns."""
    return [Message("assistant" if number % 2 else "user", text) for number, text in enumerate(contents)]


@pytest.fixture
def phoenix(zoo: Zoo) -> Template:
    return zoo.template("phoenix")


# -- phoenix, byte for byte --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("turns", "reply", "expected"),
    [
        pytest.param([], True, "Assistant: <s>", id="no turn"),
        pytest.param(["Hi"], True, "Human: <s>Hi</s>Assistant: <s>", id="one turn"),
        pytest.param(["Hi"], False, "Human: <s>Hi</s>", id="one turn, no reply"),
        pytest.param(["Hi", "Yo"], True, "Human: <s>Hi</s>Assistant: <s>Yo</s>Assistant: <s>", id="two turns"),
        pytest.param(["Hi", "Yo"], False, "Human: <s>Hi</s>Assistant: <s>Yo</s>", id="two turns, no reply"),
        pytest.param(
            ["Hi", "Yo", "A?", "B."],
            False,
            "Human: <s>Hi</s>Assistant: <s>Yo</s>Human: <s>A?</s>Assistant: <s>B.</s>",
            id="four turns",
        ),
        pytest.param(
            ["Hi", "Yo", "A?"],
            True,
            "Human: <s>Hi</s>Assistant: <s>Yo</s>Human: <s>A?</s>Assistant: <s>",
            id="three turns",
        ),
    ],
)
def test_phoenix(phoenix: Template, turns: list[str], reply: bool, expected: str) -> None:
    assert render(phoenix, talk(*turns), reply=reply).text == f"{SYSTEM}\n\n{expected}"


@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS.keys())
def test_phoenix_keeps_every_character(phoenix: Template, content: str) -> None:
    rendered = render(phoenix, [Message("system", content), *talk(content, content)], reply=False)
    head = f"{content}\n\n" if content else ""
    assert rendered.text == f"{head}Human: <s>{content}</s>Assistant: <s>{content}</s>"
    assert [rendered.text[start:end] for start, end in rendered.spans] == [f"{content}</s>"]


def test_phoenix_stops_at_the_end_sign_and_adds_no_beginning(phoenix: Template) -> None:
    assert (phoenix.stop, phoenix.add_bos, phoenix.system) == (("</s>",), False, SYSTEM)


# -- spans -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content", [each for each in CONTENTS.values() if each], ids=[k for k, v in CONTENTS.items() if v]
)
def test_spans_hold_what_the_assistant_said_and_nothing_else(content: str) -> None:
    rendered = render(PLAIN, talk(content, content, content, "B"), reply=False)
    assert rendered.text == f"[S]u={content};a={content};u={content};a=B;"
    assert [rendered.text[start:end] for start, end in rendered.spans] == [content, "B"]
    first = len(f"[S]u={content};a=")
    assert rendered.spans[0] == (first, first + len(content))


def test_an_empty_answer_has_no_span() -> None:
    assert render(PLAIN, talk("A", "", "B", "C")).spans == ((16, 17),)


def test_a_template_without_marks_has_no_spans() -> None:
    text = "{% for message in messages %}{{ message.content }}{% endfor %}"
    assert render(Template(name="t", text=text), talk("A", "B")).spans == ()


def test_the_opened_reply_is_no_span() -> None:
    assert render(PLAIN, talk("A")).spans == ()


TALK = "{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}.{% endfor %}"


@pytest.mark.parametrize("around", ["trim", "string", "replace('.', '.')"])
def test_spans_survive_filters_that_keep_the_text(around: str) -> None:
    text = f"{{% filter {around} %}}{TALK}{{% endfilter %}}"
    rendered = render(Template(name="t", text=text), talk("A", "B"))
    assert (rendered.text, rendered.spans) == ("A.B.", ((0, 1), (2, 3)))


@pytest.mark.parametrize("around", ["upper", "escape", "replace('<', '(')", "tojson | upper"])
def test_filters_that_spoil_the_marks_are_refused(around: str) -> None:
    """Otherwise the mark, other characters every time, would stand in the prompt."""
    text = f"{{% filter {around} %}}{TALK}{{% endfilter %}}"
    with pytest.raises(TemplateError, match="put the filter inside the tag"):
        render(Template(name="t", text=text), talk("A", "B"))


def test_rendering_twice_gives_the_same() -> None:
    assert render(PLAIN, talk("A", "B")) == render(PLAIN, talk("A", "B"))


# -- system prompts ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        pytest.param([], "[S]", id="the template's own"),
        pytest.param([Message("system", "T")], "[T]", id="another"),
        pytest.param([Message("system", "")], "", id="empty"),
        pytest.param([Message("system", "{{ x }}")], "[{{ x }}]", id="not run as a template"),
    ],
)
def test_a_system_message_replaces_the_templates_own(head: list[Message], expected: str) -> None:
    assert render(PLAIN, [*head, *talk("A")]).text == f"{expected}u=A;a="


def test_the_system_message_is_no_turn_of_the_template() -> None:
    counting = Template(name="t", text="{{ messages | length }}{{ messages[0].role }}")
    assert render(counting, [Message("system", "T"), *talk("A")]).text == "1user"


# -- the conversation's shape ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("roles", "turn", "role"),
    [
        pytest.param(["assistant"], 1, "assistant", id="assistant first"),
        pytest.param(["system", "assistant"], 1, "assistant", id="assistant after system"),
        pytest.param(["user", "user"], 2, "user", id="user twice"),
        pytest.param(["user", "assistant", "assistant"], 3, "assistant", id="assistant twice"),
        pytest.param(["user", "system"], 2, "system", id="system later"),
        pytest.param(["system", "system"], 1, "system", id="system twice"),
        pytest.param(["user", "assistant", "system", "user"], 3, "system", id="system between"),
    ],
)
def test_turns_out_of_order_are_refused(roles: list[str], turn: int, role: str) -> None:
    with pytest.raises(TemplateError, match=f"^Turn {turn} is said by '{role}', but"):
        render(PLAIN, [Message(each, "x") for each in roles])  # type: ignore[arg-type]


@pytest.mark.parametrize("reply", [True, False])
def test_no_messages_at_all(reply: bool) -> None:
    assert render(PLAIN, [], reply=reply).text == ("[S]a=" if reply else "[S]")


@pytest.mark.parametrize(
    "record",
    [
        {"role": "robot", "content": "x"},
        {"role": "user"},
        {"role": "user", "content": 5},
        {"role": "user", "content": "", "a": 1},
    ],
    ids=str,
)
def test_messages_from_outside_are_checked(record: dict[str, object]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(record, Message)


# -- templates ---------------------------------------------------------------------------------------------------------


def test_what_is_rendered_tells_what_it_was_made_from() -> None:
    messages = [Message("system", "T"), *talk("A", "B")]
    rendered = render(Template(name="t", text="x", add_bos=True), messages)
    assert (rendered.messages, rendered.add_bos) == (tuple(messages), True)


@pytest.mark.parametrize(
    "text",
    [
        "{% if %}",
        "{{ messages",
        "{% for m in messages %}",
        "{% generation %}",
        "{{ messages[9].content.x }}",
        "{{ 1 / 0 }}",
    ],
)
def test_a_template_that_cannot_be_rendered_is_a_template_error(text: str) -> None:
    with pytest.raises(TemplateError, match=r"^The template "):
        render(Template(name="t", text=text), talk("A"))


def test_an_unknown_role_word_is_empty() -> None:
    assert render(Template(name="t", text="{{ roles.user }}:{{ messages[0].content }}"), talk("A")).text == ":A"


@pytest.mark.parametrize(("given", "name"), [("", "file"), ("other", "other")])
def test_a_template_from_a_file(tmp_path: Path, given: str, name: str) -> None:
    path = tmp_path / "file.jinja"
    path.write_text("é{{ system }}\n", encoding="utf-8")
    template = Template.from_file(path, name=given, system="S", stop=("</s>",), add_bos=True, summary="s")
    assert template == Template(
        name=name, text="é{{ system }}\n", system="S", stop=("</s>",), add_bos=True, summary="s"
    )
    assert render(template, []).text == "éS"
