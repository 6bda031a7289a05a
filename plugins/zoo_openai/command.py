"""`zoo keys`: the keys of model services. A key comes from the keyboard or from stdin, never from the command line."""

from __future__ import annotations

import sys

import click

from zoo_core import json_option, print_json
from zoo_openai import keys


@click.group("keys")
def command() -> None:
    """Store, list and remove the keys of model services.

    A key is sent to the service that it was set for and to no other.
    """


@command.command("set")
@click.argument("name")
@click.option("--for", "url", metavar="URL", help="The service that the key is for; known for openai and qianfan.")
def set_(name: str, url: str | None) -> None:
    """Store the key NAME: typed unseen, or read from stdin.

    An environment variable goes before it: ZOO_KEY_ and NAME in capitals.
    """
    try:
        if sys.stdin.isatty():
            value = click.prompt(f"The key '{name}' (it is not shown)", hide_input=True, err=True)
        else:
            value = sys.stdin.buffer.readline(2 * keys.LONGEST).decode(errors="replace")
    except click.Abort:  # which is how click calls Ctrl-C here
        raise KeyboardInterrupt from None
    origin = keys.set_key(name, value.strip(), url)
    click.echo(f"The key '{name}' is stored. It is sent to {origin} alone.")


@command.command("list")
@json_option
def list_(as_json: bool) -> None:
    """List the keys: whom they are for, where they come from, and how they end."""
    rows = [{"name": key.name, "for": key.origin, "from": key.where, "ending": key.ending} for key in keys.all_keys()]
    if as_json:
        print_json("keys", rows)
        return
    if not rows:
        click.echo("There are no keys. Store one with: zoo keys set openai", err=True)
        return
    head = {"name": "NAME", "for": "FOR", "from": "FROM", "ending": "ENDS WITH"}
    width = {column: max(len(row[column] or "-") for row in [head, *rows]) for column in head}
    for row in [head, *rows]:
        click.echo("  ".join((row[column] or "-").ljust(width[column]) for column in head).rstrip())


@command.command("remove")
@click.argument("name")
def remove(name: str) -> None:
    """Remove the stored key NAME."""
    keys.remove_key(name)
    click.echo(f"The key '{name}' is removed.")
