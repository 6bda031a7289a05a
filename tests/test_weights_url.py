"""The weight source `url`: files from web servers that work, fail and lie, and from folders."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from hub_standin import Hub

from zoo_core import Download, RemoteFile, Source, Unreachable, WeightsError
from zoo_core.parallel import AT_ONCE
from zoo_static.transfers import _may_follow
from zoo_static.weights import UrlWeights

FILES = {
    "config.json": b'{"a": 1}',
    "model.safetensors": bytes(range(256)) * 4000,
    "deep/tokenizer with spaces.json": b"tokens " * 1000,
    "empty.json": b"",
}


def remote(path: str, content: bytes) -> RemoteFile:
    return RemoteFile(path=path, size=len(content), sha256=hashlib.sha256(content).hexdigest())


def check(path: Path, file: RemoteFile) -> None:
    if hashlib.sha256(path.read_bytes()).hexdigest() != file.sha256:
        raise WeightsError(f"{file.path} is wrong")


def download(url: str, files: dict[str, bytes] = FILES, **options: Any) -> Path:
    request = Download(
        source=Source(hub="url", url=url),
        files=[remote(path, content) for path, content in files.items()],
        check=check,
        **options,
    )
    return UrlWeights().download(request)


def begun(url: str) -> list[Path]:
    return sorted(UrlWeights().store(Source(hub="url", url=url)).glob("*"))


def content(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def web(hub: Hub) -> str:
    """The address of a web server with `FILES`, which knows ranges and redirects to another server."""
    hub.add("a/b", FILES)
    return f"{hub.url}/a/b/resolve/main/"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with `FILES`."""
    place = tmp_path / "on disk"
    for path, data in FILES.items():
        (place / path).parent.mkdir(parents=True, exist_ok=True)
        (place / path).write_bytes(data)
    return place


# -- what works --------------------------------------------------------------------------------------------------------


def test_files_come_from_the_web(web: str, hub: Hub) -> None:
    told: dict[str, tuple[int, int]] = {}
    place = download(web, progress=lambda path, done, total: told.update({path: (done, total)}))
    assert content(place) == FILES
    assert begun(web) == []
    assert {path: (len(data), len(data)) for path, data in FILES.items() if data}.items() <= told.items()
    before = len(hub.requests)
    assert download(web) == place
    assert len(hub.requests) == before  # what is there is verified, and not asked for again


def test_files_come_from_a_folder(folder: Path) -> None:
    place = download(folder.as_uri())
    assert content(place) == FILES
    assert download(folder.as_uri().replace("file://", "file://localhost") + "/") != place


def test_files_come_from_the_server_of_python(folder: Path) -> None:
    """It knows neither ranges nor `Content-Type`s of weights."""
    serve = [sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1", "--directory", str(folder)]
    with subprocess.Popen(serve, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        assert server.stdout is not None
        port = server.stdout.readline().split(" port ")[1].split()[0]
        try:
            assert content(download(f"http://127.0.0.1:{port}/")) == FILES
        finally:
            server.terminate()


def test_a_damaged_file_is_fetched_again(web: str) -> None:
    place = download(web)
    (place / "config.json").write_bytes(FILES["config.json"][::-1])
    assert content(download(web)) == FILES


def test_each_address_has_a_folder_of_its_own(web: str, folder: Path) -> None:
    assert download(web) != download(folder.as_uri())
    assert download(web) == download(web.rstrip("/"))


# -- what is interrupted -----------------------------------------------------------------------------------------------


def test_an_answer_that_breaks_off_is_gone_on_with(web: str, hub: Hub) -> None:
    hub.fault("model.safetensors", "truncated", times=1)
    assert content(download(web)) == FILES
    half = len(FILES["model.safetensors"]) // 2
    asked = [each.headers.get("range") for each in hub.asked("GET", "/objects/", "storage")]
    assert asked == [None, f"bytes={half}-"]


def test_what_an_earlier_run_has_begun_is_gone_on_with(web: str, hub: Hub) -> None:
    hub.fault("model.safetensors", "missing", times=2)
    with pytest.raises(WeightsError):
        download(web)
    place = UrlWeights().store(Source(hub="url", url=web))
    file = remote("model.safetensors", FILES["model.safetensors"])
    name = hashlib.sha256(f"{file.path}\n{file.size}\n{file.sha256}".encode()).hexdigest()[:32]
    (place / name).write_bytes(FILES["model.safetensors"][:1000])
    hub.mend()
    assert content(download(web)) == FILES
    assert hub.asked("GET", "/objects/", "storage")[-1].headers["range"] == "bytes=1000-"


@pytest.mark.parametrize(
    ("start", "kind"),
    [
        pytest.param(b"x" * 1000, "", id="of another file"),
        pytest.param(FILES["model.safetensors"][:1000], "whole", id="where the server knows no ranges"),
        pytest.param(FILES["model.safetensors"] + b"x", "", id="too long"),
        pytest.param(FILES["model.safetensors"], "", id="complete"),
        pytest.param(FILES["model.safetensors"][::-1], "", id="complete and wrong"),
    ],
)
def test_what_was_begun_may_be_anything(web: str, hub: Hub, start: bytes, kind: Any) -> None:
    one = {"model.safetensors": FILES["model.safetensors"]}
    hub.fault("model.safetensors", "missing", times=2)
    with pytest.raises(WeightsError):
        download(web, one)
    file = remote(*next(iter(one.items())))
    name = hashlib.sha256(f"{file.path}\n{file.size}\n{file.sha256}".encode()).hexdigest()[:32]
    (UrlWeights().store(Source(hub="url", url=web)) / name).write_bytes(start)
    hub.mend()
    if kind:
        hub.fault("model.safetensors", kind)
    assert content(download(web, one)) == one


def test_a_failure_stops_the_others_and_keeps_what_they_have(web: str, hub: Hub) -> None:
    others = {f"{number}.json": b"{}" for number in range(AT_ONCE - 1)}
    hub.add("a/b", others)
    slow = hub.fault("model.safetensors", "slow")
    hub.fault("config.json", "missing")
    under_way = threading.Event()
    busy: set[threading.Thread] = set()

    def in_turn(path: str, done: int, total: int) -> None:
        """Every other thread has a file until some of the weights are here; then one of them meets the failure."""
        if path in others:
            busy.add(threading.current_thread())
            assert under_way.wait(60)
            return
        for _ in range(6000):
            if len(busy) == len(others):
                break
            time.sleep(0.01)
        under_way.set()
        for thread in busy:  # among them the one that fails
            thread.join(60)
        slow.release.set()

    files = ["model.safetensors", *others, "config.json"]
    with pytest.raises(WeightsError, match="There is no file at"):
        download(web, {path: (FILES | others)[path] for path in files}, progress=in_turn)
    assert max(path.stat().st_size for path in begun(web)) > 0


# -- what fails and lies -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "error", "message"),
    [
        ("corrupt", WeightsError, "model.safetensors is wrong"),
        ("short", WeightsError, r"model\.safetensors has 512,000 bytes, not 1,024,000\."),
        ("html", WeightsError, r"model\.safetensors is a web page instead of a file\."),
        ("missing", WeightsError, r"There is no file at http.*/model\.safetensors\."),
        ("error", Unreachable, r"model\.safetensors answers 500; try again later\."),
    ],
)
def test_a_server_that_fails_or_lies(web: str, hub: Hub, kind: Any, error: type[Exception], message: str) -> None:
    hub.fault("model.safetensors", kind)
    with pytest.raises(error, match=message):
        download(web)
    assert "model.safetensors" not in content(UrlWeights().store(Source(hub="url", url=web)).parent / "files")
    assert all(path.stat().st_size < len(FILES["model.safetensors"]) for path in begun(web))
    hub.mend()
    assert content(download(web)) == FILES


def test_a_server_that_is_not_there() -> None:
    with pytest.raises(Unreachable, match="cannot be reached: "):
        download("http://127.0.0.1:1/")


class Answers(BaseHTTPRequestHandler):
    """Answers that no decent server gives. The path says which; the headers that came are kept."""

    protocol_version = "HTTP/1.1"
    came: list[dict[str, str]] = []  # noqa: RUF012

    def log_message(self, format: str, *arguments: Any) -> None:
        pass

    def do_GET(self) -> None:
        self.came.append(dict(self.headers))
        what, _, rest = self.path.strip("/").partition("/")
        body = FILES["config.json"]
        headers: dict[str, str] = {"Content-Length": str(len(body))}
        status = 200
        if what.isdecimal():
            status, headers["Location"] = 302, f"/{int(what) - 1}/{rest}" if int(what) else "/good/config.json"
        elif what == "away":
            status, headers["Location"] = 302, "ftp://127.0.0.1/config.json"
        elif what == "file":
            status, headers["Location"] = 302, "file:///etc/hostname"
        elif what == "secret":
            status, headers["Location"] = 302, "http://user:word@127.0.0.1/config.json"
        elif what == "nonsense":
            status, headers["Location"] = 302, "http://[::1/"
        elif what == "nowhere":
            status, headers["Location"] = 302, "http://a..b/"
        elif what == "packed":
            headers["Content-Encoding"] = "gzip"
        elif what == "long":
            del headers["Content-Length"]
            headers["Connection"] = "close"
            body *= 100
        elif what == "part":
            status, headers["Content-Range"] = 206, "bytes 4-7/8"
        elif what == "silent":
            del headers["Content-Length"]
            headers["Connection"] = "close"
            body = body[:3]
        elif what == "teapot":
            status = 418
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


class Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that has had enough is no error."""


@pytest.fixture
def odd() -> Iterator[str]:
    """The address of a server with `Answers`."""
    Answers.came.clear()
    with Server(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


ONE = {"config.json": FILES["config.json"]}


@pytest.mark.parametrize(
    ("what", "error", "message"),
    [
        ("5", WeightsError, "leads on more than 5 times"),
        ("away", WeightsError, "leads to an address that is not followed"),
        ("file", WeightsError, "leads to an address that is not followed"),
        ("secret", WeightsError, "leads to an address that is not followed"),
        ("nonsense", WeightsError, "leads to an address that is not followed"),
        ("nowhere", WeightsError, "leads to an address that cannot be asked"),
        ("packed", WeightsError, "comes in the encoding 'gzip', which was not asked for"),
        ("long", WeightsError, "has more than 8 bytes"),
        ("part", WeightsError, "comes in another part than was asked for"),
        ("silent", Unreachable, "cannot be fetched: the answer ends early"),
        ("teapot", WeightsError, "answers 418 instead of the file"),
    ],
)
def test_odd_answers(odd: str, what: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        download(f"{odd}/{what}", ONE)


def test_five_redirections_are_followed(odd: str) -> None:
    assert content(download(f"{odd}/4", ONE)) == ONE
    assert len(Answers.came) == 6


@pytest.mark.parametrize(
    ("here", "there", "expected"),
    [
        ("http://a/", "http://b/", True),
        ("http://a/", "https://a/", True),
        ("https://a/", "https://b/", True),
        ("https://a/", "http://a/", False),
        ("https://a/", "ftp://a/", False),
        ("https://a/", "https://u@a/", False),
    ],
)
def test_redirections_never_leave_encryption(here: str, there: str, expected: bool) -> None:
    import httpx2

    assert _may_follow(httpx2.URL(here), httpx2.URL(there)) is expected


def test_no_credentials_are_sent(odd: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password secret\ndefault login me password secret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    download(f"{odd}/2", ONE)
    assert [name for headers in Answers.came for name in headers if name.lower() in {"authorization", "cookie"}] == []


@pytest.mark.parametrize(
    "url",
    [
        *("", "a/b", "ftp://a/b", "https://", "http:///a", "https://u:p@a/b", "https://a/?b=c", "https://a/#b"),
        *("file://elsewhere/a", "file:a", "http://[::1/", "https://a/\n", "https://a/\u202e"),
    ],
    ids=ascii,
)
def test_addresses_that_are_none(url: str) -> None:
    with pytest.raises(WeightsError, match="is no address of weights"):
        download(url)


@pytest.mark.parametrize(
    "url",
    ["http://a..b", f"http://{'a' * 64}.invalid", "http://127.0.0.1:x", f"http://127.0.0.1/{'a/' * 40_000}"],
    ids=lambda url: url[:25],
)
def test_addresses_that_cannot_be_asked(url: str) -> None:
    with pytest.raises(WeightsError, match="leads to an address that cannot be asked"):
        download(url)


@pytest.mark.parametrize("path", ["../a", "/etc/hostname", "a/../../b", "a\\b", "a\0b"], ids=ascii)
def test_paths_that_lead_out(web: str, folder: Path, path: str) -> None:
    for url in (web, folder.as_uri()):
        with pytest.raises(WeightsError, match="has no path that may be asked for"):
            UrlWeights().read(Source(hub="url", url=url), path)


# -- folders -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ("rm -r .", Unreachable, r"There is no folder "),
        ("rm config.json", WeightsError, r"There is no file .*/config\.json\."),
        ("rm config.json; mkdir config.json", WeightsError, r"There is no file "),
        ("rm config.json; mkfifo config.json", WeightsError, r"There is no file "),
        ("printf x >> config.json", WeightsError, r"config\.json has 9 bytes, not 8\."),
        ("printf 12345678 > config.json", WeightsError, r"config\.json is wrong"),
    ],
)
def test_folders_that_fail(folder: Path, change: str, error: type[Exception], message: str) -> None:
    subprocess.run(["sh", "-c", change.replace(" .", f" '{folder}'")], cwd=folder, check=True)
    with pytest.raises(error, match=message):
        download(folder.as_uri())
    assert "config.json" not in content(UrlWeights().store(Source(hub="url", url=folder.as_uri())).parent / "files")


# -- the rest ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("start", "size"), [(0, 8), (0, 100), (3, 2), (3, 100), (8, 1), (100, 1)])
def test_parts_are_read(web: str, folder: Path, start: int, size: int) -> None:
    for url in (web, folder.as_uri()):
        part = UrlWeights().read(Source(hub="url", url=url), "config.json", start=start, size=size)
        assert part == FILES["config.json"][start : start + size]


def test_parts_of_a_server_that_gives_none(web: str, hub: Hub) -> None:
    hub.fault("model.safetensors", "whole")
    source = Source(hub="url", url=web)
    assert UrlWeights().read(source, "model.safetensors", size=10) == FILES["model.safetensors"][:10]
    with pytest.raises(WeightsError, match="cannot be read in parts"):
        UrlWeights().read(source, "model.safetensors", start=5, size=10)


def test_parts_of_a_server_that_is_not_there() -> None:
    with pytest.raises(Unreachable, match="cannot be reached"):
        UrlWeights().read(Source(hub="url", url="http://127.0.0.1:1/"), "config.json")


def test_an_address_cannot_be_listed() -> None:
    with pytest.raises(WeightsError, match="cannot be listed, so the card must list its files"):
        UrlWeights().inspect(Source(hub="url", url="https://a/"))


def test_what_is_removed(web: str, hub: Hub) -> None:
    source = Source(hub="url", url=web)
    place = download(web)
    files = [remote(path, data) for path, data in FILES.items()]
    assert UrlWeights().remove(source, files[:1]) == 0  # another list, which is not here
    assert content(place) == FILES
    other = {"config.json": b"[1, 2, 3, 4]"}
    hub.add("a/b", other)
    hub.fault("config.json", "truncated", times=None)
    with pytest.raises(Unreachable):
        download(web, other)
    half = sum(path.stat().st_size for path in begun(web))
    assert UrlWeights().remove(source, files) == sum(map(len, FILES.values())) + half
    assert not place.parent.exists()
    assert list(Path(os.environ["ZOO_DATA"], "weights").iterdir()) == []
