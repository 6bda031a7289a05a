"""Registries and weights as plain files, on any web server or disk. Names things only."""

from __future__ import annotations

from zoo_core import Offer, hookimpl


@hookimpl
def zoo_card_sources() -> list[Offer]:
    """Static registries: read from web servers and folders, published into folders."""
    return [
        *(
            Offer(
                name=scheme,
                target="zoo_static.cards:StaticCards",
                summary=f"static registries at {scheme}: addresses",
                extra="hub",
                supports={"does": ["update"]},
            )
            for scheme in ("https", "http", "file")
        ),
        Offer(
            name="dir",
            target="zoo_static.publication:FolderCards",
            summary="static registries in a folder, to which cards are added",
            extra="hub",
            supports={"does": ["publish"]},
        ),
    ]


@hookimpl
def zoo_weight_sources() -> list[Offer]:
    """Weights below an address."""
    return [
        Offer(
            name="url",
            target="zoo_static.weights:UrlWeights",
            summary="weights on any web server, or in a folder at a file:// address",
            extra="hub",
        )
    ]
