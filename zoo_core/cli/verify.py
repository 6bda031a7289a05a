"""`zoo verify`: compute the digests of a model's files again."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec

from zoo_core.cli import card_option, zoo_of
from zoo_core.cli.output import ModelName, json_option, print_json
from zoo_core.cli.progress import watching
from zoo_core.text import printable


@click.command("verify", epilog="Example: zoo verify MODEL --model-path ./weights")
@click.argument("model", type=ModelName())
@click.option(
    "--model-path", type=click.Path(path_type=Path), help="A folder with the files, instead of the model's own."
)
@json_option
@card_option
@click.pass_context
def command(ctx: click.Context, model: str, model_path: Path | None, as_json: bool) -> None:
    """Read every file of MODEL anew and compare its digest with the card's, or with the one recorded when it was pulled.

    Exit code 1 when a file is missing or wrong.
    """
    from zoo_core.weights.store import examine, expected

    card, path = zoo_of(ctx).catalog.model(model)
    folder, files = expected(card, path, model_path, reference=model)
    with watching() as watcher:
        watcher.begin(files)
        states = list(examine(card.id, files, folder, watcher.verified))
    wrong = [state for state in states if state.state != "ok"]
    if as_json:
        facts = {"card": card.id, "folder": str(folder), "ok": not wrong, "files": msgspec.to_builtins(states)}
        print_json("verify", facts)
    else:
        for state in states:
            click.echo(f"{state.state:<7}  {printable(state.path)}")
        for state in wrong:
            click.echo(printable(state.problem), err=True)
    if wrong:
        ctx.exit(1)
