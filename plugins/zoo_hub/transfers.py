"""Fetch the bytes of files from the hub: resumed where they stopped, never more than was expected.

The client library's own session asks, so that its token, proxies and offline switch count; the token goes to the hub's
host alone, because the session leaves it out of redirections to another one. Verifies nothing.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
from huggingface_hub import constants, get_session, hf_hub_url, hf_raise_for_status
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError
from huggingface_hub.utils import build_hf_headers

from zoo_core import NotFound, RemoteFile, Source, Stopped, Unreachable, WeightsError, __version__
from zoo_hub.client import kind_of

#: How often in a row a transfer may fail without a single new byte, and for how many seconds it then pauses, at first.
MAX_FAILURES = 3
PAUSE = 0.5

#: Told how many bytes of a file are here.
Progress = Callable[[int], None]


def fetch(source: Source, file: RemoteFile, target: Path, progress: Progress, stop: threading.Event) -> None:
    """Fetch a file, going on with what is at `target` already; it has the right size in the end."""
    if not target.exists() or target.stat().st_size > file.size:
        target.write_bytes(b"")
    failures = 0
    while (have := target.stat().st_size) < file.size:
        if stop.is_set():
            raise Stopped
        try:
            _go_on(source, file, target, have, progress, stop)
        except (httpx2.TransportError, HfHubHTTPError) as error:
            failures = 0 if target.stat().st_size > have else failures + 1
            if failures == MAX_FAILURES or not _may_pass(error):
                raise
            stop.wait(PAUSE * failures)


def read(source: Source, path: str, start: int, size: int) -> bytes:
    """At most `size` bytes of a file from `start` on."""
    content = bytearray()
    with _answer(source, path, f"bytes={start}-{start + size - 1}") as response:
        if response is None:
            return b""
        skip = start if response.status_code != 206 else 0  # a server that knows no ranges sends all of it
        for piece in response.iter_raw():
            content += piece[skip:]
            skip = max(0, skip - len(piece))
            if len(content) >= size:
                break
    return bytes(content[:size])


def _go_on(
    source: Source, file: RemoteFile, target: Path, have: int, progress: Progress, stop: threading.Event
) -> None:
    """One request for what is missing; what has come until it breaks off is kept."""
    with _answer(source, file.path, f"bytes={have}-") as response:
        done = have if response is not None and response.status_code == 206 else 0
        length = _length(response, done)
        if length is not None and length != file.size:
            raise WeightsError(f"The file {file.path} of {source.repo} has {length:,} bytes, not {file.size:,}.")
        with target.open("ab" if done else "wb") as copy:
            for piece in response.iter_raw() if response is not None else ():
                done += len(piece)
                if done > file.size:
                    raise WeightsError(f"The file {file.path} of {source.repo} has more than {file.size:,} bytes.")
                copy.write(piece)
                progress(done)
                if stop.is_set():
                    raise Stopped
        if done < file.size:
            raise WeightsError(f"The file {file.path} of {source.repo} ends after {done:,} of {file.size:,} bytes.")


@contextlib.contextmanager
def _answer(source: Source, path: str, wanted: str) -> Iterator[httpx2.Response | None]:
    """The answer with a part of a file; None where the file ends before it."""
    kind, name = kind_of(source.repo)
    url = hf_hub_url(name, path, repo_type=kind, revision=source.revision or None, endpoint=constants.ENDPOINT)
    headers = build_hf_headers(library_name="llm-zoo", library_version=__version__)
    headers |= {"Range": wanted, "Accept-Encoding": "identity"}
    timeout = constants.HF_HUB_DOWNLOAD_TIMEOUT
    with get_session().stream("GET", url, headers=headers, timeout=timeout) as response:
        if response.status_code == 416:
            yield None
            return
        try:
            hf_raise_for_status(response)
        except EntryNotFoundError as error:
            revision = source.revision[:12] or "its newest commit"
            raise NotFound(f"The repository {source.repo} has no file {path} at {revision}.") from error
        if not any("X-Repo-Commit" in each.headers for each in (*response.history, response)):
            raise Unreachable(
                f"{constants.ENDPOINT} does not answer for {source.repo} as a hub does; "
                "look at your network and at HF_ENDPOINT, then try again."
            )
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise WeightsError(f"The file {path} of {source.repo} comes in an encoding that was not asked for.")
        yield response


def _length(response: httpx2.Response | None, start: int) -> int | None:
    """The size of the whole file, from an answer with the rest of it from `start` on; None where it does not say."""
    if response is None:
        return start
    length = response.headers.get("Content-Length", "")
    return start + int(length) if length.isdecimal() else None


def _may_pass(error: httpx2.TransportError | HfHubHTTPError) -> bool:
    """Whether it may go better in a moment."""
    if isinstance(error, HfHubHTTPError):
        return error.response.status_code >= 500
    return not isinstance(error, httpx2.ConnectError | httpx2.ProxyError | httpx2.UnsupportedProtocol)
