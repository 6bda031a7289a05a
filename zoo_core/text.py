"""Text from strangers (cards, models) on its way to a terminal."""

from __future__ import annotations

#: Control characters but for tab and line feed: a terminal would obey them, moving its cursor or its clipboard.
_CONTROLS = {code: None for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in "\t\n"}


def printable(text: str) -> str:
    """`text` without control characters; letters of every script and line breaks stay."""
    return text.translate(_CONTROLS)
