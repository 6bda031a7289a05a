"""Take over the conversation template that a tokenizer brings, in the form of a card's own, with renderings that prove it.

Such templates expect the system prompt as a first message, and the names of special tokens; a few lines in front of the text
give them both. Whether the result works is found out by rendering it, in the sandbox.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from zoo_core.cards.parts import CardMessage, Golden, TemplateChoice
from zoo_core.conversation import Message, Template, render
from zoo_core.errors import TemplateError

#: The conversations that are rendered to prove a template.
TALKS = (
    (CardMessage(role="user", content="Hello!"),),
    (
        CardMessage(role="user", content="Hello!"),
        CardMessage(role="assistant", content="Good day."),
        CardMessage(role="user", content="And now?"),
    ),
)
#: The special tokens that templates name, as tokenizers call them in their configuration.
_TOKENS = ("bos_token", "eos_token", "unk_token", "pad_token")
#: In front of the text; the empty output at its end keeps a line break that the text may begin with.
_SYSTEM = "{% if system %}{% set messages = [{'role': 'system', 'content': system}] + messages %}{% endif %}{{ '' }}"


def own_template(text: str, tokenizer: Mapping[str, Any]) -> str:
    """The text of a tokenizer's template with what it needs to see in front. `tokenizer` is its configuration."""
    lines = ""
    for name in _TOKENS:
        said = tokenizer.get(name)
        token = said.get("content") if isinstance(said, dict) else said
        if isinstance(token, str) and name in text:
            lines += f"{{% set {name} = {json.dumps(token, ensure_ascii=False)} %}}"
    return lines + _SYSTEM + text


def proved(choice: TemplateChoice, template: Callable[[TemplateChoice], Template]) -> TemplateChoice:
    """A choice of a template with golden renderings. Raises `TemplateError` where it cannot be rendered.

    A template that takes no longer conversation gets a rendering of the shortest one alone.
    """
    chosen = template(choice)
    golden: list[Golden] = []
    for talk in TALKS:
        try:
            text = render(chosen, [Message(each.role, each.content) for each in talk]).text
        except TemplateError:
            if not golden:
                raise
            break
        golden.append(Golden(messages=list(talk), text=text))
    if "Hello!" not in golden[0].text:
        raise TemplateError("The template does not show what the user says.")
    return msgspec.structs.replace(choice, golden=golden)
