"""A target folder that appears only when it is complete: until then its work lies in `TARGET.partial` beside it.

An interrupted run leaves what it has finished there, and the next one with the same inputs goes on. Two runs never work on
the same target at once. Knows nothing of weights.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from zoo_core import UsageProblem, ZooError
from zoo_weights.writing import JOURNAL, WrongResult, has_finished


def require_free(target: Path) -> None:
    """Raise `UsageProblem` where something is at a target already, or where no folder can get its name."""
    if target.name in ("", ".."):
        raise UsageProblem(f"'{target}' is no name of a folder to make; write one, such as ./new.")
    try:
        taken = target.is_symlink() or (target.exists() and (not target.is_dir() or any(target.iterdir())))
    except OSError as error:
        raise ZooError(f"The folder {target} cannot be looked at: {error.strerror or error}.") from error
    if taken:
        raise UsageProblem(f"{target} exists already and is not empty; choose another folder.")


@contextlib.contextmanager
def making(target: Path, journal: str = JOURNAL, finished: Callable[[Path], bool] = has_finished) -> Iterator[Path]:
    """A folder to work in, which gets the name `target` when the block ends well.

    After a failure only work is kept of which `finished` says that it need not be done again. `journal` is the file by which
    a folder is known as that of such work. Raises `UsageProblem` where the target is taken or being made by another run.
    """
    require_free(target)
    folder = target.with_name(f"{target.name}.partial")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _held(folder):
            if any(folder.iterdir()) and not (folder / journal).is_file():
                raise UsageProblem(
                    f"{folder} holds something else than unfinished work of this kind; choose another folder."
                )
            with keeping(folder, finished):
                yield folder
            require_free(target)
            folder.replace(target)
    except OSError as error:
        raise ZooError(f"The folder {target} cannot be made: {error.strerror or error}.") from error


@contextlib.contextmanager
def keeping(folder: Path, finished: Callable[[Path], bool] = has_finished) -> Iterator[None]:
    """Remove a folder when the block fails, unless an interrupted run can go on from what is in it."""
    try:
        yield
    except BaseException as error:
        if isinstance(error, WrongResult) or not (finished(folder) or isinstance(error, UsageProblem)):
            shutil.rmtree(folder, ignore_errors=True)
        raise


@contextlib.contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder; the system gives it back when the run is killed."""
    file = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise UsageProblem(f"Another run is working in {folder}; wait for it, or choose another folder.") from None
    finally:
        os.close(file)
