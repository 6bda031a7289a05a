"""`zoo merge delta`: a model from its base and a delta."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from zoo_core import ModelName, card_data, card_option, json_option, print_json, printable, zoo_of
from zoo_weights.commands.options import loaded, shown, talk, target_option, writing_options

_EPILOG = "Examples: zoo merge delta MODEL --base ./llama-7b --target ./merged    zoo merge delta --base B --delta D --target T"


@click.command("delta", epilog=_EPILOG)
@click.argument("model", type=ModelName(), required=False, default="")
@click.option(
    "--base", "--base-model-path", default="", metavar="FOLDER|CARD", help="The base; what the card says, if left out."
)
@click.option(
    "--delta",
    "--delta-path",
    "other",
    default="",
    metavar="FOLDER|CARD",
    help="The delta; MODEL's weights, if left out.",
)
@target_option
@click.option(
    "--new-rows", type=click.Choice(["zero", "mean"]), help="What rows of tokens that the base lacks count as."
)
@click.option(
    "--keep", "keeps", multiple=True, metavar="TEXT", help="Take tensors with TEXT in their name whole from the delta."
)
@click.option("--vocab-size", type=click.IntRange(1), help="How many rows of tokens the result must have.")
@click.option("--weight-sum", type=float, help="What all numbers of the result must sum up to.")
@writing_options
@click.option("--name", default="", help="The model's name; the folder's, if left out.")
@click.option("--smoke", "wants_smoke", is_flag=True, help="Load the result and let it answer a few tokens.")
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
    wants_smoke: bool,
    as_json: bool,
    **wishes: Any,
) -> None:
    """Add a delta to its base, check what comes of it, and write a folder with weights, tokenizer and card.

    MODEL is a card that tells of delta and base. What was interrupted goes on where it stopped when the same command is given
    again.
    """
    zoo = zoo_of(ctx)
    sides = {key: wishes.pop(key) for key in ("model", "base", "other", "name")}
    with shown() as progress:
        options = {"dtype": dtype, "shard_size": shard_size, "threads": threads or 0, "progress": progress}
        done = loaded("merge")(zoo, target=target, to_talk=wants_smoke, policy=wishes, options=options, **sides)
    reply = loaded("smoke")(zoo, target) if wants_smoke else None
    for note in done.made.notes:
        click.echo(note, err=True)
    if as_json:
        found = {"weight_sum": done.made.total, "result_digest": done.made.digest or None, "smoke": reply}
        print_json("merge", {"folder": str(target), "card": card_data(done.card), "notes": done.made.notes} | found)
        return
    if reply is not None:
        click.echo(printable(reply))
    click.echo(f"Made {done.card.id} in {target}. {talk(done.card, target)}")
