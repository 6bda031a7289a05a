"""Check cards as a whole: each against its schema and rules, against all others, its own files, and what its hub says.

Every check tells its findings, and where it could not look, why not. Nothing is changed. The checks that need files or a
hub are in `proving`.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec

from zoo_core.cards.checking import rule_problems
from zoo_core.cards.findings import Finding, Skipped, Subject, error, warning
from zoo_core.cards.index import card_files
from zoo_core.cards.proving import PROOFS
from zoo_core.cards.reading import read_card
from zoo_core.cards.schema import DatasetCard, ModelCard
from zoo_core.cards.writing import card_digest
from zoo_core.catalog import CARD_FILE
from zoo_core.checkpoints.inspection import is_folder
from zoo_core.errors import CardError, NotFound, ZooError
from zoo_core.lineage.terms import license_problems
from zoo_core.names import is_path
from zoo_core.paths import expanded

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from zoo_core.cards.schema import AnyCard
    from zoo_core.zoo import Zoo


class Audit(msgspec.Struct, frozen=True, kw_only=True):
    """What the checks say of one card; `card` is empty where its file cannot be read."""

    card: str
    path: str
    result: Literal["passed", "failed"]
    findings: list[Finding] = []
    skipped: list[Skipped] = []


class Auditor:
    """Checks a number of cards, which are checked against each other and against the catalog."""

    def __init__(self, zoo: Zoo, references: Sequence[str], *, offline: bool = False, smoke: bool = False) -> None:
        """Read the cards that references name, and all below folders; without references, all of the catalog.

        `offline` asks no hub; `smoke` has the models answer, where they are on this machine. Raises `NotFound` for what is
        not there; a card that cannot be read is a finding.
        """
        self._zoo, self._offline, self._smoke = zoo, offline, smoke
        self._cards: dict[Path, AnyCard | ZooError] = {}
        for reference in references:
            self._read(reference)
        if not references:
            self._read_all()
        self._names = _Names(zoo, self._cards)

    def _read(self, reference: str) -> None:
        path = expanded(reference)
        if is_folder(path) and not self._zoo.catalog.knows(reference):
            reference = str(path.absolute())  # a folder needs no `./` here, where nothing else could be meant
        if is_path(reference) and is_folder(path) and not (path / CARD_FILE).is_file():
            files = [Path(each).absolute() for each, _ in card_files(path)]
            if not files:
                raise NotFound(f"There is no card below {path}.")
            self._cards |= {file: _card(file) for file in files}
        elif is_path(reference) and self._zoo.catalog.knows(reference) and path.is_file():
            self._cards[path.absolute()] = _card(path)
        else:
            card, path = self._zoo.catalog.card(reference)
            self._cards[path.absolute()] = card

    def _read_all(self) -> None:
        for row in self._zoo.catalog.rows():
            try:
                self._read(row.id)
            except ZooError as problem:
                self._cards[Path(row.path)] = problem
        self._cards |= {path: _card(path) for path in self._zoo.catalog.broken}

    def __len__(self) -> int:
        return len(self._cards)

    def audits(self) -> Iterator[Audit]:
        """Check one card after the other."""
        for path, card in self._cards.items():
            if isinstance(card, ZooError):
                finding = Finding(level="error", check="schema", field="", message=str(card))
                yield Audit(card="", path=str(path), result="failed", findings=[finding])
            else:
                yield self._audit(card, path)

    def _audit(self, card: AnyCard, path: Path) -> Audit:
        subject = Subject(
            zoo=self._zoo,
            card=card,
            path=path,
            find=self._names.find,
            offline=self._offline,
            smoke=self._smoke,
        )
        told: list[Finding | Skipped] = [
            *_rules(subject),
            *self._names.conflicts(card, path),
            *_references(subject),
            *_deltas(subject),
        ]
        told += _license(subject)
        for proof in PROOFS:
            told += proof(subject)
        findings = [each for each in told if isinstance(each, Finding)]
        return Audit(
            card=card.id,
            path=str(path),
            result="failed" if any(each.level == "error" for each in findings) else "passed",
            findings=findings,
            skipped=[each for each in told if isinstance(each, Skipped)],
        )


def _card(path: Path) -> AnyCard | ZooError:
    try:
        return read_card(path)
    except CardError as problem:
        return problem


class _Names:
    """Which cards go by which name: those under check, and those of the catalog."""

    def __init__(self, zoo: Zoo, cards: dict[Path, AnyCard | ZooError]) -> None:
        self._zoo = zoo
        self._checked: dict[str, list[tuple[Path, AnyCard]]] = defaultdict(list)
        #: For each name the ids of the cards that claim it, as their id or as an alias.
        self._ids: dict[str, set[str]] = defaultdict(set)
        self._aliases: dict[str, set[str]] = defaultdict(set)
        for path, card in cards.items():
            if not isinstance(card, ZooError):
                self._checked[card.id].append((path, card))
                self._add(card.id, card.aliases)
        self._rows = {row.id: row for row in zoo.catalog.rows()}
        for row in self._rows.values():
            if row.id not in self._checked:  # what is under check stands for the card of its name
                self._add(row.id, row.aliases)

    def find(self, name: str) -> AnyCard | None:
        """The card with this id: one under check, or else one of the catalog."""
        return self._checked[name][0][1] if name in self._checked else self._zoo.catalog.find(name)

    def conflicts(self, card: AnyCard, path: Path) -> Iterator[Finding]:
        """The names of a card that others claim."""
        for other, _ in self._checked[card.id]:
            if other != path:
                yield error("names", "id", f"{other} is called '{card.id}' too")
        row = self._rows.get(card.id)
        elsewhere = row is not None and Path(row.path).resolve() != path.resolve()
        if row is not None and elsewhere and row.digest != card_digest(card):
            owner = self._zoo.catalog.owner(card.id)
            yield warning("names", "id", f"the zoo has another card '{card.id}': {row.path} ({owner})")
        for other_id in sorted(self._aliases[card.id] - {card.id}):
            yield error("names", "id", f"'{other_id}' has '{card.id}' as an alias")
        for alias in dict.fromkeys(card.aliases):
            if others := sorted((self._ids[alias] | self._aliases[alias]) - {card.id}):
                yield error("names", "aliases", f"the alias '{alias}' is claimed by '{others[0]}' too")

    def _add(self, name: str, aliases: Iterable[str]) -> None:
        self._ids[name].add(name)
        for alias in aliases:
            self._aliases[alias].add(name)


def _deltas(subject: Subject) -> Iterator[Finding]:
    """Whether a delta says what is needed to add it to its base."""
    card = subject.card
    if not isinstance(card, ModelCard) or card.lineage is None or card.lineage.relation != "delta":
        return
    delta, base = card.lineage.delta, subject.find(card.lineage.base.id or "")
    if delta is None:
        yield warning("delta", "lineage.delta", "the card does not say how the delta is added to its base")
        return
    own = delta.vocab_size or card.architecture.vocab_size
    theirs = base.architecture.vocab_size if isinstance(base, ModelCard) else None
    if own and theirs and own > theirs and delta.new_rows is None and not delta.keeps:  # tables are often kept whole
        missing = f"the vocabulary has {own:,} rows, that of '{card.lineage.base.id}' {theirs:,}"
        yield warning("delta", "lineage.delta.new_rows", f"{missing}, but new_rows does not say what they are added to")


def _rules(subject: Subject) -> Iterator[Finding]:
    for field, problem in rule_problems(subject.card, subject.zoo.template):
        yield error("rules", field, problem)


def _references(subject: Subject) -> Iterator[Finding]:
    """Cards, engines and families that a card names."""
    card = subject.card
    named = [("replaced_by", card.replaced_by)] if card.replaced_by else []
    if isinstance(card, DatasetCard):
        named += [("made_from", name) for name in card.made_from]
    if isinstance(card, ModelCard):
        named += [("runtime.variants", name) for name in card.runtime.variants]
        if card.runtime.engine is not None:
            try:
                subject.zoo.offer("zoo_engines", card.runtime.engine, "engine")
            except NotFound as missing:
                yield error("references", "runtime.engine", str(missing))
        if card.status == "stable":
            try:
                subject.zoo.offer("zoo_model_families", card.family, "model family")
            except NotFound as missing:
                yield warning("references", "family", str(missing))
    for field, name in named:
        if subject.find(name) is None:
            yield error("references", field, f"no card is called '{name}'")


def _license(subject: Subject) -> Iterator[Finding]:
    for problem in license_problems(subject.card, subject.find):
        yield error("license", "license", problem)
