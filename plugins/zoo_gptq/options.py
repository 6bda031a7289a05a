"""What a user may choose of GPTQ, and the library that does it. Light: imports nothing heavy."""

from __future__ import annotations

import math
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import msgspec

from zoo_core import MissingDependency, UsageProblem, did_you_mean
from zoo_gptq.settings import BITS

LIBRARY = "gptqmodel"
#: The releases that have been tried; those after them want another PyTorch.
TRIED = "7.6"
GROUPS = (-1, 16, 32, 64, 128, 256, 512, 1024)


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """How to quantize.

    `group_size` weights of a column share a scale; -1: all of them. `act_order` quantizes the columns first that matter most.
    `samples` conversations are measured. `damp` is the share of the mean that is added to the diagonal of the Hessian matrix.
    """

    bits: int = 4
    group_size: int = 128
    act_order: bool = False
    samples: int = 128
    damp: float = 0.05

    @classmethod
    def of(cls, said: Mapping[str, Any]) -> Options:
        """Understand options, which may be words of the command line. Raises `UsageProblem`."""
        names = cls.__struct_fields__
        if unknown := sorted(set(said) - set(names)):
            hint = did_you_mean(unknown[0], names)
            raise UsageProblem(f"GPTQ has no option '{unknown[0]}'.{hint} Known: {', '.join(names)}.")
        try:
            found = msgspec.convert(dict(said), cls, strict=False)
        except msgspec.ValidationError as error:
            raise UsageProblem(f"The options of GPTQ cannot be understood: {error}.") from None
        wrong = {
            f"bits are {_or(BITS)}, not {found.bits}": found.bits not in BITS,
            f"group_size is {_or(GROUPS)}, not {found.group_size}": found.group_size not in GROUPS,
            f"samples is a number from 1 on, not {found.samples}": found.samples < 1,
            f"damp is a number between 0 and 1, not {found.damp}": not (
                0 < found.damp < 1 and math.isfinite(found.damp)
            ),
        }
        for sentence, is_wrong in wrong.items():
            if is_wrong:
                raise UsageProblem(f"In GPTQ, {sentence}.")
        return found


def library_version() -> str:
    """The version of the library. Raises `MissingDependency` where it is absent or none of those that have been tried."""
    advice = "Install it with: pip install 'llm-zoo[gptq]'"
    try:
        found = version(LIBRARY)
    except PackageNotFoundError:
        raise MissingDependency(
            f"Quantizing by GPTQ needs the package '{LIBRARY}', which is not installed. {advice}"
        ) from None
    if found.split(".")[:2] != TRIED.split("."):
        raise MissingDependency(f"Quantizing by GPTQ needs {LIBRARY} {TRIED}, but {found} is installed. {advice}")
    return found


def _or(values: tuple[int, ...]) -> str:
    return f"{', '.join(map(str, values[:-1]))} or {values[-1]}"
