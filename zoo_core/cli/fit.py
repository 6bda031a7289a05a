"""`zoo fit`: which models fit into the memory of this machine, and which variant does where one does not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from zoo_core.cli import card_option, zoo_of
from zoo_core.cli.output import ModelName, json_option, print_json
from zoo_core.cli.table import print_table
from zoo_core.text import bytes_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from zoo_core.fit.answers import Answer
    from zoo_core.fit.machine import Device
    from zoo_core.fit.needs import Fit

#: What a narrow terminal does without.
_SPARE = ("ACTIVATIONS", "CACHE", "WEIGHTS", "CONTEXT", "DEVICE")


@click.command("fit", epilog="Example: zoo fit --context 2048")
@click.argument("model", required=False, type=ModelName())
@click.option("--context", type=click.IntRange(1, 1_000_000_000), help="Tokens of prompt and answer; else the model's.")
@click.option("--batch", type=click.IntRange(1, 1_000_000), default=1, show_default=True, help="Conversations at once.")
@json_option
@card_option
@click.pass_context
def command(ctx: click.Context, model: str | None, context: int | None, batch: int, as_json: bool) -> None:
    """Say from its card alone whether MODEL fits into the free memory of this machine; without MODEL, which models do.

    Weights, cache and activations are estimated for a conversation that fills its context, in every dtype and variant.
    """
    from zoo_core.fit.answers import answer, answer_data, fit_data, overview
    from zoo_core.fit.machine import machine

    zoo, devices = zoo_of(ctx), machine()
    if model is not None:
        found = answer(zoo, model, devices, context, batch)
        print_json("fit", answer_data(found)) if as_json else _print_answer(found, devices)
        return
    fits, unknown = overview(zoo, devices, context, batch)
    if as_json:
        print_json("fits", [fit_data(fit) for fit in fits])
        return
    cells = [[fit.id, fit.dtype, f"{fit.context:,}", *_sizes(fit), fit.device.device, _verdict(fit)] for fit in fits]
    print_table(
        ["NAME", "DTYPE", "CONTEXT", "WEIGHTS", "CACHE", "ACTIVATIONS", "NEEDS", "DEVICE", ""], cells, spare=_SPARE
    )
    _tell_estimates(fits)
    if unknown:
        click.echo(
            f"{len(unknown)} cards do not say what their models need; zoo fit NAME tells what is missing.", err=True
        )


def _print_answer(found: Answer, devices: Sequence[Device]) -> None:
    from zoo_core.fit.answers import conclusion

    click.echo(f"{found.id}, context {found.context:,}, batch {found.batch:,}\n")
    cells = []
    for first in range(0, len(found.fits), len(devices)):
        on = found.fits[first : first + len(devices)]  # one model in one dtype, on every device
        cells.append([on[0].id, on[0].dtype, *_sizes(on[0]), *map(_verdict, on)])
    columns = [f"{each.device.upper()} ({bytes_text(each.free_bytes)} FREE)" for each in devices]
    print_table(["NAME", "DTYPE", "WEIGHTS", "CACHE", "ACTIVATIONS", "NEEDS", *columns], cells, spare=_SPARE)
    program = bytes_text(found.least.needs.program)
    click.echo(f"\n{conclusion(found)} (What it needs holds {program} for Python and PyTorch themselves.)")
    _tell_estimates(found.fits)
    if found.unknown:
        click.echo(f"Not told: {', '.join(found.unknown)}; their cards do not say what they need.", err=True)


def _tell_estimates(fits: Sequence[Fit]) -> None:
    if names := sorted({fit.id for fit in fits if fit.estimated}):
        click.echo(
            f"Reckoned with 16 bits for each parameter, as their cards are not locked yet: {', '.join(names)}.",
            err=True,
        )


def _sizes(fit: Fit) -> list[str]:
    needs = fit.needs
    return [bytes_text(each) for each in (needs.weights, needs.cache, needs.activations, needs.total)]


def _verdict(fit: Fit) -> str:
    return f"fits, {bytes_text(fit.spare)} left" if fit.fits else f"{bytes_text(-fit.spare)} too little"
