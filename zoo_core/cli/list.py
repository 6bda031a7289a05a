"""`zoo list`: the models of the zoo, and its other cards."""

from __future__ import annotations

from typing import Any

import click

from zoo_core.cards.schema import KINDS
from zoo_core.cli import card_option, here, zoo_of
from zoo_core.cli.output import ModelName, json_option, print_json
from zoo_core.cli.rows import SORT_KEYS, chosen, rows_as_data, sort_key, table
from zoo_core.cli.table import print_table

#: What a narrow terminal does without, the first of them first.
SPARE = ("STATUS", "RELEASED", "FAMILY", "LANGUAGES", "BACKBONE", "LICENSE")


@click.command("list", epilog="Example: zoo list '*-7b' --language zh --license permissive --sort released")
@click.argument("patterns", nargs=-1, type=ModelName(), metavar="[PATTERN]...")
@click.option("--kind", type=click.Choice([*KINDS, "all"]), default="model", show_default=True, help="Kind of cards.")
@click.option("--family", help="Only this family.")
@click.option("--language", help="Only models that claim this language (a BCP 47 tag such as zh).")
@click.option(
    "--license",
    "license_",
    help="Only this licence (such as apache-2.0), or only terms of this kind, ancestors counted: permissive, copyleft, "
    "restricted, non-commercial, unknown.",
)
@click.option(
    "--commercial",
    is_flag=True,
    help="Only what is known to allow commercial use, ancestors counted; what allows it with restrictions is left out.",
)
@click.option("--status", type=click.Choice(["experimental", "stable", "deprecated"]), help="Only this status.")
@click.option("--format", "format_", help="Only weights of this format, such as safetensors.")
@click.option("--pulled", is_flag=True, help="Only what is on this machine: pulled, or installed with its card.")
@click.option("--fits", is_flag=True, help="Only models known to fit into the memory of this machine as it is now.")
@click.option("--sort", type=click.Choice(SORT_KEYS), default="name", show_default=True, help="Order of the rows.")
@click.option("--wide", is_flag=True, help="Add what was opened and what the model was post-trained on.")
@json_option
@card_option
@click.pass_context
def command(
    ctx: click.Context, /, patterns: tuple[str, ...], sort: str, wide: bool, as_json: bool, **filters: Any
) -> None:
    """List the models of the zoo, or those whose name matches a PATTERN such as '*-7b'."""
    rows = chosen(zoo_of(ctx).catalog, patterns, filters)
    if filters["pulled"]:
        rows = here.pulled(zoo_of(ctx), rows)
    if filters["fits"]:
        rows = here.fitting(zoo_of(ctx), rows)
    rows.sort(key=lambda row: sort_key(row, sort))
    if as_json:
        print_json("list", rows_as_data(rows))
        return
    if not rows:
        click.echo(_nothing(filters["kind"]), err=True)
        return
    head, *body = table(rows, wide)
    print_table(head, body, spare=SPARE)


def _nothing(kind: str) -> str:
    if kind == "model":
        return "No model matches. Cards of every kind are listed with: zoo list --kind all"
    return f"No {'card' if kind == 'all' else kind} matches."
