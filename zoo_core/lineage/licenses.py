"""What licences allow: their kind, and whether they allow commercial use. A table of facts, no legal advice.

The table is `licenses.json`. It knows the identifiers of SPDX and of model hubs in small letters; an entry without a version
stands for every version. What is not in it is unknown, never permissive. Knows nothing of lineage.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec

if TYPE_CHECKING:
    from zoo_core.cards.parts import License

Kind = Literal["permissive", "copyleft", "unknown", "restricted", "non-commercial"]
Commercial = Literal["yes", "unknown", "restricted", "no"]

#: From what allows most to what allows least. Unknown may be anything, so it counts for more than what allows much and for
#: less than what is known to forbid: restricted and unknown together are at least restricted.
KINDS: tuple[Kind, ...] = ("permissive", "copyleft", "unknown", "restricted", "non-commercial")
COMMERCIAL: tuple[Commercial, ...] = ("yes", "unknown", "restricted", "no")

#: What a kind of licence says of commercial use where the table does not say it.
_USUAL: dict[Kind, Commercial] = {
    "permissive": "yes",
    "copyleft": "yes",
    "restricted": "restricted",
    "unknown": "unknown",
    "non-commercial": "no",
}
_VERSION = re.compile(r"-\d+(\.\d+)*$")
_VARIANT = re.compile(r"(-only|-or-later|\+)$")
#: What hubs call a licence that they have no identifier for, and what they call none.
_OTHER, _NONE = "other", {"", "unknown"}


class Allowance(msgspec.Struct, frozen=True):
    """What a licence allows, and where its text is if that is sure."""

    kind: Kind = "unknown"
    commercial: Commercial = "unknown"
    link: str = ""

    @property
    def rank(self) -> tuple[int, int]:
        """Larger for what allows less."""
        return KINDS.index(self.kind), COMMERCIAL.index(self.commercial)


UNKNOWN = Allowance()
#: What a card's own word on commercial use stands for.
_WORDS = {
    "yes": Allowance("permissive", "yes"),
    "restricted": Allowance("restricted", "restricted"),
    "no": Allowance("non-commercial", "no"),
}


class _Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    kind: Kind
    commercial: Commercial | None = None
    link: str = ""
    #: Whether the model hub has an identifier for it.
    hub: bool = True


@cache
def allowance(license_: str) -> Allowance:
    """What a licence allows, by its identifier. Of `A OR B` the better counts, of `A AND B` the worse.

    Brackets and parts that say nothing are not understood, and so unknown.
    """
    if "(" in license_ or not all(part.strip() for part in re.split(r" OR | AND ", f" {license_} ")):
        return UNKNOWN
    if " OR " in license_:
        return min((allowance(each) for each in license_.split(" OR ")), key=lambda each: each.rank)
    if " AND " in license_:
        return max((allowance(each) for each in license_.split(" AND ")), key=lambda each: each.rank)
    entry = _entry(license_)
    return Allowance(entry.kind, entry.commercial or _USUAL[entry.kind], entry.link) if entry else UNKNOWN


def claimed(license_: License) -> str:
    """The licence that binds by a card's own words: that of the weights, or that of the publisher where it is stricter."""
    return stricter(license_.weights, license_.spdx or license_.name)


def stricter(weights: str, publisher: str) -> str:
    """Of the two licences that a card names the one that allows less; that of the weights where both allow the same."""
    if not weights or not publisher:
        return weights or publisher
    return publisher if allowance(publisher).rank > allowance(weights).rank else weights


def said(license_: str, commercial: str) -> Allowance:
    """What a card's licence allows, together with what the card itself says of commercial use; the less counts.

    Of a licence that the table does not know, the card's own word counts; `yes` does not make it permissive.
    """
    facts, word = allowance(license_), _WORDS.get(commercial)
    if word is None:
        return facts
    if facts.kind == "unknown":
        return Allowance("unknown", "yes") if commercial == "yes" else word
    return facts if facts.rank >= word.rank else Allowance(word.kind, word.commercial, facts.link)


def same_license(card_license: License, hub_identifier: str) -> bool:
    """Whether a card names the licence that the hub names: its claim, or the licence that it says the weights are under."""
    names = [each for each in (card_license.spdx, card_license.name, card_license.weights) if each]
    if hub_identifier.lower() in _NONE:
        return all(each.lower() in _NONE for each in names)
    if any(normal(each) == normal(hub_identifier) for each in names):
        return True
    # A licence that the hub has no identifier for is `other` there.
    return hub_identifier.lower() == _OTHER and any(not _on_hub(each) for each in names)


def normal(license_: str) -> str:
    """An identifier as it is compared: letter case, `-only` and `-or-later` make no difference."""
    name = license_.strip().lower()
    return name if name in _table() else _VARIANT.sub("", name)


def _on_hub(license_: str) -> bool:
    entry = _entry(license_)
    return entry is not None and entry.hub


def _entry(license_: str) -> _Entry | None:
    name = normal(license_)
    return _table().get(name) or _table().get(_VERSION.sub("", name))


@cache
def _table() -> dict[str, _Entry]:
    return msgspec.json.decode(Path(__file__).with_name("licenses.json").read_bytes(), type=dict[str, _Entry])
