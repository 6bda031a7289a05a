"""Publish a card: check it, let the card source of the address prepare the change, and show that change exactly.

Knows addresses only as `scheme:rest`; what a scheme means is its plugin's.
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from zoo_core.errors import CardError, UsageProblem
from zoo_core.sources import PublishRequest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from zoo_core.cards.schema import AnyCard
    from zoo_core.sources import Change, Publication
    from zoo_core.zoo import Zoo


def prepare(zoo: Zoo, card: AnyCard, address: str, *, direct: bool = False, message: str = "") -> Publication:
    """The publication of a card to `scheme:rest`, ready to be shown and carried out. Nothing is changed yet.

    Raises `CardError` for a card with problems, `UsageProblem` for an address that nothing publishes to.
    """
    scheme, colon, rest = address.partition(":")
    offers = {
        offer.name: offer
        for _, offer in zoo.plugins.items("zoo_card_sources")
        if "publish" in offer.supports.get("does", [])
    }
    if not (colon and rest) or scheme not in offers:
        known = ", ".join(f"{name}:…" for name in sorted(offers)) or "no plugin that publishes is installed"
        # Only the scheme is quoted: the rest of an address may hold a password.
        raise UsageProblem(f"'{scheme[:40]}' does not begin an address to publish to. Known: {known}.")
    if problems := _problems(zoo, card):
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise CardError(f"'{card.id}' is not published: {problems[0]}{more}; see them all with: zoo card check")
    publication: Publication = (
        offers[scheme].load()().publish(PublishRequest(card=card, address=rest, direct=direct, message=message))
    )
    return publication


def unified(changes: list[Change]) -> Iterator[str]:
    """The changes as the lines of a unified diff, whole files where they are new."""
    for change in changes:
        before = change.before
        lines = difflib.unified_diff(
            (before or "").splitlines(),
            change.after.splitlines(),
            "/dev/null" if before is None else f"a/{change.path}",
            f"b/{change.path}",
            lineterm="",
        )
        yield from lines
        if before is not None and before.splitlines() == change.after.splitlines():
            yield f"(the line ends of {change.path} change)"


def _problems(zoo: Zoo, card: AnyCard) -> list[str]:
    """What stands against publishing: the card's own problems, and a licence that its base does not give."""
    from zoo_core.cards.checking import check_card
    from zoo_core.lineage.terms import license_problems

    return check_card(card, zoo.template) + license_problems(card, zoo.catalog.find)
