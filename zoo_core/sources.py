"""Where cards and weights come from and go to: the protocols that plugins implement, and the data that they exchange.

A card source reads single cards at an address, keeps the local copy of a registry up to date, or publishes; its offer says
which of these it does: `supports={"does": ["read", "update", "publish"]}`. A weight source is a hub that a card's
`sources` name. Nothing here reaches the network.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import msgspec

from zoo_core.cards.parts import Source
from zoo_core.cards.schema import AnyCard

Trust = Literal["off", "warn", "enforce"]


class RemoteFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file in a repository. Where the hub tells no SHA-256 it may tell `git_id`, the SHA-1 of git's blob."""

    path: str
    size: int
    sha256: str | None = None
    git_id: str = ""


class Repository(msgspec.Struct, frozen=True, kw_only=True):
    """What a hub says of a repository at one commit, without any of its files.

    `license` is the hub's identifier, `metadata` the front matter of its README, `address` a page that people can open.
    """

    repo: str
    revision: str
    files: list[RemoteFile]
    license: str = ""
    gated: bool = False
    metadata: dict[str, Any] = {}
    address: str = ""


class Download(msgspec.Struct, frozen=True, kw_only=True):
    """What a weight source is to fetch.

    `check` is called with every finished file before it becomes visible under its own name, and raises `WeightsError`.
    `progress` is called with a file's path, the bytes of it that are there, and its size; from several threads.
    """

    source: Source
    files: Sequence[RemoteFile]
    check: Callable[[Path, RemoteFile], None]
    progress: Callable[[str, int, int], None] = lambda path, done, total: None


class WeightSource(Protocol):
    """A hub. The name of its offer is what cards say under `hub`. Failures are `ZooError`s; `Unreachable` lets the next
    source be tried."""

    def inspect(self, source: Source) -> Repository:
        """Ask the hub what it has at `source.revision`, or at its newest commit where that is empty."""
        ...

    def read(self, source: Source, path: str, *, start: int = 0, size: int = 10_000_000) -> bytes:
        """At most `size` bytes of a file from `start` on: for configurations, and the headers of weights."""
        ...

    def present(self, source: Source, files: Sequence[RemoteFile]) -> dict[str, Path]:
        """Which of the files are on this machine, by path; asks nothing of the network and verifies nothing."""
        ...

    def store(self, source: Source) -> Path:
        """The folder where `download` keeps what it has begun, and nothing else; it may not exist yet.

        Its disk is asked for free space.
        """
        ...

    def begun(self, source: Source, file: RemoteFile) -> Path:
        """Where in `store` a file lies until it is complete; what is there of it is not fetched again."""
        ...

    def download(self, download: Download) -> Path:
        """Fetch what is not there, several files at a time, resuming what was interrupted; return the folder of the files."""
        ...

    def remove(self, source: Source, files: Sequence[RemoteFile]) -> int:
        """Remove files of a repository at this revision, and what was begun of it; return the bytes that were freed."""
        ...


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """A file that publishing adds or changes. `before` is None where there is none yet."""

    path: str
    before: str | None
    after: str


class Publication(Protocol):
    """A publication that is ready: what it will change, and where. Nothing has been changed yet.

    `notes` are sentences on what the card says and that place has no words for.
    """

    changes: Sequence[Change]
    where: str
    notes: Sequence[str]

    def carry_out(self) -> str:
        """Make exactly these changes; return what the user does next, such as the address of a pull request."""
        ...


class PublishRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A card on its way to `address` (what follows `hf:`, `git:`, `dir:` …). `direct` commits without a pull request."""

    card: AnyCard
    address: str
    direct: bool = False
    message: str = ""


class RegistryRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A registry whose local copy in `folder` is to be brought up to date.

    `addresses` are tried in order. `key` is the publisher's public key, base64. What is refused leaves the copy as it was.
    """

    name: str
    addresses: Sequence[str]
    folder: Path
    key: str = ""
    trust: Trust = "off"
    progress: Callable[[int, int], None] = lambda done, total: None
    warn: Callable[[str], None] = lambda warning: None


class CardSource(Protocol):
    """Cards elsewhere. The name of its offer is the word before the colon of an address."""

    def read(self, address: str) -> bytes:
        """The bytes of the card at an address."""
        ...

    def update(self, request: RegistryRequest) -> str:
        """Bring a registry's local copy up to date; return one sentence that says what came."""
        ...

    def publish(self, request: PublishRequest) -> Publication:
        """Prepare a publication; look at what is there, change nothing."""
        ...
