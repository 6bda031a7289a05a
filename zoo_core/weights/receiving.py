"""Look at files as they arrive from a hub: each must be the one that the card, or where it lists none the hub, names.

A digest is computed once, before the file becomes visible, and remembered for the place where it then lies.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Protocol

from zoo_core.cards.parts import File
from zoo_core.errors import WeightsError
from zoo_core.files import sha256_of
from zoo_core.sources import RemoteFile
from zoo_core.weights.store import Verified

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

#: The longest path of a file, which is what a card allows.
_MAX_PATH = 255


class Watcher(Protocol):
    """Whoever watches files come and be verified. Called from several threads."""

    def say(self, text: str) -> None:
        """A sentence for the user."""
        ...

    def begin(self, files: Sequence[RemoteFile | File]) -> None:
        """These files are going to come, or to be verified."""
        ...

    def moved(self, path: str, done: int, total: int) -> None:
        """So many bytes of a file are here."""
        ...

    def verified(self, path: str, done: int, total: int) -> None:
        """So many bytes of a file have been read to compute its digest."""
        ...

    def finished(self, path: str, size: int) -> None:
        """A file is here, and is the right one."""
        ...


class Receiver:
    """Verifies the files of one model from one source. May be called from several threads."""

    def __init__(self, model: str, where: str, watcher: Watcher) -> None:
        """`model` and `where` name the card and the source in error messages."""
        self._model = model
        self._where = where
        self._watcher = watcher
        self._known = Verified()
        self._seen: dict[str, tuple[tuple[int, ...], str]] = {}

    def check(self, path: Path, file: RemoteFile) -> None:
        """Raise `WeightsError` unless what lies at `path` is `file`. What `Download.check` calls."""
        size = path.stat().st_size
        if size != file.size:
            raise WeightsError(self._problem(file, f"has {size:,} bytes, not {file.size:,}"))
        digest = self._known.get(path)
        if digest is None or (file.sha256 and digest != file.sha256):
            digest = sha256_of(path, lambda done: self._watcher.verified(file.path, done, file.size))
        if file.sha256 and digest != file.sha256:
            raise WeightsError(self._problem(file, f"has the sha256 {digest[:12]}…, not {file.sha256[:12]}…"))
        if file.git_id and not file.sha256 and _git_id(path) != file.git_id:
            raise WeightsError(self._problem(file, f"has not git's id {file.git_id[:12]}… that the hub tells"))
        self._seen[file.path] = _identity(path), digest
        self._watcher.finished(file.path, file.size)

    def received(self, folder: Path, files: Iterable[RemoteFile]) -> list[File]:
        """The files in their final folder, with digests, which are remembered. One that was not checked yet is now."""
        found: list[File] = []
        for file in files:
            path = folder / file.path
            try:
                if self._seen.get(file.path, ((), ""))[0] != _identity(path):
                    self.check(path, file)
            except FileNotFoundError:
                raise WeightsError(self._problem(file, "was not delivered")) from None
            digest = self._seen[file.path][1]
            self._known.add(path, digest)
            found.append(File(path=file.path, size=file.size, sha256=digest))
        self._known.save()
        return found

    def _problem(self, file: RemoteFile, what: str) -> str:
        return (
            f"The file {file.path} of '{self._model}' from {self._where} {what}: it is damaged or another one, and "
            "is not used."
        )


def require_safe(model: str, files: Sequence[RemoteFile]) -> None:
    """Raise `WeightsError` for files that no folder may hold: their paths come from cards and hubs, which may lie."""
    for file in files:
        path = PurePosixPath(file.path)
        plain = file.path == str(path) and file.path.isprintable() and "\\" not in file.path
        if not plain or path.is_absolute() or ".." in path.parts or not path.parts or len(file.path) > _MAX_PATH:
            raise WeightsError(f"'{model}' has a file called '{file.path[:80]}', which no folder may hold.")
        if file.size < 0:
            raise WeightsError(f"The file {file.path} of '{model}' is said to have {file.size} bytes.")
    folders = {str(folder) for file in files for folder in PurePosixPath(file.path).parents}
    seen: set[str] = set()
    for file in files:
        if file.path in folders or file.path in seen:
            what = "which is the folder of another" if file.path in folders else "twice"
            raise WeightsError(f"'{model}' has a file called '{file.path[:80]}' {what}, so no folder may hold them.")
        seen.add(file.path)


def remote_files(files: Sequence[File]) -> list[RemoteFile]:
    """The files that a card or a record names, as a hub has them."""
    return [RemoteFile(path=file.path, size=file.size, sha256=file.sha256) for file in files]


def _identity(path: Path) -> tuple[int, ...]:
    """What stays the same when a file is given another name on the same disk."""
    status = path.stat()
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _git_id(path: Path) -> str:
    """The SHA-1 by which git calls a file's content; hubs tell it of small files."""
    with path.open("rb") as file:
        whole = hashlib.sha1(b"blob %d\0" % os.fstat(file.fileno()).st_size, usedforsecurity=False)
        while piece := file.read(1 << 20):
            whole.update(piece)
    return whole.hexdigest()
