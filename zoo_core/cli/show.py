"""`zoo show`: all that a card says, or the family that it belongs to."""

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
@click.option(
    "--lineage", is_flag=True, help="Draw what it descends from and what descends from it, with the licences."
)
@json_option
@card_option
@click.pass_context
def command(ctx: click.Context, model: str, lineage: bool, as_json: bool) -> None:
    """Show all that the card of MODEL says, what it descends from, what it may be used for, and what is wrong with it."""
    from zoo_core.cards.checking import check_card
    from zoo_core.cards.writing import card_data, card_digest
    from zoo_core.lineage.descent import ancestor_line
    from zoo_core.lineage.terms import license_problems, terms_of

    zoo = zoo_of(ctx)
    card, path = zoo.catalog.card(model, drafts=True)
    if lineage:
        _show_family(zoo, card, as_json)
        return
    find = zoo.catalog.find
    problems = [*check_card(card, zoo.template), *license_problems(card, find)]
    terms, line = terms_of(card, find), ancestor_line(card, find)
    if as_json:
        facts = {"card": card_data(card), "digest": card_digest(card), "path": str(path)}
        print_json("show", facts | {"lineage": line, "terms": terms, "problems": problems})
        return
    click.secho(card.id, bold=True, nl=False)
    click.echo(f"  {' '.join(printable(card.summary).split())}\n")
    data = {key: value for key, value in card_data(card).items() if key not in {"schema", "kind", "id", "summary"}}
    for text in field_lines(data):
        click.echo(text)
    click.echo("\n" + click.style("terms", bold=True) + f"  {printable(terms.sentence(card.id))}")
    if len(line) > 1:
        click.secho("\nlineage", bold=True)
        for depth, name in enumerate(line):
            click.echo("  " + "   " * max(depth - 1, 0) + ("└─ " if depth else "") + printable(name))
    origin = f"{printable(model)}, kept at " if ":" in model else ""
    click.echo(f"\ncard    {origin}{path}\ndigest  {card_digest(card)}")
    for problem in problems:
        click.echo(f"Problem: {printable(problem)}", err=True)


def _show_family(zoo: Zoo, card: AnyCard, as_json: bool) -> None:
    from zoo_core.lineage.descent import family, tree_lines

    members = family(card, zoo.catalog.find, zoo.catalog.rows())
    if as_json:
        print_json("lineage", {"id": card.id, "family": members})
        return
    for text, name in tree_lines(members):
        click.secho(printable(text), bold=name == card.id)
