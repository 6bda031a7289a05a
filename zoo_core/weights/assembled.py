"""The models that were put together from parts, in the zoo's data folder: found, told, removed.

Each has a folder `assembled/ID-DIGEST` with the weights, a card, and a record of what it was made from; work that is not
finished lies in `ID-DIGEST.partial` beside it. A folder that cannot be understood is passed over. `assembling` makes them.
"""

from __future__ import annotations

import contextlib
import datetime
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from zoo_core.cards.parts import Base, Checks, File, Lineage, Source
from zoo_core.errors import WeightsError
from zoo_core.locks import locked
from zoo_core.paths import data_folder
from zoo_core.weights.choosing import is_wanted
from zoo_core.weights.store import Verified, digest_of

if TYPE_CHECKING:
    from zoo_core.cards.schema import AnyCard, ModelCard
    from zoo_core.weights.store import FileProgress

RECORD = "assembled.json"
SCHEMA = "zoo.assembled/v1"
PARTIAL = ".partial"
#: The name under which these folders are told beside the hubs that weights come from.
HUB = "assembled"


class Assembled(msgspec.Struct, frozen=True, kw_only=True):
    """A model that was put together: of which card, how, from which files (digests by path), and what came of it.

    `recipe` is what the card said of the work, as JSON; `base_name` is what the base was called.
    """

    schema: str = SCHEMA
    card: str
    recipe: str
    parts: dict[str, str]
    base: dict[str, str]
    base_name: str
    files: list[File]
    date: datetime.datetime
    folder: str = ""

    @property
    def size(self) -> int:
        """The bytes of all files."""
        return sum(file.size for file in self.files)


def assembled_folder() -> Path:
    """Where the models lie that were put together."""
    return data_folder() / "assembled"


def lock_of(folder: Path) -> Path:
    """The lock that a run holds while it makes or removes a folder."""
    return data_folder() / "locks" / f"assembled-{folder.name.removesuffix(PARTIAL)}.lock"


def recipe_of(card: AnyCard) -> str:
    """What decides how a model is put together, apart from the files: the rest of a card may change meanwhile."""
    lineage = getattr(card, "lineage", None)
    said = {
        "family": getattr(card, "family", ""),
        "relation": lineage and lineage.relation,
        "delta": lineage and lineage.delta,
    }
    return msgspec.json.encode(said, order="deterministic").decode()


def whole_card(card: ModelCard, record: Assembled) -> ModelCard:
    """The card of the whole model: that of its parts, with other files and another lineage."""
    base = card.lineage.base if card.lineage else Base()
    return msgspec.structs.replace(
        card,
        aliases=[],
        status="experimental",
        sources=[Source(hub="folder", path=".")],
        files=record.files,
        format="safetensors",
        lineage=Lineage(base=Base(id=base.id, name=record.base_name), relation="finetune"),
        runtime=msgspec.structs.replace(card.runtime, variants=[]),
        checks=Checks(),
    )


def digests_of(folder: Path, progress: FileProgress) -> dict[str, str]:
    """The SHA-256 of the files that make a model, its code included, by path; computed anew where they have changed."""
    known = Verified()
    paths = [path for path in sorted(folder.iterdir()) if is_wanted(path.name) or path.suffix == ".py"]
    found = {path.name: digest_of(path, known, progress) for path in paths if path.is_file()}
    known.save()
    return found


def read_record(folder: Path) -> Assembled | None:
    """The record of a finished folder; None where there is none that can be understood."""
    with contextlib.suppress(OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        record = msgspec.json.decode((folder / RECORD).read_bytes(), type=Assembled)
        if record.schema == SCHEMA:
            return msgspec.structs.replace(record, folder=str(folder))
    return None


def all_assembled() -> list[Assembled]:
    """All finished models, the newest first."""
    folders = [path for path in _below() if not path.name.endswith(PARTIAL)]
    found = [record for folder in folders if (record := read_record(folder)) is not None]
    return sorted(found, key=lambda record: record.date, reverse=True)


def assembled_of(card: AnyCard) -> Assembled | None:
    """The newest model that was put together as a card now says, from the files that it names where it names any."""
    named = {file.path: file.sha256 for file in card.files}
    for record in all_assembled():
        if record.card == card.id and record.recipe == recipe_of(card) and named.items() <= record.parts.items():
            return record
    return None


def folders_of(model: str) -> list[Path]:
    """All folders of a model, finished or not."""
    name = re.compile(re.escape(model) + r"-[0-9a-f]{16}(\.partial)?")
    return [path for path in _below() if name.fullmatch(path.name)]


def remove_folder(model: str, folder: Path) -> int:
    """Remove a folder; returns the bytes that were freed. Refuses while another run works in it."""

    def refuse() -> None:
        raise WeightsError(f"'{model}' is being put together in {folder}; nothing was removed.")

    with locked(lock_of(folder), refuse):
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        try:
            (folder / RECORD).unlink(missing_ok=True)  # at first, so that no half of it is ever taken for the whole
            shutil.rmtree(folder)
        except OSError as error:
            place = f" in {error.filename}" if error.filename else ""
            raise WeightsError(f"'{model}' cannot be removed{place}: {error.strerror or error}.") from error
    return size


def _below() -> list[Path]:
    with contextlib.suppress(OSError):
        return sorted(path for path in assembled_folder().iterdir() if path.is_dir())
    return []
