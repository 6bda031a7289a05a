"""`zoo delta make`: the delta of a model to its base."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from zoo_core import card_data, card_option, json_option, print_json, zoo_of
from zoo_weights.commands.options import as_typed, loaded, shown, target_option, writing_options


@click.command("make", epilog="Example: zoo delta make --base ./llama-7b --model ./mine --target ./mine-delta")
@click.option("--base", "--base-model-path", required=True, metavar="FOLDER|CARD", help="The base.")
@click.option("--model", "--model-path", "other", required=True, metavar="FOLDER|CARD", help="The model made from it.")
@target_option
@click.option(
    "--new-rows", type=click.Choice(["zero", "mean"]), help="What rows of tokens that the base lacks count as."
)
@click.option("--keep", "keeps", multiple=True, metavar="TEXT", help="Keep tensors with TEXT in their name whole.")
@writing_options
@click.option("--name", default="", help="The delta's name; the folder's, if left out.")
@json_option
@card_option
@click.pass_context
def command(
    ctx: click.Context,
    /,
    target: Path,
    dtype: str | None,
    shard_size: int,
    threads: int | None,
    as_json: bool,
    **wishes: Any,
) -> None:
    """Write the difference of a model to its base, with a card that tells how to add it and what must come of it.

    The difference is added again at once; how many numbers do not come back exactly is told.
    """
    sides = {key: wishes.pop(key) for key in ("base", "other", "name")}
    with shown() as progress:
        options = {"dtype": dtype, "shard_size": shard_size, "threads": threads or 0, "progress": progress}
        done = loaded("make")(zoo_of(ctx), target=target, policy=wishes, options=options, **sides)
    for note in done.made.notes:
        click.echo(note, err=True)
    if as_json:
        print_json("delta", {"folder": str(target), "card": card_data(done.card), "notes": done.made.notes})
        return
    again = f"zoo merge delta {as_typed(target)} --base {as_typed(sides['base'])} --target FOLDER"
    click.echo(f"Made {done.card.id} in {target}. Add it again with: {again}")
