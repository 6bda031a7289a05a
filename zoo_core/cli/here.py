"""Rows of a listing that have to do with this machine: what is on it, and what would fit into its memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from zoo_core.text import bytes_text, printable

if TYPE_CHECKING:
    from zoo_core.cards.index import Row
    from zoo_core.zoo import Zoo


def pulled(zoo: Zoo, rows: list[Row]) -> list[Row]:
    """The rows whose weights are on this machine; says what was pulled by cards that are in no catalog."""
    from zoo_core.weights.pulled import pulled_ids, records

    here = pulled_ids(lambda warning: click.echo(f"Warning: {printable(warning)}", err=True))
    known = {row.id for row in zoo.catalog.rows()}
    for record in records():
        if record.card in here - known:
            size = bytes_text(record.size)
            click.echo(
                f"'{record.card}' was pulled too ({size} in {record.folder}), but its card is not here.", err=True
            )
    return [row for row in rows if row.id in here | zoo.catalog.shipped()]


def fitting(zoo: Zoo, rows: list[Row]) -> list[Row]:
    """The rows of models that fit; says how many cannot be told."""
    from zoo_core.fit.machine import machine
    from zoo_core.fit.needs import attentions, fits_row

    devices, kinds = machine(), attentions(zoo)
    fits = {row.id: fits_row(row, devices, attention=kinds.get(row.family, "")) for row in rows}
    if unknown := sum(fit is None for fit in fits.values()):
        click.echo(f"{unknown} models are left out: their cards do not say what they need. See: zoo fit", err=True)
    return [row for row in rows if (fit := fits[row.id]) is not None and fit.fits]
