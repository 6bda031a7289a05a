"""`zoo registry list`: the registries that you use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from zoo_core.cli.output import json_option, print_json
from zoo_core.cli.table import print_table

if TYPE_CHECKING:
    from zoo_core.registries.settings import Registry


@click.command("list")
@json_option
def command(as_json: bool) -> None:
    """List the registries that you use, in the order in which they count, and what of them is on this machine."""
    from zoo_core.registries.settings import read_registries

    found = [_facts(registry) for registry in read_registries()]
    if as_json:
        print_json("registries", found)
    elif found:
        head = ["NAME", "ADDRESS", "TRUST", "SERIAL", "GENERATED", "CARDS", "UPDATED"]
        print_table(head, [list(map(_cell, _columns(each))) for each in found])
    else:
        click.echo("You use no registry. Add one with: zoo registry add NAME ADDRESS", err=True)


def _columns(facts: dict[str, Any]) -> list[Any]:
    wanted = ("name", "addresses", "trust", "serial", "generated", "cards", "updated")
    return [" ".join(facts[each]) if each == "addresses" else facts[each] for each in wanted]


def _cell(value: Any) -> str:
    return "-" if value is None else f"{value:,}" if isinstance(value, int) else str(value)


def _facts(registry: Registry) -> dict[str, Any]:
    """What is told of a registry; None where there is no good copy."""
    import msgspec

    from zoo_core.errors import RegistryError
    from zoo_core.registries.copies import LocalCopy

    copy = LocalCopy(registry.name, registry.folder)
    state = copy.state()
    try:
        index = copy.index()
    except RegistryError:
        index = None
    return msgspec.structs.asdict(registry) | {
        "serial": index.serial if index else None,
        "generated": f"{index.generated:%Y-%m-%d %H:%M} UTC" if index else None,
        "cards": len(index.cards) if index else None,
        "updated": f"{state.updated:%Y-%m-%d %H:%M} UTC" if index and state and state.updated else None,
    }
