"""`zoo registry keygen`: make a key for signing registries."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("keygen")
@click.argument("file", type=click.Path(path_type=Path))
def command(file: Path) -> None:
    """Write a new private key into FILE, which only you can read, and print its public key.

    Keep FILE secret and safe: without it a signed registry cannot be changed. Tell everyone the public key.
    """
    from zoo_core.registries.signing import make_key

    click.echo(make_key(file))
