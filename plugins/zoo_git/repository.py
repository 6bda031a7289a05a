"""The program `git`, run without a shell, in clones that live in temporary folders. Knows nothing of cards.

What a clone holds was written by others: links in it are checked out as plain files, no filter of the user's runs on it, and
an address never becomes an option or a command. Who may read and write is git's own business; passwords are never shown.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import tempfile
import time
import weakref
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote, unquote, urlsplit

from zoo_core import NotFound, Unreachable, UsageProblem, ZooError

#: What git is told through its environment. Its other helpers than these protocols' run commands that an address names.
_ENVIRONMENT = {
    "GIT_ALLOW_PROTOCOL": "file:https:http:ssh",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_LITERAL_PATHSPECS": "1",
    "GIT_LFS_SKIP_SMUDGE": "1",
    "LC_ALL": "C",
}
#: A web server that sends nothing for so many seconds is given up, unless the user says otherwise.
_PATIENCE = {"GIT_HTTP_LOW_SPEED_LIMIT": "1", "GIT_HTTP_LOW_SPEED_TIME": "60"}
#: Variables that would lead git into another repository than the clone; a hook of git that runs the zoo has them.
_ELSEWHERE = (
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_PREFIX",
    "GIT_COMMON_DIR",
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_NAMESPACE",
)
#: What holds in a clone: no links, bytes as they are, and no name for the user that git has guessed.
_SETTINGS = [
    "--config=core.symlinks=false",
    "--config=core.autocrlf=false",
    "--config=user.useConfigOnly=true",
]
#: Counts more than the attributes in a clone: no command of the user's filters its files, and bytes stay as they are.
_ATTRIBUTES = "* -filter -text -ident -working-tree-encoding\n"
_PREFIX = "zoo-git-"
_DAY = 24 * 60 * 60

#: What git says of a failure, the error that it is, and its sentence; the first that fits counts.
_FAILURES: list[tuple[str, type[ZooError], str]] = [
    (
        "tell me who you are|auto-detection is disabled|empty ident",
        ZooError,
        "git does not know who you are; tell it with: git config --global user.name NAME, and the same for user.email.",
    ),
    (
        "transport '.*' not allowed",
        UsageProblem,
        "The zoo does not let git reach {shown} in this way; use https://, ssh:// or a path.",
    ),
    (
        "Remote branch .* not found",
        NotFound,
        "{shown} has no branch '{branch}'.",
    ),
    (
        r"\[rejected\]|cannot lock ref.*is at",
        ZooError,
        "Somebody else has pushed to {shown} meanwhile; nothing was changed there, so publish again.",
    ),
    (
        r"\[remote rejected\]",
        ZooError,
        "{shown} refuses the push, and nothing was changed there: {reason}.",
    ),
    (
        "could not read (Username|Password)|Authentication failed|Permission denied|returned error: 40[13]",
        ZooError,
        "git may not enter {shown}; set up a credential helper or an SSH key for it ({reason}).",
    ),
    (
        "does not exist|not found|does not appear to be a git repository|Cannot access URL",
        NotFound,
        "There is no git repository at {shown}, or you may not read it.",
    ),
    (
        "unable to access|resolve host|[Cc]onnection|[Nn]etwork|timed out|hung up|early EOF|RPC failed|[Nn]o route",
        Unreachable,
        "The git repository {shown} cannot be reached: {reason}.",
    ),
]


class Address(NamedTuple):
    """Where a repository is, and the branch that is meant (empty for its default one)."""

    url: str
    branch: str

    @property
    def shown(self) -> str:
        """The address as people may see it: without what may be a password or a token."""
        return _shown(self.url)[:200]

    @property
    def folder(self) -> Path | None:
        """The folder of a repository on this machine."""
        if self.url.startswith("file://"):
            return Path(unquote(self.url.removeprefix("file://")))
        return Path(self.url) if _is_path(self.url) else None


def address_of(text: str) -> Address:
    """Read `PATH_OR_URL[#branch]`. Raises `UsageProblem` for what would be an option or a command to git."""
    url, _, branch = (text, "", "") if _is_folder(text) else text.partition("#")
    problem = UsageProblem(f"'git:{_shown(text)[:200]}' is no address of a git repository; write git:PATH or git:URL.")
    if not url or url.startswith("-") or branch.startswith("-") or not text.isprintable() or re.match(r"[^/:]*::", url):
        raise problem
    try:
        if "://" in url:
            _ = urlsplit(url).port  # raises where a password holds signs that are not percent-encoded
        elif _is_path(url):
            url = str(Path(url).expanduser().resolve())
    except (ValueError, RuntimeError, OSError):
        raise problem from None
    return Address(url, branch)


def _is_path(url: str) -> bool:
    return _is_folder(url) or not ("://" in url or re.match(r"[^/]+:", url))


def _is_folder(text: str) -> bool:
    try:
        return Path(text).is_dir()
    except (OSError, ValueError):
        return False


def _shown(url: str) -> str:
    """An address without all that stands before its last `@`, and without its query; a path stays as it is."""
    if _is_path(url) or re.fullmatch(r"(ssh://)?git@[^@?]*", url):
        return url
    before, at, rest = url.rpartition("@")
    scheme = re.match(r"[a-z+]+:/+", before)
    place, mark, _ = rest.partition("?")
    return f"{scheme[0] if scheme else ''}…@{place}" + "?…" * len(mark) if at else f"{place}{'?…' * len(mark)}"


def _hidden(line: str, url: str) -> str:
    """What git says, without the passwords and queries of `url`, or of the address that the user's settings made of it."""
    if _is_path(url):
        return line
    for secret in (url, url[: url.rfind("@") + 1]):
        line = line.replace(secret, _shown(secret)) if secret else line
    return re.sub(r"\?[^\s']+", "?…", re.sub(r"//(?!git@[^@\s]*(?:\s|$))\S*@", "//…@", line))


class Clone:
    """A clone in a temporary folder, which goes when the clone is no longer used."""

    def __init__(self, address: Address, *, whole: bool = False) -> None:
        """Clone one branch, the newest commit or with `whole` all of them.

        Raises `NotFound`, `Unreachable`, or another `ZooError` when the repository cannot be had.
        """
        self.address = address
        temporary = _temporary_folder()
        self._cleaner = weakref.finalize(self, shutil.rmtree, temporary, ignore_errors=True)
        self.folder = temporary
        options = ["--quiet", "--no-tags", "--no-checkout", "--single-branch", *_SETTINGS]
        options += [] if whole else ["--depth=1"]
        options += [f"--branch={address.branch}"] if address.branch else []
        self.git("clone", *options, "--", address.url, "clone")
        self.folder = temporary / "clone"
        self.branch = self._branch()
        self.empty = not self.git("for-each-ref", "--count=1")
        if self.empty and self.git("ls-remote", "--heads", "origin"):
            missing = f"The default branch '{self.branch}' of {address.shown} does not exist"
            raise ZooError(f"{missing}; name another one after the address: #BRANCH.")
        if not self.empty:
            attributes = self.folder / ".git" / "info" / "attributes"
            attributes.parent.mkdir(exist_ok=True)
            attributes.write_text(_ATTRIBUTES)
            self.git("reset", "--quiet", "--hard")

    def git(self, *arguments: str) -> str:
        """Run git here and return what it prints. Raises a `ZooError` that says what git says."""
        environment = {name: value for name, value in os.environ.items() if name not in _ELSEWHERE}
        try:
            done = subprocess.run(
                ["git", *arguments],
                cwd=self.folder,
                env=_PATIENCE | environment | _ENVIRONMENT,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                encoding="utf-8",
                errors="replace",
                check=False,
            )
        except FileNotFoundError:
            raise ZooError("The program 'git' is not installed; install it from your system's packages.") from None
        if done.returncode:
            raise self._failure(arguments[0], done.stderr)
        return done.stdout

    def texts(self, *endings: str) -> Iterator[Path]:
        """The tracked files with these endings, relative to the clone, sorted; no links, and nothing that is hidden."""
        for entry in sorted(
            self.git("ls-files", "--stage", "-z").split("\0")[:-1], key=lambda each: each.split("\t")[-1]
        ):
            mode, _, name = entry.partition(" ")
            path = Path(name.partition("\t")[2])
            hidden = any(part.startswith(".") for part in path.parts)
            if mode.startswith("100") and path.name.endswith(endings) and not hidden and (self.folder / path).is_file():
                yield path

    def follow(self, branch: str) -> bool:
        """Stand on the newest commit of another branch of the repository; tells whether there is one."""
        if not self.git("ls-remote", "--heads", "origin", f"refs/heads/{branch}"):
            return False
        self.git("fetch", "--quiet", "--depth=1", "origin", f"refs/heads/{branch}")
        self.git("checkout", "--quiet", "--detach", "FETCH_HEAD")
        return True

    def commits(self) -> tuple[int, datetime]:
        """How many commits led to this one, and when it was made; of a whole clone."""
        count, seconds = self.git("rev-list", "--count", "HEAD"), self.git("show", "--no-patch", "--format=%ct", "HEAD")
        try:
            return int(count), datetime.fromtimestamp(int(seconds), UTC)
        except (ValueError, OverflowError, OSError):
            raise ZooError(f"The newest commit of {self.address.shown} has no time that can be read.") from None

    def commit(self) -> str:
        """The commit that the clone stands on."""
        return self.git("rev-parse", "HEAD").strip()

    def contains(self, commit: str) -> bool:
        """Whether a commit is this one or led to it; of a whole clone."""
        try:
            self.git("merge-base", "--is-ancestor", commit, "HEAD")
        except ZooError:
            return False
        return True

    def _branch(self) -> str:
        try:
            return self.git("symbolic-ref", "--short", "HEAD").strip()
        except ZooError:
            named = (
                f"'{self.address.branch}' is no branch of" if self.address.branch else "No branch is the default one of"
            )
            raise ZooError(f"{named} {self.address.shown}; name one after the address: #BRANCH.") from None

    def _failure(self, command: str, stderr: str) -> ZooError:
        lines = [" ".join(_hidden(line, self.address.url).split()) for line in stderr.splitlines() if line.strip()]
        told = [line for line in lines if re.match("fatal:|error:|remote: |!|ssh:", line)] or lines or ["no message"]
        told.sort(key=lambda line: not line.startswith("!"))  # why a push was refused comes before what a hook says
        reason = " ".join(told)[:300].rstrip(".")
        for pattern, kind, sentence in _FAILURES:
            if re.search(pattern, stderr):
                return kind(sentence.format(shown=self.address.shown, branch=self.address.branch, reason=reason))
        return ZooError(f"git {command} failed for {self.address.shown}: {reason}.")


def _temporary_folder() -> Path:
    """A new temporary folder. Those of runs that were killed are removed a day later."""
    try:
        for old in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
            with suppress(OSError):
                if time.time() - old.lstat().st_mtime > _DAY:
                    shutil.rmtree(old, ignore_errors=True)
        return Path(tempfile.mkdtemp(prefix=_PREFIX))
    except OSError as error:
        raise ZooError(f"No temporary folder can be made for the clone: {error.strerror or error}.") from error


def look_at(address: Address, base: str, branch: str) -> str:
    """How to see what a branch changes: the address of a page, or a command where the repository is a folder."""
    if address.folder is not None:
        return shlex.join(["git", "-C", str(address.folder), "log", "-p", f"{base}..{branch}"])
    ssh = re.match(r"(?:ssh://)?(?:[^/@]+@)?(?P<host>[^/:]+)(?::\d+(?=/))?[:/](?P<path>.+)", address.url)
    if "://" in address.url and not address.url.startswith("ssh:"):
        parts = urlsplit(address.url)
        site, path = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}", parts.path
    else:
        site, path = (f"https://{ssh['host']}", ssh["path"]) if ssh else (address.shown, "")
    page = "-/compare" if "gitlab" in site else "compare"
    repository = path.strip("/").removesuffix(".git")
    return f"{site}/{repository}/{page}/{quote(base)}...{quote(branch)}"
