"""Sampling options as users, cards and requests give them, checked. Knows nothing of models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from zoo_core.errors import UsageProblem
from zoo_core.interfaces import Sampling

if TYPE_CHECKING:
    from collections.abc import Mapping


def check_sampling(options: Mapping[str, Any]) -> Sampling:
    """Sampling options as a `Sampling`. Raises `UsageProblem` that names the option and what it may be."""
    try:
        sampling = msgspec.convert(dict(options), Sampling, strict=False)
    except msgspec.ValidationError as error:
        raise UsageProblem(f"The sampling options cannot be used: {error}.") from None
    if unknown := sorted(set(options) - set(Sampling.__struct_fields__)):
        raise UsageProblem(
            f"There is no sampling option '{unknown[0]}'. Known: {', '.join(Sampling.__struct_fields__)}."
        )
    try:
        "".join(sampling.stop).encode()
    except UnicodeEncodeError:
        raise UsageProblem("A stop string holds a character that is no Unicode text.") from None
    bounds = {
        "temperature": (0, 10, sampling.temperature),
        "top_p": (0, 1, sampling.top_p),
        "top_k": (0, 1_000_000, sampling.top_k),
        "repetition_penalty": (0.01, 10, sampling.repetition_penalty),
        "max_new_tokens": (1, 1_000_000, sampling.max_new_tokens),
        "seed": (0, 2**63 - 1, sampling.seed),
    }
    for name, (low, high, value) in bounds.items():
        if value is not None and not low <= value <= high:
            raise UsageProblem(f"The option {name} is {value}, but must lie between {low} and {high}.")
    return sampling
