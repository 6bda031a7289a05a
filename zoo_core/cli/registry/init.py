"""`zoo registry init`: begin a registry that is kept in git."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("init", epilog="Example: zoo registry init my-cards && git -C my-cards init")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
def command(folder: Path) -> None:
    """Write the skeleton of a registry into FOLDER: places for cards, a README, and a workflow that checks what changes.

    Nothing is overwritten. Commit the folder and push it to any git server; others then add it with `zoo registry add`.
    """
    from zoo_core.registries.starting import write_skeleton

    for path in write_skeleton(folder):
        click.echo(folder / path)
