"""`zoo search`: cards in which all the given words occur."""

from __future__ import annotations

import click

from zoo_core.cli import card_option, zoo_of
from zoo_core.cli.output import json_option, print_json
from zoo_core.cli.rows import rows_as_data, table
from zoo_core.cli.table import print_table


@click.command("search", epilog="Example: zoo search chinese medical")
@click.argument("words", nargs=-1, required=True)
@json_option
@card_option
@click.pass_context
def command(ctx: click.Context, words: tuple[str, ...], as_json: bool) -> None:
    """Search names, summaries, families, backbones, licences and languages for WORDS; all must occur."""
    wanted = [word.lower() for words_ in words for word in words_.split()]
    if not wanted:
        raise click.UsageError("Name a word to search for; zoo list --kind all lists all cards.", ctx)
    found = []
    for row in zoo_of(ctx).catalog.rows():
        text = " ".join(
            [
                row.id,
                *row.aliases,
                row.family,
                row.summary,
                row.backbone,
                row.license,
                row.kind,
                row.format,
                *row.languages,
                row.languages_note,
                row.instruction,
                row.conversation,
            ]
        ).lower()
        if all(word in text for word in wanted):
            found.append(row)
    if as_json:
        print_json("list", rows_as_data(found))
    elif found:
        head, *body = table(found)
        print_table([head[0], "SUMMARY"], [[cells[0], row.summary] for cells, row in zip(body, found, strict=True)])
    else:
        click.echo("No card has all of these words. See all cards with: zoo list", err=True)
