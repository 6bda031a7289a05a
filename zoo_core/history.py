"""Conversations in SQLite: every answer with all that is needed to ask for it again.

A history that cannot be used never stops a conversation: a damaged file is kept aside and a new one begun, and where
nothing can be written `HistoryError` says so.
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import os
import sqlite3
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from zoo_core.conversation import Message
from zoo_core.errors import HistoryError, NotFound
from zoo_core.interfaces import Sampling
from zoo_core.paths import data_folder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from zoo_core.session import Session

_VERSION = 1
_TABLE = """
CREATE TABLE IF NOT EXISTS replies (
    id INTEGER PRIMARY KEY,
    conversation TEXT NOT NULL,
    created TEXT NOT NULL,
    reference TEXT NOT NULL,
    model TEXT NOT NULL,
    card_digest TEXT NOT NULL,
    template TEXT NOT NULL,
    template_digest TEXT NOT NULL,
    engine TEXT NOT NULL,
    weights TEXT NOT NULL,
    facts TEXT NOT NULL,
    sampling TEXT NOT NULL,
    messages TEXT NOT NULL,
    reply TEXT NOT NULL,
    ids TEXT NOT NULL,
    prompt_tokens INTEGER NOT NULL,
    finish TEXT NOT NULL,
    seconds REAL NOT NULL
);
CREATE INDEX IF NOT EXISTS replies_conversation ON replies (conversation, id);
"""


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """One recorded answer. `reference` is how the user named the model; `weights` a folder given with it."""

    id: int
    conversation: str
    created: str
    reference: str
    model: str
    card_digest: str
    template: str
    template_digest: str
    engine: str
    weights: str
    facts: dict[str, str]
    sampling: Sampling
    messages: tuple[Message, ...]
    reply: str
    ids: list[int]
    prompt_tokens: int
    finish: str
    seconds: float


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """One conversation in a list: when it was last continued, with which model, how long it is, how it began."""

    conversation: str
    created: str
    model: str
    replies: int
    title: str


class History:
    """The recorded conversations of one user."""

    def __init__(self, path: Path | None = None) -> None:
        """Open or begin the history. Raises `HistoryError` when it can be neither; `notice` says what was repaired."""
        self.path = path or data_folder() / "history.db"
        self.notice = ""
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            try:
                self._database = _open(self.path)
            except sqlite3.OperationalError:
                raise
            except sqlite3.DatabaseError:
                self.notice = (
                    f"the conversation history was damaged; it is kept as {_set_aside(self.path)}, a new one begins"
                )
                self._database = _open(self.path)
        except (OSError, sqlite3.Error) as error:
            raise HistoryError(f"The conversation history {self.path} cannot be used: {error}.") from error

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def add(self, session: Session, reference: str, conversation: str) -> int:
        """Record the session's last reply; returns its id. Raises `HistoryError` when it cannot be written."""
        reply = session.last
        if reply is None:
            raise HistoryError("There is no answer to record.")
        values = {
            "conversation": conversation,
            "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds"),
            "reference": reference,
            "model": session.card.id,
            "card_digest": session.card_digest,
            "template": session.template.name,
            "template_digest": template_digest(session),
            "engine": session.engine.name,
            "weights": session.weights,
            "facts": _json(session.engine.facts),
            "sampling": _json(reply.sampling),
            "messages": _json(reply.messages),
            "reply": reply.text,
            "ids": _json(reply.ids),
            "prompt_tokens": reply.prompt_tokens,
            "finish": reply.finish,
            "seconds": reply.seconds,
        }
        names = ", ".join(values)
        marks = ", ".join(f":{name}" for name in values)
        try:
            with self._database:
                cursor = self._database.execute(f"INSERT INTO replies ({names}) VALUES ({marks})", values)
        except sqlite3.Error as error:
            raise HistoryError(f"The answer was not recorded in {self.path}: {error}.") from error
        return int(cursor.lastrowid or 0)

    def conversations(self, *, search: str = "", limit: int = 20) -> list[Summary]:
        """The latest conversations first; with `search` only those in which all its words occur."""
        condition, values = _search(search)
        rows = self._all(
            f"""
            SELECT conversation, max(created) AS created, model, count(*) AS replies, min(id) AS first
            FROM replies WHERE conversation IN (SELECT conversation FROM replies WHERE {condition})
            GROUP BY conversation ORDER BY max(id) DESC LIMIT :limit
            """,
            values | {"limit": limit},
        )
        return [
            Summary(
                conversation=row["conversation"],
                created=row["created"],
                model=row["model"],
                replies=row["replies"],
                title=_title(self.reply(row["first"])),
            )
            for row in rows
        ]

    def conversation(self, prefix: str) -> list[Record]:
        """The answers of the conversation whose id begins with `prefix`, oldest first. Raises `NotFound`."""
        pattern = _escape(prefix) + "%"
        found = self._all(
            "SELECT DISTINCT conversation FROM replies WHERE conversation LIKE :p ESCAPE '\\'", {"p": pattern}
        )
        if len(found) != 1:
            what = f"{len(found)} conversations begin with '{prefix}'; write more of its id" if found else ""
            raise NotFound(f"{what or f'No conversation is called {prefix!r}'}. See them with: zoo logs list")
        query = "SELECT * FROM replies WHERE conversation = :c ORDER BY id"
        return [_record(row) for row in self._all(query, {"c": found[0]["conversation"]})]

    def reply(self, number: int) -> Record:
        """The recorded answer with this id. Raises `NotFound`."""
        rows = self._all("SELECT * FROM replies WHERE id = :id", {"id": number})
        if not rows:
            raise NotFound(f"No answer has the number {number}. See them with: zoo logs list, zoo logs show")
        return _record(rows[0])

    def last(self) -> Record:
        """The latest recorded answer. Raises `NotFound` when there is none."""
        rows = self._all("SELECT * FROM replies ORDER BY id DESC LIMIT 1", {})
        if not rows:
            raise NotFound("No conversation has been recorded yet, so there is none to continue.")
        return _record(rows[0])

    def export(self) -> Iterator[Record]:
        """All recorded answers, oldest first."""
        for row in self._all("SELECT id FROM replies ORDER BY id", {}):
            yield self.reply(row["id"])

    def _all(self, query: str, values: dict[str, Any]) -> list[sqlite3.Row]:
        try:
            return self._database.execute(query, values).fetchall()
        except sqlite3.Error as error:
            raise HistoryError(f"The conversation history {self.path} cannot be read: {error}.") from error


def new_conversation() -> str:
    """The id of a new conversation: 12 hexadecimal digits."""
    return uuid.uuid4().hex[:12]


def template_digest(session: Session) -> str:
    """The SHA-256 of everything in a template that has a part in the prompt."""
    return hashlib.sha256(msgspec.json.encode(session.template, order="sorted")).hexdigest()


def _open(path: Path) -> sqlite3.Connection:
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL, 0o600))  # what people say is nobody else's business
    database = sqlite3.connect(path, timeout=10)
    try:
        database.row_factory = sqlite3.Row
        database.execute("PRAGMA journal_mode = WAL")
        version = database.execute("PRAGMA user_version").fetchone()[0]
        if version > _VERSION:
            raise sqlite3.OperationalError("it was written by a newer version of the zoo")
        database.executescript(_TABLE)
        database.execute(f"PRAGMA user_version = {_VERSION}")
        if (state := database.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
            raise sqlite3.DatabaseError(state)
    except BaseException:
        database.close()
        raise
    return database


def _set_aside(path: Path) -> Path:
    """Rename a damaged history, and what SQLite keeps beside it, to a name that is free."""
    stamp = datetime.datetime.now(datetime.UTC).strftime("%Y%m%d-%H%M%S-%f")
    kept = path.with_name(f"{path.stem}.damaged-{stamp}{path.suffix}")
    for ending in ("-wal", "-shm"):
        with contextlib.suppress(OSError):
            Path(f"{path}{ending}").rename(f"{kept}{ending}")
    return path.rename(kept)


def _record(row: sqlite3.Row) -> Record:
    data = dict(row)
    try:
        for name in ("facts", "sampling", "messages", "ids"):
            data[name] = msgspec.json.decode(data[name])
        return msgspec.convert(data, Record)
    except msgspec.DecodeError as error:
        raise HistoryError(f"Answer {data['id']} of the conversation history is damaged: {error}.") from error


def _title(record: Record) -> str:
    said = [message.content for message in record.messages if message.role == "user"]
    return " ".join(said[0].split())[:80] if said else ""


def _search(words: str) -> tuple[str, dict[str, Any]]:
    values = {f"w{number}": f"%{_escape(word)}%" for number, word in enumerate(words.split())}
    said = "SELECT 1 FROM json_each(messages) WHERE json_extract(value, '$.content')"
    terms = [f"(reply LIKE :{name} ESCAPE '\\' OR EXISTS ({said} LIKE :{name} ESCAPE '\\'))" for name in values]
    return " AND ".join(terms) or "1", values


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
