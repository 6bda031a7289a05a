"""A card on its way into a git repository: one file per card, on a branch of its own.

The work is done in a clone in a temporary folder; the repository itself changes only with the push, which git makes whole or
not at all.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

from zoo_core import (
    AnyCard,
    CardError,
    Change,
    ModelCard,
    PublishRequest,
    ZooError,
    card_digest,
    card_yaml,
    read_card,
    write_whole,
)
from zoo_git.repository import Address, Clone, look_at

_FOLDERS = {"model": "models", "dataset": "datasets", "benchmark": "benchmarks"}
#: How the file of a card ends, and how one that is none but has fields for several.
_CARD, _COLLECTION = (".yaml", ".yml"), ".collection.yaml"
#: What is larger is no card.
_MAX_BYTES = 1_000_000


class GitPublication:
    """A clone in which the card's file is known; the commit and the push are still to come."""

    def __init__(self, address: Address, request: PublishRequest) -> None:
        """Clone and look. Raises `CardError` when the repository has this version of the card with another content."""
        self._request = request
        self._clone = Clone(address)
        self._branch = self._base = self._clone.branch
        self.notes: list[str] = []
        self.changes = self._changes(published=True)
        if self._clone.empty:
            self.notes.append(
                f"The repository is empty; the card will be the first commit of its branch '{self._base}'."
            )
        elif self.changes and not request.direct:
            self._branch = _branch(request.card)
            if self._clone.follow(self._branch):
                self.changes = self._changes(published=False)
        self.where = f"{address.shown}, branch {self._branch}"

    def carry_out(self) -> str:
        """Commit and push; returns where the branch can be looked at."""
        card, clone = self._request.card, self._clone
        for change in self.changes:
            try:
                write_whole(clone.folder / change.path, change.after.encode(), durable=False)
            except OSError as error:
                raise ZooError(f"{change.path} cannot be written in the clone: {error.strerror or error}.") from error
            clone.git("add", "--force", "--", change.path)
        message = self._request.message.strip() or f"Add the card of {card.id} {card.version}"
        clone.git("commit", "--quiet", f"--message={message}")
        clone.git("push", "--quiet", "origin", f"HEAD:refs/heads/{self._branch}")
        if self._branch == self._base:
            return f"Pushed to {self.where}."
        return f"Pushed to {self.where}. Look at it: {look_at(clone.address, self._base, self._branch)}"

    def _changes(self, *, published: bool) -> list[Change]:
        """What the card changes where the clone stands; what was `published` there needs a higher version to change."""
        card, clone = self._request.card, self._clone
        path = next(_files_of(clone, card.id), None)
        if path is None:
            path = _new_file(clone, card)
            return [Change(path=path.as_posix(), before=None, after=card_yaml(card))]
        there = _read(clone.folder / path)
        if there is not None and card_digest(there) == card_digest(card):
            return []
        if published and there is not None and _order(there) >= _order(card):
            raise CardError(
                f"{clone.address.shown} already has '{card.id}' {there.version} with another content; "
                f"raise the version of your card, {card.version}, above that."
            )
        before = (clone.folder / path).read_bytes().decode(errors="replace")
        return [Change(path=path.as_posix(), before=before, after=card_yaml(card))]


def card_paths(clone: Clone) -> Iterator[Path]:
    """The files in a clone that are meant to be cards."""
    return (path for path in clone.texts(*_CARD) if not path.name.endswith(_COLLECTION))


def _files_of(clone: Clone, name: str) -> Iterator[Path]:
    """The files in a clone of the card called `name`; a broken card is known by its line `id:`."""
    line = re.compile(rf"^id:\s*['\"]?{re.escape(name)}['\"]?\s*(#.*)?$", re.MULTILINE)
    for path in card_paths(clone):
        with (clone.folder / path).open("rb") as file:
            content = file.read(_MAX_BYTES)
        if name.encode() not in content:
            continue
        card = _read(clone.folder / path)
        if card.id == name if card else line.search(content.decode(errors="replace")):
            yield path


def _new_file(clone: Clone, card: AnyCard) -> Path:
    folder = Path(_FOLDERS[str(type(card).__struct_config__.tag)])
    path = (folder / card.family if isinstance(card, ModelCard) else folder) / f"{card.id}.yaml"
    if path.name.endswith(_COLLECTION):
        raise CardError(f"'{card.id}' would be the file {path.name}, which is no card's; give the card another id.")
    if (clone.folder / path).exists():
        raise ZooError(f"{path} in {clone.address.shown} is something else than the card '{card.id}'; move it first.")
    return path


def _read(path: Path) -> AnyCard | None:
    try:
        return read_card(path)
    except CardError:
        return None


def _order(card: AnyCard) -> list[int]:
    return [int(number) for number in card.version.split(".")]


def _branch(card: AnyCard) -> str:
    # git allows no two dots in a row in the name of a branch; what tells 'a..b' from 'a-b' must not change with the content.
    name = re.sub(r"[.]{2,}", "-", card.id)
    if name != card.id:
        name += f"-{hashlib.sha256(card.id.encode()).hexdigest()[:6]}"
    return f"card/{name}-{card.version}"
