"""Where a model goes on a machine with several GPUs, or with none: the user's wishes as accelerate understands them.

Knows nothing of models; what is free on the GPUs is told by `fit.machine`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import msgspec

from zoo_core.errors import UsageProblem

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from zoo_core.fit.machine import Device

#: The ways in which accelerate spreads a model.
DEVICE_MAPS = ("auto", "balanced", "balanced_low_0", "sequential")
#: The share of a GPU's free memory that weights may take where the user says nothing: the cache needs the rest.
SHARE = 0.85

_SIZE = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,15})?)\s*([kmgt]?)(i?)b?", re.IGNORECASE)
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}


class Placement(msgspec.Struct, frozen=True):
    """`device_map` and `max_memory` as in `Loading`."""

    device_map: str = ""
    max_memory: dict[str, int] = {}


def placement(
    num_gpus: str | None, max_gpu_memory: str | None, device_map: str | None, machine: Callable[[], Sequence[Device]]
) -> Placement:
    """What the options say. Without any of them, or with one GPU, a model is on one device.

    Several GPUs are filled one after the other, each up to a share of what is free; with a limit of the user's, and with
    `num_gpus` `auto`, they are filled evenly. Raises `UsageProblem` for GPUs that are not there.
    """
    limit = bytes_of(max_gpu_memory) if max_gpu_memory is not None else None
    wanted = _count(num_gpus)
    if limit is None and wanted in {None, 1}:
        return Placement(device_map or "")
    gpus = [each for each in machine() if each.device.startswith("cuda:")]
    if len(gpus) < (wanted or 1):
        here = "none" if not gpus else f"{len(gpus)}"
        raise UsageProblem(
            f"{_told(num_gpus, max_gpu_memory)} asks for {wanted or 1} of the GPUs of this machine, which has {here} that "
            "PyTorch can use; leave it out, or spread the model with --device-map auto."
        )
    used = gpus[:wanted] if wanted else gpus
    if limit is not None:
        return Placement(device_map or "auto", {_number(each): limit for each in used})
    if not wanted:
        return Placement(device_map or "auto")
    return Placement(device_map or "sequential", {_number(each): int(each.free_bytes * SHARE) for each in used})


def bytes_of(text: str) -> int:
    """The bytes of a size such as `13GiB`, `13Gib` or `500MB`. Raises `UsageProblem`."""
    match = _SIZE.fullmatch(text.strip())
    if match is None or not (size := int(float(match[1]) * (1024 if match[3] else 1000) ** _POWERS[match[2].lower()])):
        raise UsageProblem(f"'{text}' is no amount of memory; write one such as 13GiB.")
    return size


def _count(num_gpus: str | None) -> int | None:
    """The number of GPUs; 0 for all of them, None where nothing was said."""
    if num_gpus is None:
        return None
    if num_gpus == "auto":
        return 0
    if not re.fullmatch(r"0*[1-9][0-9]{0,3}", num_gpus):
        raise UsageProblem(f"--num-gpus is a number from 1 on, or auto, not '{num_gpus}'.")
    return int(num_gpus)


def _told(num_gpus: str | None, max_gpu_memory: str | None) -> str:
    return f"--num-gpus {num_gpus}" if num_gpus is not None else f"--max-gpu-memory {max_gpu_memory}"


def _number(gpu: Device) -> str:
    return gpu.device.partition(":")[2]
