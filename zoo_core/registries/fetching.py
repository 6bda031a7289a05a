"""How the files of a registry reach this machine, as a protocol; and the fetcher of those that lie in a folder.

Plugins bring fetchers for the network. A fetcher reads one file with a limit; what is in it is judged elsewhere.
"""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Protocol

import msgspec

from zoo_core.errors import NotFound, RegistryError, Unreachable


class Fetched(msgspec.Struct, frozen=True):
    """A file of a registry; `content` is None where it is still what `etag` or `modified` in the question stood for."""

    content: bytes | None
    etag: str = ""
    modified: str = ""


class Fetcher(Protocol):
    """Reads the files of one registry; `fetch` is called from several threads. Messages have no full stop."""

    def fetch(self, path: str, limit: int, *, etag: str = "", modified: str = "") -> Fetched:
        """The file at `path`, which may have at most `limit` bytes.

        Raises `NotFound` when there is none, `Unreachable` or `RegistryError` otherwise.
        """
        ...


class FolderFetcher:
    """A registry in a folder on this machine."""

    def __init__(self, folder: Path) -> None:
        """`folder` holds the registry's index."""
        self.folder = folder

    def fetch(self, path: str, limit: int, *, etag: str = "", modified: str = "") -> Fetched:
        """Read a file; pipes, devices and folders are none."""
        place = self.folder / path
        try:
            if not stat.S_ISREG(place.stat().st_mode):
                raise RegistryError(f"{place} is no file")
            with place.open("rb") as file:
                content = file.read(limit + 1)
        except FileNotFoundError:
            raise NotFound(f"there is no file {place}") from None
        except (OSError, ValueError) as error:
            raise Unreachable(f"{place} cannot be read ({getattr(error, 'strerror', None) or error})") from error
        return Fetched(checked(content, limit, str(place)))


def checked(content: bytes, limit: int, origin: str) -> bytes:
    """The content of a fetched file, unless it is evidently none of a registry. Raises `RegistryError`."""
    if len(content) > limit:
        raise RegistryError(f"{origin} is larger than the {limit:,} bytes that it may have")
    start = content[:200].lstrip(b"\xef\xbb\xbf \t\r\n")
    if not start:
        raise RegistryError(f"{origin} is empty")
    if start.startswith(b"<"):
        raise RegistryError(
            f"{origin} is a web page, not a file of a registry; is the address right, is a login needed?"
        )
    return content
