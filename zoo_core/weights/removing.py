"""Remove weights that were pulled from this machine: through their hub, and out of the record. And models put together here.

Only what the zoo itself stored is removed, never a folder that a card names nor a package; and no file that another model's
record names too.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from zoo_core.cards.parts import Source
from zoo_core.errors import NotFound, WeightsError, ZooError
from zoo_core.locks import locked
from zoo_core.sources import RemoteFile
from zoo_core.weights import assembled
from zoo_core.weights.pulled import Pulled, damage, forget, lock_of, records
from zoo_core.weights.receiving import remote_files
from zoo_core.weights.store import local_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from zoo_core.cards.schema import ModelCard
    from zoo_core.sources import WeightSource
    from zoo_core.zoo import Zoo


class Removal(msgspec.Struct, frozen=True, kw_only=True):
    """What is going to be removed of one source: files, and what a pull has begun. `record` is None where none was finished.

    A model that was put together has the source `assembled`, and `made` says whether it was finished.
    """

    model: str
    source: Source
    folder: Path
    files: list[RemoteFile]
    size: int
    record: Pulled | None
    made: bool = False

    @property
    def what(self) -> str:
        """What it is, in words."""
        if self.source.hub == assembled.HUB:
            return "put together here" if self.made else "unfinished work"
        return f"{len(self.files)} files" if self.record else "an unfinished pull"


def removals(zoo: Zoo, reference: str, warn: Callable[[str], None]) -> list[Removal]:
    """What was pulled or put together of the model that a reference names. Raises `NotFound` where that is nothing.

    A model whose card is gone is found by its id.
    """
    everything = records(warn)
    counted: set[Path] = set()
    recorded = any(record.card == reference for record in everything) or bool(assembled.folders_of(reference))
    try:
        card, path = zoo.catalog.model(reference)
    except ZooError:
        if not recorded:
            raise
        card = None
    name = reference if card is None or recorded else card.id
    found = [_of_record(zoo, record, everything, counted) for record in everything if record.card == name]
    if card is not None and card.id == name:
        found += _unfinished(zoo, card, everything, counted)
    found += [_of_assembled(name, folder) for folder in assembled.folders_of(name)]
    if card is not None and not found:
        raise NotFound(f"No weights of '{card.id}' were pulled, so there is nothing to remove.{_elsewhere(card, path)}")
    return found


def remove(zoo: Zoo, removal: Removal) -> int:
    """Remove the files, then the record; returns the bytes that were freed. Refuses while they are being pulled or made."""
    if removal.source.hub == assembled.HUB:
        return assembled.remove_folder(removal.model, removal.folder)

    def refuse() -> None:
        raise WeightsError(f"A pull of the weights of '{removal.model}' is running; nothing was removed.")

    with locked(lock_of(removal.source), refuse):
        hub = _hub(zoo, removal.source)
        _require_same_place(removal, hub)
        model = removal.model if removal.record else ""
        used = _used_by_others(model, records())  # which another pull may have changed since the user was asked
        files = [file for file in removal.files if removal.folder / file.path not in used]
        try:
            freed = hub.remove(removal.source, files)
        except OSError as error:
            place = f" in {error.filename}" if error.filename else ""
            raise WeightsError(
                f"The weights of '{removal.model}' cannot be removed{place}: {error.strerror or error}."
            ) from error
        if removal.record is not None:
            forget([removal.record])
    return freed


def _require_same_place(removal: Removal, hub: WeightSource) -> None:
    """A branch may have moved since, so that the hub now means the files of another commit."""
    files = remote_files(removal.record.files) if removal.record else []
    folder = removal.folder
    if any(not path.absolute().is_relative_to(folder) for path in hub.present(removal.source, files).values()):
        raise WeightsError(
            f"The hub's files of '{removal.model}' are now others than those in {removal.folder}; remove that folder by hand."
        )


def _of_record(zoo: Zoo, record: Pulled, everything: Sequence[Pulled], counted: set[Path]) -> Removal:
    source = Source(hub=record.hub, repo=record.repo, url=record.url, revision=record.revision)
    folder = Path(record.folder)
    used = _used_by_others(record.card, everything)
    files = [file for file in remote_files(record.files) if folder / file.path not in used]
    size = sum(_size(folder / file.path) for file in files) + _begun_size(zoo, source, counted)
    return Removal(model=record.card, source=source, folder=folder, files=files, size=size, record=record)


def _of_assembled(model: str, folder: Path) -> Removal:
    size = sum(_size(path) for path in folder.rglob("*"))
    made = assembled.read_record(folder) is not None
    source = Source(hub=assembled.HUB)
    return Removal(model=model, source=source, folder=folder, files=[], size=size, record=None, made=made)


def _unfinished(zoo: Zoo, card: ModelCard, everything: Sequence[Pulled], counted: set[Path]) -> list[Removal]:
    """What pulls that never finished have left: what they had begun, and the files that were complete already."""
    found = []
    used = _used_by_others("", everything)
    files = remote_files(card.files) if not damage() else []  # without the record nobody knows what else uses them
    for source in card.sources:
        try:
            hub = _hub(zoo, source)
            folder = hub.store(source)
            here = hub.present(source, files) if folder.is_dir() else {}
        except ZooError:
            continue
        left = {path: place.absolute() for path, place in here.items() if place.absolute() not in used}
        size = sum(map(_size, left.values())) + _begun_size(zoo, source, counted)
        for path, place in left.items():
            folder = place.parents[path.count("/")]
        if size:
            whole = files if left else []
            found.append(Removal(model=card.id, source=source, folder=folder, files=whole, size=size, record=None))
    return found


def _used_by_others(model: str, everything: Sequence[Pulled]) -> set[Path]:
    """The files that the records of other models name."""
    return {Path(record.folder) / file.path for record in everything if record.card != model for file in record.files}


def _begun_size(zoo: Zoo, source: Source, counted: set[Path]) -> int:
    """The bytes that pulls from a source have begun, unless they are `counted` already."""
    try:
        store = _hub(zoo, source).store(source)
    except ZooError:
        return 0
    if store in counted:
        return 0
    counted.add(store)
    return sum(_size(path) for path in store.rglob("*"))


def _hub(zoo: Zoo, source: Source) -> WeightSource:
    hub: WeightSource = zoo.offer("zoo_weight_sources", source.hub, "weight source").load()()
    return hub


def _elsewhere(card: ModelCard, card_path: Path) -> str:
    """Where the weights are instead, as a sentence."""
    for source in card.sources:
        if folder := local_folder(source, card_path):
            if source.hub == "package":
                return f" They belong to the installed package {source.repo} and go with it."
            return f" They are in {folder}, which is yours."
    return ""


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0
