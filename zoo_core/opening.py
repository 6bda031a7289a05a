"""Open a session: a reference becomes a card, its weights, family, template and engine, and these are joined.

The one way to a running model, for chat, replay, checks and whatever else asks models. Knows nothing of what is then said.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from zoo_core.engines import engine_for
from zoo_core.errors import UsageProblem
from zoo_core.interfaces import EngineRequest
from zoo_core.sampling import check_sampling
from zoo_core.session import Session
from zoo_core.shrinking import packed_loader, quantized_by, shrinker

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from zoo_core.cards.schema import ModelCard
    from zoo_core.offers import Offer
    from zoo_core.session import Overflow
    from zoo_core.zoo import Zoo


class Wishes(msgspec.Struct, frozen=True, kw_only=True):
    """What the user says of how a model is to be found and loaded. `reference` is how the model was called.

    `quantize` is a method by which the weights shrink while they are loaded.
    `weights` is a folder in place of the card's sources, `base` the folder or card that a delta or an adapter belongs to, else
    the lineage's. With `tokens_only` nothing is put together: the session may encode prompts but not answer them.
    """

    reference: str
    weights: Path | None = None
    base: str | None = None
    tokens_only: bool = False
    device: str = "auto"
    dtype: str = "auto"
    device_map: str = ""
    max_memory: Mapping[str, int] = {}
    quantize: str = ""


def open_session(
    zoo: Zoo,
    reference: str,
    *,
    template: str | None = None,
    engine: str | None = None,
    sampling: Mapping[str, Any] | None = None,
    system: str | None = None,
    overflow: Overflow | None = None,
    progress: Callable[[float, str], None] = lambda share, line: None,
    **wishes: Any,
) -> Session:
    """Find the card, its weights, family, template and engine, and join them. `wishes` are the fields of `Wishes`.

    `progress` is told of a delta or an adapter that is put together. Raises `ZooError` for whatever is missing.
    """
    from zoo_core.requirements import require_packages
    from zoo_core.weights.assembling import is_in_parts

    said = Wishes(reference=reference, **wishes)
    check_sampling({key: value for key, value in (sampling or {}).items() if value is not None})
    card, path = zoo.catalog.model(reference)
    require_packages(card.id, card.runtime.requires)
    runs = engine_for(zoo, card, engine, said.weights, reference)
    chosen = zoo.template_of(card, template)
    needs = runs.supports.get("needs", ["weights", "family"])
    request = EngineRequest(
        card=card,
        template=chosen,
        device=said.device,
        dtype=said.dtype,
        device_map=said.device_map,
        max_memory=dict(said.max_memory),
        quantize=said.quantize,
        shrinker=shrinker(zoo, said.quantize) if said.quantize else None,
    )
    # Before the weights: nobody should fetch gigabytes to be told that no plugin loads them.
    family = zoo.offer("zoo_model_families", card.family, "model family") if "family" in needs else None
    folder = _weights(zoo, card, path, needs, said, progress)
    request = _with_weights(zoo, request, folder, family, said)
    session = Session(card, chosen, runs.load()(request), sampling=sampling, system=system, overflow=overflow)
    if folder is not None and (said.weights is not None or is_in_parts(card)):
        session.weights = str(folder.resolve())
    return session


def _weights(
    zoo: Zoo,
    card: ModelCard,
    path: Path,
    needs: Sequence[str],
    said: Wishes,
    progress: Callable[[float, str], None],
) -> Path | None:
    """The folder with a model's weights, verified and whole; None for an engine that needs none."""
    from zoo_core.weights.assembling import model_weights, tokenizer_folder

    if "weights" not in needs:
        if said.weights is not None:
            raise UsageProblem(
                f"'{card.id}' has no weights of its own here, so it takes no folder of them (--model-path)."
            )
        return None
    if said.tokens_only:
        return tokenizer_folder(card, path, said.weights, said.reference)
    return model_weights(
        zoo, card, path, given=said.weights, base=said.base, reference=said.reference, progress=progress
    )


def _with_weights(
    zoo: Zoo, request: EngineRequest, folder: Path | None, offer: Offer | None, said: Wishes
) -> EngineRequest:
    """A request with the family that loads the weights, and with their folder once the code in it may run."""
    from zoo_core.consent import cleared

    family = offer.load()() if offer else None
    if folder is None or family is None:
        if said.quantize:
            raise UsageProblem(f"'{request.card.id}' is run by an engine that does not shrink models; leave that out.")
        return msgspec.structs.replace(request, folder=folder, family=family)
    brought = cleared(request.card, folder, family, said.reference, said.weights)
    packed = packed_loader(zoo, brought.folder)
    if said.quantize and quantized_by(brought.folder):
        raise UsageProblem(f"The weights of '{request.card.id}' are quantized already and cannot shrink once more.")
    return msgspec.structs.replace(
        request, folder=brought.folder, family=family, remote_code=brought.code, packed=packed
    )
