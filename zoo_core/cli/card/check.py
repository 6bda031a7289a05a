"""`zoo card check`: what is wrong with cards."""

from __future__ import annotations

import sys

import click

from zoo_core.cli import card_option, zoo_of
from zoo_core.cli.output import ModelName, json_option


@click.command(
    "check", epilog="Examples: zoo card check ./my-model.yaml --smoke    zoo card check ./registry --offline"
)
@click.argument("names", nargs=-1, type=ModelName(), metavar="[CARD|FOLDER]...")
@click.option("--offline", is_flag=True, help="Ask no hub.")
@click.option(
    "--smoke", is_flag=True, help="Have the models answer as their cards say, where they are on this machine."
)
@json_option
@card_option
@click.pass_context
def command(ctx: click.Context, names: tuple[str, ...], offline: bool, smoke: bool, as_json: bool) -> None:
    """Check CARDs, all cards below FOLDERs, or else all of the zoo; exit code 1 when one of them has an error.

    Looks at the schema, at names that others claim, at licences and golden renderings, at the files on this machine, and at
    what the hubs say of revisions, files and licences. What could not be looked at is told.
    """
    from zoo_core.cards.auditing import Auditor
    from zoo_core.cli.card.report import as_data, print_report, watched
    from zoo_core.cli.output import print_json

    zoo = zoo_of(ctx)
    auditor = Auditor(zoo, names, offline=offline, smoke=smoke)
    audits = list(watched(auditor))
    if as_json:
        print_json("card-check", as_data(audits))
    else:
        print_report(audits)
    if any(audit.result == "failed" for audit in audits):
        sys.exit(1)
