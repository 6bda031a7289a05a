"""Look at a checkpoint where it is: in a folder on this machine, or on a hub without downloading its weights.

Both views tell the files, read parts of them, and give each file's SHA-256. Knows nothing of cards.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import msgspec

from zoo_core.cards.parts import File
from zoo_core.errors import WeightsError
from zoo_core.files import sha256_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from zoo_core.cards.parts import Source
    from zoo_core.sources import RemoteFile, Repository, WeightSource

#: Files for which a hub tells no SHA-256 are read whole to compute it, as long as they are not larger.
MAX_READ = 100_000_000


class View(Protocol):
    """A checkpoint somewhere. `name` says where, for sentences; `repository` is what a hub says, None for a folder."""

    name: str
    files: Sequence[RemoteFile]
    repository: Repository | None

    def read(self, path: str, start: int, size: int) -> bytes:
        """At most `size` bytes of a file from `start` on."""
        ...

    def locked(self, file: RemoteFile) -> File:
        """A file with its SHA-256."""
        ...


class FolderView:
    """A checkpoint in a folder. `progress` is called with the path of each file before its digest is computed."""

    def __init__(self, folder: Path, progress: Callable[[str], None] = lambda path: None) -> None:
        """List the files below a folder; hidden ones and those that a card could not name are passed over."""
        from zoo_core.sources import RemoteFile

        if not is_folder(folder):
            raise WeightsError(f"There is no folder {folder}.")
        self.name = str(folder)
        self.repository: Repository | None = None
        self.files: Sequence[RemoteFile] = [
            RemoteFile(path=path.relative_to(folder).as_posix(), size=path.stat().st_size) for path in _files(folder)
        ]
        self._folder = folder
        self._progress = progress

    def read(self, path: str, start: int, size: int) -> bytes:
        """At most `size` bytes of a file from `start` on. Raises `WeightsError`."""
        try:
            with (self._folder / path).open("rb") as file:
                file.seek(start)
                return file.read(size)
        except OSError as error:
            raise WeightsError(f"The file {self._folder / path} cannot be read: {error.strerror}.") from error

    def locked(self, file: RemoteFile) -> File:
        """A file with its SHA-256, computed from all of it. Raises `WeightsError`."""
        self._progress(file.path)
        try:
            digest = sha256_of(self._folder / file.path)
        except OSError as error:
            raise WeightsError(f"The file {self._folder / file.path} cannot be read: {error.strerror}.") from error
        return File(path=file.path, size=file.size, sha256=digest)


class HubView:
    """A checkpoint on a hub, at one commit."""

    def __init__(self, source: Source, hub: WeightSource) -> None:
        """Ask the hub what it has. Raises `Unreachable` where it does not answer, else what the hub's plugin raises."""
        found = hub.inspect(source)
        self.repository: Repository | None = found
        self.files: Sequence[RemoteFile] = found.files
        self.name = f"{source.repo or source.url} ({source.hub})"
        # All later reading is of the commit that was listed, whatever happens on the hub meanwhile.
        self._source = msgspec.structs.replace(source, revision=found.revision or source.revision)
        self._hub = hub

    def read(self, path: str, start: int, size: int) -> bytes:
        """At most `size` bytes of a file from `start` on."""
        return self._hub.read(self._source, path, start=start, size=size)

    def locked(self, file: RemoteFile) -> File:
        """A file with the SHA-256 that the hub tells; a small file for which it tells none is read."""
        if file.sha256 is not None:
            return File(path=file.path, size=file.size, sha256=file.sha256)
        if file.size > MAX_READ:
            raise WeightsError(
                f"{self.name} tells no sha256 of {file.path}, which is too large to be read; "
                "download it and name its folder with --weights."
            )
        content = self.read(file.path, 0, file.size)
        if len(content) != file.size:
            raise WeightsError(
                f"{self.name} gave {len(content):,} bytes of {file.path}, but says that it has {file.size:,}."
            )
        if file.git_id and hashlib.sha1(b"blob %d\0" % file.size + content).hexdigest() != file.git_id:
            raise WeightsError(f"{self.name} gave another {file.path} than its commit names; try again later.")
        return File(path=file.path, size=file.size, sha256=hashlib.sha256(content).hexdigest())


def is_folder(path: Path) -> bool:
    """Whether there is a folder at a path; not where that cannot be told, such as behind a name that is too long."""
    try:
        return path.is_dir()
    except OSError:
        return False


def _files(folder: Path) -> list[Path]:
    """The regular files below a folder. Links to folders are not followed: they may lead round or far away."""
    found: list[Path] = []
    for here, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            path = Path(here, name)
            with contextlib.suppress(OSError):
                if not name.startswith(".") and name.isprintable() and path.is_file():
                    found.append(path)
    return sorted(found)
