"""Read what the user types, with history, completion and messages of several lines, until they leave."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import click

from zoo_core.errors import MissingDependency
from zoo_core.offers import install_name
from zoo_core.paths import data_folder
from zoo_core.repl.chat import SLASH_COMMANDS
from zoo_core.text import printable

if TYPE_CHECKING:
    from prompt_toolkit import PromptSession

    from zoo_core.repl.chat import Chat

QUOTES = '"""'


def run(chat: Chat, *, remember: bool) -> None:
    """Chat until /exit or Ctrl-D; `remember` keeps what was typed for the next time.

    Raises `MissingDependency` without prompt_toolkit.
    """
    try:
        reader = _reader(remember)
    except ModuleNotFoundError as error:
        message = f"The interactive chat needs the package '{error.name}'. Install it with: pip install {install_name('chat')}"
        raise MissingDependency(message) from error
    click.echo(
        f"{chat.session.card.id}: {printable(chat.session.card.summary)}\n/help shows the commands, Ctrl-D leaves."
    )
    while chat.open:
        try:
            chat.say(_read(reader))
        except KeyboardInterrupt:
            click.echo("(Ctrl-D or /exit leaves)")
        except EOFError:
            break


def _read(reader: PromptSession[str]) -> str:
    """One line, or everything between two lines of three quotes."""
    line = _typed(reader, "> ")
    if not line.startswith(QUOTES):
        return line
    lines = [line.removeprefix(QUOTES)]
    while not lines[-1].rstrip().endswith(QUOTES):
        lines.append(_typed(reader, ". "))
    return "\n".join(lines).rstrip().removesuffix(QUOTES).strip("\n")


def _typed(reader: PromptSession[str], prompt: str) -> str:
    """One line; what is no UTF-8 reaches Python as lone surrogates, which no tokenizer takes."""
    line: str = reader.prompt(prompt)
    return line.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _reader(remember: bool) -> PromptSession[str]:
    from prompt_toolkit import PromptSession
    from prompt_toolkit.completion import WordCompleter
    from prompt_toolkit.history import FileHistory, History, InMemoryHistory

    history: History = InMemoryHistory()
    if remember:
        # Where it cannot be written it is forgotten at the end; that nothing is recorded, the recorder has said.
        with contextlib.suppress(OSError):
            data_folder().mkdir(mode=0o700, parents=True, exist_ok=True)
            place = data_folder() / "typed"
            place.touch(mode=0o600)
            history = FileHistory(str(place))
    completer = WordCompleter(list(SLASH_COMMANDS), sentence=True)
    return PromptSession(history=history, completer=completer, complete_while_typing=False)
