"""`zoo registry`: use the cards of others, and publish your own. Each subcommand is one file here, imported on use."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from zoo_core.cli.lazy import LazyGroup

if TYPE_CHECKING:
    from collections.abc import Callable

    from click.shell_completion import CompletionItem

    _Text = click.ParamType[str]
else:
    _Text = click.ParamType  # older than 8.4, click's class takes no argument

#: The subcommands and what they do.
COMMANDS = {
    "list": "List the registries that you use.",
    "add": "Use a registry.",
    "update": "Bring registries up to date.",
    "remove": "Use a registry no more.",
    "mirror": "Copy a registry to a folder that others can use.",
    "init": "Begin a registry that is kept in git.",
    "build": "Build a static registry for any web server or disk.",
    "keygen": "Make a key for signing registries.",
}


@click.group("registry", cls=LazyGroup, names=COMMANDS, package=__name__)
def command() -> None:
    """Use the cards of others, and publish your own."""


class RegistryName(_Text):
    """The name of one of the user's registries; completes them."""

    name = "name"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        from click.shell_completion import CompletionItem

        from zoo_core.errors import ZooError
        from zoo_core.registries.settings import read_registries

        try:
            names = [each.name for each in read_registries()]
        except ZooError:
            return []
        return [CompletionItem(name) for name in names if name.startswith(incomplete)]


def warn(text: str) -> None:
    """Print a warning of a registry."""
    from zoo_core.text import printable

    click.echo(f"Warning: {printable(text)}", err=True)


def card_counter(name: str) -> Callable[[int, int], None]:
    """Counts the cards that came, on a terminal only and on one line of it."""

    def show(done: int, total: int) -> None:
        if sys.stderr.isatty() and (done == total or done % 20 == 0):
            end = "\r\033[K" if done == total else ""
            click.echo(f"\r{name}: {done:,} of {total:,} cards{end}", nl=False, err=True)

    return show
