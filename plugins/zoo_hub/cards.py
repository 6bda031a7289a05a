"""Cards on the Hugging Face hub: the `zoo.yaml` of a repository is read, and published through a pull request.

Everything that publishing changes is one commit on top of the commit that was looked at, so that a change by somebody else
in between is refused by the hub and nothing is half done. The token is the client library's business and never shown.
"""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

import httpx2
from huggingface_hub import CommitOperationAdd, HfApi, constants, hf_hub_url, try_to_load_from_cache
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, OfflineModeIsEnabled

from zoo_core import (
    AnyCard,
    BenchmarkCard,
    CardError,
    Change,
    DatasetCard,
    NotFound,
    PublishRequest,
    UsageProblem,
    ZooError,
    card_digest,
    card_yaml,
    parse_card,
)
from zoo_hub.client import hub_api, in_words, kind_of
from zoo_hub.front_matter import front_matter, merged
from zoo_hub.metadata import evaluation_results, left_out, readme_keys

CARD_FILE = "zoo.yaml"
RESULTS = ".eval_results/zoo.yaml"
#: The longest card and README that are read, in bytes.
_MAX_BYTES = 5_000_000
_COMMIT = re.compile(r"[0-9a-f]{40}")


class HubCards:
    """The card source `hf`."""

    def read(self, address: str) -> bytes:
        """The `zoo.yaml` at `[datasets/]owner/name[@revision]`, from the hub's own cache where it is offline."""
        kind, repo, revision = _split(address)
        path = _small_file(hub_api(), repo, kind, revision, CARD_FILE)
        if path is None:
            raise NotFound(f"The repository {repo} has no {CARD_FILE}; make a card with: zoo card new hf:{address}")
        return path.read_bytes()

    def publish(self, request: PublishRequest) -> HubPublication:
        """Look at the repository and prepare one commit. Raises `CardError` for a version that it has with another content."""
        said, repo, revision = _split(request.address)
        if revision is not None:
            raise UsageProblem(f"'{request.address}' names a revision; cards are published to the newest one.")
        kind = "dataset" if isinstance(request.card, DatasetCard | BenchmarkCard) else "model"
        if said == "dataset" != kind:
            raise UsageProblem(f"'{request.card.id}' is a model, but 'hf:{request.address}' is a dataset's repository.")
        api = hub_api()
        with in_words(repo):
            commit = api.repo_info(repo, repo_type=kind, timeout=constants.HF_HUB_ETAG_TIMEOUT).sha
        if not commit:
            raise ZooError(f"The hub does not say at which commit {repo} is; try again later.")
        before = {name: _text(api, repo, kind, commit, name) for name in (CARD_FILE, "README.md", RESULTS)}
        _require_higher_version(request.card, before[CARD_FILE], repo)
        readme = before["README.md"] or ""
        after = {
            CARD_FILE: card_yaml(request.card),
            "README.md": merged(readme, readme_keys(request.card, front_matter(readme))),
            RESULTS: evaluation_results(request.card),
        }
        changes = [
            Change(path=name, before=before[name], after=text)
            for name, text in after.items()
            if text and text != before[name]
        ]
        return HubPublication(api, repo, kind, commit, changes, request)


class HubPublication:
    """A commit that is ready."""

    def __init__(
        self, api: HfApi, repo: str, kind: str, commit: str, changes: list[Change], request: PublishRequest
    ) -> None:
        """`commit` is the one that was looked at; the new one is made on top of it or not at all."""
        self.changes = changes
        self.where = f"hf:{repo}"
        self.notes = left_out(request.card)
        self._api, self._repo, self._kind, self._commit, self._request = api, repo, kind, commit, request

    def carry_out(self) -> str:
        """Make the commit; returns the address of the pull request or of the commit."""
        card = self._request.card
        operations = [CommitOperationAdd(each.path, each.after.encode()) for each in self.changes]
        with in_words(self._repo):
            done = self._api.create_commit(
                self._repo,
                operations,
                commit_message=self._request.message or f"Add the card of {card.id} {card.version}",
                repo_type=self._kind,
                create_pr=not self._request.direct,
                parent_commit=self._commit,
            )
        if self._request.direct:
            return f"Committed: {done.commit_url}"
        return f"A pull request is open: {done.pr_url}"


def _split(address: str) -> tuple[str, str, str | None]:
    """`[datasets/]owner/name[@revision]` as kind, name and revision."""
    repo, at, revision = address.partition("@")
    kind, repo = kind_of(repo)
    if repo.count("/") != 1 or not all(repo.split("/")) or (at and not revision):
        raise UsageProblem(f"'hf:{address}' is no repository; write hf:OWNER/NAME or hf:OWNER/NAME@REVISION.")
    return kind, repo, revision or None


def _require_higher_version(card: AnyCard, published: str | None, repo: str) -> None:
    """What was published under a version never changes. A file that is no card, or another one, has no say in it."""
    try:
        there = parse_card((published or "").encode(), CARD_FILE)
    except CardError:
        return
    if there.id == card.id and card_digest(there) != card_digest(card) and _order(there) >= _order(card):
        raise CardError(
            f"hf:{repo} already has '{card.id}' {there.version} with another content; "
            f"raise the version of your card, {card.version}, above that."
        )


def _order(card: AnyCard) -> list[int]:
    return [int(number) for number in card.version.split(".")]


def _text(api: HfApi, repo: str, kind: str, commit: str, name: str) -> str | None:
    """A text file of a repository, None where there is none. Line ends are kept."""
    path = _small_file(api, repo, kind, commit, name)
    try:
        return path.read_bytes().decode() if path else None
    except UnicodeDecodeError:
        raise ZooError(f"{name} in {repo} is no UTF-8 text; mend it first.") from None


def _small_file(api: HfApi, repo: str, kind: str, revision: str | None, name: str) -> Path | None:
    """A file of a repository, in the hub's cache; None where the repository has none. What is large is not fetched.

    Where the hub is out of reach the cache alone is asked, and for a commit always first: it never changes.
    """
    with in_words(repo):
        if revision is not None and _COMMIT.fullmatch(revision):
            here = try_to_load_from_cache(repo, name, revision=revision, repo_type=kind)
            if isinstance(here, str):
                return Path(here)
        url = hf_hub_url(repo, name, repo_type=kind, revision=revision, endpoint=constants.ENDPOINT)
        try:
            with suppress(OfflineModeIsEnabled, httpx2.TransportError):
                size = api.get_hf_file_metadata(url=url).size
                if size is None or size > _MAX_BYTES:
                    raise ZooError(f"{name} in {repo} has more than {_MAX_BYTES:,} bytes, which is not read.")
            return Path(api.hf_hub_download(repo, name, repo_type=kind, revision=revision))
        except EntryNotFoundError as error:
            if not isinstance(error, HfHubHTTPError):  # offline, and not in the cache
                raise
            return None
