"""Weights on disk: which folder a card's weights are in, and that they are the ones the card names.

Every file that the card lists must be there with the right size and digest before anything is loaded. A digest that was
right is remembered with the file's size and modification time, so that it is computed once and not at every start. Reaches
no network: `pulling` fetches weights, `pulled` remembers where they are.
"""

from __future__ import annotations

import contextlib
import stat
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec

from zoo_core.errors import WeightsError
from zoo_core.files import sha256_of, write_whole
from zoo_core.paths import cache_folder, expanded

if TYPE_CHECKING:
    from zoo_core.cards.parts import File, Source
    from zoo_core.cards.schema import ModelCard

#: The hubs whose files are on this machine already, and which no plugin brings.
LOCAL = ("package", "folder")

#: Told a file's path, how many bytes of it have been read, and its size.
FileProgress = Callable[[str, int, int], None]


def _unwatched(path: str, done: int, size: int) -> None:
    """The progress that nobody watches."""


class FileState(msgspec.Struct, frozen=True, kw_only=True):
    """A file as it was found; `problem` is a sentence where it is not as it should be."""

    path: str
    size: int
    state: Literal["ok", "missing", "wrong"]
    problem: str = ""


def find_weights(card: ModelCard, card_path: Path, given: Path | None = None, reference: str = "") -> Path:
    """The folder with a card's weights, verified. `given` is a folder that the user names instead of the card's sources.

    Looks into the card's packages and folders, then into the record of what was pulled. Raises `WeightsError` when there
    is none, or when a file is missing, cut short or not the one that the card names. `reference` is how the user called
    the model, for the message that says how to get it.
    """
    if given is not None:
        folder = given_folder(card, given)
        verify(card, folder)
        return folder
    problem: WeightsError | None = None
    for folder, files in _candidates(card, card_path):
        try:
            verify_files(card.id, files, folder)
            return folder
        except WeightsError as error:
            problem = problem or error
    raise problem or nowhere(card, reference or card.id)


def verify(card: ModelCard, folder: Path) -> None:
    """Raise `WeightsError` unless every file that the card lists is in `folder` with its size and SHA-256."""
    verify_files(card.id, card.files, folder)


def verify_files(model: str, files: Sequence[File], folder: Path, progress: FileProgress = _unwatched) -> None:
    """Raise `WeightsError` unless every file is in `folder` with its size and SHA-256. `model` is named in the message."""
    known = Verified()
    try:
        for file in files:
            _verify_file(model, folder, file, known, progress)
    finally:
        known.save()


def digest_of(path: Path, known: Verified, progress: FileProgress = _unwatched) -> str:
    """The SHA-256 of a file, from what is `known` where the file has not changed; `known` is told it."""
    size = path.stat().st_size
    digest = known.get(path) or sha256_of(path, lambda done: progress(path.name, done, size))
    known.add(path, digest)
    return digest


def remember(folder: Path, files: Sequence[File]) -> None:
    """Remember the digests of files that were computed before the folder got its name."""
    known = Verified()
    for file in files:
        known.add(folder / file.path, file.sha256)
    known.save()


def examine(
    model: str, files: Sequence[File], folder: Path, progress: FileProgress = _unwatched
) -> Iterator[FileState]:
    """Read every file anew, whatever is remembered of it."""
    known = Verified()
    for file in files:
        try:
            path = _existing(model, folder, file)
            known.forget(path)
            _verify_file(model, folder, file, known, progress)
        except _Missing as error:
            yield FileState(path=file.path, size=file.size, state="missing", problem=str(error))
        except WeightsError as error:
            yield FileState(path=file.path, size=file.size, state="wrong", problem=str(error))
        else:
            yield FileState(path=file.path, size=file.size, state="ok")
        known.save()


def expected(
    card: ModelCard, card_path: Path, given: Path | None = None, reference: str = ""
) -> tuple[Path, Sequence[File]]:
    """The folder with a card's weights, not verified, and the files that should be in it.

    These are the ones that the card lists and those that were recorded when they were pulled. Raises `WeightsError`.
    """
    from zoo_core.weights.assembled import assembled_of
    from zoo_core.weights.pulled import record_of

    if given is None and (whole := assembled_of(card)) is not None:
        return Path(whole.folder), whole.files
    record = record_of(card)
    local = [folder for source in card.sources if (folder := local_folder(source, card_path))]
    folders = [given_folder(card, given)] if given is not None else local
    if not folders and record is None:
        raise nowhere(card, reference or card.id)
    if not folders and record is not None:
        return Path(record.folder), record.files
    files = card.files or (record.files if record else [])
    if not files:
        raise WeightsError(
            f"The card of '{card.id}' lists no files and none were pulled, so there is nothing to compare with."
        )
    return folders[0], files


def given_folder(card: ModelCard, given: Path) -> Path:
    """The folder that the user named. Raises `WeightsError` where there is none."""
    folder = expanded(given)
    if not folder.is_dir():
        raise WeightsError(f"There is no folder {folder} with the weights of '{card.id}'.")
    return folder


def local_folder(source: Source, card_path: Path) -> Path | None:
    """The folder of a source whose files are on this machine without being downloaded, where it is there."""
    if source.hub not in LOCAL:
        return None
    folder = _package_folder(source) if source.hub == "package" else card_path.parent / source.path
    return folder if folder is not None and folder.is_dir() else None


def _candidates(card: ModelCard, card_path: Path) -> Iterator[tuple[Path, Sequence[File]]]:
    """The folders in which a card's weights may be, each with the files to be verified, in the order of preference."""
    from zoo_core.weights.pulled import record_of

    for source in card.sources:
        if folder := local_folder(source, card_path):
            yield folder, card.files
            break
    if record := record_of(card):
        yield Path(record.folder), card.files or record.files


def nowhere(card: ModelCard, reference: str) -> WeightsError:
    """The error that says that a card's weights are not here, and what to do."""
    from zoo_core.weights.pulled import damage

    if card.format == "api":
        return WeightsError(f"'{card.id}' is a hosted service: it has no weights that could be on this machine.")
    local = [source for source in card.sources if source.hub in LOCAL]
    if len(local) < len(card.sources):
        hint = f" ({problem[0].lower()}{problem[1:-1]})" if (problem := damage()) else ""
        return WeightsError(
            f"The weights of '{card.id}' are not on this machine{hint}. Get them with: zoo pull {reference}"
        )
    if local:
        return WeightsError(
            f"The weights of '{card.id}' should be at {local[0].repo or local[0].path}, but are not there."
        )
    return WeightsError(f"The card of '{card.id}' names no source of weights; name a folder with --model-path.")


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


class _Missing(WeightsError):
    """A file that is not there, or that may not be there."""


def _existing(model: str, folder: Path, file: File) -> Path:
    """The place of a file that is there. Raises `_Missing`."""
    path = folder / file.path
    if path.is_absolute() != folder.is_absolute() or ".." in Path(file.path).parts or not path.is_relative_to(folder):
        raise _Missing(f"The card of '{model}' names the file '{file.path}', which is outside its folder.")
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise FileNotFoundError
    except (OSError, ValueError):
        raise _Missing(f"The weights of '{model}' lack the file {path}; get the whole folder again.") from None
    return path


def _verify_file(model: str, folder: Path, file: File, known: Verified, progress: FileProgress) -> None:
    path = _existing(model, folder, file)
    try:
        size = path.stat().st_size
        if size == file.size and known.get(path) == file.sha256:
            return
        digest = sha256_of(path, lambda done: progress(file.path, done, size)) if size == file.size else ""
    except OSError as error:
        raise WeightsError(f"The file {path} cannot be read: {error.strerror or error}.") from error
    if size != file.size:
        raise WeightsError(
            f"The file {path} has {size:,} bytes, but the card of '{model}' says {file.size:,}: "
            "it is incomplete or another one; get it again."
        )
    if digest != file.sha256:
        raise WeightsError(
            f"The file {path} has the sha256 {digest[:12]}…, but the card of '{model}' says {file.sha256[:12]}…: "
            "it is damaged or another one; get it again."
        )
    known.add(path, digest)


class Verified:
    """Digests that were computed before, by path, size and modification time."""

    def __init__(self) -> None:
        self._place = cache_folder() / "verified.json"
        self._digests: dict[str, str] = {}
        self._fresh = True
        with contextlib.suppress(OSError, msgspec.DecodeError, UnicodeDecodeError):
            self._digests = msgspec.json.decode(self._place.read_bytes(), type=dict[str, str])

    def get(self, path: Path) -> str | None:
        """The digest of a file that has not changed since it was computed."""
        return self._digests.get(_key(path))

    def add(self, path: Path, digest: str) -> None:
        """Remember the digest of a file as it is now."""
        self._digests[_key(path)] = digest
        self._fresh = False

    def forget(self, path: Path) -> None:
        """Have the digest of a file computed anew."""
        if self._digests.pop(_key(path), None) is not None:
            self._fresh = False

    def save(self) -> None:
        """Write what has changed; a cache folder that cannot be written costs time, nothing else."""
        if not self._fresh:
            with contextlib.suppress(OSError):
                write_whole(self._place, msgspec.json.encode(self._digests), durable=False)
            self._fresh = True


def _key(path: Path) -> str:
    status = path.stat()
    return f"{path.resolve()}|{status.st_size}|{status.st_mtime_ns}"
