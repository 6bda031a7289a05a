"""`zoo registry add`: use a registry."""

from __future__ import annotations

import click

from zoo_core.cli import zoo_of
from zoo_core.cli.registry import card_counter, warn


@click.command("add", epilog="Example: zoo registry add ours https://cards.example.org --key PUBLICKEY")
@click.argument("name")
@click.argument("address")
@click.option(
    "--key", default="", metavar="PUBLICKEY", help="The publisher's public key, as 'zoo registry keygen' prints it."
)
@click.option(
    "--trust",
    type=click.Choice(["off", "warn", "enforce"]),
    help="What a wrong signature means: nothing, a warning, or that nothing is used.  [default: enforce with --key, else off]",
)
@click.option(
    "--mirror", "mirrors", multiple=True, metavar="ADDRESS", help="Another address of the same; may be repeated."
)
@click.pass_context
def command(ctx: click.Context, name: str, address: str, key: str, trust: str | None, mirrors: tuple[str, ...]) -> None:
    """Fetch the registry at ADDRESS and use its cards from now on, under the NAME that you give it.

    ADDRESS is where its index.json is: a web address, a folder, or git: and the address of a git repository. Cards that two
    places have under one name are reported; NAME:CARD is always the card of this registry.
    """
    from zoo_core.registries.managing import add_registry
    from zoo_core.registries.settings import Registry, normal_address

    registry = Registry(
        name=name,
        addresses=[normal_address(each) for each in (address, *mirrors)],
        trust=trust or ("enforce" if key else "off"),  # type: ignore[arg-type]
        key=key,
    )
    click.echo(add_registry(zoo_of(ctx), registry, card_counter(name), warn))
