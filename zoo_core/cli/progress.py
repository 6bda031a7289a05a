"""Show how files come and are verified: bars on a terminal, a line for each finished file elsewhere. All on stderr."""

from __future__ import annotations

import contextlib
import sys
import threading
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import click

from zoo_core.text import bytes_text, printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from zoo_core.cards.parts import File
    from zoo_core.sources import RemoteFile
    from zoo_core.weights.receiving import Watcher


@contextlib.contextmanager
def watching() -> Iterator[Watcher]:
    """A watcher for what happens in the block."""
    if not (sys.stderr.isatty() and find_spec("rich")):
        yield Lines()
        return
    bars = Bars()
    try:
        yield bars
    finally:
        bars.end()


@contextlib.contextmanager
def share_shown() -> Iterator[Callable[[float, str], None]]:
    """A function that draws how much of a piece of work is done: on stderr, where that is a terminal."""
    drawn = ""

    def show(share: float, line: str) -> None:
        nonlocal drawn
        text = f"{share:4.0%}  {printable(line)[:70]}"
        if text != drawn and sys.stderr.isatty():
            drawn = text
            click.echo(f"\r\x1b[K{text}", err=True, nl=False)

    try:
        yield show
    finally:
        if drawn:
            click.echo("\r\x1b[K", err=True, nl=False)


class Lines:
    """A line for each finished file."""

    def say(self, text: str) -> None:
        """A sentence for the user."""
        click.echo(printable(text), err=True)

    def begin(self, files: Sequence[RemoteFile | File]) -> None:
        """Nothing to be shown yet."""

    def moved(self, path: str, done: int, total: int) -> None:
        """Too often for lines."""

    def verified(self, path: str, done: int, total: int) -> None:
        """Too often for lines."""

    def finished(self, path: str, size: int) -> None:
        """The line of a file."""
        self.say(f"{path}  {bytes_text(size)}")


class Bars(Lines):
    """A bar for each file that is under way, and one for all."""

    def __init__(self) -> None:
        """Nothing is drawn before `begin`."""
        self._progress: Any = None
        self._done: dict[str, int] = {}
        self._tasks: dict[str, Any] = {}
        self._lock = threading.Lock()

    def begin(self, files: Sequence[RemoteFile | File]) -> None:
        """Draw the bar of all files."""
        self.end()
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )

        words = TextColumn("{task.description}", markup=False)
        columns = (words, BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
        console = Console(stderr=True)
        self._progress = Progress(*columns, console=console, redirect_stdout=False, redirect_stderr=False)
        self._tasks = {"": self._progress.add_task("all files", total=sum(file.size for file in files))}
        self._done = {}
        self._progress.start()

    def end(self) -> None:
        """Leave the lines, take away the bars."""
        if self._progress is not None:
            for task in self._tasks.values():
                self._progress.remove_task(task)
            self._progress.stop()
            self._progress = None

    def say(self, text: str) -> None:
        """A sentence above the bars."""
        if self._progress is None:
            super().say(text)
        else:
            self._progress.console.print(printable(text), markup=False, highlight=False)

    def moved(self, path: str, done: int, total: int) -> None:
        """Draw how much of a file is here."""
        self._draw(path, path, done, total)

    def verified(self, path: str, done: int, total: int) -> None:
        """Draw how much of a file has been verified."""
        self._draw(path, f"{path} (verifying)", done, total)

    def finished(self, path: str, size: int) -> None:
        """Replace the bar of a file by its line."""
        self._draw(path, path, size, size)
        with self._lock:
            self._progress.remove_task(self._tasks.pop(path))
        super().finished(path, size)

    def _draw(self, path: str, words: str, done: int, total: int) -> None:
        with self._lock:
            if path not in self._tasks:
                self._tasks[path] = self._progress.add_task("", total=total)
            self._progress.update(self._tasks[path], description=printable(words), completed=done)
            self._done[path] = max(done, self._done.get(path, 0))
            self._progress.update(self._tasks[""], completed=sum(self._done.values()))
