"""The options that say where a model's parts are and on what devices it goes, and what they mean."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import click

from zoo_core.errors import UsageProblem
from zoo_core.placement import DEVICE_MAPS, placement

if TYPE_CHECKING:
    from collections.abc import Callable

    from zoo_core.zoo import Zoo

_Function = TypeVar("_Function", bound="Callable[..., Any]")

_OPTIONS = [
    click.option("--base", help="The base of a delta or an adapter: a folder or a model. Else the card's."),
    click.option("--device-map", type=click.Choice(DEVICE_MAPS), help="Spread the model over all devices in this way."),
    click.option("--num-gpus", metavar="N|auto", help="Spread the model over N GPUs, or over all."),
    click.option("--max-gpu-memory", metavar="SIZE", help="What the model may take of each GPU, such as 13GiB."),
    click.option("--quantize", metavar="METHOD", help="Shrink the weights while they are loaded, such as by nf4."),
    click.option("--load-8bit", is_flag=True, help="Shrink the weights to 8 bits while they are loaded."),
    click.option("--load-4bit", is_flag=True, help="Shrink the weights to 4 bits while they are loaded."),
]


def loading_options(function: _Function) -> _Function:
    """Add the options to a command."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def loading_of(zoo: Zoo, options: dict[str, Any]) -> dict[str, Any]:
    """What `open_session` is to be told of the options. Raises `UsageProblem` for what cannot be."""
    from zoo_core.fit.machine import machine

    quantize = _quantize(zoo, options)
    where = placement(options["num_gpus"], options["max_gpu_memory"], options["device_map"], machine)
    if where.device_map and options["device"] != "auto":
        raise UsageProblem(
            f"--device {options['device']} puts the model on one device, and --device-map, --num-gpus or --max-gpu-memory "
            "spread it over several; leave one of them out."
        )
    return {
        "base": options["base"],
        "device_map": where.device_map,
        "max_memory": where.max_memory,
        "quantize": quantize,
    }


def _quantize(zoo: Zoo, options: dict[str, Any]) -> str:
    """The method by which the weights are to shrink while they are loaded; empty for none."""
    from zoo_core.shrinking import method_of_flag

    flags = [flag for flag in ("load_8bit", "load_4bit") if options[flag]]
    chosen = [*([f"--quantize {options['quantize']}"] if options["quantize"] else []), *flags]
    if len(chosen) > 1:
        names = " and ".join(f"--{each.replace('_', '-')}" if each in flags else each for each in chosen)
        raise UsageProblem(f"{names} exclude each other.")
    return method_of_flag(zoo, flags[0]) if flags else options["quantize"] or ""
