"""Record a conversation as it goes on. A history that cannot be written never stops the conversation; it is said once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zoo_core.errors import HistoryError
from zoo_core.history import History, new_conversation

if TYPE_CHECKING:
    from collections.abc import Callable

    from zoo_core.history import Record
    from zoo_core.session import Session


class Recorder:
    """Writes the answers of one conversation to the history, if it can and may."""

    def __init__(self, *, enabled: bool, warn: Callable[[str], None]) -> None:
        self.conversation = new_conversation()
        self._warn = warn
        self._history: History | None = None
        if enabled:
            try:
                self._history = History()
            except HistoryError as error:
                warn(f"{error} This conversation is not recorded.")
            else:
                if self._history.notice:
                    warn(self._history.notice)

    def record(self, session: Session, reference: str) -> None:
        """Record the session's last answer."""
        if self._history is None or session.last is None or not (session.last.ids or session.last.text):
            return  # nothing was said
        try:
            self._history.add(session, reference, self.conversation)
        except HistoryError as error:
            self._warn(f"{error} The conversation is no longer recorded.")
            self._history = None

    def resume(self) -> Record:
        """Go on with the last recorded conversation. Raises `NotFound` or `HistoryError` when there is none."""
        if self._history is None:
            raise HistoryError("The conversation history is not in use, so there is nothing to continue.")
        record = self._history.last()
        self.conversation = record.conversation
        return record

    def start_anew(self) -> None:
        """Record what follows as a conversation of its own."""
        self.conversation = new_conversation()
