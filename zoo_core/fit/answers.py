"""The answer to "does it fit?": a model and its variants on every device, and what to do where the model does not.

The arithmetic is in `fit`; here cards are found, and advice is looked for.
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

import msgspec

from zoo_core.errors import UsageProblem, ZooError
from zoo_core.fit.needs import Fit, attentions, best, fits_of, fits_row, lacking, variants
from zoo_core.text import bytes_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from zoo_core.cards.index import Row
    from zoo_core.fit.machine import Device
    from zoo_core.zoo import Zoo

#: A context below this is no advice.
LEAST_CONTEXT = 256


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """A model in each dtype on each device, then its variants; `nearest` is what fits, None where nothing does.

    `least` is the fit that lacks least at the shortest context that would still be of use. `unknown` are variants whose
    cards do not say enough.
    """

    id: str
    context: int
    batch: int
    fits: list[Fit]
    nearest: Fit | None
    least: Fit
    unknown: list[str]


def answer(zoo: Zoo, reference: str, devices: Sequence[Device], context: int | None, batch: int) -> Answer:
    """Hold a model and its variants against this machine. Raises `UsageProblem` for a context that the model does not have,
    `ZooError` where its card does not say what it needs."""
    from zoo_core.cards.index import row_of

    kinds = attentions(zoo)
    row = row_of(*zoo.catalog.model(reference))
    if context and row.context and context > row.context:
        raise UsageProblem(
            f"The context of '{row.id}' has {row.context:,} tokens, so --context {context:,} is too long."
        )
    _require_known(row, reference, context, kinds.get(row.family, ""))
    family = [row, *variants(row, zoo.catalog.rows())]
    fits = [fits_of(each, devices, context, batch, attention=kinds.get(each.family, "")) for each in family]
    own = fits[0]
    nearest = next((fit for each in fits if (fit := best(each)) is not None and fit.fits), None)
    shortest = min(own[0].context, LEAST_CONTEXT)
    least = max(
        (
            fit
            for each in family
            if (fit := fits_row(each, devices, shortest, batch, attention=kinds.get(each.family, "")))
        ),
        key=lambda fit: fit.spare,
    )
    return Answer(
        id=row.id,
        context=own[0].context,
        batch=batch,
        fits=[fit for each in fits for fit in each],
        nearest=nearest or _shorter(family, devices, own[0].context, batch, kinds),
        least=least,
        unknown=[each.id for each, found in zip(family, fits, strict=True) if not found],
    )


def overview(zoo: Zoo, devices: Sequence[Device], context: int | None, batch: int) -> tuple[list[Fit], list[str]]:
    """The best fit of every model whose card says enough, at `context` or at its own where that is shorter; and the others."""
    kinds = attentions(zoo)
    rows = [row for row in zoo.catalog.rows() if row.kind == "model"]
    fits = {row.id: fits_row(row, devices, context, batch, attention=kinds.get(row.family, "")) for row in rows}
    return [fit for fit in fits.values() if fit is not None], [name for name, fit in fits.items() if fit is None]


def conclusion(found: Answer) -> str:
    """One sentence: whether the model fits, and otherwise what does, or how much is lacking."""
    near, least = found.nearest, found.least
    if near is None:
        lack = f"even at {least.context:,} tokens '{least.id}' in {least.dtype} lacks {bytes_text(-least.spare)}"
        return f"'{found.id}' does not fit, nor does a variant: {lack} on {least.device.device}."
    where = f"in {near.dtype} on {near.device.device}"
    if near.id == found.id and near.context == found.context:
        return f"'{found.id}' fits {where}."
    which = f"but '{near.id}' does, {where}" if near.id != found.id else f"but it does {where}"
    until = f", in conversations of up to {near.context:,} tokens" if near.context < found.context else ""
    return f"'{found.id}' does not fit, {which}{until}."


def fit_data(fit: Fit) -> dict[str, Any]:
    """A fit as JSON; all sizes are in bytes."""
    return {
        "id": fit.id,
        "dtype": fit.dtype,
        "context": fit.context,
        "batch": fit.batch,
        "device": fit.device.device,
        "fits": fit.fits,
        "estimated": fit.estimated,
        "weights_bytes": fit.needs.weights,
        "cache_bytes": fit.needs.cache,
        "activations_bytes": fit.needs.activations,
        "program_bytes": fit.needs.program,
        "needed_bytes": fit.needs.total,
        "free_bytes": fit.device.free_bytes,
        "spare_bytes": fit.spare,
    }


def answer_data(found: Answer) -> dict[str, Any]:
    """An answer as JSON."""
    return {
        "id": found.id,
        "context": found.context,
        "batch": found.batch,
        "fits": [fit_data(fit) for fit in found.fits],
        "nearest": fit_data(found.nearest) if found.nearest else None,
        "least": fit_data(found.least),
        "unknown": found.unknown,
    }


def _require_known(row: Row, reference: str, context: int | None, attention: str) -> None:
    if row.format == "api":
        raise ZooError(f"'{row.id}' runs elsewhere, behind an API, so that no memory of this machine is needed.")
    if row.relation == "adapter":
        base = f"see what that needs with: zoo fit {row.base}" if row.base else f"its base is {row.backbone}"
        raise ZooError(f"'{row.id}' is an adapter, which needs the memory of its base and little more; {base}")
    if fields := lacking(row, context, attention=attention):
        raise ZooError(
            f"The card of '{row.id}' does not say {', '.join(fields)}, so nobody can tell what the model needs; "
            f"complete the card with: zoo card lock {shlex.quote(reference)}"
        )


def _shorter(
    family: Sequence[Row], devices: Sequence[Device], context: int, batch: int, kinds: Mapping[str, str]
) -> Fit | None:
    """The longest context below `context` at which a model of the family fits; None where none of use is left."""
    found: Fit | None = None
    for row in family:
        low, high = LEAST_CONTEXT - 1, context
        while low < high:  # everything that a model needs grows with the context
            middle = (low + high + 1) // 2
            fit = fits_row(row, devices, middle, batch, attention=kinds.get(row.family, ""))
            if fit is None or not fit.fits:
                high = middle - 1
                continue
            low = middle
            if found is None or fit.context > found.context:
                found = fit
    return found
