"""What checks of cards take and give: a card and how to look at it; findings, and what could not be looked at."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import msgspec

if TYPE_CHECKING:
    from zoo_core.cards.schema import AnyCard
    from zoo_core.zoo import Zoo


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """Something that is wrong with a card (`error`), or that its author should look at (`warning`)."""

    level: Literal["error", "warning"]
    check: str
    field: str
    message: str


class Skipped(msgspec.Struct, frozen=True):
    """A check that could not be made, and why."""

    check: str
    reason: str


class Subject(NamedTuple):
    """A card under check, and how it is to be checked."""

    zoo: Zoo
    card: AnyCard
    path: Path
    find: Callable[[str], AnyCard | None]
    offline: bool = False
    smoke: bool = False


def error(check: str, field: str, message: str) -> Finding:
    """A finding that fails a card."""
    return Finding(level="error", check=check, field=field, message=message)


def warning(check: str, field: str, message: str) -> Finding:
    """A finding that does not."""
    return Finding(level="warning", check=check, field=field, message=message)
