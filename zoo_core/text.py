"""Text on its way to a terminal: without what strangers (cards, models) could hide in it, and with sizes in words."""

from __future__ import annotations

#: Control characters but for tab and line feed: a terminal would obey them, moving its cursor or its clipboard. And what
#: turns the direction of writing or begins a line unseen, so that a text looks like another one.
_HIDDEN = (*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
_CONTROLS = {code: None for code in _HIDDEN if chr(code) not in "\t\n"}


def printable(text: str) -> str:
    """`text` without control characters; letters of every script and line breaks stay."""
    return text.translate(_CONTROLS)


def bytes_text(count: int) -> str:
    """A number of bytes as people read it, such as `2.1 MB`."""
    size = float(count)
    for unit in ("bytes", "KB", "MB", "GB", "TB"):
        if size < 999.5 or unit == "TB":
            break
        size /= 1000
    digits = 0 if unit == "bytes" or size >= 99.95 else 1 if size >= 9.995 else 2
    return f"{size:,.{digits}f} {unit}"
