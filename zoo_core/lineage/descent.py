"""The family of a card: what it descends from and what descends from it, as data and as lines that draw it.

Ancestors are read from their cards, descendants are found in the rows of a catalog. Knows no command line.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from zoo_core.cards.parts import Base
from zoo_core.lineage.terms import (
    Terms,
    base_name,
    bases_of,
    kin_of_card,
    kin_of_row,
    relation_of,
    terms_of_all,
    with_ancestors,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from zoo_core.cards.index import Row
    from zoo_core.cards.schema import AnyCard
    from zoo_core.lineage.terms import Find, Kin


class Relative(msgspec.Struct, frozen=True):
    """A card of a family, or a base that has none; `bases` are the names of what it was made from."""

    name: str
    card: bool = False
    relation: str = ""
    bases: list[str] = []
    license: str = ""
    terms: Terms | None = None


def ancestor_line(card: AnyCard, find: Find) -> list[str]:
    """A card and its first base, that one's base and so on, the oldest first, each with how it was made."""
    cards = with_ancestors(card, find)
    waiting = dict(cards)
    line: list[str] = []
    here: AnyCard | None = card
    while here is not None:
        del waiting[here.id]  # so that a circle ends
        relation = relation_of(here)
        line.append(f"{here.id} ({relation})" if relation else here.id)
        base = next(iter(bases_of(here)), None)
        here = waiting.get(base.id or "") if base else None
    if base is not None and base.id not in cards and base != Base():
        line.append(base_name(base))
    return line[::-1]


def family(card: AnyCard, find: Find, rows: Iterable[Row]) -> list[Relative]:
    """All that a card descends from, the card itself, and all that descends from it; the oldest first."""
    cards = with_ancestors(card, find)
    others = {row.id: row for row in rows if row.id not in cards}
    kin = {name: kin_of_row(row) for name, row in others.items()}
    kin |= {name: kin_of_card(each) for name, each in cards.items()}
    terms = terms_of_all(kin)
    return [*_ancestors(card.id, cards, kin, terms), *_descendants(card.id, others, kin, terms)]


def _ancestors(
    name: str, cards: Mapping[str, AnyCard], kin: Mapping[str, Kin], terms: Mapping[str, Terms]
) -> Iterator[Relative]:
    """The cards that were found and the bases without card, each behind what it was made from, the line of the base first."""
    told: set[str] = set()
    waiting = [(name, False)]
    while waiting:
        name, ready = waiting.pop()
        card = cards.get(name)
        bases = [base_name(base) for base in bases_of(card)] if card else []
        if ready and card:
            yield Relative(name, True, relation_of(card), bases, kin[name].license, terms[name])
        elif ready:
            yield Relative(name)
        elif name not in told:
            told.add(name)
            waiting += [(name, True), *((base, False) for base in reversed(bases))]


def _descendants(
    name: str, rows: Mapping[str, Row], kin: Mapping[str, Kin], terms: Mapping[str, Terms]
) -> Iterator[Relative]:
    children: dict[str, list[Row]] = {}
    for row in rows.values():
        for base in row.bases:
            children.setdefault(base, []).append(row)
    line, told = [name], {name}
    for each in line:  # which grows
        for row in children.get(each, []):
            if row.id not in told:
                told.add(row.id)
                line.append(row.id)
                bases = [base_name(base) for base in kin[row.id].bases]
                yield Relative(row.id, True, row.relation, bases, kin[row.id].license, terms[row.id])


def tree_lines(members: Iterable[Relative]) -> Iterator[tuple[str, str]]:
    """A family drawn as a tree: each line, and the name on it. What has two parents stands below both and is told once."""
    family = {each.name: each for each in members}
    children: dict[str, list[str]] = {}
    for each in family.values():
        for base in dict.fromkeys(each.bases):
            children.setdefault(base, []).append(each.name)
    roots = [each.name for each in family.values() if not any(base in family for base in each.bases)]
    told: set[str] = set()
    for root in [*roots, *family]:  # a circle has no root
        waiting = [(root, "", "")] if root not in told else []
        while waiting:
            name, lead, indent = waiting.pop()
            if name in told:
                yield f"{lead}{_title(family[name])}  (see above)", name
                continue
            told.add(name)
            yield lead + _title(family[name]) + _facts(family[name], family), name
            below = children.get(name, [])
            for child in reversed(below):
                sign, room = ("└─ ", "   ") if child == below[-1] else ("├─ ", "│  ")
                waiting.append((child, indent + sign, indent + room))


def _title(member: Relative) -> str:
    return f"{member.relation}: {member.name}" if member.relation else member.name


def _facts(member: Relative, family: Mapping[str, Relative]) -> str:
    """Licence and terms of a member, and what it was made from beside what the tree shows."""
    if member.terms is None:
        return "  (no card)"
    elsewhere = [base for base in dict.fromkeys(member.bases) if base not in family]
    also = f"; also from {', '.join(elsewhere)}" if elsewhere else ""
    return f"  ({member.license or 'no licence named'}; {member.terms.kind}{also})"
