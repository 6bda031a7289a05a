"""`zoo card diff`: two cards, field by field."""

from __future__ import annotations

import sys

import click
import msgspec

from zoo_core.cli import card_option, zoo_of
from zoo_core.cli.output import ModelName, json_option, print_json
from zoo_core.text import printable


@click.command("diff", epilog="Example: zoo card diff ./my-model.yaml my-model")
@click.argument("old", type=ModelName())
@click.argument("new", type=ModelName())
@json_option
@card_option
@click.pass_context
def command(ctx: click.Context, old: str, new: str, as_json: bool) -> None:
    """Compare the cards OLD and NEW field by field, however they are written; exit code 1 when they differ.

    Both are references: names, `name@version`, files, or folders with a card.
    """
    from zoo_core.cards.comparing import differences, shown
    from zoo_core.cards.writing import card_data, card_digest

    catalog = zoo_of(ctx).catalog
    cards = [catalog.card(reference)[0] for reference in (old, new)]
    found = list(differences(card_data(cards[0]), card_data(cards[1])))
    if as_json:
        one, other = [
            {"reference": name, "id": card.id, "digest": card_digest(card)}
            for name, card in zip((old, new), cards, strict=True)
        ]
        print_json("diff", {"old": one, "new": other, "same": not found, "differences": msgspec.to_builtins(found)})
    elif not found:
        click.echo("no difference")
    else:
        for each in found:
            if each.order is True:
                click.echo(f"  {printable(each.path)}: the same in another order")
                continue
            for sign, value, color in (("-", each.old, "red"), ("+", each.new, "green")):
                if value is not msgspec.UNSET:
                    click.secho(f"{sign} {printable(each.path)}: {printable(shown(value))}", fg=color)
    if found:
        sys.exit(1)
