"""What the commands that write weights have in common: options, and how they show their progress."""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from zoo_core import Offer, printable

if TYPE_CHECKING:
    from zoo_weights.writing import Progress

#: The dtypes that can be written, as people and as files call them.
DTYPES = {"float16": "F16", "bfloat16": "BF16", "float32": "F32", "float64": "F64"}
_UNITS = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMG]B)?\Z", re.IGNORECASE)


def _dtype(ctx: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    return DTYPES[value] if value else None


def _size(ctx: click.Context, parameter: click.Parameter, value: str) -> int:
    match = _SIZE.match(value.strip())
    size = int(float(match[1]) * _UNITS[(match[2] or "").upper()]) if match else 0
    if size <= 0:
        raise click.BadParameter(f"'{value}' is no size such as 5GB or 500MB.")
    return size


dtype_option = click.option(
    "--dtype",
    type=click.Choice([*DTYPES]),
    callback=_dtype,
    help="Write numbers of this dtype instead of the stored one.",
)
shard_size_option = click.option(
    "--shard-size", default="5GB", show_default=True, callback=_size, help="The largest file of weights to write."
)
threads_option = click.option(
    "--threads",
    type=click.IntRange(1, 64),
    default=None,
    help="Parts that are computed at once; as many as processors, up to 4.",
)


def loaded(name: str, module: str = "delta_work") -> Any:
    """Something of a module that needs PyTorch: imported when a command runs, not when it shows its help."""
    return Offer(name=f"zoo {name}", target=f"zoo_weights.{module}:{name}", extra="chat").load()


@contextlib.contextmanager
def shown() -> Iterator[Progress]:
    """A progress that is drawn on stderr where that is a terminal, and taken away at the end."""
    on_terminal = sys.stderr.isatty()
    drawn: list[Any] = [None]

    def show(share: float, line: str) -> None:
        text = f"{share:4.0%}  {printable(line)[:60]}"
        if on_terminal and text != drawn[0]:
            drawn[0] = text
            click.echo(f"\r\x1b[K{text}", err=True, nl=False)

    try:
        yield show
    finally:
        if drawn[0] is not None:
            click.echo("\r\x1b[K", err=True, nl=False)
