"""`zoo train`: a new model from conversations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from zoo_core.cli import card_option, zoo_of
from zoo_core.cli.output import ModelName, json_option, print_json
from zoo_core.cli.recipes import recipe_of


@click.command(
    "train",
    epilog="Examples: zoo train MODEL --data talks.jsonl --out my-model    zoo train --recipe MODEL --out again",
)
@click.argument("model", type=ModelName(), required=False)
@click.option("--data", help="A file of conversations (.json, .jsonl), or the name of a data builder.")
@click.option("--data-option", multiple=True, metavar="NAME=VALUE", help="An option of the data builder.")
@click.option("--model-path", "weights", type=click.Path(path_type=Path), help="A folder with the weights of MODEL.")
@click.option("--base", help="The base of MODEL where that is a delta or an adapter: a folder or a model.")
@click.option("--recipe", type=ModelName(), help="A recipe file, or a model whose card holds the recipe that made it.")
@click.option("--trainer", help="A trainer instead of 'full'.")
@click.option("-o", "--option", multiple=True, metavar="NAME=VALUE", help="An option of the trainer, such as epochs=2.")
@click.option("--seed", type=int, help="Makes the training repeatable.")
@click.option("--device", default="auto", show_default=True, help="cpu, cuda, mps.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The folder to make.")
@click.option("--name", help="The model's name; the folder's, if left out.")
@json_option
@card_option
@click.pass_context
def command(
    ctx: click.Context,
    /,
    out: Path,
    name: str | None,
    device: str,
    weights: Path | None,
    base: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Train MODEL further on conversations of your own, or follow a recipe, and write a folder with weights and a card.

    What was interrupted goes on where it stopped when the same command is given again.
    """
    from zoo_core.training import train

    zoo = zoo_of(ctx)
    recipe = recipe_of(zoo, options)

    def progress(share: float, line: str) -> None:
        click.echo(f"{share:4.0%}  {line}", err=True)

    card = train(
        zoo, recipe, out, name=name or out.name.lower(), device=device, weights=weights, base=base, progress=progress
    )
    if as_json:
        from zoo_core.cards.writing import card_data

        print_json("train", {"folder": str(out), "card": card_data(card)})
        return
    click.echo(f"Made {card.id} in {out}. Talk to it with: zoo chat {out if out.is_absolute() else f'./{out}'}")
