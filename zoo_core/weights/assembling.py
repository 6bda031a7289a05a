"""Models that are published in parts, a delta or an adapter over a base: put together once, verified, and kept.

The folder's name digests how the work is done and what it is done with, so that other files give another folder. How it is
done is the business of the family: this module knows nothing of tensors.
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import shutil
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from zoo_core.cards.parts import File
from zoo_core.cards.writing import card_yaml
from zoo_core.catalog import CARD_FILE
from zoo_core.checkpoints.inspection import is_folder
from zoo_core.errors import UsageProblem, WeightsError, ZooError
from zoo_core.files import write_whole
from zoo_core.interfaces import Assembly
from zoo_core.locks import locked
from zoo_core.names import is_path
from zoo_core.paths import expanded
from zoo_core.weights.assembled import (
    PARTIAL,
    RECORD,
    Assembled,
    assembled_folder,
    assembled_of,
    digests_of,
    lock_of,
    read_record,
    recipe_of,
    whole_card,
)
from zoo_core.weights.bases import Foundation, given_base, lineage_base, own_card
from zoo_core.weights.pulled import record_of
from zoo_core.weights.store import (
    find_weights,
    given_folder,
    local_folder,
    remember,
    verify,
    verify_files,
)

if TYPE_CHECKING:
    from zoo_core.cards.schema import ModelCard
    from zoo_core.zoo import Zoo

#: Told the share of a piece of work that is done (0 to 1) and a line to show.
Progress = Callable[[float, str], None]


def is_in_parts(card: ModelCard) -> bool:
    """Whether what a card's sources hold is no model without a base."""
    return card.lineage is not None and card.lineage.relation in {"delta", "adapter"}


def model_weights(
    zoo: Zoo,
    card: ModelCard,
    card_path: Path,
    *,
    given: Path | None = None,
    base: str | None = None,
    reference: str = "",
    progress: Progress = lambda share, line: None,
) -> Path:
    """The folder with a whole model, verified; put together first where the card's weights are a delta or an adapter.

    `given` is a folder that the user names: the whole model, or the delta or adapter. `base` is a folder or the reference of a
    card; without it the base is the one of the card's lineage. Raises `ZooError`.
    """
    if is_in_parts(card):
        return _Assembler(zoo, card, card_path, reference or card.id, progress).folder(given, base)
    if base is not None:
        raise UsageProblem(f"'{card.id}' is no delta and no adapter, so it takes no base (--base).")
    return find_weights(card, card_path, given, reference)


def tokenizer_folder(card: ModelCard, card_path: Path, given: Path | None = None, reference: str = "") -> Path:
    """A folder with the tokenizer of a model, nothing being put together for its sake."""
    if given is None and is_in_parts(card) and (record := assembled_of(card)) is not None:
        return Path(record.folder)
    return (
        given_folder(card, given)
        if given is not None and is_in_parts(card)
        else find_weights(card, card_path, given, reference)
    )


class _Assembler:
    """One card, and the work on it. `above` are the ids of the models that this one is a base of."""

    def __init__(
        self,
        zoo: Zoo,
        card: ModelCard,
        card_path: Path,
        reference: str,
        progress: Progress,
        above: tuple[str, ...] = (),
    ) -> None:
        self._zoo, self._card, self._path, self._reference = zoo, card, card_path, reference
        self._progress = progress
        self._above = above
        assert card.lineage is not None
        self._lineage = card.lineage
        if card.id in above:
            raise ZooError(f"The lineage of '{card.id}' goes in a circle, so it cannot be put together.")

    @cached_property
    def _family(self) -> Any:
        """The family, which is only loaded when there is something to be done."""
        family = self._zoo.offer("zoo_model_families", self._card.family, "model family").load()()
        if not hasattr(family, "assemble"):
            raise UsageProblem(
                f"The family '{self._card.family}' cannot put '{self._card.id}' together, which is {self._what}."
            )
        return family

    @property
    def _what(self) -> str:
        kind = "a delta" if self._lineage.relation == "delta" else "an adapter"
        base = self._lineage.base
        return f"published as {kind} over {base.name or base.id or base.repo}"

    def folder(self, given: Path | None, base: str | None) -> Path:
        """The folder of the whole model."""
        if given is not None:
            given = given_folder(self._card, given)
            if not self._family.is_part(given):
                return self._whole(given, base)
            verify(self._card, given)
        if given is None and base is None and (record := assembled_of(self._card)) is not None:
            return self._checked(record)
        if base is None:
            self._require_base()
        parts = given or find_weights(self._card, self._path, None, self._reference)
        return self._assembled(parts, self._base(base))

    def _checked(self, record: Assembled) -> Path:
        """The folder of a finished model, verified."""
        folder = Path(record.folder)
        try:
            verify_files(self._card.id, record.files, folder, self._verified)
        except WeightsError as error:
            raise WeightsError(
                f"{error} It was put together here: remove it with zoo rm {self._card.id}, and it is made anew."
            ) from error
        return folder

    def _whole(self, folder: Path, base: str | None) -> Path:
        """A folder with the model itself, made by an earlier merge; compared with its own card where it has one."""
        if base is not None:
            raise UsageProblem(
                f"{folder} holds no delta and no adapter but a whole model, so it takes no base (--base)."
            )
        if (own := own_card(folder)) is not None:
            verify_files(own.id, own.files, folder, self._verified)
        return folder

    def _base(self, wish: str | None) -> Foundation:
        """The base: the user's, else the one of the lineage. One that is in parts itself is put together first."""
        if wish is not None and not is_path(wish) and not is_folder(expanded(wish)):
            return self._of_card(*self._zoo.catalog.model(wish), wish)
        found = lineage_base(self._zoo, self._lineage)
        if wish is not None:
            return self._of_folder(given_base(self._card, wish), found)
        assert found is not None, "whoever asks has looked"
        return self._of_card(*found, found[0].id)

    def _of_card(self, card: ModelCard, path: Path, reference: str, given: Path | None = None) -> Foundation:
        if is_in_parts(card):
            above = (*self._above, self._card.id)
            folder = _Assembler(self._zoo, card, path, reference, self._progress, above).folder(given, None)
        else:
            folder = find_weights(card, path, given, reference)
        return Foundation(folder, card.id, card)

    def _of_folder(self, folder: Path, found: tuple[ModelCard, Path] | None) -> Foundation:
        """A folder that the user named: what its own card says counts, else what that of the lineage's base says."""
        if (own := own_card(folder)) is not None:
            return self._of_card(own, folder / CARD_FILE, str(folder), folder)
        if found is not None:
            return self._of_card(*found, found[0].id, folder)
        return Foundation(folder, folder.name, None)

    def _require_base(self) -> None:
        """Raise `WeightsError` unless the base that the lineage names is on this machine."""
        found = lineage_base(self._zoo, self._lineage)
        if found is not None and _is_here(*found):
            return
        if self._above:
            raise WeightsError(
                f"'{self._card.id}' is {self._what}, without which it gives gibberish; merge the two first (zoo merge "
                f"{self._lineage.relation} {self._reference} --base FOLDER --target NEW), and name NEW as the base of "
                f"'{self._above[-1]}'."
            )
        get = f", or get it with: zoo pull {found[0].id}" if found is not None and found[0].sources else ""
        raise WeightsError(
            f"'{self._card.id}' is {self._what}, without which it gives gibberish; name the folder of the base with "
            f"--base FOLDER{get or '.'}"
        )

    def _assembled(self, parts: Path, base: Foundation) -> Path:
        """Have the work done, unless it was done before with the same files."""
        ours, theirs = (digests_of(folder, self._verified) for folder in (parts, base.folder))
        inputs = msgspec.json.encode([recipe_of(self._card), ours, theirs], order="deterministic")
        name = f"{self._card.id}-{hashlib.sha256(inputs).hexdigest()[:16]}"
        folder = assembled_folder() / name
        with locked(lock_of(folder), lambda: self._progress(0, "another run is putting it together; waiting for it")):
            if (record := read_record(folder)) is not None:
                return self._checked(record)
            try:
                work = self._worked(parts, base, folder)
                files = [
                    File(path=path, size=(work / path).stat().st_size, sha256=digest)
                    for path, digest in digests_of(work, self._verified).items()
                ]
                record = self._record(ours, theirs, base, files)
                write_whole(work / CARD_FILE, card_yaml(whole_card(self._card, record)).encode())
                write_whole(work / RECORD, msgspec.json.format(msgspec.json.encode(record), indent=2))
                if folder.is_dir():  # left by somebody who took its record away
                    shutil.rmtree(folder)
                work.replace(folder)
                remember(folder, files)
            except OSError as error:
                raise WeightsError(
                    f"'{self._card.id}' cannot be put together in {folder}{PARTIAL}: {error.strerror or error}; the same "
                    "command goes on where it stopped."
                ) from error
        return folder

    def _worked(self, parts: Path, base: Foundation, folder: Path) -> Path:
        """Have the family write the model into a folder for work, and go on with what an earlier run left there.

        It may have left what cannot be gone on with: work on the same files when they were in another place.
        """
        work = folder.with_name(folder.name + PARTIAL)
        work.mkdir(parents=True, exist_ok=True)
        assembly = Assembly(
            card=self._card, parts=parts, base=base.folder, base_card=base.card, folder=work, progress=self._progress
        )
        try:
            try:
                self._family.assemble(assembly)
            except UsageProblem:
                shutil.rmtree(work)
                work.mkdir()
                self._family.assemble(assembly)
        except ZooError:
            with contextlib.suppress(OSError):
                work.rmdir()
            raise
        return work

    def _record(
        self, parts: dict[str, str], base: dict[str, str], foundation: Foundation, files: list[File]
    ) -> Assembled:
        return Assembled(
            card=self._card.id,
            recipe=recipe_of(self._card),
            parts=parts,
            base=base,
            base_name=foundation.name,
            files=files,
            date=datetime.datetime.now(datetime.UTC),
        )

    def _verified(self, path: str, done: int, size: int) -> None:
        self._progress(done / max(size, 1), f"reading {path}")


def _is_here(card: ModelCard, path: Path) -> bool:
    """Whether a base's weights, or what they are made from, are on this machine."""
    if record_of(card) is not None or (is_in_parts(card) and assembled_of(card) is not None):
        return True
    return any(local_folder(source, path) for source in card.sources)
