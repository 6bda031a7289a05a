"""What the commands print: tables that fit the terminal, JSON with a schema version, model names for completion."""

from __future__ import annotations

import shutil
import sys
import unicodedata
from typing import TYPE_CHECKING, Any

import click
import msgspec

from zoo_core.text import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from click.shell_completion import CompletionItem

    _Text = click.ParamType[str]
else:
    _Text = click.ParamType  # older than 8.4, click's class takes no argument

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def print_json(schema: str, data: Any) -> None:
    """Print a document `{"schema": …, "items": …}` for lists, or `{"schema": …, …fields}` for one thing."""
    body = {"items": data} if isinstance(data, list) else msgspec.to_builtins(data)
    text = msgspec.json.encode({"schema": f"zoo.{schema}/v1"} | body)
    click.echo(msgspec.json.format(text, indent=2).decode())


def print_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table; on a terminal its widest columns are shortened until it fits, elsewhere nothing is cut."""
    if not rows:
        return
    rows = [[cell if cell.isprintable() else printable(cell) for cell in row] for row in rows]
    widths = [max(map(width, column)) for column in zip(head, *rows, strict=True)]
    if sys.stdout.isatty():
        room = shutil.get_terminal_size().columns - 2 * (len(widths) - 1)
        while sum(widths) > room and max(widths) > 6:
            widths[widths.index(max(widths))] -= 1
    lines = ["  ".join(map(_fit, row, widths)).rstrip() for row in (head, *rows)]
    click.echo("\n".join([click.style(lines[0], bold=True), *lines[1:]]))


def width(text: str) -> int:
    """Columns that a text takes on a terminal."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(sign) else 2 if unicodedata.east_asian_width(sign) in "WF" else 1 for sign in text
    )


def _fit(text: str, size: int) -> str:
    """A text as wide as its column: filled up, or shortened with a sign that says so."""
    if text.isascii() and len(text) <= size:
        return text.ljust(size)
    if width(text) > size:
        while text and width(text) > size - 1:
            text = text[:-1]
        text += "…"
    return text + " " * (size - width(text))


class ModelName(_Text):
    """A reference to a model; completes the names of the catalog."""

    name = "model"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        from click.shell_completion import CompletionItem

        from zoo_core.cli import zoo_of

        return [CompletionItem(name) for name in zoo_of(ctx).catalog.names() if name.startswith(incomplete)]
