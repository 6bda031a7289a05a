"""How the outcome of `zoo card check` is shown: a line for each finding, then what was not looked at, then the sum."""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click
import msgspec

from zoo_core.text import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from zoo_core.cards.auditing import Audit, Auditor

#: Fewer cards are checked without showing how far it is.
_MANY = 20
#: As many cards are named on one line; more are counted.
_FEW = 3


def watched(auditor: Auditor) -> Iterator[Audit]:
    """The audits one by one; on a terminal, how far it is with many of them."""
    if len(auditor) < _MANY or not sys.stderr.isatty():
        yield from auditor.audits()
        return
    with click.progressbar(auditor.audits(), length=len(auditor), label="checking", file=sys.stderr) as bar:
        yield from bar


def print_report(audits: Sequence[Audit]) -> None:
    """Print the findings, card by card."""
    for audit in audits:
        for each in audit.findings:
            place = f"{each.field}: " if each.field else ""
            level = click.style(f"{each.level:<7}", fg="red" if each.level == "error" else "yellow")
            name = f"{audit.card}  " if audit.card else ""
            click.echo(f"{level}  {printable(name + place + each.message)}")
    skipped: defaultdict[str, list[str]] = defaultdict(list)
    for audit in audits:
        for skip in audit.skipped:
            skipped[f"{skip.check}: {skip.reason}"].append(audit.card)
    for line, names in skipped.items():
        who = ", ".join(dict.fromkeys(names)) if len(names) <= _FEW else f"{len(names):,} cards"
        click.echo(printable(f"skipped  {who}  {line}"))
    failed = sum(audit.result == "failed" for audit in audits)
    levels = Counter(each.level for audit in audits for each in audit.findings)
    click.echo(
        f"{len(audits):,} checked: {len(audits) - failed:,} passed, {failed:,} failed; "
        f"{levels['error']:,} errors, {levels['warning']:,} warnings."
    )


def as_data(audits: Sequence[Audit]) -> list[dict[str, Any]]:
    """The audits as plain data."""
    data: list[dict[str, Any]] = msgspec.to_builtins(list(audits))
    return data
