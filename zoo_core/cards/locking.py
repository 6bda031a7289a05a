"""Lock a card: write into it what the files of its model say, so that whoever reads it can verify every byte.

The files are looked at where they are: in a folder, or on the hubs that the card names, without downloading weights. What
several places say must be equal. The card's own file is changed only where its facts change, and only as a whole.
"""

from __future__ import annotations

import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from zoo_core.cards.schema import ModelCard
from zoo_core.checkpoints.facts import Facts, checkpoint_facts, chosen_files
from zoo_core.checkpoints.inspection import FolderView, HubView
from zoo_core.errors import CardError, NotFound, Unreachable, WeightsError
from zoo_core.files import write_whole
from zoo_core.weights.pulled import pulled_folder
from zoo_core.weights.store import LOCAL, local_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from zoo_core.cards.parts import Architecture, File, Source
    from zoo_core.checkpoints.inspection import View
    from zoo_core.zoo import Zoo


class Locked(NamedTuple):
    """The outcome: the new card, and the text of its file before and after."""

    card: ModelCard
    before: str
    after: str


class Place(NamedTuple):
    """A view, and which of the card's sources it is of: None for a folder that the user named."""

    view: View
    number: int | None


def lock(
    zoo: Zoo, path: Path, *, weights: Path | None = None, say: Callable[[str], None] = lambda line: None
) -> Locked:
    """What the card in the file `path` says when it is locked. Writes nothing.

    `weights` is a folder with the files; `say` is told of sources that were left out. Raises `CardError` for a card that
    cannot be locked, `WeightsError` where places contradict each other, `Unreachable` where no place could be looked at.
    """
    from zoo_core.cards.reading import parse_extended, read_bytes

    content = read_bytes(path)
    card = parse_extended(content, path)[0]
    if not isinstance(card, ModelCard):
        raise CardError(f"'{card.id}' is a card of another kind than model, and only models have files to lock.")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise CardError(f"The card {path} is not UTF-8 text (byte {error.start}), so it cannot be changed.") from None
    locked = lock_card(card, places(zoo, card, path, weights, say), say)
    return Locked(locked, text, _text(text, card, locked, path))


def lock_card(card: ModelCard, found: Sequence[Place], say: Callable[[str], None]) -> ModelCard:
    """The card with what the files say. All places must give the same files."""
    view = found[0].view
    facts = checkpoint_facts(view.read, view.files)
    facts = msgspec.structs.replace(
        facts, remote_code=card.runtime.remote_code
    )  # whether code is pulled is the card's word
    files = locked_files(view, facts, [file.path for file in card.files])
    for other, _ in found[1:]:
        _compare(card, files, view.name, other)
    return msgspec.structs.replace(
        card,
        sources=[_pinned(source, number, found) for number, source in enumerate(card.sources)],
        files=files,
        format=facts.format or card.format,
        architecture=_architecture(card.architecture, facts),
        memory=facts.memory if facts.memory.weights_bytes else card.memory,
        quantization=facts.quantization or card.quantization,
        license=_license(card, found),
    )


def locked_files(view: View, facts: Facts, also: Sequence[str] = ()) -> list[File]:
    """The files of a model with their digests. Raises `WeightsError` where they hold no weights."""
    if not facts.weights:
        raise WeightsError(f"{view.name} holds no weights: neither safetensors nor gguf nor pickled ones.")
    if facts.format == "gguf" and len(facts.weights) > 1:
        listed = [path for path in facts.weights if path in also]
        if not listed:
            raise WeightsError(
                f"{view.name} holds {len(facts.weights)} gguf files, each a model of its own; "
                "list under files which are meant."
            )
        facts = msgspec.structs.replace(facts, weights=listed)
    return [view.locked(file) for file in chosen_files(view.files, facts, also)]


def places(zoo: Zoo, card: ModelCard, path: Path, weights: Path | None, say: Callable[[str], None]) -> list[Place]:
    """Every place where the card's files can be looked at, the folder `weights` first. Raises `Unreachable` for none."""
    found: list[Place] = []
    if weights is not None:
        found.append(Place(FolderView(weights, announced(say)), None))
    lack = "names no source" if not card.sources else "names only sources whose files cannot be listed"
    problem: Exception = CardError(f"The card of '{card.id}' {lack}; name a folder with --weights.")
    for number, source in enumerate(card.sources):
        try:
            view = view_of(zoo, source, path, say)
        except (Unreachable, NotFound) as error:
            problem = error
            say(f"{source.hub} was left out: {error}")
            continue
        if view is not None:
            found.append(Place(view, number))
    if not found and (folder := pulled_folder(card)) is not None:
        found.append(Place(FolderView(folder, announced(say)), None))
    if not found:
        raise problem
    return found


def view_of(zoo: Zoo, source: Source, path: Path, say: Callable[[str], None]) -> View | None:
    """A look at one source; None where its files cannot be listed. Raises `Unreachable`, `NotFound` or `WeightsError`."""
    if source.hub in LOCAL:
        folder = local_folder(source, path)
        if folder is None:
            raise NotFound(f"There is no folder {source.path if source.hub == 'folder' else source.repo} here.")
        return FolderView(folder, announced(say))
    if source.hub == "url":
        say(f"{source.url} was left out: what lies at a web address cannot be listed")
        return None
    return HubView(source, zoo.offer("zoo_weight_sources", source.hub, "weight source").load()())


def save(path: Path, text: str, before: str | None = None) -> None:
    """Write a card's file as a whole; of a link, the file that it leads to. Its permissions stay as they are.

    `before` is the text that the new one was made from. Raises `CardError` where the file has another one by now, and where
    it cannot be written.
    """
    from zoo_core.cards.reading import read_bytes

    if before is not None and read_bytes(path) != before.encode():
        raise CardError(f"The card {path} was changed by somebody else meanwhile; nothing was written, lock it again.")
    file = path.resolve()
    try:
        write_whole(file, text.encode(), mode=stat.S_IMODE(file.stat().st_mode) if file.exists() else None)
    except OSError as error:
        raise CardError(f"The card {path} cannot be written: {error.strerror or error}.") from error


def own_file(path: Path) -> None:
    """Raise `CardError` for a card that is a copy which the zoo keeps: what is written there would be lost."""
    from zoo_core.paths import cache_folder, data_folder

    if any(path.resolve().is_relative_to(folder.resolve()) for folder in (data_folder(), cache_folder())):
        raise CardError(f"{path} is a copy from a registry; lock the original, or copy it to a file of your own first.")


def announced(say: Callable[[str], None]) -> Callable[[str], None]:
    """What tells of the files whose digests may take long."""
    return lambda name: (
        say(f"computing the sha256 of {name}") if name.endswith((".safetensors", ".gguf", ".bin")) else None
    )


def _compare(card: ModelCard, files: Sequence[File], name: str, other: View) -> None:
    """Raise `WeightsError` unless another place has the same files."""
    there = {file.path: file for file in other.files}
    for file in files:
        if file.path not in there:
            raise WeightsError(f"The sources of '{card.id}' differ: {name} has {file.path}, {other.name} lacks it.")
        twin = other.locked(there[file.path])
        if twin != file:
            raise WeightsError(
                f"The sources of '{card.id}' differ in {file.path}: {name} has the sha256 {file.sha256} "
                f"({file.size:,} bytes), {other.name} has {twin.sha256} ({twin.size:,} bytes)."
            )


def _pinned(source: Source, number: int, found: Sequence[Place]) -> Source:
    """A source with the commit that was looked at."""
    for view, which in found:
        if which == number and view.repository is not None and view.repository.revision:
            return msgspec.structs.replace(source, revision=view.repository.revision)
    return source


def _architecture(written: Architecture, facts: Facts) -> Architecture:
    """What was found; what only people know, or what could not be found, as it was written."""
    found = {key: value for key, value in msgspec.structs.asdict(facts.architecture).items() if value not in (None, "")}
    return msgspec.structs.replace(written, **found)


def _license(card: ModelCard, found: Sequence[Place]) -> Any:
    gates = [view.repository.gated for view, _ in found if view.repository is not None]
    return msgspec.structs.replace(card.license, acceptance=any(gates)) if gates else card.license


def _text(text: str, card: ModelCard, locked: ModelCard, path: Path) -> str:
    """The text of the card's file, changed; read again to be sure that it says what it should."""
    from zoo_core.cards.writing import card_data

    before, after = card_data(card), card_data(locked)
    if before == after:
        return text
    if path.suffix == ".json":
        return msgspec.json.format(msgspec.json.encode(after), indent=2).decode() + "\n"
    from zoo_core.cards.editing import edited
    from zoo_core.cards.reading import parse_extended

    changed = edited(text, before, after)
    try:
        same = parse_extended(changed.encode(), path)[0] == locked
    except CardError:  # what was made of an unusual style can even be no card
        same = False
    if not same:
        raise CardError(
            f"The card {path} is written in a way that cannot be changed safely; write it in the usual style."
        )
    return changed
