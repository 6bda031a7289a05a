"""Code that a checkpoint brings: it runs only where the user has allowed exactly these files, by their digest.

The digest is one over the paths and the SHA-256 of all Python files in the folder, so that any change asks again. What is
allowed is copied, digested again as a copy, and runs from there: nobody can exchange it in between. How code is run is the
business of families; this module never imports what it looks at.
"""

from __future__ import annotations

import atexit
import datetime
import hashlib
import os
import re
import shlex
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from zoo_core.cards.parts import File
from zoo_core.checkpoints.inspection import FolderView
from zoo_core.errors import NotFound, WeightsError, ZooError
from zoo_core.files import sha256_of, write_whole
from zoo_core.paths import data_folder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from zoo_core.cards.schema import ModelCard

SCHEMA = "zoo.consents/v1"
#: The files in which a checkpoint says that model, tokenizer or the making of text are in code of its own.
CONFIGURATIONS = (
    *("config.json", "tokenizer_config.json", "generation_config.json"),
    *("processor_config.json", "preprocessor_config.json"),
)
#: By this, a configuration has libraries read another file in its place, chosen by their own version.
_OTHER_FILES = "configuration_files"
#: A class in a module of the folder, such as `modeling.Model`. A path that leads out of the folder has no such form.
_REFERENCE = re.compile(r"((?:[\w-]+/)*[\w-]+)\.\w+")


class Code(msgspec.Struct, frozen=True):
    """The Python files below a folder, by path, and the digest over all of them."""

    folder: Path
    files: list[File]
    digest: str


class Consent(msgspec.Struct, frozen=True):
    """That the user allowed code with this digest; `model` is what it was of."""

    digest: str
    model: str
    date: datetime.datetime


class Cleared(NamedTuple):
    """The folder that a model is to be loaded from, and whether code in it may run."""

    folder: Path
    code: bool


class _Record(msgspec.Struct):
    schema: str
    consents: list[Consent]


def cleared(
    card: ModelCard, folder: Path, family: Any = None, reference: str = "", given: Path | None = None
) -> Cleared:
    """What a model is to be loaded from: `folder`, or a copy of it with the code that the user has allowed.

    `family` is asked, where it has a method `needs_code`, whether it needs the code that there is. `reference` and the folder
    `given` are how the user called the model. Raises `ZooError` for code that is not allowed, and for such as never is.
    """
    _require_one_configuration(card, folder)
    needs = getattr(family, "needs_code", None)
    if not brings_code(card, folder) or (needs is not None and not needs(folder)):
        return Cleared(folder, False)
    code = code_of(card, folder)
    if not allowed(code.digest):
        raise _not_allowed(card, code, trust_command(reference or card.id, code.digest, given))
    return Cleared(_copy(card, code), True)


def brings_code(card: ModelCard, folder: Path) -> bool:
    """Whether a model has code of its own, as its card or its configuration says."""
    return card.runtime.remote_code or any(True for _ in _references(folder))


def code_of(card: ModelCard, folder: Path) -> Code:
    """The code in a folder. Raises `WeightsError` where it is not all there, or in another repository."""
    code = _digested(folder)
    if not code.files:
        raise WeightsError(
            f"'{card.id}' needs code of its own, but there is none in {folder}: get the folder again, with its Python files."
        )
    paths = {file.path for file in code.files}
    for name in _references(folder):
        if "--" in name:
            where = name.partition("--")[0]
            raise WeightsError(
                f"'{card.id}' takes its code from another repository, {where[:100]}, which may change at any time and is "
                "never run; use a copy of the model that brings its code."
            )
        match = _REFERENCE.fullmatch(name)
        if match is None or f"{match[1]}.py" not in paths:
            raise WeightsError(
                f"'{card.id}' names the code '{name[:100]}', which is not in {folder}: get the folder again, with its "
                "Python files."
            )
    return code


def allowed(digest: str) -> bool:
    """Whether the user has allowed the code with this digest."""
    return any(consent.digest == digest for consent in consents())


def allow(card: ModelCard, code: Code) -> None:
    """Record that the user allows this code."""
    others = [consent for consent in consents() if (consent.digest, consent.model) != (code.digest, card.id)]
    _write([*others, Consent(code.digest, card.id, datetime.datetime.now(datetime.UTC))])


def revoke(name: str) -> list[Consent]:
    """Take back what was allowed for a model, or a digest; returns what was taken back. Raises `NotFound` for nothing.

    Other models with the very same code are not allowed any more either: it is code that is allowed.
    """
    before = consents()
    digests = {consent.digest for consent in before if name in (consent.model, consent.digest)}
    if not digests:
        raise NotFound(f"You have allowed no code of '{name}'; see what you have with: zoo trust --list")
    _write([consent for consent in before if consent.digest not in digests])
    return [consent for consent in before if consent.digest in digests]


def consents() -> list[Consent]:
    """All that the user has allowed, the newest first. Raises `ZooError` for a record that cannot be understood."""
    try:
        record = msgspec.json.decode(_place().read_bytes(), type=_Record)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise ZooError(f"The record of allowed code, {_place()}, cannot be read: {error.strerror}.") from None
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        record = _Record("", [])
    if record.schema != SCHEMA:
        raise ZooError(f"The record of allowed code, {_place()}, is damaged; remove it, and allow again what you need.")
    return sorted(record.consents, key=lambda consent: consent.date, reverse=True)


def trust_command(reference: str, digest: str, given: Path | None = None) -> str:
    """The command that allows code."""
    where = ["--model-path", str(given)] if given else []
    return shlex.join(["zoo", "trust", reference, digest, *where])


def _not_allowed(card: ModelCard, code: Code, command: str) -> ZooError:
    earlier = [consent.date for consent in consents() if consent.model == card.id]
    changed = f" and are not those that you allowed on {earlier[0]:%Y-%m-%d}" if earlier else ""
    return ZooError(
        f"'{card.id}' runs code of its own, {len(code.files)} Python files in {code.folder} with the digest "
        f"{code.digest}, which may do whatever you may{changed}: read them, then allow exactly them with: {command}"
    )


def _require_one_configuration(card: ModelCard, folder: Path) -> None:
    """Raise `WeightsError` for a configuration in whose place libraries read another file, which nobody has looked at."""
    from zoo_core.checkpoints.facts import CONFIG, read_json

    view = FolderView(folder)
    if _OTHER_FILES in read_json(view.read, CONFIG, {file.path: file.size for file in view.files}):
        raise WeightsError(
            f"The configuration of '{card.id}' names other files to be read in its place, which is refused; remove "
            f"'{_OTHER_FILES}' from {folder / CONFIG} if you do not need it."
        )


def _references(folder: Path) -> Iterator[str]:
    """The classes that a checkpoint's configuration files map to code, whatever they are nested in."""
    from zoo_core.checkpoints.facts import read_json

    view = FolderView(folder)
    sizes = {file.path: file.size for file in view.files}
    for name in CONFIGURATIONS:
        waiting: list[tuple[Any, bool]] = [(read_json(view.read, name, sizes), False)]
        while waiting:
            value, mapped = waiting.pop()
            if isinstance(value, dict):
                waiting += [(each, mapped or key == "auto_map") for key, each in value.items()]
            elif isinstance(value, list):
                waiting += [(each, mapped) for each in value]
            elif mapped and value is not None:
                yield str(value)


def _digested(folder: Path) -> Code:
    """All Python files below a folder, except for hidden ones, which no module name leads to."""
    paths = sorted(file.path for file in FolderView(folder).files if file.path.endswith(".py"))
    try:
        files = [
            File(path=each, size=(folder / each).stat().st_size, sha256=sha256_of(folder / each)) for each in paths
        ]
    except OSError as error:
        raise WeightsError(f"The code in {folder} cannot be read: {error.strerror or error}.") from error
    said = hashlib.sha256()
    for file in files:
        said.update(os.fsencode(file.path) + b"\0" + file.sha256.encode() + b"\n")
    return Code(folder, files, said.hexdigest())


def _copy(card: ModelCard, code: Code) -> Path:
    """A folder of this run alone, called by the digest: copies of the code and of what names it, links to all else."""
    place = Path(tempfile.mkdtemp(prefix="zoo-code-"))
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    copy = place / code.digest
    try:
        for file in FolderView(code.folder).files:
            if not file.path.endswith(".pyc"):  # which Python might take for what a Python file says
                _bring(code.folder / file.path, copy / file.path)
        if code_of(card, copy).digest != code.digest:
            raise ZooError(f"The code of '{card.id}' in {code.folder} was changed while it was read; try again.")
    except OSError as error:
        raise ZooError(f"The code of '{card.id}' cannot be copied to {place}: {error.strerror or error}.") from error
    return copy


def _bring(path: Path, to: Path) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    if not path.name.endswith(".py") and path.name not in CONFIGURATIONS:
        try:
            to.symlink_to(path.absolute())
            return
        except OSError:  # a system that grants no links
            pass
    shutil.copyfile(path, to)


def _place() -> Path:
    return data_folder() / "consents.json"


def _write(found: list[Consent]) -> None:
    record = msgspec.json.format(msgspec.json.encode(_Record(SCHEMA, found)), indent=2)
    try:
        write_whole(_place(), record, mode=0o600)
    except OSError as error:
        raise ZooError(
            f"The record of allowed code, {_place()}, cannot be written: {error.strerror or error}."
        ) from error
