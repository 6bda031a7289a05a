"""The weight source `url`: files below a web address, or below a `file://` one; the card must list them.

They come to a folder of the zoo's own, one for each address. A file is fetched beside its place, verified and then moved
there; what is interrupted is gone on with.
"""

from __future__ import annotations

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
        places = {file.path: _files(source) / file.path for file in files}
        return {
            file.path: places[file.path]
            for file in files
            if places[file.path].is_file() and places[file.path].stat().st_size == file.size
        }

    def store(self, source: Source) -> Path:
        """Where files lie until they are complete and verified."""
        return _folder(source) / "begun"

    def download(self, download: Download) -> Path:
        """Fetch the files, several at a time."""
        self.store(download.source).mkdir(parents=True, exist_ok=True)
        with place_at(download.source.url) as place:
            in_parallel(download.files, lambda file, stop: self._bring(place, download, file, stop))
        return _files(download.source)

    def remove(self, source: Source, files: Sequence[str]) -> int:
        """Remove files, and whatever was begun."""
        here = [_files(source) / path for path in files]
        begun = self.store(source).glob("*")
        freed = 0
        for path in [*here, *begun]:
            if path.is_file():
                freed += path.stat().st_size
                path.unlink()
        if not any(path.is_file() for path in _folder(source).rglob("*")):
            shutil.rmtree(_folder(source), ignore_errors=True)
        return freed

    def _bring(self, place: Place, download: Download, file: RemoteFile, stop: threading.Event) -> None:
        """Bring one file to its place, unless it is there and right."""
        final = _files(download.source) / file.path
        if self.present(download.source, [file]) and _is_right(download, final, file):
            download.progress(file.path, file.size, file.size)
            return
        name = f"{file.path}\n{file.size}\n{file.sha256}"
        begun = self.store(download.source) / hashlib.sha256(name.encode()).hexdigest()[:32]
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
        download.check(path, file)
    except WeightsError:
        return False
    return True


def _folder(source: Source) -> Path:
    """Where everything from one address is kept."""
    name = hashlib.sha256(source.url.rstrip("/").encode()).hexdigest()[:24]
    return data_folder() / "weights" / name


def _files(source: Source) -> Path:
    return _folder(source) / "files"
