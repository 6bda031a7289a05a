"""Nested data as lines that people read: fields aligned, lists as dashes, texts of several lines kept together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from zoo_core.text import printable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


def field_lines(data: Mapping[str, Any], *, top: bool = True) -> Iterator[str]:
    """The lines of a mapping; the names of its own fields are bold, those inside it are not."""
    size = max((len(key) for key, value in data.items() if not _is_nested(value)), default=0)
    for key, value in data.items():
        if not _is_nested(value):
            first, *rest = _text(value).splitlines() or [""]
            yield f"{_label(key.ljust(size), top)}  {first}".rstrip()
            yield from (" " * (size + 2) + line for line in rest)
            continue
        yield _label(key, top)
        if isinstance(value, dict):
            yield from (f"  {line}" for line in field_lines(value, top=False))
            continue
        for each in value:
            lines = field_lines(each, top=False) if isinstance(each, dict) else iter(printable(str(each)).splitlines())
            yield f"- {next(lines, '')}"
            yield from (f"  {line}" for line in lines)


def _is_nested(value: Any) -> bool:
    """Whether a value needs lines of its own: mappings, and lists of them or of sentences."""
    if isinstance(value, list):
        return any(isinstance(each, dict) or " " in str(each) for each in value)
    return isinstance(value, dict)


def _text(value: Any) -> str:
    return printable(", ".join(map(str, value)) if isinstance(value, list) else str(value).strip())


def _label(text: str, top: bool) -> str:
    return click.style(text, bold=True) if top else text
