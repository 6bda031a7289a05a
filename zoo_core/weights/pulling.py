"""Fetch a card's weights from the first of its sources that gives them; every byte is verified before it is visible.

What was fetched is written into the record of pulled weights (`pulled`), where `zoo chat` finds it. Which hub is asked, and
how, is the business of plugins: this module knows nothing of networks.
"""

from __future__ import annotations

import datetime
import errno
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import msgspec

from zoo_core.cards.parts import Source
from zoo_core.cards.writing import card_digest
from zoo_core.errors import WeightsError, ZooError
from zoo_core.locks import locked
from zoo_core.sources import Download, RemoteFile, WeightSource
from zoo_core.text import bytes_text
from zoo_core.weights.choosing import wanted_files
from zoo_core.weights.pulled import Pulled, lock_of, record_of, remember
from zoo_core.weights.receiving import Receiver, remote_files, require_safe
from zoo_core.weights.store import LOCAL, Verified, local_folder, nowhere, verify_files

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from zoo_core.cards.parts import File
    from zoo_core.cards.schema import ModelCard
    from zoo_core.sources import Repository
    from zoo_core.weights.receiving import Watcher
    from zoo_core.zoo import Zoo

_Result = TypeVar("_Result")
#: What the system says when a disk is full, a quota used up, or a file larger than it may be.
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What a pull will do: the files, from which source at which commit, those that are still missing, and the place.

    `verified` are the paths of the files that are here and were found right; `begun` is how many bytes of the missing ones
    are here.
    """

    source: Source
    files: list[RemoteFile]
    missing: list[RemoteFile]
    store: Path
    verified: set[str] = set()
    begun: int = 0


def needed(plan: Plan) -> int:
    """The bytes that are still to come: what is missing, less what an earlier pull has begun."""
    return sum(file.size for file in plan.missing) - plan.begun


def pull(
    zoo: Zoo, card: ModelCard, card_path: Path, watcher: Watcher, *, offline: bool = False, all_files: bool = False
) -> Pulled:
    """Have a card's weights on this machine, and return the record of them.

    What is here already is verified and not fetched again. `offline` asks no hub at all. Raises `WeightsError` when no
    source gives the weights that the card names; what was there before is then as it was.
    """
    puller = _Puller(zoo, card, card_path, watcher, all_files)
    if (record := puller.recorded(offline)) is not None:
        return record
    return puller.first(puller.find if offline else puller.fetch)


def plan(zoo: Zoo, card: ModelCard, card_path: Path, watcher: Watcher, *, all_files: bool = False) -> Plan:
    """What `pull` would do. Changes nothing, but asks hubs what they have where the card does not say it."""
    puller = _Puller(zoo, card, card_path, watcher, all_files)
    if (record := puller.recorded(offline=False)) is None:
        return puller.first(lambda source: puller.plan(source, puller.hub(source)))
    source = Source(hub=record.hub, repo=record.repo, url=record.url, revision=record.revision)
    paths = {file.path for file in record.files}
    return Plan(source=source, files=remote_files(record.files), missing=[], store=Path(record.folder), verified=paths)


class _Puller:
    """One card, and the sources that are tried for it."""

    def __init__(self, zoo: Zoo, card: ModelCard, card_path: Path, watcher: Watcher, all_files: bool) -> None:
        self._zoo = zoo
        self._card = card
        self._card_path = card_path
        self._watcher = watcher
        self._all_files = all_files

    def recorded(self, offline: bool) -> Pulled | None:
        """What was pulled before, or lies on this machine anyway, where it is what the card names."""
        card, record = self._card, record_of(self._card)
        for source in card.sources:
            if folder := local_folder(source, self._card_path):
                what = f"come with the package {source.repo}" if source.hub == "package" else f"are in {folder}"
                if self._is_whole(folder, card.files):
                    self._watcher.say(f"The weights of '{card.id}' {what}: there is nothing to download.")
                    return self._record(source, folder, card.files)
        if record is None or self._all_files or not (offline or self._is_pinned(record)):
            return None
        if not self._is_whole(Path(record.folder), record.files):
            return None
        self._watcher.say(f"The weights of '{card.id}' are here already.")
        return record

    def first(self, attempt: Callable[[Source], _Result]) -> _Result:
        """What the first source that can gives. Raises what the only one raised, else a `WeightsError` with all reasons."""
        card = self._card
        sources = _hubs(card)
        if not sources:
            raise nowhere(card, card.id)
        problems: list[ZooError] = []
        for number, source in enumerate(sources, 1):
            try:
                return attempt(source)
            except ZooError as error:
                problems.append(error)
                if number < len(sources):
                    self._watcher.say(f"{error} Trying {where(sources[number])}.")
            except OSError as error:
                raise self._of_the_disk(error) from error
        if len(problems) == 1:
            raise problems[0]
        reasons = " ".join(f"{where(source)}: {error}" for source, error in zip(sources, problems, strict=True))
        raise WeightsError(f"None of the sources of '{card.id}' gave its weights. {reasons}")

    def fetch(self, source: Source) -> Pulled:
        """Fetch what is missing from one source."""
        hub = self.hub(source)
        with locked(lock_of(source), self._wait):
            planned = self.plan(source, hub)
            self._require_room(planned)
            self._watcher.begin(planned.files)
            receiver = Receiver(self._card.id, where(source), self._watcher)
            folder = hub.download(
                Download(source=planned.source, files=planned.files, check=receiver.check, progress=self._watcher.moved)
            )
            return self._received(planned.source, folder, receiver.received(folder, planned.files))

    def find(self, source: Source) -> Pulled:
        """Take what the hub's own cache has, without asking the hub."""
        if not self._card.files:
            raise WeightsError(
                f"The card of '{self._card.id}' lists no files, so only {where(source)} itself can tell which they are."
            )
        files = remote_files(self._card.files)
        here = self.hub(source).present(source, files)
        missing = [file.path for file in files if file.path not in here]
        if missing:
            raise WeightsError(
                f"{len(missing)} of the {len(files)} files of '{self._card.id}' are not on this machine: "
                f"{', '.join(missing)}."
            )
        folder = here[files[0].path].parents[files[0].path.count("/")]
        self._watcher.begin(files)
        receiver = Receiver(self._card.id, where(source), self._watcher)
        return self._received(source, folder, receiver.received(folder, files))

    def plan(self, source: Source, hub: WeightSource) -> Plan:
        """Which files are to come from a source, and which of them are here. Asks the hub where the card is not enough."""
        files = remote_files(self._card.files)
        if self._all_files or not files or (source.repo and not source.revision):
            repository = hub.inspect(source)
            source = msgspec.structs.replace(source, revision=repository.revision or source.revision)
            files = self._chosen(files, repository, where(source))
        require_safe(self._card.id, files)
        present = hub.present(source, files)
        missing = [file for file in files if file.path not in present]
        known = Verified()
        return Plan(
            source=source,
            files=files,
            missing=missing,
            store=hub.store(source),
            verified={
                file.path for file in files if file.path in present and known.get(present[file.path]) == file.sha256
            },
            begun=sum(_begun(hub.begun(source, file), file.size) for file in missing),
        )

    def hub(self, source: Source) -> WeightSource:
        """The plugin that knows a source's hub."""
        hub: WeightSource = self._zoo.offer("zoo_weight_sources", source.hub, "weight source").load()()
        return hub

    def _chosen(self, listed: list[RemoteFile], repository: Repository, place: str) -> list[RemoteFile]:
        there = {file.path: file for file in repository.files}
        commit = f"commit {repository.revision[:12]}"
        for file in listed:
            other = there.pop(file.path, None)
            if other is None:
                raise WeightsError(f"{place} has no file {file.path} at {commit}, but the card lists one.")
            if other.size != file.size or (other.sha256 or file.sha256) != file.sha256:
                raise WeightsError(
                    f"{place} has another {file.path} at {commit} than the card of '{self._card.id}' lists."
                )
        if listed:
            return [*listed, *(there.values() if self._all_files else ())]
        code = self._card.runtime.remote_code
        files = list(repository.files) if self._all_files else wanted_files(repository.files, place, code=code)
        left_out = f"; {len(there) - len(files)} other files are left out" if len(there) > len(files) else ""
        self._watcher.say(
            f"Warning: the card of '{self._card.id}' lists no files: these are what {place} has at {commit}{left_out}."
        )
        return files

    def _received(self, source: Source, folder: Path, files: list[File]) -> Pulled:
        record = self._record(source, folder, files)
        remember(record)
        return record

    def _record(self, source: Source, folder: Path, files: list[File]) -> Pulled:
        return Pulled(
            card=self._card.id,
            digest=card_digest(self._card),
            hub=source.hub,
            repo=source.repo,
            url=source.url,
            revision=source.revision,
            folder=str(folder.absolute()),
            files=files,
            date=datetime.datetime.now(datetime.UTC),
        )

    def _is_pinned(self, record: Pulled) -> bool:
        """Whether a hub could give nothing else than what was recorded."""
        return bool(self._card.files) or record.revision in {source.revision for source in self._card.sources} - {""}

    def _is_whole(self, folder: Path, files: Sequence[File]) -> bool:
        """Whether all files are in a folder and right. Says what is not, where there is another source to be tried."""
        self._watcher.begin(files)
        try:
            verify_files(self._card.id, files, folder, self._watcher.verified)
        except WeightsError as error:
            if not _hubs(self._card):
                raise
            self._watcher.say(str(error))
            return False
        return True

    def _wait(self) -> None:
        self._watcher.say(f"Another pull of the weights of '{self._card.id}' is running; waiting for it.")

    def _require_room(self, planned: Plan) -> None:
        there = next(folder for folder in (planned.store, *planned.store.absolute().parents) if folder.is_dir())
        size, free = needed(planned), shutil.disk_usage(there).free
        if size > free:
            raise WeightsError(
                f"'{self._card.id}' needs {bytes_text(size)} on the disk of {planned.store}, which has "
                f"{bytes_text(free)} free: make room for {bytes_text(size - free)} more, then run zoo pull again."
            )

    def _of_the_disk(self, error: OSError) -> WeightsError:
        if error.errno in _FULL:
            return WeightsError(
                f"The disk is full, so the weights of '{self._card.id}' are not complete: make room, then run zoo pull "
                "again, which goes on where this one stopped."
            )
        place = f" to {error.filename}" if error.filename else ""
        return WeightsError(f"The weights of '{self._card.id}' cannot be written{place}: {error.strerror or error}.")


def where(source: Source) -> str:
    """A source in words."""
    return f"{source.repo or source.url} ({source.hub})"


def _begun(path: Path, size: int) -> int:
    """How much of a file is there; what is too long is fetched anew."""
    try:
        there = path.stat().st_size
    except OSError:  # finished or removed by another run meanwhile
        return 0
    return there if there <= size else 0


def _hubs(card: ModelCard) -> list[Source]:
    return [source for source in card.sources if source.hub not in LOCAL]
