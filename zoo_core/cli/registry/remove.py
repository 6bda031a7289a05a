"""`zoo registry remove`: use a registry no more."""

from __future__ import annotations

import click

from zoo_core.cli.registry import RegistryName


@click.command("remove")
@click.argument("name", type=RegistryName())
def command(name: str) -> None:
    """Use the registry NAME no more, and remove its copy from this machine."""
    from zoo_core.registries.managing import remove_registry

    remove_registry(name)
    click.echo(f"The registry '{name}' is removed.")
