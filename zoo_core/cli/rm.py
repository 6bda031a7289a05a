"""`zoo rm`: remove the weights of a model from this machine."""

from __future__ import annotations

import sys

import click

from zoo_core.cli import card_option, zoo_of
from zoo_core.cli.output import ModelName
from zoo_core.text import bytes_text, printable


@click.command("rm", epilog="Example: zoo rm MODEL --dry-run")
@click.argument("model", type=ModelName())
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--dry-run", is_flag=True, help="Only show what would be removed.")
@card_option
@click.pass_context
def command(ctx: click.Context, model: str, yes: bool, dry_run: bool) -> None:
    """Remove the weights of MODEL that were pulled or put together, and what unfinished work has left.

    Weights in a folder of yours or in an installed package stay.
    """
    from zoo_core.weights.removing import removals, remove

    zoo = zoo_of(ctx)
    found = removals(zoo, model, lambda warning: click.echo(f"Warning: {warning}", err=True))
    for each in found:
        click.echo(printable(f"{each.folder}  {each.what}, {bytes_text(each.size)}"))
    if dry_run:
        return
    if not yes:
        if not sys.stdin.isatty():
            raise click.UsageError("Nobody can be asked here; say --yes, or look with --dry-run.", ctx)
        click.confirm("Remove?", abort=True, err=True)
    freed = sum(remove(zoo, each) for each in found)
    click.echo(f"Removed {bytes_text(freed)}", err=True)
