"""A conversation template as other programs read it: one Jinja text that needs nothing but `messages`.

The zoo gives a template the system prompt and the names of the roles, and marks what the assistant says; other programs know
neither. Knows nothing of models.
"""

from __future__ import annotations

import json
import re

from zoo_core import Template

#: The marks of what the assistant says; the signs that take away the space beside them stay.
_MARK = re.compile(r"\{%(-?)\s*(?:end)?generation\s*(-?)%\}")
_SYSTEM = (
    "{%- if messages and messages[0].role == 'system' -%}"
    "{%- set system = messages[0].content -%}{%- set messages = messages[1:] -%}"
    "{%- else -%}{%- set system = SAID -%}{%- endif -%}"
)


def portable(template: Template) -> str:
    """The text of a template, with what the zoo would give it written into it."""
    text = _MARK.sub(r"{#\1 \2#}", template.text)
    head = ""
    if re.search(r"\bsystem\b(?!')", text):
        head += _SYSTEM.replace("SAID", json.dumps(template.system, ensure_ascii=False))
    if re.search(r"\broles\b", text):
        head += "{%- set roles = " + json.dumps(template.roles, ensure_ascii=False) + " -%}"
    return head + text
