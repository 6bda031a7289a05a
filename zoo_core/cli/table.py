"""Tables that fit the terminal, in every script."""

from __future__ import annotations

import shutil
import sys
import unicodedata
from typing import TYPE_CHECKING

import click

from zoo_core.text import printable

if TYPE_CHECKING:
    from collections.abc import Sequence


def print_table(head: Sequence[str], rows: Sequence[Sequence[str]], spare: Sequence[str] = ()) -> None:
    """Print a table; on a terminal it is made to fit, elsewhere nothing is cut.

    To fit, the columns named in `spare` are left out, the first of them first, which is told; then the widest columns but
    the first, which says what a row is about, are shortened.
    """
    if not rows:
        return
    rows = [[cell if cell.isprintable() else " ".join(printable(cell).split()) for cell in row] for row in rows]
    widths = [max(map(width, column)) for column in zip(head, *rows, strict=True)]
    if sys.stdout.isatty():
        room = shutil.get_terminal_size().columns
        shown = _without_spare(head, widths, spare, room)
        head, *rows = ([row[column] for column in shown] for row in (head, *rows))
        widths = _shortened([widths[column] for column in shown], room)
    lines = ["  ".join(map(_fit, row, widths)).rstrip() for row in (head, *rows)]
    click.echo("\n".join([click.style(lines[0], bold=True), *lines[1:]]))


def _without_spare(head: Sequence[str], widths: Sequence[int], spare: Sequence[str], room: int) -> list[int]:
    """The numbers of the columns that are shown in `room`; says which are not."""
    shown, left_out = [*range(len(head))], []
    for name in (each for each in spare if each in head):
        if sum(widths[column] + 2 for column in shown) - 2 <= room:
            break
        shown.remove(head.index(name))
        left_out.append(name)
    if left_out:
        click.echo(f"(Left out, as the terminal is narrow: {', '.join(left_out)}.)", err=True)
    return shown


def _shortened(widths: Sequence[int], room: int) -> list[int]:
    """The widths of columns that fit into `room` if they can; the first gives way last."""
    widths, room = [*widths], room - 2 * (len(widths) - 1)
    while sum(widths) > room and max(widths) > 6:
        others = max(widths[1:], default=0)
        column = widths.index(others, 1) if others > 6 else 0
        if widths[column] <= 6:
            break
        widths[column] -= 1
    return widths


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
