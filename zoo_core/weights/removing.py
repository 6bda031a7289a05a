"""Remove weights that were pulled from this machine: through their hub, and out of the record.

Only what was pulled is removed, never a folder that a card names nor a package; and no file that another model's record
names too.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from zoo_core.cards.parts import Source
from zoo_core.errors import NotFound, WeightsError, ZooError
from zoo_core.locks import locked
from zoo_core.sources import RemoteFile
from zoo_core.weights.pulled import Pulled, forget, lock_of, records
from zoo_core.weights.store import local_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from zoo_core.cards.schema import ModelCard
    from zoo_core.sources import WeightSource
    from zoo_core.zoo import Zoo


class Removal(msgspec.Struct, frozen=True, kw_only=True):
    """What is going to be removed of one source: files, and what a pull has begun. `record` is None where none was finished."""

    model: str
    source: Source
    folder: Path
    files: list[str]
    size: int
    record: Pulled | None


def removals(zoo: Zoo, reference: str, warn: Callable[[str], None]) -> list[Removal]:
    """What was pulled of the model that a reference names. Raises `NotFound` where that is nothing.

    A model whose card is gone is found by its id.
    """
    everything = records(warn)
    card: ModelCard | None = None
    name = reference
    if not any(record.card == reference for record in everything):
        card, path = zoo.catalog.model(reference)
        name = card.id
    found = [_of_record(zoo, record, everything) for record in everything if record.card == name]
    if card is not None and not found:
        found = _begun(zoo, card)
        if not found:
            raise NotFound(
                f"No weights of '{name}' were pulled, so there is nothing to remove.{_elsewhere(card, path)}"
            )
    return found


def remove(zoo: Zoo, removal: Removal) -> int:
    """Remove the files, then the record; returns the bytes that were freed. Refuses while they are being pulled."""

    def refuse() -> None:
        raise WeightsError(f"A pull of the weights of '{removal.model}' is running; nothing was removed.")

    with locked(lock_of(removal.source), refuse):
        hub = _hub(zoo, removal.source)
        _require_same_place(removal, hub)
        try:
            freed = hub.remove(removal.source, removal.files)
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
    files = [RemoteFile(path=file.path, size=file.size) for file in removal.record.files] if removal.record else []
    folder = removal.folder
    if any(not path.absolute().is_relative_to(folder) for path in hub.present(removal.source, files).values()):
        raise WeightsError(
            f"The hub's files of '{removal.model}' are now others than those in {removal.folder}; remove that folder by hand."
        )


def _of_record(zoo: Zoo, record: Pulled, everything: Sequence[Pulled]) -> Removal:
    source = Source(hub=record.hub, repo=record.repo, url=record.url, revision=record.revision)
    shared = {
        file.path
        for other in everything
        if other.card != record.card and other.folder == record.folder
        for file in other.files
    }
    files = [file.path for file in record.files if file.path not in shared]
    size = sum(_size(Path(record.folder) / path) for path in files)
    return Removal(model=record.card, source=source, folder=Path(record.folder), files=files, size=size, record=record)


def _begun(zoo: Zoo, card: ModelCard) -> list[Removal]:
    """What pulls that never finished have left."""
    found = []
    for source in card.sources:
        try:
            store = _hub(zoo, source).store(source)
        except ZooError:
            continue
        if size := sum(_size(path) for path in store.rglob("*")):
            found.append(Removal(model=card.id, source=source, folder=store, files=[], size=size, record=None))
    return found


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
