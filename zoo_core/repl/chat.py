"""The state of an interactive chat, and what its slash commands do to it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Literal

import click
import msgspec

from zoo_core.conversation import Message
from zoo_core.errors import UsageProblem, ZooError
from zoo_core.interfaces import Sampling
from zoo_core.names import is_path
from zoo_core.paths import expanded
from zoo_core.repl.screen import Style, show_answer, show_explanation, show_notice
from zoo_core.text import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from zoo_core.recording import Recorder
    from zoo_core.session import Session


class Saved(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A conversation as `/save` writes it."""

    schema: Literal["zoo.conversation/v1"] = "zoo.conversation/v1"
    model: str
    system: str | None = None
    messages: list[Message] = []


class Chat:
    """One interactive chat: a session, its recorder, and how answers are shown."""

    def __init__(
        self,
        session: Session,
        reference: str,
        *,
        recorder: Recorder,
        style: Style,
        reopen: Callable[[str], Session],
    ) -> None:
        """`reopen` opens a session with another model and the options that the user gave at the start."""
        self.session = session
        self.reference = reference
        self.recorder = recorder
        self.style = style
        self._reopen = reopen
        self.open = True

    def say(self, text: str) -> None:
        """Take one input: a slash command, or something to say to the model. Errors are shown and end nothing."""
        try:
            if text.startswith("/"):
                self._command(text)
            elif text.strip():
                self._answer(self.session.reply(text))
        except ZooError as error:
            click.echo(f"Error: {printable(str(error))}", err=True)

    def _answer(self, answer: Iterator[str]) -> None:
        show_answer(self.session, answer, self.style)
        self.recorder.record(self.session, self.reference)

    def _command(self, line: str) -> None:
        word, _, rest = line.partition(" ")
        entry = SLASH_COMMANDS.get(word)
        if entry is None:
            from zoo_core.names import did_you_mean

            raise UsageProblem(f"There is no command {word}.{did_you_mean(word, SLASH_COMMANDS)} See /help")
        entry[0](self, rest.strip())

    def help(self, rest: str) -> None:
        """Show this list."""
        for word, (_, usage, summary) in SLASH_COMMANDS.items():
            click.echo(f"  {word + usage:<22}  {summary}")
        click.echo('  """                     begin and end a message of several lines')
        click.echo("  Ctrl-C  stop the answer     Ctrl-D  leave")

    def reset(self, rest: str) -> None:
        """Forget the conversation and begin anew."""
        self.session.messages.clear()
        self.recorder.start_anew()
        click.echo("(a new conversation)")

    def regen(self, rest: str) -> None:
        """Ask for another answer to the last message."""
        self._answer(self.session.again())

    def undo(self, rest: str) -> None:
        """Take back the last message and its answer."""
        click.echo("(taken back)" if self.session.undo() else "(there is nothing to take back)")

    def system(self, rest: str) -> None:
        """Show or set the system prompt; - brings back the template's own."""
        if rest:
            self.session.system = None if rest == "-" else rest
        prompt = self.session.template.system if self.session.system is None else self.session.system
        click.echo(printable(prompt) or "(no system prompt)")

    def set(self, rest: str) -> None:
        """Set a sampling option, such as: /set temperature 0.2; - brings back the card's own."""
        name, _, value = rest.partition(" ")
        if not value:
            raise UsageProblem("Write /set NAME VALUE, for example: /set temperature 0.2")
        if name not in Sampling.__struct_fields__:
            raise UsageProblem(f"There is no option '{name}'. Known: {', '.join(Sampling.__struct_fields__)}.")
        wanted: Any = None if value.strip() == "-" else value.strip()
        self.session.set({name: (wanted,) if name == "stop" and wanted else wanted})
        self.params("")

    def params(self, rest: str) -> None:
        """Show the sampling options."""
        for name, value in msgspec.structs.asdict(self.session.sampling).items():
            if name == "seed" and self.session.seed is None:
                value = "drawn anew for every answer"
            click.echo(f"  {name:<20}{value}")

    def save(self, rest: str) -> None:
        """Write the conversation to a JSON file."""
        from zoo_core.files import write_whole

        if not rest:
            raise UsageProblem("Write /save FILE")
        path = expanded(rest)
        saved = Saved(model=self.reference, system=self.session.system, messages=self.session.messages)
        try:
            write_whole(path, msgspec.json.format(msgspec.json.encode(saved), indent=2))
        except OSError as error:
            raise ZooError(f"The conversation was not saved to {path}: {error.strerror}.") from error
        click.echo(f"(saved to {path})")

    def load(self, rest: str) -> None:
        """Go on with a conversation from a file written by /save."""
        if not rest:
            raise UsageProblem("Write /load FILE")
        path = expanded(rest)
        try:
            saved = msgspec.json.decode(path.read_bytes(), type=Saved)
        except OSError as error:
            raise ZooError(f"The file {path} cannot be read: {error.strerror}.") from error
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ZooError(f"The file {path} holds no conversation: {error}.") from error
        roles = [message.role for message in saved.messages]
        if roles != ["user", "assistant"] * (len(roles) // 2):
            raise ZooError(f"The file {path} holds no conversation: user and assistant do not take turns.")
        self.session.messages = list(saved.messages)
        self.session.system = saved.system
        self.recorder.start_anew()
        if saved.model != self.reference:
            click.echo(f"(it was held with {saved.model}; /model {saved.model} goes on with that)")
        click.echo(f"({len(saved.messages)} messages; the last answer: {json.dumps(_last(saved), ensure_ascii=False)})")

    def model(self, rest: str) -> None:
        """Show the model, or go on with another one: /model NAME."""
        if rest:
            session = self._reopen(rest)
            session.set(self.session.chosen)
            session.messages, session.system = self.session.messages, self.session.system
            self.session.engine.close()
            self.session, self.reference = session, lasting(rest)
            show_notice(session)
        click.echo(f"{self.session.card.id}: {printable(self.session.card.summary)}")

    def explain(self, rest: str) -> None:
        """Show the exact prompt for a next message."""
        from zoo_core.explain import explain_session

        show_explanation(explain_session(self.session, [*self.session.messages, Message("user", rest or "Hello!")]))

    def exit(self, rest: str) -> None:
        """Leave."""
        self.open = False


#: Each command: what it does, how its arguments are written, and one line about it.
SLASH_COMMANDS: dict[str, tuple[Callable[[Chat, str], None], str, str]] = {
    f"/{function.__name__}": (function, usage, (function.__doc__ or "").strip())
    for function, usage in (
        (Chat.help, ""),
        (Chat.reset, ""),
        (Chat.regen, ""),
        (Chat.undo, ""),
        (Chat.system, " [TEXT]"),
        (Chat.set, " NAME VALUE"),
        (Chat.params, ""),
        (Chat.save, " FILE"),
        (Chat.load, " FILE"),
        (Chat.model, " [NAME]"),
        (Chat.explain, " [TEXT]"),
        (Chat.exit, ""),
    )
}


def lasting(reference: str) -> str:
    """A reference that is good in any folder: paths are made absolute."""
    return str(expanded(reference).resolve()) if is_path(reference) else reference


def _last(saved: Saved) -> str:
    return saved.messages[-1].content if saved.messages else ""
