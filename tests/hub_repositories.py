"""The repositories of the hub's stand-in (`hub_standin`), kept in memory as commits of whole files, and what may go wrong."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import yaml

#: Files that the hub keeps as LFS, by the end of their name or by their size.
LARGE = (".safetensors", ".bin", ".pt", ".gguf", ".h5", ".model", ".parquet")
LARGE_SIZE = 10_000_000

#: What can go wrong with a file or an address:
#:   corrupt    the right size, one byte changed          truncated  the right Content-Length, half of the bytes
#:   short      half of the bytes, and says so            slow       half of the bytes, the rest after `Fault.release`
#:   unsaid     half of the bytes, without Content-Length  endless    the bytes again and again, without Content-Length
#:   whole      ignores Range                             lying      metadata name another digest than the file has
#:   html       a web page with status 200                missing    404
#:   error      status `status` (500)                     redirect   a redirect to `to`
Kind = Literal[
    "corrupt",
    "truncated",
    "short",
    "slow",
    "unsaid",
    "endless",
    "whole",
    "lying",
    "html",
    "missing",
    "error",
    "redirect",
]


@dataclass
class Fault:
    """Something that goes wrong, `times` times or until it is mended. `reached` is set when it happens."""

    kind: Kind
    times: int | None = None
    to: str = ""
    status: int = 500
    reached: threading.Event = field(default_factory=threading.Event)
    release: threading.Event = field(default_factory=threading.Event)


@dataclass(frozen=True)
class Request:
    """A request that arrived; header names in lower case. `host` is `hub` or `storage`."""

    host: str
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]


@dataclass(frozen=True)
class Commit:
    """All files of a repository at one moment."""

    id: str
    files: dict[str, bytes]
    title: str
    parent: str


@dataclass
class Repo:
    """A repository: commits by id, and what branches, tags and pull requests point at."""

    name: str
    kind: str = "models"
    gated: bool = False
    private: bool = False
    accepted: bool = True
    writable: bool = True
    commits: dict[str, Commit] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)
    pull_requests: list[dict[str, Any]] = field(default_factory=list)

    def find(self, revision: str) -> Commit | None:
        """The commit that a branch, a tag, a `refs/pr/1` or an id names."""
        names = (revision, f"refs/heads/{revision}", f"refs/tags/{revision}")
        return next((self.commits[self.refs[name]] for name in names if name in self.refs), self.commits.get(revision))

    def commit(self, ref: str, parent: str, changes: Mapping[str, bytes | None], title: str) -> Commit:
        """Put a commit with these changes (None removes) on `parent` and let `ref` point at it."""
        files = {**(self.commits[parent].files if parent else {}), **changes}
        kept = {path: content for path, content in sorted(files.items()) if content is not None}
        text = f"{parent} {title} {len(self.commits)} {[(path, blob_id(content)) for path, content in kept.items()]}"
        commit = Commit(hashlib.sha1(text.encode()).hexdigest(), kept, title, parent)
        self.commits[commit.id] = commit
        self.refs[ref] = commit.id
        return commit


def is_large(path: str, content: bytes) -> bool:
    """Whether the hub keeps a file as LFS."""
    return path.endswith(LARGE) or len(content) > LARGE_SIZE


def pointer(content: bytes) -> bytes:
    """What git holds in the place of a large file."""
    digest = hashlib.sha256(content).hexdigest()
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{digest}\nsize {len(content)}\n".encode()


def blob_id(content: bytes) -> str:
    """Git's id of a file's content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def front_matter(files: Mapping[str, bytes]) -> dict[str, Any]:
    """The metadata at the top of a repository's README."""
    text = files.get("README.md", b"").decode(errors="replace")
    found = re.match(r"---\r?\n(.*?)^---", text, re.DOTALL | re.MULTILINE)
    try:
        data = yaml.safe_load(found[1]) if found else None
    except yaml.YAMLError:
        data = None
    return data if isinstance(data, dict) else {}
