"""The command `zoo`. Each subcommand is one file here, imported only when it is used; plugins add more."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from zoo_core import __version__
from zoo_core.cli.lazy import LazyGroup
from zoo_core.errors import NotFound, ZooError
from zoo_core.text import printable

if TYPE_CHECKING:
    from zoo_core.zoo import Zoo

#: The zoo's own commands and what they do; the module has the command's name.
COMMANDS = {
    "list": "List the models of the zoo.",
    "search": "Search the cards for words.",
    "show": "Show all that a card says.",
    "fit": "Say which models fit on this machine.",
    "pull": "Download the weights of a model and verify them.",
    "verify": "Compute the digests of a model's files again.",
    "trust": "Allow code that a model brings, by its digest.",
    "rm": "Remove the weights of a model from this machine.",
    "chat": "Chat with a model.",
    "explain": "Show the exact prompt that a model would be sent.",
    "train": "Train a model on conversations.",
    "quantize": "Write a model with smaller weights, or for another engine.",
    "logs": "Look at recorded conversations, and ask for answers again.",
    "card": "Make, lock, check, compare and publish cards.",
    "registry": "Use the cards of others, and publish your own.",
    "plugins": "List, examine and check plugins.",
    "completion": "Print the script that completes commands and model names in a shell.",
}


class _Shown(click.ClickException):
    """A `ZooError` as click shows it: one line, and the error's own exit code."""

    def __init__(self, error: ZooError) -> None:
        super().__init__(printable(str(error)))
        self.exit_code = error.exit_code  # type: ignore[misc]


class ZooGroup(LazyGroup):
    """The zoo's own commands, and those that plugins bring."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*super().list_commands(ctx), *zoo_of(ctx).plugins.names("zoo_commands")]

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        return super().get_command(ctx, name) or _plugin_command(ctx, name)

    def summaries(self, ctx: click.Context) -> list[tuple[str, str]]:
        offers = zoo_of(ctx).plugins.items("zoo_commands")
        return [*super().summaries(ctx), *((offer.name, offer.summary) for _, offer in offers)]

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except ZooError as error:
            raise _Shown(error) from error
        except KeyboardInterrupt:
            click.echo("\n(stopped)", err=True)
            raise click.exceptions.Exit(130) from None


def zoo_of(ctx: click.Context) -> Zoo:
    """The zoo of this run; made on first use, so that `--version` and `--help` of a command pay for nothing."""
    from zoo_core.zoo import Zoo

    root = ctx.find_root()
    if not isinstance(root.obj, Zoo):
        root.obj = Zoo(
            taken={"zoo_commands": [*COMMANDS]},  # not list(): here that is the module of `zoo list`
            warn=_warn,
        )
    zoo: Zoo = root.obj
    return zoo


def _warn(text: str) -> None:
    if "_ZOO_COMPLETE" not in os.environ:  # where a line is being typed, nothing may be printed into it
        click.echo(f"Warning: {printable(text)}", err=True)


def _plugin_command(ctx: click.Context, name: str) -> click.Command | None:
    try:
        offer = zoo_of(ctx).offer("zoo_commands", name, "command")
    except NotFound:
        return None
    command = offer.load()
    if not isinstance(command, click.Command):
        raise click.ClickException(
            f"The command '{name}' of a plugin points at '{offer.target}', which is no click command."
        )
    return command


def _add_card(ctx: click.Context, parameter: click.Parameter, files: tuple[Path, ...]) -> None:
    if files:
        zoo_of(ctx).card_files.extend(files)


card_option = click.option(
    "--card",
    type=click.Path(path_type=Path),
    multiple=True,
    expose_value=False,
    callback=_add_card,
    is_eager=True,
    metavar="FILE",
    help="Add a card to the catalog for this run; it wins over others of its name.",
)


@click.group(
    cls=ZooGroup,
    names=COMMANDS,
    package=__name__,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, package_name="llm-zoo", message="%(version)s")
@card_option
@click.pass_context
def cli(ctx: click.Context) -> None:
    """LLM Zoo: open chat models, each behind a card that can be trusted.

    Begin with `zoo chat "What can you do?"`, then look around with `zoo list`.
    """

    if os.environ.get("NO_COLOR"):
        ctx.color = False


def main() -> None:
    """The entry point of the `zoo` script."""
    cli(prog_name="zoo")
