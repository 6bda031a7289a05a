"""What the commands that write weights have in common: options, and how they show their progress."""

from __future__ import annotations

import contextlib
import re
import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from zoo_core import Offer, ZooError, expanded, is_path, printable

if TYPE_CHECKING:
    from zoo_core import ModelCard
    from zoo_weights.writing import Progress

#: The dtypes that can be written, as people and as files call them.
DTYPES = {"float16": "F16", "bfloat16": "BF16", "float32": "F32", "float64": "F64"}
_UNITS = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9}
_SIZE = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,15})?)\s*([KMG]B)?\Z", re.IGNORECASE)


def _dtype(ctx: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    return DTYPES[value] if value else None


def _size(ctx: click.Context, parameter: click.Parameter, value: str) -> int:
    match = _SIZE.match(value.strip())
    size = int(float(match[1]) * _UNITS[(match[2] or "").upper()]) if match else 0
    if size <= 0:
        raise click.BadParameter(f"'{value}' is no size such as 5GB or 500MB.")
    return size


def _expanded(ctx: click.Context, parameter: click.Parameter, value: Path) -> Path:
    return expanded(value)


target_option = click.option(
    *("--target", "--target-model-path"),
    required=True,
    type=click.Path(path_type=Path),
    callback=_expanded,
    help="The folder to make.",
)
_OPTIONS = [
    click.option(
        "--dtype",
        type=click.Choice([*DTYPES]),
        callback=_dtype,
        help="Write numbers of this dtype instead of the stored one.",
    ),
    click.option(
        "--shard-size", default="5GB", show_default=True, callback=_size, help="The largest file of weights to write."
    ),
    click.option(
        "--threads",
        type=click.IntRange(1, 64),
        default=None,
        help="Parts that are made at once; one more than processors, up to 4.",
    ),
]


def writing_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say how weights are written."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def as_typed(place: str | Path) -> str:
    """A folder or the name of a card as it is written on a command line, where a name alone is that of a card."""
    path = str(expanded(place))
    return shlex.quote(f"./{path}" if Path(path).is_dir() and not is_path(path) else path)


def talk(card: ModelCard, folder: Path) -> str:
    """How one talks to a model in a folder, as a sentence."""
    template = "" if card.template is not None else " --template NAME"
    return f"Talk to it with: zoo chat {as_typed(folder)}{template}"


def loaded(name: str, module: str = "delta_work") -> Any:
    """Something of a module that needs PyTorch: imported when a command runs, not when it shows its help."""
    return Offer(name=f"zoo {name}", target=f"zoo_weights.{module}:{name}", extra="chat").load()


@contextlib.contextmanager
def shown() -> Iterator[Progress]:
    """A progress that is drawn on stderr where that is a terminal, and taken away at the end.

    What the disk refuses in the block is one sentence.
    """
    on_terminal = sys.stderr.isatty()
    drawn: list[Any] = [None]

    def show(share: float, line: str) -> None:
        text = f"{share:4.0%}  {printable(line)[:60]}"
        if on_terminal and text != drawn[0]:
            drawn[0] = text
            click.echo(f"\r\x1b[K{text}", err=True, nl=False)

    try:
        yield show
    except OSError as error:
        raise ZooError(f"{error.filename or 'The disk'} cannot be used: {error.strerror or error}.") from error
    finally:
        if drawn[0] is not None:
            click.echo("\r\x1b[K", err=True, nl=False)
