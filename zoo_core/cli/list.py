"""`zoo list`: the models of the zoo."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from zoo_core.cli import card_option, zoo_of
from zoo_core.cli.output import ModelName, json_option, print_json, print_table

if TYPE_CHECKING:
    from zoo_core.cards.index import Row

SORT_KEYS = ("name", "family", "released", "size", "status")


@click.command("list", epilog="Example: zoo list 'phoenix*' --language zh --sort released")
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
    """List the models of the zoo, or those whose name matches a PATTERN such as 'phoenix*'."""
    rows = [row for row in zoo_of(ctx).catalog.rows(patterns) if _matches(row, filters)]
    rows.sort(key=lambda row: _key(row, sort))
    if as_json:
        print_json("list", rows_as_data(rows))
        return
    if not rows:
        click.echo("No card matches.", err=True)
        return
    head, *body = table(rows, wide)
    print_table(head, body)


def _matches(row: Row, filters: dict[str, str | None]) -> bool:
    language = filters["language"]
    license_ = filters["license_"]
    return (
        (not filters["family"] or row.family == filters["family"])
        and (not language or language in row.languages or language in {tag.partition("-")[0] for tag in row.languages})
        and (not license_ or row.license.lower() == license_.lower())
        and (not filters["kind"] or row.kind == filters["kind"])
        and (not filters["status"] or row.status == filters["status"])
        and (not filters["format_"] or row.format == filters["format_"])
    )


def _key(row: Row, sort: str) -> tuple[object, str]:
    if sort == "size":
        digits = "".join(sign for sign in row.size if sign.isdigit() or sign == ".")
        scale = {"K": 1e-3, "M": 1, "B": 1e3}.get(row.size[-1:].upper(), 0)
        return (float(digits or 0) * scale, row.id)
    value = {"name": row.id, "family": row.family, "released": row.released, "status": row.status}[sort]
    return (value, row.id)


def table(rows: list[Row], wide: bool = False) -> list[list[str]]:
    """Head and rows of the listing."""
    head = ["NAME", "FAMILY", "BACKBONE", "SIZE", "LANGUAGES", "LICENSE", "RELEASED", "STATUS"]
    body = [
        [
            row.id,
            row.family or row.kind,
            row.backbone,
            row.size,
            row.languages_note or " ".join(row.languages),
            row.license,
            row.released,
            row.status,
        ]
        for row in rows
    ]
    if wide:
        head[5:5] = ["WEIGHTS", "DATA", "INSTRUCTION", "CONVERSATION"]
        words = {True: "open", False: "closed", None: ""}
        for row, cells in zip(rows, body, strict=True):
            cells[5:5] = [words[row.open_weights], words[row.open_data], row.instruction, row.conversation]
    return [head, *body]


def rows_as_data(rows: list[Row]) -> list[dict[str, object]]:
    """Rows as JSON objects, fields that say nothing left out."""
    from msgspec.structs import asdict

    return [{key: value for key, value in asdict(row).items() if value not in ("", [], None)} for row in rows]
