"""Read what the user types, with history, completion and messages of several lines, until they leave."""

from __future__ import annotations

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


def run(chat: Chat) -> None:
    """Chat until /exit or Ctrl-D. Raises `MissingDependency` without prompt_toolkit."""
    try:
        reader = _reader()
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


def _reader() -> PromptSession[str]:
    from prompt_toolkit import PromptSession
    from prompt_toolkit.completion import WordCompleter
    from prompt_toolkit.history import FileHistory, History, InMemoryHistory

    history: History = InMemoryHistory()
    try:
        data_folder().mkdir(parents=True, exist_ok=True)
        place = data_folder() / "typed"
        place.touch()
        history = FileHistory(str(place))
    except OSError:
        pass  # What was typed is then forgotten at the end; that the history is not kept, the recorder has said.
    completer = WordCompleter(list(SLASH_COMMANDS), sentence=True)
    return PromptSession(history=history, completer=completer, complete_while_typing=False)
