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
    click.option("--load-8bit", is_flag=True, help="Shrink to 8 bits while loading; says what there is instead."),
    click.option("--load-4bit", is_flag=True, help="Shrink to 4 bits while loading; says what there is instead."),
]


def loading_options(function: _Function) -> _Function:
    """Add the options to a command."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def loading_of(zoo: Zoo, model: str, options: dict[str, Any]) -> dict[str, Any]:
    """What `open_session` is to be told of the options. Raises `UsageProblem` for what cannot be."""
    from zoo_core.fit.machine import machine

    if options["load_8bit"] and options["load_4bit"]:
        raise UsageProblem("--load-8bit and --load-4bit exclude each other.")
    if options["load_8bit"] or options["load_4bit"]:
        raise _not_while_loading(zoo, model, "8" if options["load_8bit"] else "4")
    where = placement(options["num_gpus"], options["max_gpu_memory"], options["device_map"], machine)
    if where.device_map and options["device"] != "auto":
        raise UsageProblem(
            f"--device {options['device']} puts the model on one device, and --device-map, --num-gpus or --max-gpu-memory "
            "spread it over several; leave one of them out."
        )
    return {"base": options["base"], "device_map": where.device_map, "max_memory": where.max_memory}


def _not_while_loading(zoo: Zoo, model: str, bits: str) -> UsageProblem:
    """What to do instead of shrinking weights while they are loaded, with the quantizers that are installed."""
    methods = [
        method
        for _, offer in zoo.plugins.items("zoo_quantizers")
        for method in offer.supports.get("method", [])
        if bits in method
    ]
    known = f"{', '.join(sorted(methods))}" if methods else "none is installed that does"
    best = sorted(methods)[0] if methods else "METHOD"
    return UsageProblem(
        f"--load-{bits}bit needs a quantizer that works while a model is loaded, and no installed plugin brings one; shrink "
        f"it once instead (methods of {bits} bits: {known}): zoo quantize {model} --method {best} --out FOLDER"
    )
