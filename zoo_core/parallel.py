"""Do several things at once, such as fetching files, and stop all of them when one fails or the user has had enough."""

from __future__ import annotations

import queue
import threading
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

T = TypeVar("T")

#: Things that are done at the same time.
AT_ONCE = 4


class Stopped(Exception):
    """Raised by work that sees its event set: another part has failed, or the user has had enough; what came is kept."""


def in_parallel(items: Iterable[T], work: Callable[[T, threading.Event], None], at_once: int = AT_ONCE) -> None:
    """Call `work` with every item, from `at_once` threads, and with an event that is set when it should stop.

    The first failure stops the others and is raised. Ctrl-C sets the event and does not wait for answers.
    """
    waiting: queue.SimpleQueue[T] = queue.SimpleQueue()
    for item in items:
        waiting.put(item)
    stop = threading.Event()
    problems: list[Exception] = []

    def run() -> None:
        while not stop.is_set():
            try:
                work(waiting.get_nowait(), stop)
            except (queue.Empty, Stopped):
                return
            except Exception as error:
                problems.append(error)
                stop.set()

    threads = [threading.Thread(target=run, daemon=True) for _ in range(min(at_once, waiting.qsize()))]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            while thread.is_alive():
                thread.join(0.2)
    finally:
        stop.set()
    if problems:
        raise problems[0]
