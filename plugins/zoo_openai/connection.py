"""The connection to a service: which headers go out, and how much may come back. Knows nothing of conversations."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import httpx2

from zoo_core import ZooError, __version__
from zoo_openai.endpoint import VENDOR, Endpoint, is_local, origin_of
from zoo_openai.keys import Key

#: Headers that go out; what else the library would send, of the machine or of variables for other services, does not.
HEADERS = {"host", "accept", "connection", "content-type", "content-length", "user-agent"}
#: Headers that OpenAI's own service gets besides, from the variables that its library documents.
VENDOR_HEADERS = {"openai-organization", "openai-project"}
#: Bytes that an event, or the text of an error, may have. Only the whole of one can be read, so it lies in memory.
MOST = 4_000_000


class Bounded(httpx2.SyncByteStream):
    """What a service sends, until it sends too much before `taken` says that it was of use."""

    def __init__(self, stream: httpx2.SyncByteStream, origin: str) -> None:
        self._stream = stream
        self._origin = origin
        self._waiting = 0

    def __iter__(self) -> Iterator[bytes]:
        for part in self._stream:
            self._waiting += len(part)
            if self._waiting > MOST:
                raise ZooError(f"{self._origin} sends more than {MOST:,} bytes in one piece, so it was hung up on.")
            yield part

    def taken(self) -> None:
        """An event was complete."""
        self._waiting = 0

    def close(self) -> None:
        """Hang up."""
        self._stream.close()


def connect(endpoint: Endpoint, key: Key | None) -> httpx2.Client:
    """A client for one service. Raises `ZooError` where the environment does not let it be made."""
    try:
        return httpx2.Client(
            follow_redirects=False,  # a key would go along
            trust_env=not is_local(endpoint.base_url),  # a proxy has no business between this machine and itself
            event_hooks={
                "request": [partial(_dress, endpoint.origin, key)],
                "response": [partial(_bound, endpoint.origin)],
            },
        )
    except (ImportError, OSError, ValueError):  # whose messages may hold a proxy's password
        raise ZooError(
            "The proxy or the certificates that the environment names cannot be used; look at HTTPS_PROXY, ALL_PROXY "
            "and SSL_CERT_FILE."
        ) from None


def _dress(origin: str, key: Key | None, request: httpx2.Request) -> None:
    """Let out only the headers that are meant to go, with the key that is for this address."""
    allowed = HEADERS | (VENDOR_HEADERS if origin == origin_of(VENDOR) else set())
    for name in set(request.headers) - allowed:
        del request.headers[name]
    request.headers["User-Agent"] = f"llm-zoo/{__version__}"
    request.headers["Accept-Encoding"] = "identity"
    if key is not None:
        request.headers["Authorization"] = f"Bearer {key.value}"


def _bound(origin: str, response: httpx2.Response) -> None:
    """Limit what comes, as it comes: little that was compressed, which nobody asked for, could become much."""
    response.headers.pop("Content-Encoding", None)
    if isinstance(response.stream, httpx2.SyncByteStream):
        response.stream = Bounded(response.stream, origin)
