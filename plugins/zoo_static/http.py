"""Files of a registry over HTTP: one client that keeps its connections, with limits on everything.

Redirects are followed by hand: a few, never from https to http, and without the credentials when they lead to another host
or port. Answers are not compressed, so that none can grow in memory. Knows nothing of what the files mean.
"""

from __future__ import annotations

import base64
import netrc
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx2

from zoo_core import Fetched, NotFound, RegistryError, Unreachable, UsageProblem, __version__, checked

#: Seconds to connect, to wait for the next bytes, and for a whole file.
CONNECT, READ, WHOLE = 10.0, 30.0, 300.0
MAX_REDIRECTS = 5
PARALLEL = 8
#: The longest ETag or Last-Modified that is kept and sent back.
MAX_VALIDATOR = 200


class HttpFetcher:
    """Fetches the files below one address."""

    def __init__(self, address: str, client: httpx2.Client, authorization: str) -> None:
        """`authorization` is the header that the address's own host and port is sent, and nobody else."""
        self.address = address
        self._client = client
        self._origin = self.origin(address)
        self._authorization = authorization
        self._sockets = _Sockets()

    @staticmethod
    @contextmanager
    def opened(address: str, token: str) -> Iterator[HttpFetcher]:
        """A fetcher whose connections are closed at the end; without a token the user's netrc file is asked."""
        url = _url(address)
        timeout = httpx2.Timeout(READ, connect=CONNECT)
        limits = httpx2.Limits(max_connections=PARALLEL, max_keepalive_connections=PARALLEL)
        headers = {"User-Agent": f"llm-zoo/{__version__}", "Accept-Encoding": "identity"}
        authorization = f"Bearer {token}" if token else _from_netrc(url.host)
        with httpx2.Client(timeout=timeout, limits=limits, headers=headers) as client:
            yield HttpFetcher(address, client, authorization)

    @staticmethod
    def origin(address: str | httpx2.URL) -> tuple[str, str, int | None]:
        """Scheme, host and port, which credentials are for."""
        try:
            url = httpx2.URL(address)
        except (httpx2.InvalidURL, ValueError):
            return "", "", None
        return url.scheme, url.host, url.port or {"http": 80, "https": 443}.get(url.scheme)

    def fetch(self, path: str, limit: int, *, etag: str = "", modified: str = "") -> Fetched:
        """Fetch one file. A connection that breaks is tried once more: servers close those that were idle."""
        etag, modified = _validator(etag), _validator(modified)
        conditions = {"If-None-Match": etag} if etag else {"If-Modified-Since": modified} if modified else {}
        where = f"{self.address}/{path}"
        end = time.monotonic() + WHOLE
        try:
            with self._sockets.closed_after(WHOLE):
                try:
                    return self._fetch(where, limit, conditions, end)
                except (httpx2.NetworkError, httpx2.RemoteProtocolError):
                    _refuse_late(where, end)
                    return self._fetch(where, limit, conditions, end)
        except httpx2.TimeoutException:
            raise Unreachable(f"{where} does not answer in time") from None
        # A ValueError comes of what servers send, such as a redirect to a host that no name server could be asked for.
        except (httpx2.HTTPError, httpx2.InvalidURL, ValueError) as error:
            raise Unreachable(f"{where} cannot be fetched ({error or type(error).__name__})") from None

    def _fetch(self, where: str, limit: int, conditions: dict[str, str], end: float) -> Fetched:
        url = httpx2.URL(where)
        trace = {"trace": self._sockets.trace}
        for _ in range(MAX_REDIRECTS + 1):
            own = self.origin(url) == self._origin
            headers = conditions | ({"Authorization": self._authorization} if own and self._authorization else {})
            with self._client.stream("GET", url, headers=headers, extensions=trace) as response:
                if not response.has_redirect_location:
                    return _answer(response, where, limit, end)
                url = _next(url, response.headers["Location"], where)
        raise RegistryError(f"{where} leads from one address to the next, more than {MAX_REDIRECTS} times")


def _answer(response: httpx2.Response, where: str, limit: int, end: float) -> Fetched:
    code = response.status_code
    if code == 304:
        return Fetched(None, *_validators(response))
    if code in {401, 403}:
        login = "set the environment variable ZOO_REGISTRY_TOKEN_ with its name in capitals, or fill in your netrc file"
        raise RegistryError(f"{where} asks for a login (HTTP {code}); {login}")
    if code in {404, 410}:
        raise NotFound(f"there is no {where} (HTTP {code})")
    if code != 200:
        raise Unreachable(f"{where} answers with HTTP {code}")
    if response.headers.get("Content-Encoding", "identity") != "identity":
        raise RegistryError(f"{where} is compressed, and was asked for as it is")
    length = response.headers.get("Content-Length", "")
    if length.isdecimal() and int(length) > limit:
        raise RegistryError(f"{where} is larger than the {limit:,} bytes that it may have")
    content = bytearray()
    for chunk in response.iter_raw():
        content += chunk
        if len(content) > limit:
            break
        _refuse_late(where, end)
    return Fetched(checked(bytes(content), limit, where), *_validators(response))


def _refuse_late(where: str, end: float) -> None:
    if time.monotonic() > end:
        raise Unreachable(f"{where} is too slow: it was not here after {WHOLE:.0f} seconds")


def _validators(response: httpx2.Response) -> tuple[str, str]:
    return _validator(response.headers.get("ETag", "")), _validator(response.headers.get("Last-Modified", ""))


def _validator(text: str) -> str:
    """A server's word for "still the same", where it can be sent back."""
    return text if text.isascii() and text.isprintable() and len(text) <= MAX_VALIDATOR else ""


def _next(url: httpx2.URL, location: str, where: str) -> httpx2.URL:
    """Where a redirect leads."""
    target = url.join(location)
    if target.scheme not in {"http", "https"} or not target.host:
        raise RegistryError(f"{where} leads to an address that is not on the web")
    if url.scheme == "https" and target.scheme == "http":
        raise RegistryError(f"{where} leads from https to http, where anybody could change the answer")
    return target.copy_with(username=None, password=None)


def _url(address: str) -> httpx2.URL:
    try:
        url = httpx2.URL(address)
    except (httpx2.InvalidURL, ValueError) as error:
        raise UsageProblem(f"The address {address} cannot be read: {error}.") from None
    if not url.host or url.userinfo or url.query or url.fragment:
        raise UsageProblem("The address of a registry has a host and a path, without a user, '?' or '#'.")
    return url


def _from_netrc(host: str) -> str:
    """The header for a host that the user's netrc file names; its default entry is for nobody in particular, so not for us."""
    path = Path(os.environ.get("NETRC") or "~/.netrc").expanduser()
    try:
        login, _, password = netrc.netrc(path).hosts.get(host, ("", "", ""))
    except OSError:
        return ""
    except netrc.NetrcParseError as error:  # whose message may hold a part of a password
        raise UsageProblem(f"The file {path} cannot be read: there is a mistake in line {error.lineno}.") from None
    except UnicodeDecodeError:
        raise UsageProblem(f"The file {path} cannot be read: it is no text.") from None
    return "Basic " + base64.b64encode(f"{login}:{password}".encode()).decode() if password else ""


class _Sockets:
    """The connections of one client, so that a server that never ends its headers can be hung up on.

    A timeout of the library is for the next bytes alone, and is granted anew with each of them.
    """

    def __init__(self) -> None:
        self._open: list[socket.socket] = []
        self._lock = threading.Lock()

    def trace(self, event: str, details: dict[str, Any]) -> None:
        """Note the connections that the library reports to have opened."""
        if event.endswith((".connect_tcp.complete", ".start_tls.complete")):
            opened = details["return_value"].get_extra_info("socket")
            with self._lock:
                self._open = [*(each for each in self._open if each.fileno() >= 0), opened]

    @contextmanager
    def closed_after(self, seconds: float) -> Iterator[None]:
        """Hang up on everybody when what is done here takes longer: the registry is given up then, so none is missed."""
        done = threading.Event()
        threading.Thread(target=self._watch, args=(done, seconds), daemon=True).start()
        try:
            yield
        finally:
            done.set()

    def _watch(self, done: threading.Event, seconds: float) -> None:
        while not done.wait(seconds):
            self._hang_up()
            seconds = 1.0  # once more for a connection that was just being made

    def _hang_up(self) -> None:
        with self._lock:
            for each in self._open:
                with suppress(OSError):
                    socket.socket.shutdown(each, socket.SHUT_RDWR)  # also of TLS, whose own waits for the other side
