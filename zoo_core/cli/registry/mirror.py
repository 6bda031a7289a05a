"""`zoo registry mirror`: copy a registry to a folder that others can use."""

from __future__ import annotations

from pathlib import Path

import click

from zoo_core.cli.registry import RegistryName


@click.command("mirror", epilog="Example: zoo registry mirror ours /media/stick/cards")
@click.argument("name", type=RegistryName())
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
def command(name: str, folder: Path) -> None:
    """Write the last good copy of the registry NAME into FOLDER, signature included, without asking the network.

    FOLDER can be served, or carried to a machine without a network and added there.
    """
    from zoo_core.registries.mirroring import mirror_registry

    click.echo(mirror_registry(name, folder))
