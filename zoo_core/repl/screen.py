"""Show a streamed answer, as plain text or as Markdown that rich keeps drawing while it grows; and an explained prompt."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Literal

import click

from zoo_core.text import printable

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from zoo_core.explain import Explanation
    from zoo_core.session import Session

Style = Literal["simple", "rich"]


def best_style() -> Style:
    """Markdown where the terminal can show it and rich is installed."""
    from importlib.util import find_spec

    able = sys.stdout.isatty() and os.environ.get("TERM", "") not in {"", "dumb"}
    return "rich" if able and find_spec("rich") else "simple"


def show_answer(session: Session, answer: Iterator[str], style: Style) -> bool:
    """Print an answer as it comes. Ctrl-C stops the model at once and keeps what was said; False when that happened."""
    whole = True
    try:
        if style == "rich":
            _show_markdown(answer)
        else:
            raw = not sys.stdout.isatty()  # a pipe gets what the model said, a terminal what it can show
            for text in answer:
                click.echo(text if raw else printable(text), nl=False)
            click.echo()
    except KeyboardInterrupt:
        whole = False
        click.echo("\n(stopped)", err=True)
    finally:
        _close(answer)
    show_limits(session)
    return whole


def show_notice(session: Session) -> None:
    """Show what the card wants everybody to know who chats with the model, on stderr."""
    if notice := session.card.safety.notice:
        click.echo(printable(notice), err=True)


def show_limits(session: Session) -> None:
    """Say on stderr what the answer did not have room for."""
    reply = session.last
    if reply is None:
        return
    if reply.dropped:
        click.echo(f"({reply.dropped} of the oldest messages were dropped to fit the context)", err=True)
    if reply.finish == "length":
        limit = session.engine.context_length
        full = limit is not None and reply.prompt_tokens + reply.completion_tokens >= limit
        why = f"the context of {limit} tokens is full" if full else "max_new_tokens is reached"
        after = f" after {reply.completion_tokens} tokens" if reply.completion_tokens else ""  # not every engine tells
        click.echo(f"(the answer is cut{after}: {why})", err=True)


def show_explanation(told: Explanation) -> None:
    """Print an `Explanation` for people."""
    from msgspec.structs import asdict

    click.secho("prompt", bold=True)
    click.echo(printable(told.prompt))
    click.secho("\ntoken ids", bold=True, nl=False)
    click.echo(f" ({len(told.ids)})\n{told.ids}" if told.ids is not None else f"\nnot known: {told.ids_missing}")
    sampling = {key: value for key, value in asdict(told.sampling).items() if value is not None and key != "stop"}
    if told.seed_is_drawn:
        sampling["seed"] = "drawn anew for every answer"
    lines = {
        "model": f"{told.model} (card {told.card_digest[:12]})",
        "template": told.template,
        "context": f"{told.context} tokens" if told.context else "not known",
        "stop": " ".join(map(repr, told.stop)) or "none",
        "sampling": ", ".join(f"{key} {value}" for key, value in sampling.items()),
    }
    click.echo()
    for label, text in lines.items():
        click.echo(f"{click.style(f'{label:<8}', bold=True)}  {printable(text)}")


def _show_markdown(answer: Iterator[str]) -> None:
    from rich.console import Console
    from rich.live import Live
    from rich.markdown import Markdown

    text, console = "", Console()
    try:
        # What has scrolled off cannot be drawn again, so the growing answer is cropped and the whole printed at the end.
        with Live(console=console, refresh_per_second=8, vertical_overflow="crop", transient=True) as live:
            for piece in answer:
                text += printable(piece)
                live.update(Markdown(text))
    finally:
        console.print(Markdown(text))


def _close(answer: Iterator[str] | Generator[str, None, None]) -> None:
    if close := getattr(answer, "close", None):
        close()
