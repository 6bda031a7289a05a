"""`zoo card lock`: write what the files of a model say into its card."""

from __future__ import annotations

from pathlib import Path

import click

from zoo_core.cli import card_option, zoo_of
from zoo_core.cli.output import ModelName
from zoo_core.text import printable


@click.command("lock", epilog="Example: zoo card lock ./my-model.yaml --dry-run")
@click.argument("name", type=ModelName(), metavar="CARD")
@click.option(
    "--weights", type=click.Path(path_type=Path), help="A folder with the files, instead of the card's sources."
)
@click.option("--dry-run", is_flag=True, help="Show what would change, and change nothing.")
@card_option
@click.pass_context
def command(ctx: click.Context, name: str, weights: Path | None, dry_run: bool) -> None:
    """Write into CARD the revision, the files with their digests, the network's numbers and the bytes that it needs.

    They are computed from the model's folder, or asked of its hub without downloading weights. Comments and order of the
    card's file stay.
    """
    from zoo_core.cards.locking import lock, own_file, save
    from zoo_core.paths import expanded
    from zoo_core.publishing import unified
    from zoo_core.sources import Change

    zoo = zoo_of(ctx)
    _, path = zoo.catalog.card(name)
    own_file(path)
    folder = expanded(weights) if weights else None
    locked = lock(zoo, path, weights=folder, say=lambda line: click.echo(printable(line), err=True))
    if locked.before == locked.after:
        click.echo(f"'{locked.card.id}' is locked already; nothing to change.")
        return
    for line in unified([Change(path=path.name, before=locked.before, after=locked.after)]):
        click.secho(printable(line), fg={"+": "green", "-": "red"}.get(line[:1]))
    if dry_run:
        click.echo(f"This would change {path}; nothing was changed.")
        return
    save(path, locked.after, locked.before)
    click.echo(f"Locked '{locked.card.id}': {len(locked.card.files)} files in {path}.")
