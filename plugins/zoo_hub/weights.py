"""Weights on the Hugging Face hub. They come into the hub's own cache, where every program that uses the hub finds them.

A file is fetched beside the cache, verified, and then moved into it: what is damaged never becomes visible. Files are those
of a commit, never of a branch that may move meanwhile.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Sequence
from pathlib import Path

import msgspec
from huggingface_hub import DatasetInfo, ModelInfo, constants
from huggingface_hub.errors import HFValidationError
from huggingface_hub.hf_api import RepoSibling

from zoo_core import Download, RemoteFile, Repository, Source, Unreachable, WeightsError, in_parallel
from zoo_hub.cache import RepositoryCache
from zoo_hub.client import hub_api, in_words, kind_of
from zoo_hub.transfers import fetch, read

_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


class HubWeights:
    """The weight source `huggingface`. The files of a dataset are in `datasets/owner/name`."""

    def inspect(self, source: Source) -> Repository:
        """One request; what the hub does not tell is left empty."""
        info = _info(source)
        metadata = info.card_data.to_dict() if info.card_data else {}
        license = metadata.get("license") or ""
        return Repository(
            repo=source.repo,
            revision=info.sha or "",
            files=[_file(source, sibling) for sibling in info.siblings or []],
            license=license if isinstance(license, str) else ", ".join(map(str, license)),
            gated=bool(info.gated),
            metadata=metadata,
            address=f"{constants.ENDPOINT}/{source.repo}",
        )

    def read(self, source: Source, path: str, *, start: int = 0, size: int = 10_000_000) -> bytes:
        """A part of a file, from the hub."""
        with in_words(source.repo):
            return read(source, path, start, size)

    def present(self, source: Source, files: Sequence[RemoteFile]) -> dict[str, Path]:
        """The files that the hub's cache has at this commit, or at the one where the branch was when it was last asked."""
        cache = RepositoryCache(source.repo)
        commit = cache.commit(source.revision)
        places = {file.path: cache.file(commit, file.path) for file in files} if commit else {}
        return {path: place for path, place in places.items() if place.is_file()}

    def store(self, source: Source) -> Path:
        """Where files lie until they are complete and verified."""
        return RepositoryCache(source.repo).begun

    def begun(self, source: Source, file: RemoteFile) -> Path:
        """Where a file lies until then, as far as its name at the hub is known before the hub is asked."""
        name = file.sha256 or (file.git_id if _COMMIT.fullmatch(file.git_id) else "unknown")
        return RepositoryCache(source.repo).begun / name

    def download(self, download: Download) -> Path:
        """Fetch the files into the cache, several at a time."""
        source, repository = download.source, None
        if not _COMMIT.fullmatch(source.revision):
            repository = self.inspect(source)
            source = msgspec.structs.replace(source, revision=repository.revision)
        here = self.present(source, download.files)
        wrong = {
            file.path: error
            for file in download.files
            if file.path in here and (error := _problem(download, here[file.path], file))
        }
        missing = [file for file in download.files if file.path not in here or file.path in wrong]
        if missing:
            names = _names(repository or self.inspect(source), missing)
            for path, error in wrong.items():
                if here[path].resolve().name != names[path]:
                    raise _in_the_way(here[path], error)
            in_parallel(missing, lambda file, stop: _bring(download, source, file, names[file.path], stop))
        return RepositoryCache(source.repo).snapshot(source.revision)

    def remove(self, source: Source, files: Sequence[RemoteFile]) -> int:
        """Remove files of a commit from the cache, with whatever was begun."""
        cache = RepositoryCache(source.repo)
        commit = cache.commit(source.revision)
        return cache.remove(commit, [file.path for file in files]) if commit else 0


def _info(source: Source) -> ModelInfo | DatasetInfo:
    kind, name = kind_of(source.repo)
    with in_words(source.repo):
        try:
            info = hub_api().repo_info(
                name,
                repo_type=kind,
                revision=source.revision or None,
                files_metadata=True,
                timeout=constants.HF_HUB_ETAG_TIMEOUT,
            )
        except (HFValidationError, UnicodeEncodeError):
            raise
        except (ValueError, TypeError, LookupError, AttributeError) as error:  # no JSON, or none of a repository
            raise Unreachable(
                f"{constants.ENDPOINT} does not answer for {source.repo} as a hub does; "
                "look at your network and at HF_ENDPOINT, then try again."
            ) from error
    if not _COMMIT.fullmatch(str(info.sha)) or (_COMMIT.fullmatch(source.revision) and info.sha != source.revision):
        raise WeightsError(
            f"The hub was asked for {source.repo} at {source.revision[:12] or 'its newest commit'}, "
            f"but answers with commit {str(info.sha)[:12]}."
        )
    return info


def _file(source: Source, sibling: RepoSibling) -> RemoteFile:
    path, size, large = sibling.rfilename, sibling.size, sibling.lfs
    if large and not _SHA256.fullmatch(str(large.sha256)):
        raise WeightsError(f"The hub tells the sha256 '{str(large.sha256)[:80]}' of {path} in {source.repo}.")
    if not isinstance(path, str) or not isinstance(size, int):
        raise WeightsError(f"The hub does not tell the size of every file in {source.repo}.")
    if large:
        return RemoteFile(path=path, size=size, sha256=large.sha256)
    return RemoteFile(path=path, size=size, git_id=str(sibling.blob_id or ""))


def _names(repository: Repository, files: Sequence[RemoteFile]) -> dict[str, str]:
    """What the hub names the content of each file.

    Raises `WeightsError` where it has other files than are wanted, so that none of them is fetched in vain.
    """
    there = {file.path: file for file in repository.files}
    at = f"{repository.repo} at commit {repository.revision[:12]}"
    for file in files:
        other = there.get(file.path)
        if other is None:
            raise WeightsError(f"The repository {at} has no file {file.path}.")
        if other.size != file.size:
            raise WeightsError(f"The file {file.path} of {at} has {other.size:,} bytes, not {file.size:,}.")
        if file.sha256 and other.sha256 and other.sha256 != file.sha256:
            raise WeightsError(
                f"The file {file.path} of {at} has the sha256 {other.sha256[:12]}…, not {file.sha256[:12]}…."
            )
    return {file.path: there[file.path].sha256 or there[file.path].git_id for file in files}


def _bring(download: Download, source: Source, file: RemoteFile, name: str, stop: threading.Event) -> None:
    """Bring one file into the cache. Another commit may have its content there already; a damaged one is replaced."""
    cache = RepositoryCache(source.repo)
    blob = cache.blob(name)
    with cache.writing(blob) as begun:
        new = not blob.exists() or _problem(download, blob, file) is not None
        if new:
            _fetch(download, source, file, begun, stop)
            begun.replace(blob)
        cache.link(blob, cache.file(source.revision, file.path), new=new)


def _fetch(download: Download, source: Source, file: RemoteFile, begun: Path, stop: threading.Event) -> None:
    """Fetch and verify one file. What an earlier run began and proves wrong is fetched anew, once."""
    while True:
        earlier = begun.exists()
        try:
            with in_words(source.repo, writes=True):
                fetch(source, file, begun, lambda done: download.progress(file.path, done, file.size), stop)
            download.check(begun, file)
        except WeightsError:
            begun.unlink()
            if not earlier:
                raise
        else:
            break
    with begun.open("r+b") as written:
        os.fsync(written.fileno())


def _problem(download: Download, path: Path, file: RemoteFile) -> WeightsError | None:
    """What is wrong with a file in the cache. One that is right need not come."""
    try:
        download.check(path, file)
    except WeightsError as error:
        return error
    download.progress(file.path, file.size, file.size)
    return None


def _in_the_way(path: Path, error: WeightsError) -> WeightsError:
    """A file in the cache has a name under which the hub has another content."""
    problem = str(error).removesuffix(".")
    return WeightsError(
        f"{problem}; it is in the hub's cache: remove it with zoo rm, or delete {path.resolve()}, then pull again."
    )
