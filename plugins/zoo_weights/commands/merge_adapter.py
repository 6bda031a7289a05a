"""`zoo merge adapter`: a model from its base and an adapter (LoRA)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from zoo_core import ModelName, card_data, card_option, json_option, print_json, printable, zoo_of
from zoo_weights.commands.options import loaded, shown, talk, target_option, writing_options

_EPILOG = "Examples: zoo merge adapter MODEL --base ./base --target ./new    zoo merge adapter --base B --adapter A --target T"


@click.command("adapter", epilog=_EPILOG)
@click.argument("model", type=ModelName(), required=False, default="")
@click.option(
    "--base", "--base-model-path", default="", metavar="FOLDER|CARD", help="The base; what the card says, if left out."
)
@click.option(
    "--adapter",
    "--adapter-path",
    "other",
    default="",
    metavar="FOLDER|CARD",
    help="The adapter; MODEL's weights, if left out.",
)
@target_option
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
    **sides: Any,
) -> None:
    """Merge a LoRA adapter into its base, as the library peft does, and write a folder with weights, tokenizer and card.

    MODEL is a card that tells of adapter and base. What was interrupted goes on where it stopped when the same command is
    given again.
    """
    zoo = zoo_of(ctx)
    with shown() as progress:
        options = {"dtype": dtype, "shard_size": shard_size, "threads": threads or 0, "progress": progress}
        done = loaded("merge", "adapter_work")(zoo, target=target, options=options, **sides)
    reply = loaded("smoke", "adapter_work")(zoo, target) if wants_smoke else None
    if as_json:
        print_json(
            "merge", {"folder": str(target), "card": card_data(done.card), "notes": done.made.notes, "smoke": reply}
        )
        return
    if reply is not None:
        click.echo(printable(reply))
    click.echo(f"Made {done.card.id} in {target}. {talk(done.card, target)}")
