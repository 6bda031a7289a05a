"""What tests need of static registries: cards to build them from, and a web server that can be made to lie."""

from __future__ import annotations

import os
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec
from click.testing import Result

Run = Callable[..., Result]

#: The program `zoo`, for a process of its own.
ZOO = "from zoo_core.cli import main; main()"


def write_cards(folder: Path, *names: str, **fields: Any) -> Path:
    """Write a card for each name, with the same further fields; the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        data = {
            "schema": "zoo.card/v1",
            "kind": "model",
            "id": name,
            "family": "f",
            "summary": f"about {name}",
        } | fields
        (folder / f"{name}.yaml").write_bytes(msgspec.json.encode(data))
    return folder


def build(run: Run, root: Path, cards: Path, *options: str | Path) -> Path:
    """Build the registry of the cards in `root`; its path."""
    result = run("registry", "build", root, "--from", cards, *options)
    assert result.exit_code == 0, result.stderr
    return root


def index_of(root: Path) -> Any:
    """The index of the registry in `root`, as plain data."""
    return msgspec.json.decode((root / "index.json").read_bytes())


def contents(root: Path) -> dict[str, bytes]:
    """All files below a folder but for its lock and the mark of a mirror."""
    found = (path for path in root.rglob("*") if path.is_file() and path.name not in {".lock", ".mirror"})
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in found}


def local() -> Path:
    """The copy of the registry `r`."""
    return Path(os.environ["ZOO_DATA"]) / "registries" / "r"


def copied() -> dict[str, bytes]:
    """All that readers of the copy rely on."""
    return {name: content for name, content in contents(local()).items() if name != "state.json"}


def rewrite(root: Path, change: Callable[[Any], None]) -> None:
    """Change the index of a registry as its builder never would."""
    index = index_of(root)
    change(index)
    (root / "index.json").write_bytes(msgspec.json.encode(index))
    later = time.time() + 10  # the server's clock counts seconds, and a change within one would be none
    os.utime(root / "index.json", (later, later))


class Handler(SimpleHTTPRequestHandler):
    """Serves files, unless the test has an answer of its own for a path."""

    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        path = self.path.lstrip("/")
        self.server.requests.append((path, dict(self.headers)))
        answer = self.server.answers.get(path) or self.server.answers.get("*")
        if answer is None or answer(self) is False:
            super().do_GET()

    def reply(self, code: int, body: bytes = b"", **headers: str) -> None:
        """Send an answer whose length is told unless `headers` tell another."""
        self.send_response(code)
        for name, value in {"Content_Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


class Server(ThreadingHTTPServer):
    """A web server on loopback. `answers` are the test's own, by path or `*`; `requests` are what was asked, with headers."""

    daemon_threads = True
    scheme = "http"

    def __init__(self, root: Path) -> None:
        super().__init__(("127.0.0.1", 0), partial(Handler, directory=str(root)))
        self.root = root
        self.answers: dict[str, Callable[[Handler], object]] = {}
        self.requests: list[tuple[str, dict[str, str]]] = []

    @property
    def address(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.server_address[1]}"

    @property
    def paths(self) -> list[str]:
        """The paths that were asked for."""
        return [path for path, _ in self.requests]

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is no error here."""


@contextmanager
def serving(root: Path, tls: ssl.SSLContext | None = None) -> Iterator[Server]:
    """Serve a folder, over https when `tls` is given."""
    server = Server(root)
    if tls is not None:
        server.scheme = "https"
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def replied(code: int, body: bytes = b"", **headers: str) -> Callable[[Handler], None]:
    return lambda handler: handler.reply(code, body, **headers)


def endless(handler: Handler) -> None:
    """More than any index may have, without saying how much."""
    handler.send_response(200)
    handler.end_headers()
    for _ in range(80):
        handler.wfile.write(b" " * 1_000_000)
    handler.close_connection = True


def broken_off(handler: Handler) -> None:
    handler.reply(200, b'{"schema": ', Content_Length="500")
    handler.close_connection = True


def hung_up(handler: Handler) -> None:
    handler.connection.shutdown(socket.SHUT_RDWR)


def no_http(handler: Handler) -> None:
    handler.wfile.write(b"\x00\x01 hello\r\n\r\n")
    handler.close_connection = True
