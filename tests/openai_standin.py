"""A service that speaks OpenAI's wire protocol on loopback, as far as chat goes, and can be made to fail in every known way.

A test puts answers into `answers`; each request takes the next one (there are some that stay), and the usual answer where none
is left. `requests` are what came, headers and all.
"""

from __future__ import annotations

import json
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = Callable[["Handler"], None]


class Handler(BaseHTTPRequestHandler):
    """Answers one connection; `asked` is the body of its last request."""

    protocol_version = "HTTP/1.1"
    server: Service
    asked: Any = None

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.asked = json.loads(body)
        self.server.requests.append((self.path, {k.lower(): v for k, v in self.headers.items()}, body))
        try:
            self.server.next_answer()(self)
        except (BrokenPipeError, ConnectionResetError):
            self.server.hung_up.set()
            self.close_connection = True

    def do_GET(self) -> None:
        self.server.requests.append((self.path, {k.lower(): v for k, v in self.headers.items()}, b""))
        if self.path.endswith("/models") and self.server.models is not None:
            self.reply(
                200, {"object": "list", "data": [{"id": name, "object": "model"} for name in self.server.models]}
            )
        else:
            self.reply(404, {"error": {"message": "no such page"}})

    def reply(self, code: int, body: object = None, kind: str = "application/json", **headers: str) -> None:
        """A whole answer; what is not bytes is sent as JSON."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(code)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(content)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(content)

    def begin(self, kind: str = "text/event-stream; charset=utf-8") -> None:
        """The head of a stream, in chunks."""
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def chunk(self, content: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(content), content))
        self.wfile.flush()

    def event(self, data: object) -> None:
        """One event of the stream."""
        text = data if isinstance(data, str) else json.dumps(data, ensure_ascii=False)
        self.chunk(f"data: {text}\n\n".encode())

    def word(self, text: str | None = None, finish: str | None = None, **more: Any) -> None:
        """An event with a part of the answer."""
        delta = {} if text is None else {"content": text}
        self.event(part([{"index": 0, "delta": delta, "finish_reason": finish}], **more))

    def hang_up(self) -> None:
        """Break the connection off, without a goodbye."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.shutdown(socket.SHUT_RDWR)
        self.close_connection = True

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


class Service(ThreadingHTTPServer):
    """The service. `says` are the words of the usual answer, `models` the names at `/models`, None for no such page."""

    daemon_threads = True
    scheme = "http"

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.says: tuple[str, ...] = ("Hel", "lo!")
        self.models: list[str] | None = ["tiny-1", "tiny-2"]
        self.answers: list[Answer] = []
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        self.hung_up = threading.Event()
        self._lock = threading.Lock()

    @property
    def origin(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.server_address[1]}"

    @property
    def url(self) -> str:
        return f"{self.origin}/v1"

    @property
    def bodies(self) -> list[Any]:
        """What was asked, without the requests that have no body."""
        return [json.loads(body) for _, _, body in self.requests if body]

    def next_answer(self) -> Answer:
        """The answer to the next request; the last of the list stays when it says so."""
        with self._lock:
            if not self.answers:
                return streamed(*self.says)
            return self.answers[0] if getattr(self.answers[0], "stays", False) else self.answers.pop(0)

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is no error here."""


def part(choices: list[Any], **more: Any) -> dict[str, Any]:
    """A chunk of a streamed answer."""
    common = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "tiny-1-2026"}
    return common | {"choices": choices, "system_fingerprint": "fp_1"} | more


def streamed(*words: str, finish: str | None = "stop", usage: bool = True, done: bool = True) -> Answer:
    """A streamed answer as OpenAI gives it."""

    def answer(handler: Handler) -> None:
        handler.begin()
        handler.event(part([{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}]))
        handler.chunk(b": still here\n\n")
        for word in words:
            handler.word(word)
        if finish:
            handler.word(finish=finish)
        if usage and handler.asked.get("stream_options", {}).get("include_usage"):
            handler.event(part([], usage={"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}))
        if done:
            handler.event("[DONE]")
        handler.chunk(b"")

    return answer


def raw(*parts: bytes) -> Answer:
    """A stream of these bytes."""

    def answer(handler: Handler) -> None:
        handler.begin()
        for each in parts:
            handler.chunk(each)
        handler.chunk(b"")

    return answer


def events(*data: object) -> Answer:
    """A stream of these events."""

    def answer(handler: Handler) -> None:
        handler.begin()
        for each in data:
            handler.event(each)
        handler.chunk(b"")

    return answer


def failed(code: int, message: str = "it does not work", kind: str = "", param: str = "", **headers: str) -> Answer:
    """An error in OpenAI's envelope."""
    error = {"message": message, "type": kind or "error", "code": kind or None, "param": param or None}
    return lambda handler: handler.reply(code, {"error": error}, **headers)


def refusing(*names: str, code: int = 400, said: str = "Unrecognized request argument supplied: {}") -> Answer:
    """Refuses every request that has one of these parameters, by the first of them, and answers any other."""

    def answer(handler: Handler) -> None:
        asked = handler.asked
        for name in names:
            if name in asked:
                return handler.reply(code, {"error": {"message": said.format(name), "type": "invalid_request_error"}})
        return streamed("ok")(handler)

    answer.stays = True  # type: ignore[attr-defined]
    return answer


def hanging_up(*words: str) -> Answer:
    """Breaks the connection off after some words; before the head of the answer without any."""

    def answer(handler: Handler) -> None:
        if words:
            handler.begin()
            for word in words:
                handler.word(word)
        handler.hang_up()

    return answer


def endless(handler: Handler) -> None:
    """Words without an end, until somebody hangs up."""
    handler.begin()
    while True:
        handler.word("on and ")
        handler.server.hung_up.wait(0.005)


def silent(*words: str) -> Answer:
    """Says some words and then nothing more, until the test is over."""

    def answer(handler: Handler) -> None:
        handler.begin()
        for word in words:
            handler.word(word)
        handler.server.hung_up.wait(30)

    return answer


@contextmanager
def serving(tls: ssl.SSLContext | None = None) -> Iterator[Service]:
    """Run a service, over https when `tls` is given."""
    service = Service()
    if tls is not None:
        service.scheme = "https"
        service.socket = tls.wrap_socket(service.socket, server_side=True)
    thread = threading.Thread(target=service.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield service
    finally:
        service.hung_up.set()
        service.shutdown()
        thread.join()
        service.server_close()
