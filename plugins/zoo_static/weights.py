"""The weight source `url`: files below a web address, or below a `file://` one; the card must list them.

They come to a folder of the zoo's own, one for each list of files from an address: what was pulled is never changed by a
pull of other files that have the same names. A file is fetched beside its place, verified and then moved there; what is
interrupted is gone on with.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import threading
from collections.abc import Sequence
from pathlib import Path

from zoo_core import Download, RemoteFile, Repository, Source, WeightsError, data_folder, in_parallel
from zoo_static.transfers import Place, place_at


class UrlWeights:
    """Weights on any web server or disk."""

    def inspect(self, source: Source) -> Repository:
        """Not possible: what lies below an address cannot be listed."""
        raise WeightsError(
            f"What lies below {source.url} cannot be listed, so the card must list its files; zoo card lock writes them "
            "from a folder that has them."
        )

    def read(self, source: Source, path: str, *, start: int = 0, size: int = 10_000_000) -> bytes:
        """A part of a file."""
        with place_at(source.url) as place:
            return place.read(path, start, size)

    def present(self, source: Source, files: Sequence[RemoteFile]) -> dict[str, Path]:
        """The files that were fetched before and have their size."""
        places = {file.path: _files(source, files) / file.path for file in files}
        return {
            file.path: places[file.path]
            for file in files
            if places[file.path].is_file() and places[file.path].stat().st_size == file.size
        }

    def store(self, source: Source) -> Path:
        """Where files lie until they are complete and verified."""
        return _folder(source) / "begun"

    def begun(self, source: Source, file: RemoteFile) -> Path:
        """Where a file lies until then; two that differ, or only their names, never share a place."""
        return self.store(source) / _digest(_line(file))[:32]

    def download(self, download: Download) -> Path:
        """Fetch the files, several at a time."""
        self.store(download.source).mkdir(parents=True, exist_ok=True)
        with place_at(download.source.url) as place:
            in_parallel(download.files, lambda file, stop: self._bring(place, download, file, stop))
        return _files(download.source, download.files)

    def remove(self, source: Source, files: Sequence[RemoteFile]) -> int:
        """Remove all files of a list, and whatever was begun."""
        folder = _files(source, files)
        here = [folder / file.path for file in files]
        begun = self.store(source).glob("*")
        freed = 0
        for path in [*here, *begun]:
            if path.is_file():
                freed += path.stat().st_size if path.stat().st_nlink == 1 else 0
                path.unlink()
        for place in (folder, _folder(source)):
            if not any(path.is_file() for path in place.rglob("*")):
                shutil.rmtree(place, ignore_errors=True)
        return freed

    def _bring(self, place: Place, download: Download, file: RemoteFile, stop: threading.Event) -> None:
        """Bring one file to its place, unless it is there and right."""
        final = _files(download.source, download.files) / file.path
        if _is_right(download, final, file) or _is_linked(download, final, file):
            download.progress(file.path, file.size, file.size)
            return
        begun = self.begun(download.source, file)
        earlier = begun.exists()
        place.fetch(file, begun, lambda done: download.progress(file.path, done, file.size), stop)
        if earlier and not _is_right(download, begun, file):  # the file may have been another one when it was begun
            begun.unlink()
            place.fetch(file, begun, lambda done: download.progress(file.path, done, file.size), stop)
            earlier = False
        if not earlier:
            try:
                download.check(begun, file)
            except WeightsError:
                begun.unlink()
                raise
        with begun.open("rb") as written:
            os.fsync(written.fileno())
        final.parent.mkdir(parents=True, exist_ok=True)
        begun.replace(final)


def _is_right(download: Download, path: Path, file: RemoteFile) -> bool:
    try:
        if not path.is_file():
            return False
        download.check(path, file)
    except WeightsError:
        return False
    return True


def _is_linked(download: Download, final: Path, file: RemoteFile) -> bool:
    """Whether another list from the same address had the file, which then has a second name and is not fetched again."""
    for other in sorted(_folder(download.source).glob("files-*")):
        if other / file.path != final and _is_right(download, other / file.path, file):
            with contextlib.suppress(OSError):  # a disk without links
                final.parent.mkdir(parents=True, exist_ok=True)
                final.unlink(missing_ok=True)
                final.hardlink_to(other / file.path)
                return True
    return False


def _folder(source: Source) -> Path:
    """Where everything from one address is kept."""
    return data_folder() / "weights" / _digest(source.url.rstrip("/"))[:24]


def _files(source: Source, files: Sequence[RemoteFile]) -> Path:
    """Where the files of one list are kept."""
    return _folder(source) / f"files-{_digest(*sorted(map(_line, files)))[:24]}"


def _line(file: RemoteFile) -> str:
    return f"{file.path}\n{file.size}\n{file.sha256}"


def _digest(*lines: str) -> str:
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
