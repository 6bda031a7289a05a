"""What was made from what, and the terms that pass from the one to the other.

A model may be used for no more than each of its ancestors, so its terms are the strictest of its line. Ancestors are found
by card id: through a function that gives a card, or among the rows of a catalog. Knows licences through `licenses`, no files.
"""

from __future__ import annotations

from contextlib import suppress
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING

import msgspec

from zoo_core.cards.parts import Base
from zoo_core.cards.schema import DatasetCard, ModelCard
from zoo_core.lineage.licenses import COMMERCIAL, KINDS, UNKNOWN, Commercial, Kind, allowance, claimed, said, stricter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from zoo_core.cards.index import Row
    from zoo_core.cards.schema import AnyCard
    from zoo_core.lineage.licenses import Allowance

    Find = Callable[[str], AnyCard | None]


class Terms(msgspec.Struct, frozen=True):
    """What a card may be used for, its ancestors counted. `source` is whose `license` decides: an id, or a base without."""

    kind: Kind
    commercial: Commercial
    license: str
    source: str
    link: str = ""

    def sentence(self, name: str) -> str:
        """These terms for people, as those of the card `name`."""
        where = f", inherited from {self.source}" if self.source != name else ""
        link = f", {self.link}" if self.link else ""
        return f"{self.kind}, commercial use {self.commercial}{where} ({self.license or 'no licence named'}{link})"


class Kin(msgspec.Struct, frozen=True):
    """What the terms of a card depend on."""

    license: str
    commercial: str
    bases: list[Base]


def kin_of_card(card: AnyCard) -> Kin:
    """What the terms of a card depend on, from the card itself."""
    return Kin(claimed(card.license), card.license.commercial or "", bases_of(card))


def kin_of_row(row: Row) -> Kin:
    """What the terms of a card depend on, from the catalog alone."""
    return Kin(
        stricter(row.weights_license, row.license), row.commercial, [Base(id=name or None) for name in row.bases]
    )


def terms_of_rows(rows: Iterable[Row]) -> dict[str, Terms]:
    """The terms of all cards of a catalog, by id."""
    return terms_of_all({row.id: kin_of_row(row) for row in rows})


def terms_of(card: AnyCard, find: Find) -> Terms:
    """The terms of one card; `find` gives the card that has an id."""
    return terms_of_all({name: kin_of_card(each) for name, each in with_ancestors(card, find).items()})[card.id]


def terms_of_all(kin: Mapping[str, Kin]) -> dict[str, Terms]:
    """The terms of cards by id. What is in a circle, or descends from one, has an ancestor that is not known.

    Of a circle the licences of its members count all the same.
    """
    known: dict[str, Terms] = {}
    order = _sorter({name: each.bases for name, each in kin.items()})
    with suppress(CycleError):  # then all that is not behind the circle still comes in order
        order.prepare()
    while ready := order.get_ready():
        known |= {name: _strictest(name, kin[name], known) for name in ready}
        order.done(*ready)
    circling = {name: each for name, each in kin.items() if name not in known}
    own = {name: _strictest(name, Kin(each.license, each.commercial, []), {}) for name, each in circling.items()}
    for name, each in circling.items():
        unknown = Base(name=base_name(each.bases[0]))
        known[name] = _strictest(name, Kin(each.license, each.commercial, [unknown, *each.bases]), known | own)
    return known


def _strictest(name: str, kin: Kin, known: Mapping[str, Terms]) -> Terms:
    own = said(kin.license, kin.commercial)
    line = [Terms(own.kind, own.commercial, kin.license, name, own.link)]
    for base in kin.bases:
        nothing = Terms(UNKNOWN.kind, UNKNOWN.commercial, "", base_name(base))
        line.append(known.get(base.id or "", nothing))
    kind = max((each.kind for each in line), key=KINDS.index)
    commercial = max((each.commercial for each in line), key=COMMERCIAL.index)
    decides = max(line, key=lambda each: (KINDS.index(each.kind), COMMERCIAL.index(each.commercial)))
    return Terms(kind, commercial, decides.license, decides.source, decides.link)


def with_ancestors(card: AnyCard, find: Find) -> dict[str, AnyCard]:
    """A card and all cards that it descends from, the nearest first, by id."""
    found = {card.id: card}
    line = [card]
    for each in line:  # which grows
        for base in bases_of(each):
            if base.id and base.id not in found:
                parent = find(base.id)
                if parent is not None and parent.id == base.id:  # an alias may pass to another card; lineage may not
                    found[base.id] = parent
                    line.append(parent)
    return found


def bases_of(card: AnyCard) -> list[Base]:
    """What a card was made from: the base and the other parents of a model, the datasets that a dataset was made from."""
    if isinstance(card, ModelCard) and card.lineage:
        return [card.lineage.base, *card.lineage.others]
    return [Base(id=name) for name in card.made_from] if isinstance(card, DatasetCard) else []


def base_name(base: Base) -> str:
    """What to call a base."""
    return base.id or base.repo or base.name or "a base without card"


def relation_of(card: AnyCard) -> str:
    """How a model was made from its base."""
    return card.lineage.relation if isinstance(card, ModelCard) and card.lineage else ""


def license_problems(card: AnyCard, find: Find) -> list[str]:
    """What is wrong with a card's licence and lineage, one sentence each: it may not allow more than its ancestors do.

    That holds for models and what they were made from, and for datasets.

    An ancestor whose licence is not known, or that has no card, is no problem.
    """
    cards = with_ancestors(card, find)
    problems = [
        f"the lineage names the card '{base.id}', but no card is called so; name the repository under base.repo instead, "
        "or add its card"
        for base in (bases_of(card) if isinstance(card, ModelCard) else [])
        if base.id and base.id not in cards
    ]
    if circle := _circle(cards):
        problems.append(f"the lineage leads round in a circle: {' is made from '.join(circle)}")
    ancestors = [
        (each, said(claimed(each.license), each.license.commercial or ""))
        for name, each in cards.items()
        if name != card.id
    ]
    problems += [*_own_problems(card), *_claim_problems(card, ancestors), *_commercial_problems(card, ancestors)]
    if card.license.acceptance and not claimed(card.license):
        problems.append("license.acceptance says that a licence has to be accepted, but license does not name it")
    return problems


def _own_problems(card: AnyCard) -> Iterator[str]:
    """A card may not loosen in `weights` what its publisher says."""
    weights, publisher = card.license.weights, card.license.spdx or card.license.name
    if weights and publisher and stricter(weights, publisher) != weights:
        yield (
            f"license.weights is {weights} ({allowance(weights).kind}), which allows more than the publisher's "
            f"{publisher} ({allowance(publisher).kind}); the stricter counts, so leave license.weights out"
        )


def _claim_problems(card: AnyCard, ancestors: list[tuple[AnyCard, Allowance]]) -> Iterator[str]:
    claim = claimed(card.license)
    own = allowance(claim).kind
    known = [each for each in ancestors if each[1].kind != "unknown"]
    if own == "unknown" or not known:
        return
    ancestor, limit = max(known, key=lambda each: KINDS.index(each[1].kind))
    if KINDS.index(own) < KINDS.index(limit.kind):
        license_ = claimed(ancestor.license)
        yield (
            f"the licence {claim} ({own}) allows more than that of its ancestor '{ancestor.id}', "
            f"{license_ or 'which has no name'} ({limit.kind}); say in license.weights which licence the weights are "
            f"really under" + (f", such as {license_}" if license_ else "")
        )


def _commercial_problems(card: AnyCard, ancestors: list[tuple[AnyCard, Allowance]]) -> Iterator[str]:
    word = card.license.commercial
    limits = [(card, allowance(claimed(card.license))), *ancestors]
    known = [each for each in limits if each[1].commercial != "unknown"]
    if word is None or not known:
        return
    source, limit = max(known, key=lambda each: COMMERCIAL.index(each[1].commercial))
    if COMMERCIAL.index(word) < COMMERCIAL.index(limit.commercial):
        does = "forbids" if limit.commercial == "no" else "restricts"
        whose = "its licence" if source is card else f"the licence of its ancestor '{source.id}'"
        license_ = claimed(source.license)
        yield (
            f"license.commercial is '{word}', but {whose}{f', {license_},' if license_ else ''} {does} commercial use; "
            f'write commercial: "{limit.commercial}"'
        )


def _circle(cards: Mapping[str, AnyCard]) -> list[str]:
    """The names of a circle in a line of cards, the first again at the end; nothing where there is none."""
    try:
        _sorter({name: bases_of(each) for name, each in cards.items()}).prepare()
    except CycleError as error:
        circle: list[str] = error.args[1]
        return circle[::-1]
    return []


def _sorter(bases: Mapping[str, list[Base]]) -> TopologicalSorter[str]:
    """Puts cards behind what they were made from, as far as that has a card."""
    return TopologicalSorter(
        {name: [base.id for base in each if base.id and base.id in bases] for name, each in bases.items()}
    )
