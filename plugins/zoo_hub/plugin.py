"""The Hugging Face hub: weights, and cards in repositories. Names things only."""

from __future__ import annotations

from zoo_core import Offer, hookimpl


@hookimpl
def zoo_card_sources() -> list[Offer]:
    """`hf:owner/name`."""
    return [
        Offer(
            name="hf",
            target="zoo_hub.cards:HubCards",
            summary="cards in repositories of the Hugging Face hub",
            extra="hub",
            supports={"does": ["read", "publish"]},
        )
    ]


@hookimpl
def zoo_weight_sources() -> list[Offer]:
    """`hub: huggingface`."""
    return [
        Offer(
            name="huggingface",
            target="zoo_hub.weights:HubWeights",
            summary="repositories of the Hugging Face hub, through the hub's own cache",
            extra="hub",
        )
    ]
