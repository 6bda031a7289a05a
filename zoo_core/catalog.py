"""All cards from all places, and how a reference becomes a card.

Precedence: cards named on the command line, then the user's own folder, then third-party plugins, then what comes with the
zoo. A name that two places claim is always reported.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from zoo_core.cards.index import CardIndex, Row, row_of
from zoo_core.cards.schema import ModelCard
from zoo_core.errors import CardError, NotFound, ZooError
from zoo_core.names import did_you_mean, is_path
from zoo_core.paths import expanded

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from zoo_core.cards.schema import AnyCard

#: The name of the card inside a folder of weights.
CARD_FILE = "zoo.yaml"
#: Names the model that `zoo chat` takes when none is named.
DEFAULT_MODEL = "ZOO_MODEL"


class Place(msgspec.Struct, frozen=True):
    """A folder of cards, whose it is, and how much it counts (higher wins)."""

    owner: str
    folder: Path
    rank: int


class Entry(msgspec.Struct, frozen=True):
    """A card of the catalog: its row and the place that it came from."""

    row: Row
    owner: str
    rank: int


class Catalog:
    """The cards of the zoo by name."""

    def __init__(self, places: Iterable[Place], *, files: Sequence[Path] = (), index: Path | None = None) -> None:
        """Read the rows of all cards below `places` and in `files`; `index` is the cache file."""
        self.warnings: list[str] = []
        self._entries: dict[str, Entry] = {}
        self._names: dict[str, list[Entry]] = {}
        cache = CardIndex(index)
        found = [Entry(self._named_file(path), "command line", 100) for path in files]
        for place in sorted(places, key=lambda place: -place.rank):
            found += [Entry(row, place.owner, place.rank) for row in cache.rows(place.folder)]
        cache.save()
        for entry in found:
            self._add(entry)
        self._add_aliases()

    def rows(self, patterns: Sequence[str] = ()) -> list[Row]:
        """The rows of all cards, or of those whose id or alias matches one of the glob patterns, by id."""
        rows = [self._entries[name].row for name in sorted(self._entries)]
        if not patterns:
            return rows
        from fnmatch import fnmatchcase

        return [row for row in rows if any(fnmatchcase(n, p) for n in (row.id, *row.aliases) for p in patterns)]

    def owner(self, name: str) -> str:
        """Who brings the card with this id."""
        return self._entries[name].owner

    def names(self) -> list[str]:
        """All ids and aliases, sorted."""
        return sorted(self._names)

    def knows(self, reference: str) -> bool:
        """Whether a reference is an id, an alias, or an existing path."""
        if is_path(reference):
            return _exists(expanded(reference))
        return reference.partition("@")[0] in self._names

    def model(self, reference: str) -> tuple[ModelCard, Path]:
        """The model card that a reference names, and its file.

        A reference is a name, `name@version`, a card file, or a folder with a card in it. Raises `NotFound` with
        suggestions, `CardError` when the card is broken or no model's.
        """
        card, path = self.card(reference)
        if not isinstance(card, ModelCard):
            raise CardError(f"'{reference}' is a dataset, not a model.")
        return card, path

    def card(self, reference: str) -> tuple[AnyCard, Path]:
        """The card of any kind that a reference names, and its file. Raises as `model` does."""
        from zoo_core.cards.reading import read_card

        if is_path(reference):
            path = _card_path(expanded(reference))
            return read_card(path), path
        name, _, version = reference.partition("@")
        row = self._find(name).row
        card = read_card(Path(row.path))
        if version and card.version != version:
            raise NotFound(f"The card of '{name}' has version {card.version}, not {version}.")
        return card, Path(row.path)

    def default_model(self) -> str:
        """The model to use when none is named: `ZOO_MODEL`, else the first whose weights are installed with its card."""
        if name := os.environ.get(DEFAULT_MODEL):
            return name
        shipped = [each for each in self._entries.values() if each.row.package and each.row.kind == "model"]
        if not shipped:
            raise NotFound(f"No model is installed with its weights; name one, or set {DEFAULT_MODEL}.")
        return min(shipped, key=lambda each: (each.rank, each.row.status != "stable", each.row.id)).row.id

    def _named_file(self, path: Path) -> Row:
        from zoo_core.cards.reading import read_card

        path = _card_path(expanded(path))
        return row_of(read_card(path), path)

    def _add(self, entry: Entry) -> None:
        row = entry.row
        if row.problem:
            self.warnings.append(f"card left out: {row.problem}")
            return
        first = self._entries.setdefault(row.id, entry)
        if first is not entry:
            self.warnings.append(
                f"two cards are called '{row.id}': {first.row.path} ({first.owner}) is used, {row.path} ({entry.owner}) is not"
            )

    def _add_aliases(self) -> None:
        self._names = {name: [entry] for name, entry in self._entries.items()}
        for entry in self._entries.values():
            for alias in dict.fromkeys(entry.row.aliases):
                if alias == entry.row.id:
                    continue
                if alias in self._entries:
                    message = f"the alias '{alias}' of '{entry.row.id}' is the id of another card, which keeps it"
                    self.warnings.append(message)
                    continue
                others = self._names.setdefault(alias, [])
                if others:
                    rivals = f"'{others[0].row.id}' ({others[0].owner}) and '{entry.row.id}' ({entry.owner})"
                    self.warnings.append(f"the alias '{alias}' is claimed by {rivals}")
                others.append(entry)

    def _find(self, name: str) -> Entry:
        entries = self._names.get(name, [])
        if not entries:
            if name.startswith("hf:"):
                message = f"'{name}' names a model on a hub, and no installed plugin brings cards from there."
                raise NotFound(message)
            raise NotFound(
                f"No model is called '{name}'.{did_you_mean(name, self._names)} See all of them with: zoo list"
            )
        best = max(entry.rank for entry in entries)
        winners = [entry for entry in entries if entry.rank == best]
        if len(winners) > 1:
            ids = " and ".join(f"'{entry.row.id}'" for entry in winners)
            raise NotFound(f"The alias '{name}' is claimed by {ids}; use one of these ids.")
        return winners[0]


def _card_path(path: Path) -> Path:
    """The card file that a path names: itself, or the card inside a folder of weights."""
    if not _exists(path):
        raise NotFound(f"There is no card at {path}.")
    if path.is_dir():
        if not (path / CARD_FILE).is_file():
            raise NotFound(
                f"The folder {path} holds no card ({CARD_FILE}), so the zoo cannot tell what its weights are."
            )
        return path / CARD_FILE
    if not path.is_file():
        raise ZooError(f"{path} is neither a card file nor a folder.")
    return path


def _exists(path: Path) -> bool:
    """Whether there is something at a path; not where that cannot be told, such as behind a name that is too long."""
    try:
        return path.exists()
    except OSError:
        return False
