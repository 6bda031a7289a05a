"""Files that are complete or absent: written beside their place, flushed to the disk, then renamed into it."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


def write_whole(path: Path, content: bytes, *, durable: bool = True, mode: int | None = None) -> None:
    """Write `content` to `path` so that a reader sees the old file or the new one, never a part.

    `durable=False` leaves out the fsync, for caches that can be made again. `mode` are the permission bits of the file;
    without it, the user's mask decides.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f".{path.name}.{secrets.token_hex(4)}"
    try:
        with temporary.open("xb") as file:  # with the permissions of the user's mask, whatever other threads do
            if mode is not None:
                temporary.chmod(mode)  # before the content is there for others to read
            file.write(content)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def sha256_of(path: Path, progress: Callable[[int], None] | None = None) -> str:
    """The SHA-256 of a file as 64 hexadecimal digits, read in pieces so that memory stays constant.

    `progress` is told the bytes that have been read.
    """
    with path.open("rb", buffering=0) as file:
        return hashlib.file_digest(_Watched(file, progress) if progress else file, "sha256").hexdigest()


class _Watched:
    """A file that tells how much of it has been read. (What `hashlib.file_digest` asks of a file, and no more.)"""

    def __init__(self, file: Any, progress: Callable[[int], None]) -> None:
        self._file = file
        self._progress = progress
        self._done = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray) -> int:
        count: int = self._file.readinto(buffer)
        self._done += count
        self._progress(self._done)
        return count
