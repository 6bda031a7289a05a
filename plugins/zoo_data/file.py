"""Conversations from a JSON or JSON Lines file, whichever of the usual forms its records have.

The forms: `{"messages": [{"role", "content"}]}`; LLM Zoo's own and ShareGPT's `{"conversations": [{"from", "value"}]}`;
Alpaca's `{"instruction", "input", "output"}`. Nothing is skipped in silence: a record of no known form is an error that
names its number.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from zoo_core import Conversation, Message, ZooError

#: What the speakers are called in files, and what they are here.
ROLES = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "system": "system"}


class FileBuilder:
    """Reads conversations from the file that the option `path` names."""

    def build(self, options: Mapping[str, Any], *, seed: int) -> Iterator[Conversation]:
        """Yield the file's conversations in its own order; the seed has no part in it."""
        if unknown := sorted(set(options) - {"path"}):
            raise ZooError(f"The data builder 'file' has no option '{unknown[0]}'. Known: path.")
        if "path" not in options:
            raise ZooError("The data builder 'file' needs the option path, such as: path=talks.jsonl")
        path = Path(str(options["path"]))
        with contextlib.suppress(RuntimeError):  # ~name that is no user stays as it is
            path = path.expanduser()
        for where, record in _records(path):
            yield _conversation(record, where)


def _records(path: Path) -> Iterator[tuple[str, Any]]:
    """Each record with the words that say where it stands."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ZooError(f"The file {path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise ZooError(f"The file {path} is not UTF-8 text (byte {error.start}).") from error
    if path.suffix == ".jsonl":
        for number, line in enumerate(text.split("\n"), 1):  # splitlines() would split texts at U+2028
            if line.strip():
                yield f"{path}, line {number}", _json(line, f"{path}, line {number}")
        return
    data = _json(text, str(path))
    if not isinstance(data, list):
        raise ZooError(f"{path}: a list of conversations was expected.")
    yield from ((f"{path}, record {number}", record) for number, record in enumerate(data, 1))


def _json(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ZooError(f"{where}: this is no JSON: {error.msg} (line {error.lineno}, column {error.colno}).") from error
    except ValueError as error:  # such as a number of too many digits
        raise ZooError(f"{where}: the JSON cannot be read: {error}.") from error
    except RecursionError:
        raise ZooError(f"{where}: the JSON is nested too deeply.") from None


def _conversation(record: Any, where: str) -> Conversation:
    if not isinstance(record, dict):
        raise ZooError(f"{where}: an object was expected, but here is a {type(record).__name__}.")
    name = str(record.get("id", where.rpartition("/")[2]))
    if isinstance(turns := record.get("messages"), list):
        messages = [_message(turn, "role", "content", where) for turn in turns]
    elif isinstance(turns := record.get("conversations"), list):
        messages = [_message(turn, "from", "value", where) for turn in turns]
    elif isinstance(record.get("instruction"), str) and isinstance(record.get("output"), str):
        if not isinstance(record.get("input") or "", str):
            raise ZooError(f"{where}: 'input' must be text.")
        asked = "\n".join(part for part in (record["instruction"], record.get("input") or "") if part)
        messages = [Message("user", asked), Message("assistant", record["output"])]
    else:
        keys = ", ".join(sorted(map(str, record))) or "none"
        raise ZooError(
            f"{where}: this has none of the keys messages, conversations, or instruction and output; it has: {keys}."
        )
    try:
        "".join([name, *(message.content for message in messages)]).encode()
    except UnicodeEncodeError as error:
        raise ZooError(f"{where}: the text holds a character that is no Unicode text.") from error
    return Conversation(messages=tuple(messages), id=name, language=str(record.get("language", "")))


def _message(turn: Any, role_key: str, text_key: str, where: str) -> Message:
    if not isinstance(turn, dict) or not isinstance(turn.get(text_key), str):
        raise ZooError(f"{where}: every turn needs '{role_key}' and the text '{text_key}'.")
    role = ROLES.get(str(turn.get(role_key)))
    if role is None:
        raise ZooError(f"{where}: the speaker '{turn.get(role_key)}' is unknown. Known: {', '.join(ROLES)}.")
    return Message(role, turn[text_key])  # type: ignore[arg-type]
