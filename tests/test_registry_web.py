"""Registries on real web servers: redirects, https, credentials and whom they are sent, nginx."""

from __future__ import annotations

import datetime
import ipaddress
import os
import shutil
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from static_registry import Handler, Run, Server, build, contents, index_of, serving, write_cards

TOKEN = "verysecrettoken"


@pytest.fixture(autouse=True)
def netrc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Neither proxies nor credentials of whoever runs the tests; the path of the netrc file."""
    for name in os.environ:
        if name.lower().endswith("_proxy") or name.startswith("ZOO_REGISTRY"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    return tmp_path / "netrc"


@pytest.fixture
def root(run: Run, tmp_path: Path) -> Path:
    """A registry with two cards."""
    return build(run, tmp_path / "public", write_cards(tmp_path / "cards", "a", "b"))


@pytest.fixture
def server(root: Path) -> Iterator[Server]:
    with serving(root) as server:
        yield server


@pytest.fixture
def other(root: Path) -> Iterator[Server]:
    """The same registry on another port."""
    with serving(root) as server:
        yield server


def to(address: str, code: int = 302) -> Callable[[Handler], None]:
    """Redirect everything to the same path elsewhere."""
    return lambda handler: handler.reply(code, Location=address + handler.path)


def authorizations(server: Server) -> set[str | None]:
    return {headers.get("Authorization") for _, headers in server.requests}


def everything() -> bytes:
    """All that the zoo has written."""
    return b"".join(
        content
        for name in ("DATA", "CACHE", "CONFIG")
        for content in contents(Path(os.environ[f"ZOO_{name}"])).values()
    )


# -- redirects -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_redirects_are_followed(run: Run, server: Server, other: Server, code: int) -> None:
    server.answers["*"] = to(other.address, code)
    assert run("registry", "add", "r", server.address).exit_code == 0
    assert run("show", "r:a").exit_code == 0


@pytest.mark.parametrize(("steps", "fine"), [(5, True), (6, False)])
def test_redirects_are_followed_five_times(run: Run, server: Server, steps: int, fine: bool) -> None:
    for step in range(steps):
        target = f"/step{step + 1}" if step < steps - 1 else "/real"
        server.answers[f"step{step}" if step else "index.json"] = lambda handler, target=target: handler.reply(
            302, Location=target
        )
    content = (server.root / "index.json").read_bytes()
    server.answers["real"] = lambda handler: handler.reply(200, content)
    result = run("registry", "add", "r", server.address)
    assert (result.exit_code == 0) is fine
    assert ("more than 5 times" in result.stderr) is not fine


@pytest.fixture
def tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """A certificate for loopback, which this test trusts."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "loopback")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (tmp_path / "tls.pem").write_bytes(secret + certificate.public_bytes(pem))
    (tmp_path / "trusted.pem").write_bytes(certificate.public_bytes(pem))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "trusted.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "tls.pem")
    return context


def test_https_leads_to_https_only(run: Run, root: Path, server: Server, tls: ssl.SSLContext) -> None:
    with serving(root, tls) as safe:
        assert run("registry", "add", "r", safe.address).exit_code == 0
        safe.answers["*"] = to(server.address)
        result = run("registry", "update")
        assert (result.exit_code, server.requests) == (1, [])
        assert "leads from https to http" in result.stderr
        server.answers["*"] = to(safe.address)
        safe.answers.clear()
        assert run("registry", "add", "s", server.address).exit_code == 0


def test_a_certificate_that_nobody_vouches_for_is_refused(
    run: Run, root: Path, tls: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    with serving(root, tls) as safe:
        result = run("registry", "add", "r", safe.address)
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert "certificate" in result.stderr.lower()


# -- credentials ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["token", "netrc"])
def test_credentials_are_sent_to_their_own_host_and_port_alone(
    run: Run, server: Server, other: Server, netrc: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    if way == "token":
        monkeypatch.setenv("ZOO_REGISTRY_TOKEN_MY_CARDS_1", TOKEN)
        expected = f"Bearer {TOKEN}"
    else:
        netrc.write_text(f"machine 127.0.0.1 login me password {TOKEN}\n")
        expected = "Basic bWU6dmVyeXNlY3JldHRva2Vu"
    cards = [path.name for path in (server.root / "cards").iterdir()]
    server.answers = {f"cards/{name}": to(other.address) for name in cards}
    result = run("registry", "add", "my-cards.1", server.address)
    assert result.exit_code == 0
    assert authorizations(server) == {expected}
    assert authorizations(other) == {None}
    assert len(other.requests) == 2
    server.answers["*"] = lambda handler: handler.reply(401)
    failed = run("registry", "update")
    assert failed.exit_code == 1
    for text in (result.output, failed.output, everything().decode(errors="replace")):
        assert TOKEN not in text


def test_a_token_comes_back_with_the_way_home(
    run: Run, server: Server, other: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Away and home again: the other host never sees it."""
    monkeypatch.setenv("ZOO_REGISTRY_TOKEN_R", TOKEN)
    server.answers["index.json"] = lambda handler: handler.reply(302, Location=f"{other.address}/away")
    other.answers["away"] = lambda handler: handler.reply(302, Location=f"{server.address}/./index.json?home")
    content = (server.root / "index.json").read_bytes()
    server.answers["index.json?home"] = lambda handler: handler.reply(200, content)
    assert run("registry", "add", "r", server.address).exit_code == 0
    assert (authorizations(server), authorizations(other)) == ({f"Bearer {TOKEN}"}, {None})


def test_a_mirror_gets_no_token_unless_it_is_the_same_host_and_port(
    run: Run, server: Server, other: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZOO_REGISTRY_TOKEN_R", TOKEN)
    for path in ("index.json", "again/index.json"):
        server.answers[path] = lambda handler: handler.reply(503)
    again = f"{server.address}/again"
    assert run("registry", "add", "r", server.address, "--mirror", again, "--mirror", other.address).exit_code == 0
    assert server.paths == ["index.json", "again/index.json"]
    assert (authorizations(server), authorizations(other)) == ({f"Bearer {TOKEN}"}, {None})


def test_the_token_of_another_registry_is_not_sent(run: Run, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZOO_REGISTRY_TOKEN_OTHER", TOKEN)
    assert run("registry", "add", "r", server.address).exit_code == 0
    assert authorizations(server) == {None}


@pytest.mark.parametrize(
    "entries",
    [
        f"machine localhost login me password {TOKEN}\n",
        f"default login me password {TOKEN}\n",
        f"machine 127.0.0.1.example.org login me password {TOKEN}\n",
        "machine 127.0.0.1 login me\n",
        "",
    ],
    ids=["another host", "default", "a longer name", "no password", "empty"],
)
def test_netrc_entries_for_others_are_not_sent(run: Run, server: Server, netrc: Path, entries: str) -> None:
    netrc.write_text(entries)
    assert run("registry", "add", "r", server.address).exit_code == 0
    assert authorizations(server) == {None}


@pytest.mark.parametrize(
    "content", [f"machine 127.0.0.1 {TOKEN}".encode(), b"\xff\xfe\x00"], ids=["mistake", "no text"]
)
def test_a_broken_netrc_is_said_without_its_secrets(run: Run, server: Server, netrc: Path, content: bytes) -> None:
    netrc.write_bytes(content)
    result = run("registry", "add", "r", server.address)
    assert (result.exit_code, result.stderr.count("\n"), TOKEN in result.output) == (2, 1, False)
    assert f"The file {netrc} cannot be read" in result.stderr


@pytest.mark.parametrize("token", [f"{TOKEN}\r\nX-Evil: 1", f"{TOKEN} x", f"{TOKEN}é", f"{TOKEN}\x7f"], ids=ascii)
def test_a_token_that_is_none_is_not_sent(
    run: Run, server: Server, monkeypatch: pytest.MonkeyPatch, token: str
) -> None:
    monkeypatch.setenv("ZOO_REGISTRY_TOKEN_R", token)
    result = run("registry", "add", "r", server.address)
    assert (result.exit_code, server.requests, TOKEN in result.output) == (2, [], False)
    assert "What ZOO_REGISTRY_TOKEN_R holds is no token" in result.stderr


# -- nginx -----------------------------------------------------------------------------------------------------------------

NGINX = """
{user} daemon off; pid {folder}/pid; error_log {folder}/error.log; worker_processes 1;
events {{}}
http {{
  access_log {folder}/access.log;
  client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;
  uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
  gzip on; gzip_types *; gzip_min_length 1;
  server {{ listen unix:{folder}/unused; listen 127.0.0.1:{port}; root {root}; }}
}}
"""


@pytest.fixture
def nginx(root: Path, tmp_path: Path) -> Iterator[str]:
    """nginx with compression for whoever asks for it; its address."""
    program = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        pytest.skip("nginx is not installed")
    with serving(root) as server:
        port = server.server_address[1]  # free as soon as the server is closed
    folder = tmp_path / "nginx"
    folder.mkdir()
    user = "user root;" if os.geteuid() == 0 else ""  # else its workers could not read the folders of tests
    (folder / "nginx.conf").write_text(NGINX.format(folder=folder, root=root, port=port, user=user))
    with subprocess.Popen([program, "-c", folder / "nginx.conf", "-p", folder], stderr=subprocess.PIPE) as process:
        while not (folder / "pid").exists() and process.poll() is None:
            time.sleep(0.02)
        yield f"http://127.0.0.1:{port}"
        process.terminate()


def test_nginx(run: Run, root: Path, nginx: str, tmp_path: Path) -> None:
    assert run("registry", "add", "r", nginx).exit_code == 0
    assert "nothing has changed" in run("registry", "update").stdout
    asked = (tmp_path / "nginx" / "access.log").read_text()
    assert asked.count('"GET /index.json HTTP/1.1" 304') == 1
    build(run, root, write_cards(tmp_path / "cards", "c"))
    assert "1 new" in run("registry", "update").stdout
    copy = contents(Path(os.environ["ZOO_DATA"]) / "registries" / "r")
    assert {name: content for name, content in copy.items() if name != "state.json"} == contents(root)
    state = msgspec.json.decode(copy["state.json"])
    assert (state["serial"], state["etag"][:1]) == (2, '"')
    assert index_of(root)["serial"] == 2
