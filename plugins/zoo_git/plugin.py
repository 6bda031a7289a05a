"""Registries in git repositories. Names things only."""

from __future__ import annotations

from zoo_core import Offer, hookimpl


@hookimpl
def zoo_card_sources() -> list[Offer]:
    """`git:PATH_OR_URL`."""
    return [
        Offer(
            name="git",
            target="zoo_git.cards:GitCards",
            summary="registries of cards in git repositories",
            extra="hub",
            supports={"does": ["update", "publish"]},
        )
    ]
