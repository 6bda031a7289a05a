"""`zoo registry update`: bring registries up to date."""

from __future__ import annotations

import sys

import click

from zoo_core.cli import zoo_of
from zoo_core.cli.registry import RegistryName, card_counter, warn
from zoo_core.errors import ZooError
from zoo_core.text import printable


@click.command("update")
@click.argument("names", nargs=-1, type=RegistryName(), metavar="[NAME]...")
@click.pass_context
def command(ctx: click.Context, names: tuple[str, ...]) -> None:
    """Bring these registries, or all of yours, up to date. What is refused leaves the last good copy in use."""
    from zoo_core.registries.managing import update_registry_copy
    from zoo_core.registries.settings import find_registry, read_registries

    known = read_registries()
    if not known:
        click.echo("You use no registry. Add one with: zoo registry add NAME ADDRESS", err=True)
    failed = False
    for registry in [find_registry(name, known) for name in dict.fromkeys(names)] or known:
        try:
            told = update_registry_copy(zoo_of(ctx), registry, card_counter(registry.name), warn)
            click.echo(printable(told))
        except ZooError as error:
            click.echo(f"Error: {printable(str(error))}", err=True)
            failed = True
    if failed:
        sys.exit(1)
