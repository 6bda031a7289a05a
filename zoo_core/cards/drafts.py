"""The cards of models that have none: drafted from their files, for a run or kept in the cache.

A folder is looked at anew every time, which takes the headers of its weights and no more. Its card lists no files: whatever
lies in a folder of the user's is what the user wants, and digests computed from it would only be compared with themselves.
A repository is looked at once and its card is kept, with the commit and the digest of every file, until it is pulled again.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
from typing import TYPE_CHECKING

from zoo_core.cards.drafting import HUBS, Sight, Wishes, drafted, family_of, id_from, look_at_repository
from zoo_core.cards.locking import locked_files
from zoo_core.cards.parts import File, Source
from zoo_core.cards.writing import card_digest, card_yaml
from zoo_core.catalog import CARD_FILE
from zoo_core.checkpoints.facts import checkpoint_facts
from zoo_core.checkpoints.gguf import with_metadata
from zoo_core.checkpoints.inspection import FolderView
from zoo_core.errors import CardError, NotFound, Unreachable, UsageProblem, WeightsError, ZooError
from zoo_core.files import write_whole
from zoo_core.names import is_name
from zoo_core.paths import cache_folder
from zoo_core.weights.store import Verified, digest_of

if TYPE_CHECKING:
    from pathlib import Path

    from zoo_core.cards.schema import AnyCard, ModelCard
    from zoo_core.checkpoints.facts import Facts
    from zoo_core.checkpoints.inspection import View
    from zoo_core.zoo import Zoo

GGUF = ".gguf"
_SUFFIXES = (GGUF, ".safetensors", ".bin", ".pt", ".pth")
#: How the parts of a model that is spread over several files are called.
_PART = re.compile(r"(.+)-\d{5}-of-\d{5}\.gguf")


def draft_of_path(zoo: Zoo, path: Path) -> tuple[ModelCard, Path]:
    """The card of a folder of weights without one, or of a GGUF file, and the file in the cache where it is kept.

    Raises `NotFound` for a folder without weights, `UsageProblem` where the user has to say which are meant.
    """
    path = path.resolve()
    if not str(path).isprintable():
        raise UsageProblem(f"The name {str(path)!a} cannot be written into a card; give it another.")
    folder = path.parent if path.is_file() else path
    if not _holds_weights(folder):  # before all that is below it is listed, which may be the whole disk
        raise NotFound(f"The folder {folder} holds neither a card ({CARD_FILE}) nor weights.")
    view = FolderView(folder)
    others = [file for file in view.files if "/" not in file.path and file.path.endswith(GGUF)]
    if path.is_file():
        view.files = [file for file in others if _model(file.path) == _model(path.name)]
    facts = _facts(view)
    if not facts.weights:
        raise NotFound(f"The folder {folder} holds neither a card ({CARD_FILE}) nor weights.")
    _require_one(facts, f"The folder {folder}", f"such as {folder / facts.weights[0]}")
    known = Verified()
    # Only where a file is one of several models must the card say which; what was digested once is remembered.
    listed = [file for file in view.files if path.is_file() and len(others) > len(view.files)]
    files = [File(path=each.path, size=each.size, sha256=digest_of(folder / each.path, known)) for each in listed]
    known.save()
    sight = Sight(Source(hub="folder", path=str(folder)), view, _model(path.name))
    card = _draft(zoo, sight, facts, files)
    return card, _kept(card, cache_folder() / "cards" / f"{card_digest(card)}.yaml")


def kept_draft(scheme: str, address: str) -> tuple[AnyCard, Path] | None:
    """The card that was drafted of a repository before."""
    from zoo_core.cards.reading import read_card

    path = _place(scheme, address)
    try:
        return (read_card(path), path) if path.is_file() else None
    except CardError:  # of an earlier version of the zoo
        return None


def draft_of_repository(zoo: Zoo, scheme: str, address: str, problem: ZooError) -> tuple[AnyCard, Path]:
    """The card of a repository in which no card could be read, for which `problem` is the reason.

    One that was drafted before stands in where the hub is out of reach. Raises `problem` for what is no repository.
    """
    if isinstance(problem, Unreachable):
        if (kept := kept_draft(scheme, address)) is not None:
            return kept
        raise problem
    if HUBS.get(scheme, scheme) not in zoo.plugins.names("zoo_weight_sources"):
        raise problem
    sight = look_at_repository(zoo, f"{scheme}:{address}")
    if sight is None:
        raise problem
    facts = _facts(sight.view)
    if not facts.weights:
        lack = str(problem).partition(";")[0].removesuffix(".")
        raise NotFound(f"{lack}, and no weights from which a card could be drafted.")
    _require_one(facts, f"The repository {sight.source.repo}", "as a file on this machine")
    card = _draft(zoo, sight, facts, locked_files(sight.view, facts))
    return card, _kept(card, _place(scheme, address))


def forget_draft(scheme: str, address: str) -> None:
    """Forget the draft of a repository, as it has a card by now."""
    with contextlib.suppress(OSError):  # a cache that cannot be written holds none
        _place(scheme, address).unlink()


def _holds_weights(folder: Path) -> bool:
    """Whether a file in a folder is called as files of weights are, or their index."""
    try:
        return any(path.name.endswith((*_SUFFIXES, ".index.json")) for path in folder.iterdir())
    except OSError as error:
        raise WeightsError(f"The folder {folder} cannot be read: {error.strerror or error}.") from error


def _facts(view: View) -> Facts:
    facts = checkpoint_facts(view.read, view.files)
    if facts.format != "gguf":
        return facts
    return with_metadata(facts, view.read, {file.path: file.size for file in view.files})


def _draft(zoo: Zoo, sight: Sight, facts: Facts, files: list[File]) -> ModelCard:
    name = id_from(sight.name)
    family = family_of(zoo, facts, general=True)
    if not family:
        raise UsageProblem(f"No installed plugin loads '{sight.name}'; see what there is with: zoo plugins list")
    wishes = Wishes(id=name if is_name(name) else "model", family=family)
    draft = drafted(zoo, sight, facts, wishes, files)
    for note in draft.notes:
        zoo.warn(f"{sight.view.name}: {note}")
    return draft.card


def _require_one(facts: Facts, what: str, how: str) -> None:
    """Raise `UsageProblem` for GGUF files of several models."""
    if facts.format == "gguf" and len({_model(path) for path in facts.weights}) > 1:
        raise UsageProblem(
            f"{what} holds {len(facts.weights)} GGUF files, each a model of its own; name the one that you mean, {how}"
        )


def _model(name: str) -> str:
    """What a file or folder is called, without what says that it is GGUF and which part."""
    match = _PART.fullmatch(name)
    return match[1] if match else name.removesuffix(GGUF)


def _place(scheme: str, address: str) -> Path:
    name = hashlib.sha256(f"{scheme}:{address}".encode()).hexdigest()
    return cache_folder() / "drafts" / f"{name}.yaml"


def _kept(card: ModelCard, path: Path) -> Path:
    """Write a card into the cache, unless it is there."""
    content = card_yaml(card).encode()
    try:
        if not path.is_file() or path.read_bytes() != content:
            write_whole(path, content, durable=False)
    except OSError as error:
        raise ZooError(f"The card cannot be kept at {path}: {error.strerror or error}.") from error
    return path
