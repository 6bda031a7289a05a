"""`zoo quantize`: the same model in fewer bytes, or in the format of another engine."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from zoo_core.cli import card_option, zoo_of
from zoo_core.cli.output import ModelName, json_option, print_json
from zoo_core.errors import UsageProblem

if TYPE_CHECKING:
    from zoo_core.zoo import Zoo


@click.command("quantize", epilog="Example: zoo quantize MODEL --method q8_0 -o my-model-q8")
@click.argument("model", type=ModelName(), required=False)
@click.option("--method", help="How; --methods lists what there is.")
@click.option("--methods", "listed", is_flag=True, help="List the methods.")
@click.option("-o", "--out", type=click.Path(path_type=Path), help="The folder to make.")
@click.option("--name", help="The new model's name; the folder's, if left out.")
@click.option("--option", multiple=True, metavar="NAME=VALUE", help="An option of the method.")
@click.option("--calibration", help="Conversations to measure with: a file (.json, .jsonl), or a data builder.")
@click.option("--seed", type=int, default=0, show_default=True, help="Decides what is drawn.")
@click.option("--model-path", "weights", type=click.Path(path_type=Path), help="A folder with the weights of MODEL.")
@click.option("--base", help="The base of a delta or an adapter: a folder or a model. Else the card's.")
@click.option("--device", default="auto", show_default=True, help="cpu, cuda, mps.")
@json_option
@card_option
@click.pass_context
def command(ctx: click.Context, /, listed: bool, as_json: bool, **options: Any) -> None:
    """Write MODEL with smaller weights, and a card, into a new folder. The same command resumes what was interrupted."""
    from zoo_core.cli.recipes import data_of
    from zoo_core.quantizing import quantize

    zoo = zoo_of(ctx)
    if listed:
        _list(zoo, as_json)
        return
    model, method, out = (options.pop(each) for each in ("model", "method", "out"))
    if not (model and method and out):
        raise UsageProblem("Name a MODEL, a --method and a folder. Example: zoo quantize MODEL --method q8_0 -o small")
    name = options.pop("name") or out.name.lower()
    wishes = dict(_pair(word) for word in options.pop("option"))
    said = options.pop("calibration")
    options["calibration"] = data_of(said) if said else None
    card = quantize(zoo, model, method, out, name=name, options=wishes, progress=_show, **options)
    if sys.stderr.isatty():
        click.echo("\r\033[K", nl=False, err=True)
    if as_json:
        from zoo_core.cards.writing import card_data

        print_json("quantize", {"folder": str(out), "card": card_data(card)})
        return
    click.echo(f"Made {card.id} in {out}. Talk to it with: zoo chat {out if out.is_absolute() else f'./{out}'}")


def _list(zoo: Zoo, as_json: bool) -> None:
    from zoo_core.cli.table import print_table
    from zoo_core.quantizing import methods

    found = methods(zoo)
    if as_json:
        print_json("methods", [{"method": key, "quantizer": each.name} for key, each in found.items()])
        return
    print_table(
        ["METHOD", "QUANTIZER", "WHAT IT MAKES"], [[key, each.name, each.summary] for key, each in found.items()]
    )


def _show(share: float, line: str) -> None:
    """How far the work is, in one line of a terminal that is written again and again."""
    if sys.stderr.isatty():
        click.echo(f"\r{share:4.0%}  {line}\033[K", nl=False, err=True)


def _pair(word: str) -> tuple[str, str]:
    name, sign, value = word.partition("=")
    if not sign or not name:
        raise UsageProblem(f"'{word}' is not of the form NAME=VALUE.")
    return name, value
