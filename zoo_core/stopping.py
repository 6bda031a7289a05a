"""Stop strings in a stream: text is shown as soon as it cannot be the beginning of one, and never after."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class StopFilter:
    """Passes text on, up to the first stop string. A text that may still become a stop string is held back."""

    def __init__(self, stops: Iterable[str]) -> None:
        self._stops = tuple(stop for stop in stops if stop)
        self._held = ""
        self.stopped = False

    def feed(self, text: str) -> str:
        """Take the next text of the stream and return what can be shown now."""
        if self.stopped:
            return ""
        self._held += text
        found = [(place + len(stop), place) for stop in self._stops if (place := self._held.find(stop)) >= 0]
        if found:  # the one that is complete first counts, so that the pieces' sizes have no part in it
            self.stopped = True
            shown, self._held = self._held[: min(found)[1]], ""
            return shown
        kept = self._possible_start()
        shown = self._held[: len(self._held) - kept]
        self._held = self._held[len(shown) :]
        return shown

    def end(self) -> str:
        """The stream is over: what was held back was no stop string after all."""
        shown, self._held = self._held, ""
        return shown

    def _possible_start(self) -> int:
        """How many characters at the end may be the beginning of a stop string."""
        longest = max((len(stop) for stop in self._stops), default=1) - 1
        for length in range(min(longest, len(self._held)), 0, -1):
            if any(stop.startswith(self._held[-length:]) for stop in self._stops):
                return length
        return 0
