"""The limits of the sandbox, and filters and functions that keep them where Jinja's own would not.

Knows nothing of environments; it measures values and refuses with `TemplateError`.
"""

from __future__ import annotations

import json
from typing import Any, NoReturn

from jinja2.filters import do_round, do_sum
from jinja2.utils import pass_environment

from zoo_core.errors import TemplateError

#: A template's own text, in characters. The longest in use for published models are about 20,000.
MAX_TEMPLATE = 100_000
#: Any text that a template makes on the way, in characters: more than the longest context in use holds.
MAX_TEXT = 8_000_000
#: Passes through loops and macros in one rendering.
MAX_STEPS = 200_000
#: What `range()` may span, and what a list or a mapping may hold, those inside it included.
MAX_RANGE = 10_000
MAX_ITEMS = 100_000
#: Characters that all operations of one rendering may read and write together.
MAX_WORK = 200_000_000


def size_of(value: Any) -> int:
    """Characters and items of a value, those inside it included. Raises `TemplateError` when there are too many."""
    size = items = 0
    stack = [value]
    while stack:
        each = stack.pop()
        if isinstance(each, str):
            size += len(each)
        elif isinstance(each, dict):
            stack.extend(each.keys())
            stack.extend(each.values())
        elif isinstance(each, list | tuple):
            stack.extend(each)
        elif isinstance(each, range):
            items += len(each)
        elif isinstance(each, int) and each.bit_length() > 256:
            raise TemplateError("the template makes a number of more than 256 bits")
        items += 1
        if size > MAX_TEXT:
            raise too_long()
        if items + len(stack) > MAX_ITEMS:
            raise TemplateError(f"the template makes a list of more than {MAX_ITEMS:,} items")
    return size + items


def too_long() -> TemplateError:
    return TemplateError(f"the template makes a text of more than {MAX_TEXT:,} characters")


def are_numbers(*values: Any) -> bool:
    return all(isinstance(value, int | float) for value in values)


def small_range(*limits: int) -> range:
    span = range(*limits)
    if len(span) > MAX_RANGE:
        raise TemplateError(f"range() may span at most {MAX_RANGE:,} numbers")
    return span


def raise_exception(message: str) -> NoReturn:
    """Templates of published models call this to refuse a conversation."""
    raise TemplateError(str(message)[:500])


def to_json(value: Any, ensure_ascii: bool = False, indent: int | None = None, sort_keys: bool = False) -> str:
    """As in transformers: characters outside ASCII stay readable, nothing is escaped for HTML."""
    indent = min(indent, 8) if indent else None
    texts: list[str] = []
    length = 0
    for text in json.JSONEncoder(ensure_ascii=ensure_ascii, indent=indent, sort_keys=sort_keys).iterencode(value):
        texts.append(text)
        length += len(text)
        if length > MAX_TEXT:
            raise too_long()
    return "".join(texts)


def replace(text: Any, old: Any, new: Any, count: int = -1) -> str:
    text, old, new = str(text), str(old), str(new)
    if len(text) + text.count(old) * len(new) > MAX_TEXT:
        raise too_long()
    return str(text.replace(old, new, -1 if count is None else count))


def join(values: Any, separator: Any = "", attribute: str | None = None) -> str:
    if attribute is not None:
        raise TemplateError("the filter join takes no attribute in a template; use map first")
    separator = str(separator)
    texts: list[str] = []
    length = 0
    for value in values:
        texts.append(str(value))
        length += len(texts[-1]) + len(separator)
        if length > MAX_TEXT:
            raise too_long()
    return str(separator.join(texts))


def round_number(value: Any, precision: int = 0, method: Any = "common") -> Any:
    if not are_numbers(value, precision) or abs(precision) > 100:
        raise TemplateError("the filter round takes a number and at most 100 digits")
    return do_round(value, precision, method)


@pass_environment
def sum_numbers(environment: Any, values: Any, attribute: str | int | None = None, start: Any = 0) -> Any:
    if not are_numbers(start):  # lists that are added one by one are copied again and again
        raise TemplateError("the filter sum adds only numbers in a template")
    return do_sum(environment, values, attribute, start)
