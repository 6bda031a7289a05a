"""What `zoo chat` does with its options: open a session, answer once or converse, record."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from zoo_core.errors import NotFound
from zoo_core.interfaces import Sampling
from zoo_core.repl.chat import lasting
from zoo_core.repl.screen import show_notice

if TYPE_CHECKING:
    from zoo_core.recording import Recorder
    from zoo_core.session import Session
    from zoo_core.zoo import Zoo

#: What could be meant as the name of a model: lower case without spaces, or a path; or an address such as `hf:Owner/Name`.
_LIKE_A_NAME = re.compile(r"[a-z0-9./~][a-z0-9._:/@~-]*|[a-z0-9._-]+:[A-Za-z0-9._/@-]+")


def choose(zoo: Zoo, words: list[str], named: str | None) -> tuple[str | None, str | None]:
    """Tell model and prompt apart: `zoo chat MODEL PROMPT`, `zoo chat MODEL`, or `zoo chat PROMPT`.

    Raises `NotFound` for a lone word that looks like a model's name and is none.
    """
    if named is not None:
        return named, " ".join(words) or None
    if len(words) != 1:
        return (words[0], words[1]) if words else (None, None)
    word = words[0]
    if zoo.catalog.knows(word):
        return word, None
    if word == "-" or not _LIKE_A_NAME.fullmatch(word):
        return None, word
    try:
        zoo.catalog.model(word)
    except NotFound as error:
        default = zoo.catalog.default_model()
        problem = str(error).removesuffix(".")
        raise NotFound(f"{problem}; or say it to the default model: zoo chat -m {default} {word}") from None
    return word, None


def answer_once(zoo: Zoo, model: str | None, prompt: str, options: dict[str, Any]) -> None:
    """Print one answer on stdout and nothing else there. Ctrl-C stops it; the exit code is then 130."""
    from zoo_core.repl.screen import show_answer

    session, reference, recorder = _open(zoo, model, options)
    whole = False
    try:
        whole = show_answer(session, session.reply(prompt), options["style"] or "simple")
    finally:
        recorder.record(session, reference)  # also what was said until a pipe was closed
    if not whole:
        sys.exit(130)


def converse(zoo: Zoo, model: str | None, options: dict[str, Any]) -> None:
    """Chat until the user leaves."""
    from zoo_core.repl.chat import Chat
    from zoo_core.repl.loop import run
    from zoo_core.repl.screen import best_style

    session, reference, recorder = _open(zoo, model, options)
    run(
        Chat(
            session,
            reference,
            recorder=recorder,
            style=options["style"] or best_style(),
            reopen=lambda name: _session(zoo, name, {**options, "model_path": None, "template": None, "base": None}),
        ),
        remember=not options["no_log"],
    )


def _open(zoo: Zoo, model: str | None, options: dict[str, Any]) -> tuple[Session, str, Recorder]:
    from zoo_core.recording import Recorder

    recorder = Recorder(enabled=not options["no_log"], warn=lambda text: click.echo(f"Warning: {text}", err=True))
    record = recorder.resume() if options["resume"] else None
    reference = model or (record.reference if record else zoo.catalog.default_model())
    reference = lasting(reference)
    if record is not None and record.weights and not model and not options["model_path"]:
        options = {**options, "model_path": Path(record.weights)}
    session = _session(zoo, reference, options)
    if record is not None:
        turns = list(record.messages)
        if turns and turns[0].role == "system":
            before = turns.pop(0).content
            session.system = before if options["system"] is None else session.system
        from zoo_core.conversation import Message

        session.messages = [*turns, Message("assistant", record.reply)]
    show_notice(session)
    return session, reference, recorder


def _session(zoo: Zoo, reference: str, options: dict[str, Any]) -> Session:
    from zoo_core.cli.loading import loading_of
    from zoo_core.cli.progress import share_shown
    from zoo_core.opening import open_session

    sampling = {name: options[name] for name in Sampling.__struct_fields__}
    loading = loading_of(zoo, options)
    with share_shown() as progress:
        return open_session(
            zoo,
            reference,
            template=options["template"],
            engine=options["engine"],
            device=options["device"],
            dtype=options["dtype"],
            weights=options["model_path"],
            sampling=msgspec.to_builtins(sampling | {"stop": sampling["stop"] or None}),
            system=options["system"],
            overflow=options["overflow"],
            progress=progress,
            **loading,
        )
