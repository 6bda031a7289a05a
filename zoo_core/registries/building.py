"""Build a static registry: a folder that any web server, object store or disk can serve.

Cards are written first, then the signatures of the old and of the new index, then the index: at every moment a reader finds a
registry that is whole, and a run that was killed is carried on by the next. What goes in is judged before anything is written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from zoo_core.cards.index import card_files, row_of
from zoo_core.errors import CardError, RegistryError, UsageProblem, ZooError
from zoo_core.files import write_whole
from zoo_core.locks import locked
from zoo_core.registries.index import (
    CARDS,
    INDEX,
    MAX_SERIAL,
    SIGNATURES,
    Listed,
    index_bytes,
    index_entry,
    parse_index,
    prune_cards,
    remove_leftovers,
    verify_card,
)
from zoo_core.registries.signing import public_key, sign, signature_problem, signatures_bytes, signatures_of

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from zoo_core.cards.schema import AnyCard
    from zoo_core.conversation import Template


class RegistryDraft(msgspec.Struct, kw_only=True, frozen=True):
    """A registry that is ready to be written into `root`. `cards` are the bytes of its new files by their paths there.

    `before` and `signed_before` are the bytes of the index and of its signatures as they are; `index` and `signatures` as
    they will be. `new`, `changed` and `removed` are ids.
    """

    root: Path
    serial: int
    cards: dict[str, bytes]
    before: bytes | None
    index: bytes
    signed_before: bytes | None
    signatures: bytes | None
    new: list[str]
    changed: list[str]
    removed: list[str]


class _Kept(msgspec.Struct, frozen=True):
    id: str
    version: str


def read_cards(folder: Path, find_template: Callable[[str], Template]) -> tuple[list[AnyCard], list[str]]:
    """All cards below a folder, and all that is wrong with them, a sentence each."""
    from zoo_core.cards.checking import check_card
    from zoo_core.cards.reading import read_card

    cards: dict[str, tuple[AnyCard, str]] = {}
    problems = []
    for path, _ in card_files(folder):
        try:
            card = read_card(Path(path))
        except CardError as error:
            problems.append(str(error))
            continue
        problems += [f"{path}: {problem}" for problem in check_card(card, find_template)]
        if card.id in cards:
            problems.append(f"{path}: '{card.id}' is also the id of {cards[card.id][1]}")
        cards.setdefault(card.id, (card, path))
    return [card for card, _ in cards.values()], problems + list(_claimed_aliases(cards))


def _claimed_aliases(cards: dict[str, tuple[AnyCard, str]]) -> Iterator[str]:
    owners = {name: name for name in cards}
    for card, path in cards.values():
        for alias in set(card.aliases) - {card.id}:
            if (owner := owners.setdefault(alias, card.id)) != card.id:
                yield f"{path}: the alias '{alias}' is taken by '{owner}'"


def draft_registry(
    root: Path,
    cards: Sequence[AnyCard],
    *,
    key: Ed25519PrivateKey | None = None,
    new_key: bool = False,
    least: int = 1,
    add: bool = False,
) -> RegistryDraft:
    """What the registry in `root` would become with exactly these cards; with `add`, with these beside its own.

    Its serial is `least` or more. `new_key` lets the key be another than the one that has signed so far.

    Raises `CardError` for a card that changed under its version, `RegistryError` when what is in `root` is damaged.
    """
    before = file_content(root / INDEX)
    signed_before = file_content(root / SIGNATURES)
    old, serial = _entries(before, root)
    new, files = _new_entries(cards)
    _refuse_same_version(old, new)
    _refuse_returning_version(root, old, new)
    entries = sorted(((old if add else {}) | new).values(), key=lambda entry: entry["id"])
    if before is not None and entries == list(old.values()) and serial >= least:
        index = before
    else:
        serial = max(serial + 1, least)
        if serial > MAX_SERIAL:
            raise RegistryError(
                f"The registry in {root} has the highest serial there is; begin anew at another address."
            )
        index = index_bytes(entries, serial, datetime.now(UTC))
    return RegistryDraft(
        root=root,
        serial=serial,
        cards={path: content for path, content in files.items() if file_content(root / path) != content},
        before=before,
        index=index,
        signed_before=signed_before,
        signatures=_signatures(root, before, signed_before, index, key, new_key),
        new=[name for name in new if name not in old],
        changed=[name for name in new if name in old and new[name] != old[name]],
        removed=[] if add else [name for name in old if name not in new],
    )


def write_registry(draft: RegistryDraft, *, prune: bool = False) -> None:
    """Write a draft; `prune` removes cards that no index names any more. Call it inside `registry_lock`.

    Raises `RegistryError` when the registry is no longer what it was when the draft was made.
    """
    root = draft.root
    if file_content(root / INDEX) != draft.before or file_content(root / SIGNATURES) != draft.signed_before:
        raise RegistryError(f"The registry in {root} was changed meanwhile; nothing was written, so do it again.")
    try:
        remove_leftovers(root)
        with ThreadPoolExecutor(16) as pool:  # most of the time goes into waiting for the disk
            list(pool.map(lambda each: write_whole(root / each[0], each[1]), draft.cards.items()))
        if draft.signatures is not None and draft.signatures != draft.signed_before:
            write_whole(root / SIGNATURES, draft.signatures)
        if draft.index != draft.before:
            write_whole(root / INDEX, draft.index)
        if draft.signatures is None:
            (root / SIGNATURES).unlink(missing_ok=True)
        if prune:
            prune_cards(root, parse_index(draft.index, INDEX))
    except OSError as error:
        raise ZooError(f"The registry in {root} cannot be written: {error.strerror or error}.") from error


@contextmanager
def registry_lock(root: Path, warn: Callable[[str], None] = lambda warning: None) -> Iterator[None]:
    """Let one run at a time write the registry in `root`."""
    with locked(root / ".lock", lambda: warn(f"another run is writing the registry in {root}; waiting for it")):
        yield


def _entries(content: bytes | None, root: Path) -> tuple[dict[str, dict[str, Any]], int]:
    """The entries of the index as it is, by id, and its serial."""
    if content is None:
        return {}, 0
    try:
        index = parse_index(content, str(root / INDEX))
    except RegistryError as error:
        raise RegistryError(f"{error}; put back a good copy, for readers refuse a registry that begins anew.") from None
    return {entry["id"]: entry for entry in msgspec.json.decode(content)["cards"]}, index.serial


def _new_entries(cards: Sequence[AnyCard]) -> tuple[dict[str, dict[str, Any]], dict[str, bytes]]:
    """The index entries of cards by id, and the bytes of their files by path; both as every reader will accept them."""
    from zoo_core.cards.writing import card_json

    entries, files = {}, {}
    for card in sorted(cards, key=lambda card: card.id):
        content = card_json(card)
        entry = index_entry(row_of(card, Path()))
        try:
            listed = msgspec.convert(entry, Listed)
            verify_card(content, listed, f"the card '{card.id}'")
        except (msgspec.ValidationError, RegistryError) as error:
            raise CardError(
                f"The card '{card.id}' cannot be published, for readers would refuse it: {error}."
            ) from None
        entries[card.id] = entry
        files[listed.path] = content
    return entries, files


def _refuse_same_version(old: dict[str, dict[str, Any]], new: dict[str, dict[str, Any]]) -> None:
    wrong = [
        f"'{name}' (published {old[name]['version']}, now {entry['version']})"
        for name, entry in new.items()
        if name in old and old[name]["digest"] != entry["digest"] and _order(entry) <= _order(old[name])
    ]
    if wrong:
        told = ", ".join(wrong[:5]) + (f" and {len(wrong) - 5} more" if len(wrong) > 5 else "")
        raise CardError(f"What was published under a version never changes; raise the version of {told}.")


def _refuse_returning_version(root: Path, old: dict[str, dict[str, Any]], new: dict[str, dict[str, Any]]) -> None:
    """Cards that the index names no more keep their versions too, as long as their files are there."""
    listed = {entry["digest"] for entry in (*old.values(), *new.values())}
    for path in sorted((root / CARDS).glob("*.json")):
        if path.stem in listed:
            continue
        try:
            kept = msgspec.json.decode(file_content(path) or b"", type=_Kept)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            continue  # damaged, and none that a reader would take
        if kept.id in new and new[kept.id]["version"] == kept.version:
            raise CardError(
                f"What was published under a version never changes, and '{kept.id}' {kept.version} once was {path.name}; "
                "raise the version of the card."
            )


def _order(entry: dict[str, Any]) -> tuple[int, ...]:
    return tuple(map(int, entry["version"].split(".")))


def _signatures(
    root: Path,
    before: bytes | None,
    signed: bytes | None,
    index: bytes,
    key: Ed25519PrivateKey | None,
    new_key: bool,
) -> bytes | None:
    """The file of signatures: the one that is there where it is good, else that of the old index and of the new."""
    if key is None:
        if signed is not None and not signatures_of(signed, index):
            told = "name its key with --key FILE or ZOO_REGISTRY_KEY"
            raise UsageProblem(f"The registry in {root} is signed; {told}, or remove {SIGNATURES} to sign it no more.")
        return signed
    if not signature_problem(signed, index, public_key(key)):
        return signed
    signed_before = before is not None and bool(signatures_of(signed, before))
    if signed_before and not new_key and signature_problem(signed, before or b"", public_key(key)):
        told = "name the right one, or change it for good with: zoo registry build --new-key"
        raise UsageProblem(f"The registry in {root} is signed, and not with this key; {told}")
    old = signatures_of(signed, before) if before is not None and before != index else []
    return signatures_bytes([*old, sign(index, key)])


def file_content(path: Path) -> bytes | None:
    """The bytes of a file, None where there is none. Raises `RegistryError`."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise RegistryError(f"{path} cannot be read: {error.strerror or error}.") from error
