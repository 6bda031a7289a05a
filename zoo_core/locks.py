"""Locks between runs of the zoo. The system itself gives one back when the run that holds it is killed."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from zoo_core.errors import MissingDependency, ZooError
from zoo_core.offers import install_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@contextlib.contextmanager
def locked(path: Path, waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Hold the lock file `path`. Where another run holds it, `waiting` is called once, which may raise, before waiting."""
    try:
        from filelock import FileLock, Timeout
    except ImportError as error:
        message = f"Locks need the package 'filelock'. Install it with: pip install {install_name('hub')}"
        raise MissingDependency(message) from error
    lock = FileLock(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(blocking=False)
        except Timeout:
            waiting()
            lock.acquire(poll_interval=0.2)
    except OSError as error:
        raise ZooError(f"The lock {path} cannot be taken: {error.strerror or error}.") from error
    try:
        yield
    finally:
        lock.release()
