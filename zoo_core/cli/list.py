"""`zoo list`: the models of the zoo."""

from __future__ import annotations

import click

from zoo_core.cli import card_option, zoo_of
from zoo_core.cli.output import ModelName, json_option, print_json, print_table
from zoo_core.cli.rows import SORT_KEYS, matches, rows_as_data, sort_key, table


@click.command("list", epilog="Example: zoo list '*-7b' --language zh --sort released")
@click.argument("patterns", nargs=-1, type=ModelName(), metavar="[PATTERN]...")
@click.option("--family", help="Only this family.")
@click.option("--language", help="Only models that claim this language (a BCP 47 tag such as zh).")
@click.option("--license", "license_", help="Only this licence (an SPDX identifier; letter case does not matter).")
@click.option("--kind", type=click.Choice(["model", "dataset"]), help="Only models, or only datasets.")
@click.option("--status", type=click.Choice(["experimental", "stable", "deprecated"]), help="Only this status.")
@click.option("--format", "format_", help="Only weights of this format, such as safetensors.")
@click.option("--sort", type=click.Choice(SORT_KEYS), default="name", show_default=True, help="Order of the rows.")
@click.option("--wide", is_flag=True, help="Add what was opened and what the model was post-trained on.")
@json_option
@card_option
@click.pass_context
def command(
    ctx: click.Context, /, patterns: tuple[str, ...], sort: str, wide: bool, as_json: bool, **filters: str | None
) -> None:
    """List the models of the zoo, or those whose name matches a PATTERN such as '*-7b'."""
    rows = [row for row in zoo_of(ctx).catalog.rows(patterns) if matches(row, filters)]
    rows.sort(key=lambda row: sort_key(row, sort))
    if as_json:
        print_json("list", rows_as_data(rows))
        return
    if not rows:
        click.echo("No card matches.", err=True)
        return
    head, *body = table(rows, wide)
    print_table(head, body)
