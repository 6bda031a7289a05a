"""Names and what a user may have meant by them. Knows no card and no plugin."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

#: The grammar of card ids, aliases and the names of offers: lower case, at most 80 characters, never a path.
NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,79}")


def is_name(text: str) -> bool:
    """Whether `text` follows the grammar of names."""
    return NAME.fullmatch(text) is not None


def is_path(text: str) -> bool:
    """Whether a reference is meant as a path: it has a slash before any colon (names have none), or ends like a YAML file."""
    return (
        text.startswith(("~", ".\\"))
        or text in {".", ".."}
        or text.endswith((".yaml", ".yml"))
        or "/" in text.partition(":")[0]
    )


def nearest(name: str, known: Iterable[str], *, most: int = 3) -> list[str]:
    """The known names most like `name`, best first: where one is much nearer than others, it alone."""
    from difflib import SequenceMatcher, get_close_matches

    known, word = sorted(set(known)), name.lower()
    close = get_close_matches(word, known, n=most, cutoff=0.65)
    likeness = [SequenceMatcher(None, each, word).ratio() for each in close]
    close = [each for each, like in zip(close, likeness, strict=True) if like >= likeness[0] - 0.2]
    inside = [each for each in known if word in each and each not in close] if len(name) > 2 else []
    return (close + inside)[:most]


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A clause such as ` Did you mean NAME?`, or nothing when no known name is near."""
    names = nearest(name, known)
    return f" Did you mean {', '.join(names[:-1]) + ' or ' if names[:-1] else ''}{names[-1]}?" if names else ""
