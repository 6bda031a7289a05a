"""All cards from all places, and how a reference becomes a card.

Precedence: cards named on the command line, then the user's own folder, then registries in their order, then third-party
plugins, then what comes with the zoo. A name that two places claim is always reported, unless both have the very same card.
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
    from collections.abc import Callable, Iterable, Sequence

    from zoo_core.cards.schema import AnyCard

#: The name of the card inside a folder of weights.
CARD_FILE = "zoo.yaml"
#: Names the model that `zoo chat` takes when none is named.
DEFAULT_MODEL = "ZOO_MODEL"


class Place(msgspec.Struct, frozen=True):
    """A folder of cards, whose it is, and how much it counts (higher wins). `registry` is the name of one whose copy it is."""

    owner: str
    folder: Path
    rank: float
    registry: str = ""


class Entry(msgspec.Struct, frozen=True):
    """A card of the catalog: its row and the place that it came from."""

    row: Row
    owner: str
    rank: float
    registry: str = ""


class Catalog:
    """The cards of the zoo by name."""

    def __init__(
        self,
        places: Iterable[Place],
        *,
        files: Sequence[Path] = (),
        index: Path | None = None,
        elsewhere: Callable[[str, str], tuple[AnyCard, Path]] | None = None,
        drafts: Callable[[str], tuple[AnyCard, Path]] | None = None,
        warn: Callable[[str], None] = lambda warning: None,
    ) -> None:
        """Read the rows of all cards below `places` and in `files`; `index` is the cache file.

        `elsewhere` brings the card that a reference such as `hf:owner/name` names, from its two parts; `drafts` also that of a
        model without one. `warn` is told of a name that several places claim when that name is used.
        """
        self.warnings: list[str] = []
        #: What is wrong with a name, for those that several cards claim.
        self.conflicts: dict[str, list[str]] = {}
        self._warn = warn
        #: The files of cards that cannot be read.
        self.broken: list[Path] = []
        self._entries: dict[str, Entry] = {}
        self._names: dict[str, list[Entry]] = {}
        self._registries: dict[str, list[Entry]] = {}
        self._elsewhere = elsewhere or _nowhere
        self._drafts = drafts
        cache = CardIndex(index)
        found = [Entry(self._named_file(path), "command line", 100) for path in files]
        for place in sorted(places, key=lambda place: -place.rank):
            found += self._registry(place) if place.registry else self._folder(place, cache)
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
        first, colon, rest = reference.partition(":")
        if colon:
            return any(_answers(entry, rest.partition("@")[0]) for entry in self._registries.get(first, ()))
        return reference.partition("@")[0] in self._names

    def model(self, reference: str) -> tuple[ModelCard, Path]:
        """The model card that a reference names, and its file.

        A reference is a name, `name@version`, either of them after `registry:`, a card file, a folder with a card in it, or
        an address that a card source reads; also a folder of weights, a GGUF file or a repository without a card, of which
        one is drafted. Raises `NotFound` with suggestions, `CardError` when the card is broken or no model's.
        """
        card, path = self.card(reference, drafts=True)
        if not isinstance(card, ModelCard):
            raise CardError(f"'{reference}' is a {card.__struct_config__.tag}, not a model.")
        return card, path

    def card(self, reference: str, *, drafts: bool = False) -> tuple[AnyCard, Path]:
        """The card of any kind that a reference names, and its file; a drafted one with `drafts`. Raises as `model` does."""
        from zoo_core.cards.reading import read_card
        from zoo_core.registries.copies import read_registry_card

        draft = self._drafts if drafts else None
        if is_path(reference):
            path = expanded(reference)
            if draft is not None and _is_bare(path):
                return draft(reference)
            return read_card(path := _card_path(path)), path
        first, colon, rest = reference.partition(":")
        if colon and first not in self._registries:
            return draft(reference) if draft is not None else self._elsewhere(first, rest)
        name, _, version = (rest if colon else reference).partition("@")
        entry = self._find_in(first, name) if colon else self._find(name)
        for sentence in self.conflicts.get(name, ()) if not colon else ():
            self._warn(sentence)
        path = Path(entry.row.path)
        card = read_registry_card(entry.registry, path) if entry.registry else read_card(path)
        if version and card.version != version:
            raise NotFound(f"The card of '{name}' has version {card.version}, not {version}.")
        return card, path

    def find(self, name: str) -> AnyCard | None:
        """The card with this id or alias; None where there is none that can be read."""
        try:
            return self.card(name)[0] if name in self._names else None
        except ZooError:
            return None

    def default_model(self) -> str:
        """The model to use when none is named: `ZOO_MODEL`, else the first whose weights are installed with its card."""
        if name := os.environ.get(DEFAULT_MODEL):
            return name
        shipped = [each for each in self._shipped() if each.row.kind == "model"]
        if not shipped:
            raise NotFound(f"No model is installed with its weights; name one, or set {DEFAULT_MODEL}.")
        return min(shipped, key=lambda each: (each.rank, each.row.status != "stable", each.row.id)).row.id

    def shipped(self) -> set[str]:
        """The ids of the cards whose files are installed with them."""
        return {entry.row.id for entry in self._shipped()}

    def _shipped(self) -> list[Entry]:
        # A registry installs nothing, whatever its cards say.
        return [entry for entry in self._entries.values() if entry.row.package and not entry.registry]

    def _named_file(self, path: Path) -> Row:
        from zoo_core.cards.reading import read_card

        path = _card_path(expanded(path))
        return row_of(read_card(path), path)

    def _folder(self, place: Place, cache: CardIndex) -> list[Entry]:
        return [Entry(row, place.owner, place.rank) for row in cache.rows(place.folder)]

    def _registry(self, place: Place) -> list[Entry]:
        from zoo_core.registries.copies import LocalCopy

        rows, warning = LocalCopy(place.registry, place.folder).rows()
        if warning:
            self.warnings.append(warning)
        entries = [Entry(row, place.owner, place.rank, place.registry) for row in rows]
        self._registries[place.registry] = entries
        return entries

    def _add(self, entry: Entry) -> None:
        row = entry.row
        if row.problem:
            self.warnings.append(f"card left out: {row.problem}")
            self.broken.append(Path(row.path))
            return
        first = self._entries.setdefault(row.id, entry)
        if first is not entry and not (row.digest and row.digest == first.row.digest):
            self._conflict(
                row.id,
                f"two cards are called '{row.id}': {first.row.path} ({first.owner}) is used, "
                f"{row.path} ({entry.owner}) is not",
            )

    def _conflict(self, name: str, sentence: str) -> None:
        self.warnings.append(sentence)
        self.conflicts.setdefault(name, []).append(sentence)

    def _add_aliases(self) -> None:
        self._names = {name: [entry] for name, entry in self._entries.items()}
        for entry in self._entries.values():
            for alias in dict.fromkeys(entry.row.aliases):
                if alias == entry.row.id:
                    continue
                others = self._names.setdefault(alias, [])
                if others:
                    self._conflict(alias, _rivalry(alias, others[0], entry))
                if (
                    alias not in self._entries or entry.rank > others[0].rank
                ):  # an id counts more than an alias beside it
                    others.append(entry)

    def _find(self, name: str) -> Entry:
        entries = self._names.get(name, [])
        if not entries:
            raise NotFound(
                f"No model is called '{name}'.{did_you_mean(name, self._names)} See all of them with: zoo list"
            )
        best = max(entry.rank for entry in entries)
        return _only(name, [entry for entry in entries if entry.rank == best])

    def _find_in(self, registry: str, name: str) -> Entry:
        """The card that a registry has under a name, whatever has that name elsewhere."""
        entries = self._registries[registry]
        for entry in entries:
            if entry.row.id == name:
                return entry
        winners = [entry for entry in entries if _answers(entry, name)]
        if not winners:
            names = [each for entry in entries for each in (entry.row.id, *entry.row.aliases)]
            message = f"The registry '{registry}' has no card called '{name}'.{did_you_mean(name, names)}"
            raise NotFound(f"{message} If it is new there: zoo registry update {registry}")
        return _only(name, winners)


def _rivalry(alias: str, first: Entry, second: Entry) -> str:
    """What to say of an alias that another card claims, or has as its id."""
    has = "is the id of" if first.row.id == alias else "is claimed by"
    rivals = f"'{first.row.id}' ({first.owner}) and {'claimed by ' * (first.row.id == alias)}'{second.row.id}' ({second.owner})"
    if first.rank == second.rank and first.row.id != alias:
        return f"the alias '{alias}' {has} {rivals}; use one of these ids"
    used = second if second.rank > first.rank else first
    return f"the alias '{alias}' {has} {rivals}; '{used.row.id}' is used"


def _answers(entry: Entry, name: str) -> bool:
    """Whether a card is called `name`."""
    return name == entry.row.id or name in entry.row.aliases


def _only(name: str, entries: Sequence[Entry]) -> Entry:
    """The one card that claims an alias. Raises `NotFound` when there are more."""
    if len(entries) > 1:
        ids = " and ".join(f"'{entry.row.id}'" for entry in entries)
        raise NotFound(f"The alias '{name}' is claimed by {ids}; use one of these ids.")
    return entries[0]


def _nowhere(scheme: str, address: str) -> tuple[AnyCard, Path]:
    raise NotFound(f"'{scheme}:{address}' names no card: no registry and no source of cards is called '{scheme}'.")


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


def _is_bare(path: Path) -> bool:
    """Whether a path is that of a folder without a card, or of a GGUF file."""
    return _exists(path) and not (path / CARD_FILE).is_file() and (path.is_dir() or path.suffix == ".gguf")


def _exists(path: Path) -> bool:
    """Whether there is something at a path; not where that cannot be told, such as behind a name that is too long."""
    try:
        return path.exists()
    except OSError:
        return False
