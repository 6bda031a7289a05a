"""The memory of this machine: what is free for a model, in RAM and on every GPU. Knows nothing of models.

PyTorch, which takes seconds to import, is asked only where a GPU may exist.
"""

from __future__ import annotations

import shutil
import sys
import warnings
from pathlib import Path

import msgspec

from zoo_core.errors import MissingDependency
from zoo_core.offers import install_name

#: Files that a driver of a GPU makes: NVIDIA's, and AMD's.
_DRIVERS = ("nvidia[0-9]*", "kfd", "dxg")


class Device(msgspec.Struct, frozen=True):
    """Where a model can be: `device` is what `--device` calls it, such as `cpu` or `cuda:1`."""

    device: str
    name: str
    free_bytes: int
    total_bytes: int


def machine() -> list[Device]:
    """The GPUs of this machine and its RAM, with what is free now. Raises `MissingDependency` without psutil."""
    return [*_gpus(), _ram()]


def _ram() -> Device:
    try:
        import psutil
    except ImportError:
        advice = f"Install it with: pip install {install_name('hub')}"
        raise MissingDependency(f"Free memory is read with the package 'psutil'. {advice}") from None
    memory = psutil.virtual_memory()
    room = group_room()
    return Device("cpu", "RAM", memory.available if room is None else min(memory.available, room), memory.total)


def group_room(groups: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> int | None:
    """What Linux still allows the control group (v2) of this process, which may be a container; None without a limit."""
    try:
        path = next(line[3:] for line in own.read_text().splitlines() if line.startswith("0::"))
    except (OSError, StopIteration):
        return None
    here = groups / path.lstrip("/")
    rooms = [room for folder in (here, *here.parents) if (room := _room_of(folder)) is not None]
    return min(rooms, default=None)


def _room_of(group: Path) -> int | None:
    """The limit of one group less what it uses; file contents that can be dropped at once do not count as used."""
    try:
        limit = int((group / "memory.max").read_text())
        used = int((group / "memory.current").read_text())
        parts = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        return max(0, limit - used + int(parts["inactive_file"]))
    except (OSError, ValueError, KeyError):  # no such group, or "max": no limit
        return None


def _gpus() -> list[Device]:
    if not _gpu_may_exist():
        return []
    try:
        import torch
    except ImportError:
        return []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch warns where a driver is too old for it; such a GPU cannot be used
        if torch.backends.mps.is_available():
            most = int(torch.mps.recommended_max_memory())
            return [Device("mps", "the GPU, which shares the RAM", min(most, _ram().free_bytes), most)]
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        return [_cuda(number) for number in range(count)]


def _cuda(number: int) -> Device:
    import torch

    name = torch.cuda.get_device_name(number)
    try:
        free, total = torch.cuda.mem_get_info(number)
    except RuntimeError:  # somebody else has it for himself
        free, total = 0, int(torch.cuda.get_device_properties(number).total_memory)
    return Device(f"cuda:{number}", name, free, total)


def _gpu_may_exist() -> bool:
    if sys.platform == "darwin":
        return True
    if shutil.which("nvidia-smi"):
        return True
    return any(next(Path("/dev").glob(pattern), None) for pattern in _DRIVERS)
