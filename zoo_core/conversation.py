"""Conversations and the templates that turn them into the text a model reads. The one rendering path of the zoo.

Chat, training and `zoo explain` all come here, so that what a model was taught and what it is asked look the same. Knows
nothing of tokens: which characters the assistant said is told in characters.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal

import msgspec

from zoo_core.errors import TemplateError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

Role = Literal["system", "user", "assistant"]


class Message(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One turn of a conversation."""

    role: Role
    content: str


class Conversation(msgspec.Struct, frozen=True, kw_only=True):
    """A dialogue to learn from. `id` names it in error messages; `language` is a BCP 47 tag where it is known."""

    messages: tuple[Message, ...]
    id: str = ""
    language: str = ""


class Template(msgspec.Struct, frozen=True, kw_only=True):
    """How a conversation becomes a prompt. Data, not code: `text` runs only in the sandbox.

    `text` is a Jinja chat template. It sees `messages` (each with `role` and `content`), `system` (the system prompt),
    `roles` and `add_generation_prompt`, and puts what the assistant says between `{% generation %}` and
    `{% endgeneration %}`, the end-of-text sign included when the model is to learn it. `add_bos` says whether the
    tokenizer puts its beginning-of-text token in front.
    """

    name: str
    text: str
    system: str = ""
    roles: dict[str, str] = {}
    stop: tuple[str, ...] = ()
    add_bos: bool = False
    summary: str = ""

    @classmethod
    def from_file(
        cls,
        path: Path,
        *,
        name: str = "",
        system: str = "",
        roles: dict[str, str] | None = None,
        stop: tuple[str, ...] = (),
        add_bos: bool = False,
        summary: str = "",
    ) -> Template:
        """Read the Jinja text from a file; the template is called like the file unless `name` is given."""
        return cls(
            name=name or path.stem,
            text=path.read_text(encoding="utf-8"),
            system=system,
            roles=roles or {},
            stop=stop,
            add_bos=add_bos,
            summary=summary,
        )


class Rendered(msgspec.Struct, frozen=True, kw_only=True):
    """A rendered conversation: the text, and the spans `[start, end)` in characters that the assistant said."""

    text: str
    spans: tuple[tuple[int, int], ...] = ()
    messages: tuple[Message, ...] = ()
    add_bos: bool = False


def render(template: Template, messages: Sequence[Message], *, reply: bool = True) -> Rendered:
    """Render a conversation. `reply=True` opens the assistant's next turn; training leaves it out.

    A system message, which must come first, replaces the template's own system prompt. Raises `TemplateError` when the
    conversation's shape is wrong or the template does something that the sandbox refuses.
    """
    import secrets

    from zoo_core.sandbox import compile_template

    turns = list(messages)
    system = template.system
    if turns and turns[0].role == "system":
        system = turns.pop(0).content
    _check_turns(turns)
    # The spans are found by marks that no message can contain: their middle is drawn anew for every rendering.
    mark = secrets.token_hex(16)
    marked = compile_template(template.text)(
        {
            "messages": [{"role": turn.role, "content": turn.content} for turn in turns],
            "system": system,
            "roles": dict(template.roles),
            "add_generation_prompt": reply,
        },
        mark,
    )
    text, spans = _take_out_marks(marked, mark)
    return Rendered(text=text, spans=spans, messages=tuple(messages), add_bos=template.add_bos)


def _check_turns(turns: Sequence[Message]) -> None:
    expected: Role = "user"
    for number, turn in enumerate(turns, 1):
        if turn.role != expected:
            raise TemplateError(
                f"Turn {number} is said by '{turn.role}', but after the system prompt user and assistant take turns."
            )
        expected = "assistant" if expected == "user" else "user"


def _take_out_marks(marked: str, mark: str) -> tuple[str, tuple[tuple[int, int], ...]]:
    parts: list[str] = []
    spans: list[tuple[int, int]] = []
    position, opened = 0, -1
    for part in re.split(f"(<{mark}>|</{mark}>)", marked):
        if part == f"<{mark}>":
            opened = position
        elif part == f"</{mark}>":
            if position > opened >= 0:
                spans.append((opened, position))
        else:
            parts.append(part)
            position += len(part)
    text = "".join(parts)
    if mark in text.lower():  # a filter got hold of a mark, which would now stand in the prompt
        raise TemplateError("The template changes the text of a generation tag; put the filter inside the tag.")
    return text, tuple(spans)
