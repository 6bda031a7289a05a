"""The hub's own cache on this machine, laid out as its client library lays it out, so that both find the other's files.

Of one repository: `blobs/` holds each content once, named by the hub's digest of it; `snapshots/COMMIT/` holds a link to a
blob for every file of a commit; `refs/` says at which commit a branch was. What is still being fetched lies in a folder of
the zoo's own beside them, which the library never looks into. Knows nothing of the network.
"""

from __future__ import annotations

import contextlib
import dataclasses
import re
import shutil
from collections.abc import Collection, Iterator
from pathlib import Path, PurePosixPath

from huggingface_hub import constants, scan_cache_dir
from huggingface_hub.errors import HFValidationError
from huggingface_hub.file_download import repo_folder_name
from huggingface_hub.utils import WeakFileLock

from zoo_core import NotFound, WeightsError
from zoo_hub.client import kind_of

_COMMIT = re.compile(r"[0-9a-f]{40}")
#: What the hub names contents by: the SHA-256 of large files, git's SHA-1 of others.
_BLOB = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


class RepositoryCache:
    """The part of the cache that belongs to one repository. Nothing of it need exist."""

    def __init__(self, repo: str) -> None:
        """Raises `NotFound` for what is no name of a repository."""
        try:
            kind, within = kind_of(repo)
            name = repo_folder_name(repo_id=within, repo_type=kind)
        except HFValidationError:
            raise NotFound(f"'{repo[:80]}' is no name of a repository; write OWNER/NAME.") from None
        self._repo = repo
        self._cache = Path(constants.HF_HUB_CACHE)
        self._folder = self._cache / name
        self._locks = self._cache / ".locks" / name
        self.begun = self._folder / ".zoo-incoming"

    def commit(self, revision: str) -> str:
        """The commit that a revision was the last time that it was asked for; empty where that is not known."""
        if _COMMIT.fullmatch(revision):
            return revision
        try:
            commit = _inside(self._folder / "refs", revision or "main").read_text().strip()
        except (OSError, UnicodeDecodeError, WeightsError):
            return ""
        return commit if _COMMIT.fullmatch(commit) else ""

    def snapshot(self, commit: str) -> Path:
        """The folder with the files of a commit."""
        return self._folder / "snapshots" / commit

    def file(self, commit: str, path: str) -> Path:
        """Where a file of a commit is, or would be. Raises `WeightsError` for a path that leads out of its folder."""
        return _inside(self.snapshot(commit), path)

    def blob(self, name: str) -> Path:
        """Where a content is, or would be."""
        if not _BLOB.fullmatch(name):
            raise WeightsError(f"The hub names a file of {self._repo} '{name[:80]}', which is no digest.")
        return self._folder / "blobs" / name

    @contextlib.contextmanager
    def writing(self, blob: Path) -> Iterator[Path]:
        """Hold the client library's own lock on a content; gives where to keep it until it is complete and verified."""
        lock = self._locks / f"{blob.name}.lock"
        for folder in (lock.parent, self.begun, blob.parent, self._folder / "snapshots"):
            folder.mkdir(parents=True, exist_ok=True)
        with WeakFileLock(lock):
            yield self.begun / blob.name

    def link(self, blob: Path, file: Path, *, new: bool) -> None:
        """Show a content under the name of a file. Where there are no links, one that is `new` is moved, others copied."""
        file.parent.mkdir(parents=True, exist_ok=True)
        beside = self.begun / f"{blob.name}.link"
        beside.unlink(missing_ok=True)
        try:
            if constants.HF_HUB_DISABLE_SYMLINKS:
                raise OSError
            beside.symlink_to("../" * (len(file.relative_to(self._folder).parts) - 1) + f"blobs/{blob.name}")
        except OSError:
            if new:
                beside = blob
            else:
                shutil.copyfile(blob, beside)
        beside.replace(file)

    def remove(self, commit: str, paths: Collection[str]) -> int:
        """Remove files of a commit, the contents that no other commit has, and what was begun; returns the bytes freed."""
        freed = sum(path.lstat().st_size for path in self.begun.glob("*"))
        shutil.rmtree(self.begun, ignore_errors=True)
        wanted = {self.file(commit, path) for path in paths}
        if not any(file.exists() for file in wanted):
            return freed
        scanned = scan_cache_dir(self._cache)
        repo = next((each for each in scanned.repos if each.repo_path == self._folder.resolve()), None)
        if repo is None:
            raise WeightsError(f"The hub's cache in {self._folder} is damaged; remove that folder by hand.")
        # The library looks for a commit in every repository, and a copy of a repository has the same commits.
        scanned = dataclasses.replace(scanned, repos=frozenset({repo}))
        revision = next(each for each in repo.revisions if each.commit_hash == commit)
        names = {file.relative_to(self.snapshot(commit)) for file in wanted}
        files = [file for file in revision.files if file.file_path.relative_to(revision.snapshot_path) in names]
        whole = len(files) == len(revision.files)
        strategy = scanned.delete_revisions(commit) if whole else scanned.delete_files(*files)
        strategy.execute()
        return freed + strategy.expected_freed_size


def _inside(folder: Path, path: str) -> Path:
    """A path below a folder, from words that came from a stranger."""
    parts = PurePosixPath(path)
    if parts.is_absolute() or ".." in parts.parts or "\\" in path or not parts.parts or not path.isprintable():
        raise WeightsError(f"'{path[:80]}' is no path of a file in a repository.")
    return folder / parts
