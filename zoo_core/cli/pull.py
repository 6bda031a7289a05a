"""`zoo pull`: bring the weights of a model to this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
import msgspec

from zoo_core.cli import card_option, zoo_of
from zoo_core.cli.output import ModelName, json_option, print_json
from zoo_core.cli.progress import watching
from zoo_core.cli.table import print_table
from zoo_core.text import bytes_text

if TYPE_CHECKING:
    from zoo_core.weights.pulling import Plan


@click.command("pull", epilog="Example: zoo pull MODEL --dry-run")
@click.argument("model", type=ModelName())
@click.option("--offline", is_flag=True, help="Ask no hub; only look whether everything is here.")
@click.option("--all-files", is_flag=True, help="Everything that the hub has, not only what the model needs.")
@click.option("--dry-run", is_flag=True, help="Only show what would be downloaded.")
@json_option
@card_option
@click.pass_context
def command(ctx: click.Context, model: str, offline: bool, all_files: bool, dry_run: bool, as_json: bool) -> None:
    """Download the weights of MODEL from the first source that its card names and that can be reached.

    Every file is verified before it is used. What is here already is not downloaded again, and what was interrupted is
    gone on with. Prints the folder.
    """
    from zoo_core.weights.pulled import damage
    from zoo_core.weights.pulling import plan, pull

    if offline and (all_files or dry_run):
        raise click.UsageError("--offline goes with neither --all-files nor --dry-run, which ask the hub.", ctx)
    zoo = zoo_of(ctx)
    zoo.looks_anew = not offline
    card, path = zoo.catalog.model(model)
    if problem := damage():
        click.echo(f"Warning: {problem}", err=True)
    with watching() as watcher:
        if dry_run:
            planned = plan(zoo, card, path, watcher, all_files=all_files)
        else:
            pulled = pull(zoo, card, path, watcher, offline=offline, all_files=all_files)
    if dry_run:
        _show(planned, as_json)
    elif as_json:
        print_json("pull", {"bytes": pulled.size, **msgspec.to_builtins(pulled)})
    else:
        click.echo(f"{len(pulled.files)} files, {bytes_text(pulled.size)}, verified", err=True)
        click.echo(pulled.folder)


def _show(plan: Plan, as_json: bool) -> None:
    size = sum(file.size for file in plan.missing)
    missing = {file.path for file in plan.missing}
    if as_json:
        files = [
            {**msgspec.to_builtins(file), "here": file.path not in missing, "verified": file.path in plan.verified}
            for file in plan.files
        ]
        print_json("pull-plan", {"bytes": size, "source": msgspec.to_builtins(plan.source), "files": files})
        return
    here = {file.path: "yes" if file.path in plan.verified else "not verified" for file in plan.files}
    here |= dict.fromkeys(missing, "no")
    rows = [[file.path, bytes_text(file.size), here[file.path]] for file in plan.files]
    print_table(["FILE", "SIZE", "HERE"], rows)
    click.echo(f"To be downloaded: {bytes_text(size)}", err=True)
