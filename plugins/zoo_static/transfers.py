"""Move files from a web server or a folder to this machine: bounded, resumable, interruptible. Verifies nothing.

The web is asked without any credentials. Redirections are followed a few times, never from https to http. What comes is a
file of the size that was expected or an error.
"""

from __future__ import annotations

import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Protocol
from urllib.parse import quote, urlsplit
from urllib.request import url2pathname

import httpx2

from zoo_core import RemoteFile, Stopped, Unreachable, WeightsError, __version__

#: Redirections in a row that are followed.
MAX_REDIRECTS = 5
#: How often in a row a transfer may break off without a single new byte.
MAX_FAILURES = 3
_TIMEOUT = httpx2.Timeout(30, connect=10)
_PIECE = 1 << 20

#: Told how many bytes of a file are here.
Progress = Callable[[int], None]


class Place(Protocol):
    """Where files come from. Messages name the place."""

    def fetch(self, file: RemoteFile, target: Path, progress: Progress, stop: threading.Event) -> None:
        """Fetch a file, going on with what is at `target` already; it has the right size in the end."""
        ...

    def read(self, path: str, start: int, size: int) -> bytes:
        """At most `size` bytes of a file from `start` on."""
        ...


@contextmanager
def place_at(url: str) -> Iterator[Place]:
    """The place that an address names. Raises `WeightsError` for one that is none."""
    try:
        parts = urlsplit(url)
        local = parts.hostname in {None, "localhost"}
        plain = not (parts.query or parts.fragment or parts.username is not None) and url.isprintable()
    except ValueError:
        raise WeightsError(f"'{url}' is no address of weights.") from None
    if plain and local and parts.scheme == "file" and parts.path.startswith("/"):
        yield _Folder(Path(url2pathname(parts.path)))
    elif plain and parts.hostname and parts.scheme in {"http", "https"}:
        headers = {"Accept-Encoding": "identity", "User-Agent": f"llm-zoo/{__version__}"}
        with httpx2.Client(timeout=_TIMEOUT, headers=headers) as client:
            yield _Web(url.rstrip("/"), client)
    else:
        raise WeightsError(f"'{url}' is no address of weights; write https://HOST/PATH/ or file:///PATH/.")


class _Folder:
    """A folder, which may be on a disk that is not always there."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def fetch(self, file: RemoteFile, target: Path, progress: Progress, stop: threading.Event) -> None:
        path = self._path(file.path)
        if path.stat().st_size != file.size:
            raise WeightsError(f"{path} has {path.stat().st_size:,} bytes, not {file.size:,}.")
        with path.open("rb") as source, target.open("wb") as copy:
            while piece := source.read(_PIECE):
                copy.write(piece)
                progress(copy.tell())
                if stop.is_set():
                    raise Stopped

    def read(self, path: str, start: int, size: int) -> bytes:
        with self._path(path).open("rb") as file:
            file.seek(start)
            return file.read(size)

    def _path(self, name: str) -> Path:
        if not self._folder.is_dir():
            raise Unreachable(f"There is no folder {self._folder}.")
        path = self._folder / _inside(name)
        try:
            if not stat.S_ISREG(path.stat().st_mode):
                raise FileNotFoundError
        except (FileNotFoundError, NotADirectoryError):
            raise WeightsError(f"There is no file {path}.") from None
        return path


class _Web:
    """Files below an address of a web server."""

    def __init__(self, base: str, client: httpx2.Client) -> None:
        self._base = base
        self._client = client

    def fetch(self, file: RemoteFile, target: Path, progress: Progress, stop: threading.Event) -> None:
        failures = 0
        if _size(target) > file.size:
            target.unlink()
        while (have := _size(target)) < file.size:
            problem = "the answer ends early"
            try:
                self._go_on(file, target, have, progress, stop)
            except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
                raise Unreachable(f"{self._address(file.path)} cannot be reached: {_line(error)}.") from error
            except httpx2.TransportError as error:
                problem = _line(error)
            failures = 0 if _size(target) > have else failures + 1
            if failures == MAX_FAILURES:
                raise Unreachable(f"{self._address(file.path)} cannot be fetched: {problem}.")
            if stop.wait(0.5 * failures):
                raise Stopped

    def read(self, path: str, start: int, size: int) -> bytes:
        try:
            with self._answer(path, {"Range": f"bytes={start}-{start + size - 1}"}) as response:
                if response.status_code == 416:
                    return b""
                if start and response.status_code != 206:
                    raise WeightsError(f"{self._address(path)} cannot be read in parts.")
                content = bytearray()
                for piece in response.iter_raw():
                    content += piece
                    if len(content) >= size:
                        break
                return bytes(content[:size])
        except httpx2.TransportError as error:
            raise Unreachable(f"{self._address(path)} cannot be reached: {_line(error)}.") from error

    def _go_on(self, file: RemoteFile, target: Path, have: int, progress: Progress, stop: threading.Event) -> None:
        """One request for what is missing, or for all of it; what has come until it breaks off is kept."""
        with self._answer(file.path, {"Range": f"bytes={have}-"} if have > 0 else {}) as response:
            if response.status_code == 416:  # the server's file ends before ours: begin again
                target.unlink()
                return
            done = have if response.status_code == 206 else 0
            self._require_file(response, file, done)
            with target.open("ab" if done else "wb") as copy:
                for piece in response.iter_raw():
                    done += len(piece)
                    if done > file.size:
                        raise WeightsError(f"{self._address(file.path)} has more than {file.size:,} bytes.")
                    copy.write(piece)
                    copy.flush()  # so that a kill loses nothing that has come
                    progress(done)
                    if stop.is_set():
                        raise Stopped

    def _require_file(self, response: httpx2.Response, file: RemoteFile, start: int) -> None:
        """Raise `WeightsError` unless an answer can be the rest of the file from `start` on."""
        kind, length = response.headers.get("Content-Type", ""), response.headers.get("Content-Length", "")
        encoding, part = response.headers.get("Content-Encoding", ""), response.headers.get("Content-Range", "")
        problem = ""
        if kind.startswith("text/html") and not file.path.endswith((".html", ".htm")):
            problem = "is a web page instead of a file"
        elif encoding not in {"", "identity"}:
            problem = f"comes in the encoding '{encoding}', which was not asked for"
        elif response.status_code == 206 and not part.startswith(f"bytes {start}-"):
            problem = "comes in another part than was asked for"
        elif length.isdecimal() and start + int(length) != file.size:
            problem = f"has {start + int(length):,} bytes, not {file.size:,}"
        if problem:
            raise WeightsError(f"{self._address(file.path)} {problem}.")

    @contextmanager
    def _answer(self, path: str, headers: dict[str, str]) -> Iterator[httpx2.Response]:
        """The answer with the file at `path`, or with a part of it. Raises `WeightsError` or `Unreachable`."""
        address = self._address(path)
        request: httpx2.Request | None = None
        for _ in range(MAX_REDIRECTS + 1):
            try:
                request = request or self._client.build_request("GET", address, headers=headers)
                response = self._client.send(request, stream=True)
            except (httpx2.InvalidURL, UnicodeError):  # a port, a length or a name of a host that cannot be
                raise WeightsError(f"{address[:200]} leads to an address that cannot be asked.") from None
            try:
                if not response.has_redirect_location:
                    _require_success(response, address)
                    yield response
                    return
                request = response.next_request
                if request is None or not _may_follow(response.url, request.url):
                    raise WeightsError(f"{address} leads to an address that is not followed.")
            finally:
                response.close()
        raise WeightsError(f"{address} leads on more than {MAX_REDIRECTS} times.")

    def _address(self, path: str) -> str:
        return f"{self._base}/{quote(_inside(path))}"


def _require_success(response: httpx2.Response, address: str) -> None:
    status = response.status_code
    if status in {404, 410}:
        raise WeightsError(f"There is no file at {address}.")
    if status == 429 or status >= 500:
        raise Unreachable(f"{address} answers {status}; try again later.")
    if status not in {200, 206, 416}:
        raise WeightsError(f"{address} answers {status} instead of the file.")


def _may_follow(here: httpx2.URL, there: httpx2.URL) -> bool:
    """Whether a redirection is a usual one: to the web, not out of encryption, and without a name and password."""
    return there.scheme in ({"https"} if here.scheme == "https" else {"http", "https"}) and not there.userinfo


def _inside(name: str) -> str:
    """A file's path, which must not lead out of where it is looked for."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not name.isprintable() or "\\" in name:
        raise WeightsError(f"The file '{name[:80]}' has no path that may be asked for.")
    return str(path)


def _size(path: Path) -> int:
    """The size of a file; -1 where there is none."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return -1


def _line(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__
