"""Static registries on web servers and in folders: opens what their addresses name. What comes is judged by the core."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from zoo_core import (
    Fetcher,
    FolderFetcher,
    RegistryError,
    RegistryRequest,
    UsageProblem,
    token_variable,
    update_registry,
)


class StaticCards:
    """The card source `https:`, `http:` and `file:`."""

    def update(self, request: RegistryRequest) -> str:
        """Bring a registry's copy up to date; its mirrors may be at addresses of any of these kinds."""

        @contextmanager
        def open_address(address: str) -> Iterator[Fetcher]:
            if address.startswith("file:"):
                yield FolderFetcher(_folder(address))
                return
            from zoo_static.http import HttpFetcher  # only who reads from the network needs the library for it

            own = HttpFetcher.origin(address) == HttpFetcher.origin(request.addresses[0])
            with HttpFetcher.opened(address, _token(request.name) if own else "") as fetcher:
                yield fetcher

        return update_registry(request, open_address)


def _folder(address: str) -> Path:
    parts = urlsplit(address)
    if parts.netloc not in {"", "localhost"} or not parts.path:
        raise RegistryError(f"{address} is no address of a folder on this machine; write file:///path")
    return Path(url2pathname(parts.path))


def _token(registry: str) -> str:
    """The token for a registry from the environment; never part of a message."""
    name = token_variable(registry)
    token = os.environ.get(name, "")
    if not (token.isascii() and token.isprintable()) or " " in token:
        raise UsageProblem(f"What {name} holds is no token: it has spaces or other signs that cannot be sent.")
    return token
