"""`zoo card schema`: the JSON Schema of cards."""

from __future__ import annotations

import click

from zoo_core.cards.schema import KINDS


@click.command("schema", epilog="Example: zoo card schema --kind model > card.schema.json")
@click.option("--kind", type=click.Choice([*KINDS]), help="Only cards of this kind.")
def command(kind: str | None) -> None:
    """Print the JSON Schema of cards, for editors and for other programs."""
    import msgspec

    from zoo_core.cards.schema import json_schema

    click.echo(msgspec.json.format(msgspec.json.encode(json_schema(kind)), indent=2).decode())
