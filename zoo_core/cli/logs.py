"""`zoo logs`: recorded conversations."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click
import msgspec

from zoo_core.cli import card_option, zoo_of
from zoo_core.cli.output import json_option, print_json
from zoo_core.cli.table import print_table
from zoo_core.text import printable

if TYPE_CHECKING:
    from zoo_core.history import History

limit_option = click.option(
    "--limit", type=click.IntRange(1, 1_000_000), default=20, show_default=True, help="The most conversations to list."
)


@click.group("logs")
def command() -> None:
    """Look at recorded conversations, and ask for answers again."""


@command.command("list")
@click.option(
    "--limit", type=click.IntRange(1, 1_000_000), default=20, show_default=True, help="The most conversations to list."
)
@json_option
def list_(limit: int, as_json: bool) -> None:
    """List the latest conversations."""
    _print_conversations("", limit, as_json)


@command.command()
@click.argument("words", nargs=-1, required=True)
@click.option(
    "--limit", type=click.IntRange(1, 1_000_000), default=20, show_default=True, help="The most conversations to list."
)
@json_option
def search(words: tuple[str, ...], limit: int, as_json: bool) -> None:
    """List the conversations in which all WORDS occur."""
    _print_conversations(" ".join(words), limit, as_json)


@command.command()
@click.argument("conversation")
@json_option
def show(conversation: str, as_json: bool) -> None:
    """Show a CONVERSATION, named by the beginning of its id; each answer with its number."""
    records = open_history().conversation(conversation)
    if as_json:
        print_json("logs", msgspec.to_builtins(records))
        return
    for record in records:
        said = record.messages[-1].content if record.messages else ""
        click.secho(f"#{record.id}  {record.created}  {record.model}  ({record.finish})", dim=True)
        click.echo(f"> {printable(said)}\n{printable(record.reply)}\n")


@command.command()
@click.option("--json", "as_json", is_flag=True, default=True, hidden=True)
def export(as_json: bool) -> None:
    """Print all recorded answers as JSON lines, oldest first."""
    for record in open_history().export():
        click.echo(msgspec.json.encode(record))


@command.command()
@click.argument("number", type=click.IntRange(1, 2**63 - 1))
@json_option
@card_option
@click.pass_context
def replay(ctx: click.Context, number: int, as_json: bool) -> None:
    """Ask for the answer with this NUMBER again, and say whether it is the same; exit code 1 when it is not."""
    from zoo_core.replay import replay as ask_again

    outcome = ask_again(zoo_of(ctx), number, open_history())
    if as_json:
        print_json("replay", outcome)
    else:
        click.echo(outcome.sentence)
        for change in outcome.changes:
            click.echo(f"  changed: {change}")
    if not outcome.same:
        sys.exit(1)


def open_history() -> History:
    """The history; says on stderr when a damaged one had to be kept aside."""
    from zoo_core.history import History

    history = History()
    if history.notice:
        click.echo(f"Warning: {history.notice}", err=True)
    return history


def _print_conversations(words: str, limit: int, as_json: bool) -> None:
    found = open_history().conversations(search=words, limit=limit + 1)
    if len(found) > limit:
        del found[limit:]
        click.echo(f"(only the latest {limit} are shown; --limit shows more)", err=True)
    if as_json:
        print_json("logs", msgspec.to_builtins(found))
    elif found:
        rows = [[each.conversation, each.created[:16], each.model, str(each.replies), each.title] for each in found]
        print_table(["CONVERSATION", "CREATED", "MODEL", "ANSWERS", "BEGINS WITH"], rows)
    else:
        click.echo("No conversation is recorded." if not words else "No conversation has all of these words.", err=True)
