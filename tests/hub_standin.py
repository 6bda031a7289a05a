"""A model hub on loopback, for tests: what huggingface_hub's real client asks for, and the ways in which a server can fail.

Repositories are kept in memory as commits of whole files. Large files (LFS) are handed out by a second server on a port of
its own, as the real hub hands them out from a storage host; that one must never see a token. Knows nothing of the zoo.

    with Hub() as hub:
        commit = hub.add("owner/name", {"config.json": b"{}", "model.safetensors": b"…"}, license="apache-2.0")
        hub.fault("model.safetensors", "corrupt")
        hub.requests  # everything that was asked, by both servers
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from hub_answers import Server
from hub_repositories import Fault, Kind, Repo, Request

#: The token that the hub knows; it belongs to the user `tester`.
TOKEN = "hf_" + "standin" * 5


class Hub:
    """The hub. `url` is what `HF_ENDPOINT` must be; `storage_url` is where large files come from."""

    def __init__(self) -> None:
        self.repos: dict[tuple[str, str], Repo] = {}
        self.requests: list[Request] = []
        self.uploaded: dict[str, bytes] = {}
        self.tokens = {TOKEN}
        self._faults: dict[str, Fault] = {}
        self._lock = threading.Lock()
        self._servers = [Server(self, "hub"), Server(self, "storage")]
        self.url, self.storage_url = (f"http://127.0.0.1:{server.server_port}" for server in self._servers)

    def __enter__(self) -> Hub:
        for server in self._servers:
            threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *exception: object) -> None:
        for fault in self._faults.values():
            fault.release.set()
        for server in self._servers:
            server.stop()

    def add(
        self,
        name: str,
        files: Mapping[str, bytes | None],
        *,
        license: str = "",
        metadata: Mapping[str, Any] | None = None,
        gated: bool = False,
        private: bool = False,
        accepted: bool = True,
        writable: bool = True,
        kind: str = "models",
        branch: str = "main",
    ) -> str:
        """Make a repository, or a commit with these files on one that is there; returns the commit's id.

        `license` and `metadata` become the README's front matter unless a README is given. `accepted` says whether the
        user `tester` may read a gated or private repository, `writable` whether that user may commit to it.
        """
        repo = self.repos.setdefault((kind, name), Repo(name, kind))
        repo.gated, repo.private, repo.accepted, repo.writable = gated, private, accepted, writable
        data = {**({"license": license} if license else {}), **(metadata or {})}
        if data and "README.md" not in files:
            text = f"---\n{yaml.safe_dump(data, sort_keys=False)}---\n# {name}\n"
            files = {**files, "README.md": text.encode()}
        ref = f"refs/heads/{branch}"
        return repo.commit(ref, repo.refs.get(ref, ""), files, "Update files").id

    def repo(self, name: str, kind: str = "models") -> Repo:
        """A repository, to look at what was done to it."""
        return self.repos[kind, name]

    def files(self, name: str, revision: str = "main") -> dict[str, bytes]:
        """The files of a model repository at a revision."""
        commit = self.repo(name).find(revision)
        assert commit is not None, f"{name} has no revision {revision}"
        return commit.files

    def fault(self, path: str, kind: Kind, *, times: int | None = None, to: str = "", status: int = 500) -> Fault:
        """Let something go wrong with a file (its path in the repository) or an address (a path from `/` on).

        An address is hit by every request whose path begins with it.
        """
        fault = Fault(kind, times, to, status)
        self._faults[path] = fault
        return fault

    def mend(self) -> None:
        """Let everything go right again."""
        for fault in self._faults.values():
            fault.release.set()
        self._faults.clear()

    def asked(self, method: str, part: str, host: str = "") -> list[Request]:
        """The requests of a method whose path contains `part`."""
        return [
            each
            for each in list(self.requests)
            if each.method == method and part in each.path and host in ("", each.host)
        ]

    def fault_of(self, path: str, kinds: set[str]) -> Fault | None:
        """The fault that hits a request now, if it is of one of the kinds; counts it."""
        with self._lock:
            for where, fault in self._faults.items():
                hit = path.startswith(where) if where.startswith("/") else path == where
                if hit and fault.kind in kinds and fault.times != 0:
                    fault.times = None if fault.times is None else fault.times - 1
                    fault.reached.set()
                    return fault
        return None

    def digest(self, path: str, content: bytes) -> str:
        """The SHA-256 that the hub names for a file, which may be a lie."""
        lie = b"lie" if self.fault_of(path, {"lying"}) else b""
        return hashlib.sha256(content + lie).hexdigest()


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub that huggingface_hub, here and in subprocesses, takes for the real one; its cache is in `tmp_path`."""
    import huggingface_hub
    from huggingface_hub import constants

    home = tmp_path / "hf"
    cache, token = home / "hub", home / "token"
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_OIDC_RESOURCE"):
        monkeypatch.delenv(name, raising=False)
    with Hub() as running:
        settings = {"HF_ENDPOINT": running.url, "HF_HOME": home, "HF_HUB_CACHE": cache, "HF_TOKEN_PATH": token}
        switches = {"HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
        for name, value in {**settings, **switches}.items():
            monkeypatch.setenv(name, str(value))
        # The library reads its environment when it is imported, which may have been long ago.
        monkeypatch.setattr(constants, "ENDPOINT", running.url)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", running.url + "/{repo_id}/resolve/{revision}/{filename}"
        )
        for name, value in {"HF_HOME": home, "HF_HUB_CACHE": cache, "HF_TOKEN_PATH": token}.items():
            monkeypatch.setattr(constants, name, str(value))
        for name in ("HF_HUB_DISABLE_XET", "HF_HUB_DISABLE_TELEMETRY"):
            monkeypatch.setattr(constants, name, True)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        yield running
        huggingface_hub.close_session()
