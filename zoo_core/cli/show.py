"""`zoo show`: all that a card says."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from zoo_core.cli import card_option, zoo_of
from zoo_core.cli.fields import field_lines
from zoo_core.cli.output import ModelName, json_option, print_json
from zoo_core.text import printable

if TYPE_CHECKING:
    from zoo_core.cards.schema import AnyCard
    from zoo_core.zoo import Zoo


@click.command("show")
@click.argument("model", type=ModelName())
@json_option
@card_option
@click.pass_context
def command(ctx: click.Context, model: str, as_json: bool) -> None:
    """Show all that the card of MODEL says, what it descends from, and what is wrong with the card if anything is."""
    from zoo_core.cards.checking import check_card
    from zoo_core.cards.writing import card_data, card_digest

    zoo = zoo_of(ctx)
    card, path = zoo.catalog.card(model)
    problems = check_card(card, zoo.template)
    if as_json:
        facts = {"card": card_data(card), "digest": card_digest(card), "path": str(path)}
        print_json("show", facts | {"lineage": lineage(zoo, card), "problems": problems})
        return
    click.secho(card.id, bold=True, nl=False)
    click.echo(f"  {printable(card.summary)}\n")
    data = {key: value for key, value in card_data(card).items() if key not in {"schema", "kind", "id", "summary"}}
    for line in field_lines(data):
        click.echo(line)
    if len(tree := lineage(zoo, card)) > 1:
        click.secho("\nlineage", bold=True)
        for depth, name in enumerate(tree):
            click.echo("  " + "   " * max(depth - 1, 0) + ("└─ " if depth else "") + printable(name))
    click.echo(f"\ncard    {path}\ndigest  {card_digest(card)}")
    for problem in problems:
        click.echo(f"Problem: {printable(problem)}", err=True)


def lineage(zoo: Zoo, card: AnyCard) -> list[str]:
    """What a model descends from, the oldest ancestor first, itself last, each with how it was made."""
    from zoo_core.cards.schema import ModelCard
    from zoo_core.errors import ZooError

    line: list[str] = []
    seen: set[str] = set()
    here: AnyCard | None = card
    while here is not None:
        seen.add(here.id)
        parent = here.lineage if isinstance(here, ModelCard) else None
        line.append(f"{here.id} ({parent.relation})" if parent else here.id)
        here = None
        if parent is not None and parent.base.id and parent.base.id not in seen:
            try:
                here = zoo.catalog.model(parent.base.id)[0]
            except ZooError:
                line.append(parent.base.id)
        elif parent is not None and (name := parent.base.repo or parent.base.name):
            line.append(name)
    return line[::-1]
