"""Weights on disk: which folder a card's weights are in, and that they are the ones the card names.

Every file that the card lists must be there with the right size and digest before anything is loaded. A digest that was
right is remembered with the file's size and modification time, so that it is computed once and not at every start.
"""

from __future__ import annotations

import contextlib
import stat
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from zoo_core.errors import WeightsError
from zoo_core.files import sha256_of, write_whole
from zoo_core.paths import cache_folder, expanded

if TYPE_CHECKING:
    from zoo_core.cards.parts import File, Source
    from zoo_core.cards.schema import ModelCard


def find_weights(card: ModelCard, card_path: Path, given: Path | None = None) -> Path:
    """The folder with a card's weights, verified. `given` is a folder that the user names instead of the card's sources.

    Raises `WeightsError` when there is none, or when a file is missing, cut short or not the one that the card names.
    """
    if given is not None:
        folder = expanded(given)
        if not folder.is_dir():
            raise WeightsError(f"There is no folder {folder} with the weights of '{card.id}'.")
    else:
        folder = _source_folder(card, card_path)
    verify(card, folder)
    return folder


def verify(card: ModelCard, folder: Path) -> None:
    """Raise `WeightsError` unless every file that the card lists is in `folder` with its size and SHA-256."""
    known = _Verified()
    for file in card.files:
        _verify_file(card, folder, file, known)
    known.save()


def _source_folder(card: ModelCard, card_path: Path) -> Path:
    local = [source for source in card.sources if source.hub in {"package", "folder"}]
    for source in local:
        folder = _package_folder(source) if source.hub == "package" else card_path.parent / source.path
        if folder is not None and folder.is_dir():
            return folder
    hubs = [f"{source.repo} ({source.hub})" for source in card.sources if source not in local]
    if hubs:
        raise WeightsError(
            f"The weights of '{card.id}' are not on this machine. Download {hubs[0]} to a folder, "
            f"then name it: zoo chat {card.id} --model-path FOLDER"
        )
    if local:
        raise WeightsError(
            f"The weights of '{card.id}' should be at {local[0].repo or local[0].path}, but are not there."
        )
    raise WeightsError(f"The card of '{card.id}' names no source of weights; name a folder with --model-path.")


def _package_folder(source: Source) -> Path | None:
    """The folder of an installed package, found without running the package's code."""
    from importlib.util import find_spec

    if not source.repo.isidentifier():
        return None
    try:
        spec = find_spec(source.repo)
        if spec is None or not spec.submodule_search_locations:
            return None
        root = Path(spec.submodule_search_locations[0]).resolve()
        folder = (root / source.path).resolve()
    except ValueError:  # a module that says nothing of itself, or a path that cannot be one
        return None
    return folder if folder.is_relative_to(root) else None


def _verify_file(card: ModelCard, folder: Path, file: File, known: _Verified) -> None:
    path = folder / file.path
    if path.is_absolute() != folder.is_absolute() or ".." in Path(file.path).parts or not path.is_relative_to(folder):
        raise WeightsError(f"The card of '{card.id}' names the file '{file.path}', which is outside its folder.")
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise FileNotFoundError
    except (OSError, ValueError):
        raise WeightsError(f"The weights of '{card.id}' lack the file {path}; get the whole folder again.") from None
    if status.st_size != file.size:
        raise WeightsError(
            f"The file {path} has {status.st_size:,} bytes, but the card of '{card.id}' says {file.size:,}: "
            "it is incomplete or another one; get it again."
        )
    key = f"{path.resolve()}|{status.st_size}|{status.st_mtime_ns}"
    if known.get(key) == file.sha256:
        return
    try:
        digest = sha256_of(path)
    except OSError as error:
        raise WeightsError(f"The file {path} cannot be read: {error.strerror or error}.") from error
    if digest != file.sha256:
        raise WeightsError(
            f"The file {path} has the sha256 {digest[:12]}…, but the card of '{card.id}' says {file.sha256[:12]}…: "
            "it is damaged or another one; get it again."
        )
    known.add(key, digest)


class _Verified:
    """Digests that were computed before, by path, size and modification time."""

    def __init__(self) -> None:
        self._place = cache_folder() / "verified.json"
        self._digests: dict[str, str] = {}
        self._fresh = True
        with contextlib.suppress(OSError, msgspec.DecodeError, UnicodeDecodeError):
            self._digests = msgspec.json.decode(self._place.read_bytes(), type=dict[str, str])

    def get(self, key: str) -> str | None:
        return self._digests.get(key)

    def add(self, key: str, digest: str) -> None:
        self._digests[key] = digest
        self._fresh = False

    def save(self) -> None:
        if not self._fresh:
            with contextlib.suppress(OSError):
                write_whole(self._place, msgspec.json.encode(self._digests), durable=False)
