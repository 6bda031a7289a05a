"""`zoo card publish`: put a card where others find it, and see first what that changes."""

from __future__ import annotations

import sys

import click

from zoo_core.cli import card_option, zoo_of
from zoo_core.cli.output import ModelName, json_option, print_json
from zoo_core.text import printable


@click.command("publish", epilog="Example: zoo card publish ./my-model --to hf:me/my-model --dry-run")
@click.argument("reference", type=ModelName(), metavar="CARD")
@click.option("--to", "address", required=True, metavar="ADDRESS", help="hf:OWNER/NAME, git:PATH_OR_URL or dir:PATH.")
@click.option("--dry-run", is_flag=True, help="Show what would change, and change nothing.")
@click.option("--direct", is_flag=True, help="Commit to the main branch instead of asking for a pull request.")
@click.option("--message", default="", help="The commit's message.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
@card_option
@click.pass_context
def command(
    ctx: click.Context,
    reference: str,
    address: str,
    dry_run: bool,
    direct: bool,
    message: str,
    yes: bool,
    as_json: bool,
) -> None:
    """Publish CARD to ADDRESS. The exact change is always shown first; nothing happens before you agree.

    On a hub this opens a pull request with the card, the README's metadata and the evaluation results; in a git repository
    it pushes a branch; in a folder it rebuilds the index of a static registry.
    """
    from zoo_core.publishing import prepare, unified

    zoo = zoo_of(ctx)
    found, _ = zoo.catalog.card(reference)
    publication = prepare(zoo, found, address, direct=direct, message=message)
    facts = {"card": found.id, "where": publication.where, "changes": publication.changes}
    if not as_json:
        for line in unified(list(publication.changes)):
            click.secho(printable(line), fg={"+": "green", "-": "red"}.get(line[:1]))
    for note in publication.notes:
        click.echo(f"Note: {printable(note)}", err=True)
    if not publication.changes:
        _tell(as_json, facts | {"done": False}, f"{publication.where} has this card already; nothing to change.")
        return
    if dry_run:
        _tell(as_json, facts | {"done": False}, f"This would change {publication.where}; nothing was changed.")
        return
    if not yes:
        if as_json or not sys.stdin.isatty():
            raise click.UsageError("Say --yes to publish without being asked, or --dry-run to look only.", ctx)
        click.confirm(f"Publish this to {publication.where}?", abort=True, err=True)
    result = publication.carry_out()
    _tell(as_json, facts | {"done": True, "result": result}, result)


def _tell(as_json: bool, facts: dict[str, object], sentence: str) -> None:
    if as_json:
        print_json("publication", facts)
    else:
        click.echo(printable(sentence))
