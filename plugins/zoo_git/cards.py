"""The card source `git`: publishes cards to registries in git repositories, and keeps local copies of such registries.

A repository that holds an `index.json` is read as the static registry that it is, with its signature. Of any other the cards
themselves are read; the number of commits is then the serial, so that a history that was cut off is refused as a rollback,
and the last commit is kept, so that one that was rewritten is refused too.
"""

from __future__ import annotations

import re
from contextlib import nullcontext
from pathlib import Path

import msgspec

from zoo_core import (
    AnyCard,
    CardError,
    FolderFetcher,
    PublishRequest,
    RegistryError,
    RegistryRequest,
    UsageProblem,
    ZooError,
    read_card,
    update_from_cards,
    update_registry,
    write_whole,
)
from zoo_git.publication import GitPublication, card_paths
from zoo_git.repository import Clone, address_of

_SCHEME = "git:"
_INDEX = "index.json"
#: So many of the cards that are left out are named.
_MOST = 10
#: A repository with more files of cards than this is refused.
_MOST_CARDS = 50_000
#: Beside the copy: the commit that it was made from.
_COMMIT = "commit"


class GitCards:
    """The card source `git`."""

    def publish(self, request: PublishRequest) -> GitPublication:
        """Clone the repository and prepare one commit on a branch."""
        return GitPublication(address_of(request.address), request)

    def update(self, request: RegistryRequest) -> str:
        """Bring a local copy up to date from the first address that can be cloned and is good."""
        for address in request.addresses[:-1]:
            try:
                return _update(request, address)
            except ZooError as error:
                request.warn(f"an address of the registry '{request.name}' was passed over: {str(error).rstrip('.')}")
        return _update(request, request.addresses[-1])


def _update(request: RegistryRequest, address: str) -> str:
    where = address_of(address.removeprefix(_SCHEME))
    if where.folder is not None and not address.removeprefix(_SCHEME).startswith(("/", "file:")):
        raise UsageProblem(f"'{address}' depends on the folder that you are in; write git:{where.folder} instead.")
    clone = Clone(where, whole=True)
    request = msgspec.structs.replace(request, addresses=[address])
    if (clone.folder / _INDEX).is_file():
        return update_registry(request, lambda _: nullcontext(FolderFetcher(clone.folder)))
    if request.trust == "enforce":
        raise RegistryError(
            f"{where.shown} holds no {_INDEX} whose signature could be verified; "
            "leave out the key, or put there what 'zoo registry build --key' writes."
        )
    _refuse_other_history(request, clone)
    cards, problems = _cards(clone)
    for problem in problems[:_MOST]:
        request.warn(f"card of the registry '{request.name}' left out: {problem}")
    if (more := len(problems) - _MOST) > 0:
        request.warn(f"{more:,} more cards of the registry '{request.name}' are left out")
    if not cards:
        raise RegistryError(f"{where.shown} holds no card that can be read.")
    told = update_from_cards(request, cards, *clone.commits())
    try:
        write_whole(request.folder / _COMMIT, clone.commit().encode())
    except OSError as error:
        raise ZooError(f"The copy in {request.folder} cannot be written: {error.strerror or error}.") from error
    return told


def _refuse_other_history(request: RegistryRequest, clone: Clone) -> None:
    """Raise `RegistryError` where the history does not go on from the commit that was used last."""
    try:
        last = (request.folder / _COMMIT).read_text(encoding="ascii")
    except (OSError, ValueError):
        return  # the first update, or a copy that is to be repaired
    if re.fullmatch(r"[0-9a-f]{40,64}", last) and not clone.contains(last):
        raise RegistryError(
            f"{clone.address.shown} does not contain the commit {last[:12]} that was used last: it is behind, or its history "
            f"was rewritten; to use it all the same, remove the registry '{request.name}' and add it again."
        )


def _cards(clone: Clone) -> tuple[list[AnyCard], list[str]]:
    """The cards in a clone, and a clause on each that cannot be read or has the id of another."""
    cards: dict[str, tuple[AnyCard, Path]] = {}
    problems = []
    paths = list(card_paths(clone))
    if len(paths) > _MOST_CARDS:
        raise RegistryError(f"{clone.address.shown} holds more than {_MOST_CARDS:,} cards; that is too many.")
    for path in paths:
        try:
            card = read_card(clone.folder / path)
        except CardError as error:
            problems.append(str(error).replace(f"{clone.folder}/", "").rstrip("."))
            continue
        if card.id in cards:
            problems.append(f"{path} is called '{card.id}', like {cards[card.id][1]}")
        cards.setdefault(card.id, (card, path))
    return [card for card, _ in cards.values()], problems
