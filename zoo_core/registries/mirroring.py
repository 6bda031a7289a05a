"""Copy the last good state of a registry to a folder that others can add: byte for byte, with its signature.

The folder gets a mark that names its registry, so that no other one's mirror ever takes its place. Reaches no network.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from zoo_core.errors import RegistryError, ZooError
from zoo_core.files import write_whole
from zoo_core.locks import locked
from zoo_core.registries.building import RegistryDraft, file_content, registry_lock, write_registry
from zoo_core.registries.copies import LocalCopy
from zoo_core.registries.index import INDEX, SIGNATURES, parse_index
from zoo_core.registries.settings import Registry, find_registry
from zoo_core.registries.signing import signature_problem, signatures_bytes, signatures_of

#: The file that says which registry a folder mirrors: the SHA-256 of its first address.
MARK = ".mirror"


def mirror_registry(name: str, target: Path) -> str:
    """Copy the last good state of a registry, with its signature, to a folder that others can add; a sentence."""
    registry = find_registry(name)
    copy = LocalCopy(name, registry.folder)
    mark = hashlib.sha256(registry.addresses[0].encode()).hexdigest().encode()
    with locked(copy.lock):
        _refuse_other_folder(target, mark)
        with registry_lock(target):
            draft = _draft(copy, registry, target, mark)
            try:
                write_whole(target / MARK, mark)
            except OSError as error:
                raise ZooError(f"The registry in {target} cannot be written: {error.strerror or error}.") from error
            write_registry(draft)
    return f"{target} now holds the registry '{name}' with serial {draft.serial}."


def _draft(copy: LocalCopy, registry: Registry, root: Path, mark: bytes) -> RegistryDraft:
    """What the registry in `root` would become as the same as a copy. Raises `RegistryError`."""
    repair = f"repair it with: zoo registry update {copy.name}"
    index, content, signed = copy.index(), copy.index_content() or b"", copy.signatures_content()
    if registry.trust != "off" and (problem := signature_problem(signed, content, registry.key)):
        raise RegistryError(f"The copy of the registry '{copy.name}' {problem}; {repair}")
    before, signed_before = file_content(root / INDEX), file_content(root / SIGNATURES)
    if before is not None:
        _refuse_other_registry(root, before, content, index.serial)
        ours = registry.key and not signature_problem(signed_before, before, registry.key)
        if before != content and file_content(root / MARK) != mark and not ours:
            raise RegistryError(f"{root} holds another registry than '{copy.name}'; name another folder.")
    cards = {}
    for listed in index.cards:
        card = copy.card_content(listed.digest)
        if card is None:
            raise RegistryError(f"The copy of the registry '{copy.name}' lacks the card '{listed.id}'; {repair}")
        if file_content(root / listed.path) != card:
            cards[listed.path] = card
    new = signatures_of(signed, content)
    old = signatures_of(signed_before, before) if before is not None and before != content else []
    return RegistryDraft(
        root=root,
        serial=index.serial,
        cards=cards,
        before=before,
        index=content,
        signed_before=signed_before,
        signatures=signatures_bytes([*old, *new]) if new else None,
        new=[],
        changed=[],
        removed=[],
    )


def _refuse_other_registry(root: Path, before: bytes, content: bytes, serial: int) -> None:
    there = parse_index(before, str(root / INDEX)).serial
    if there > serial:
        raise RegistryError(f"{root} holds a registry with a higher serial than {serial}; name another folder.")
    if there == serial and before != content:
        raise RegistryError(f"{root} holds another registry with the serial {serial}; name another folder.")


def _refuse_other_folder(root: Path, mark: bytes) -> None:
    """Raise `RegistryError` for a folder with files that are no registry's; what a killed run began is carried on."""
    try:
        other = root.is_dir() and any(path.name != ".lock" for path in root.iterdir())
    except OSError as error:
        raise RegistryError(f"The folder {root} cannot be read: {error.strerror or error}.") from error
    if other and file_content(root / INDEX) is None and file_content(root / MARK) != mark:
        raise RegistryError(f"{root} holds other files, and no registry; name a new folder.")
