"""The exact prompt that a model would be sent, as every surface sends it, and how its answer would be sampled."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from zoo_core.conversation import render
from zoo_core.errors import ZooError
from zoo_core.interfaces import Sampling
from zoo_core.opening import open_session
from zoo_core.sampling import check_sampling
from zoo_core.session import Session

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from zoo_core.conversation import Message
    from zoo_core.zoo import Zoo


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """What `zoo explain` tells. `ids` is None where no tokenizer is at hand; `ids_missing` then says why."""

    model: str
    card_digest: str
    template: str
    prompt: str
    ids: list[int] | None
    ids_missing: str
    stop: tuple[str, ...]
    sampling: Sampling
    seed_is_drawn: bool
    context: int | None
    engine: str


def explain_session(session: Session, messages: Sequence[Message]) -> Explanation:
    """Explain the prompt that a session would send for these messages."""
    sampling = session.sampling
    prompt = session.prompt(messages, sampling.max_new_tokens)
    return Explanation(
        model=session.card.id,
        card_digest=session.card_digest,
        template=session.template.name,
        prompt=prompt.rendered.text,
        ids=prompt.ids or None,
        ids_missing="" if prompt.ids else "only the service behind the engine sees tokens",
        stop=sampling.stop,
        sampling=sampling,
        seed_is_drawn=session.seed is None,
        context=session.engine.context_length,
        engine=session.engine.name,
    )


def explain(
    zoo: Zoo, reference: str, messages: Sequence[Message], *, template: str | None = None, weights: Path | None = None
) -> Explanation:
    """Explain the prompt for a model; without its weights and libraries everything but the token ids.

    A system message, which comes first, takes the place of the template's own.
    """
    from zoo_core.cards.writing import card_digest

    try:
        session = open_session(zoo, reference, template=template, weights=weights, tokens_only=True)
    except ZooError as error:
        card, _ = zoo.catalog.model(reference)
        chosen = zoo.template_of(card, template)
        known = {key: value for key, value in msgspec.structs.asdict(card.generation).items() if value is not None}
        return Explanation(
            model=card.id,
            card_digest=card_digest(card),
            template=chosen.name,
            prompt=render(chosen, messages).text,
            ids=None,
            ids_missing=str(error),
            stop=chosen.stop,
            sampling=check_sampling(known | {"stop": chosen.stop}),
            seed_is_drawn=True,
            context=card.context.max if card.context else None,
            engine="",
        )
    turns = list(messages)
    if turns and turns[0].role == "system":
        session.system = turns.pop(0).content
    return explain_session(session, turns)
