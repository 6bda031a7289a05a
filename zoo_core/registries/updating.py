"""Bring the copy of a registry up to date: fetch, verify, and only then make the new index the current one.

Whatever is refused leaves the last good copy as it was, and the next address is tried. All addresses are held to the same
rules: the signature, a serial that never falls, cards that are exactly those that the index names.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import TYPE_CHECKING

from zoo_core.cards.reading import MAX_BYTES
from zoo_core.cards.writing import card_digest, card_json
from zoo_core.errors import NotFound, RegistryError, Unreachable, ZooError
from zoo_core.locks import locked
from zoo_core.registries.copies import LocalCopy, State
from zoo_core.registries.fetching import Fetched, checked
from zoo_core.registries.index import (
    INDEX,
    MAX_INDEX,
    SIGNATURES,
    Index,
    Listed,
    index_bytes,
    parse_index,
    prune_cards,
    remove_leftovers,
    verify_card,
)
from zoo_core.registries.signing import MAX_SIGNATURES, signature_problem, signatures_of

if TYPE_CHECKING:
    from datetime import datetime

    from zoo_core.cards.index import Row
    from zoo_core.cards.schema import AnyCard
    from zoo_core.registries.fetching import Fetcher
    from zoo_core.sources import RegistryRequest

#: How many cards are fetched at once.
PARALLEL = 8
#: How many cards are asked for before the first of them is looked at.
WINDOW = 200
#: The most bytes that all cards of a registry may have together.
MAX_TOTAL = 500_000_000

OpenFetcher = Callable[[str], AbstractContextManager["Fetcher"]]


def update_registry(request: RegistryRequest, open_fetcher: OpenFetcher, *, same_serial_same_index: bool = True) -> str:
    """Bring a registry's copy up to date from the first address that is good; what came, as a sentence.

    `same_serial_same_index=False` is for indexes that are made here, whose bytes a newer zoo may write otherwise. Raises
    `Unreachable` when no address answers, `RegistryError` when an answer is refused.
    """
    copy = LocalCopy(request.name, request.folder)
    waiting = f"another run is updating the registry '{request.name}'; waiting for it"
    failures: list[ZooError] = []
    with locked(copy.lock, lambda: request.warn(waiting)):
        for address in request.addresses:
            try:
                remove_leftovers(request.folder)
                with open_fetcher(address) as fetcher:
                    told = _Update(request, copy, fetcher, address, same_serial_same_index).run()
            except ZooError as error:
                failures.append(error)
                continue
            except OSError as error:
                raise ZooError(f"The copy in {request.folder} cannot be written: {error.strerror or error}.") from error
            for failure in failures:
                request.warn(f"an address of the registry '{request.name}' was passed over: {_clause(failure)}")
            return told
        raise _refusal(request, failures, copy)


def update_from_cards(request: RegistryRequest, cards: Sequence[AnyCard], serial: int, generated: datetime) -> str:
    """Bring a registry's copy up to date from cards that were read from somewhere, such as a git repository.

    `serial` must grow with every change, like the number of commits; `generated` is when the last of them was made.
    """
    files = {f"cards/{card_digest(card)}.json": card_json(card) for card in cards}
    entries = [
        {"id": card.id, "kind": card.__struct_config__.tag, "version": card.version, "digest": card_digest(card)}
        for card in cards
    ]
    files[INDEX] = index_bytes(entries, serial, generated)
    return update_registry(request, lambda address: nullcontext(_Given(files)), same_serial_same_index=False)


class _Given:
    """A registry whose files are in memory."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self.files = files

    def fetch(self, path: str, limit: int, *, etag: str = "", modified: str = "") -> Fetched:
        if path not in self.files:
            raise NotFound(f"there is no {path}")
        return Fetched(checked(self.files[path], limit, path))


def _refusal(request: RegistryRequest, failures: Sequence[ZooError], copy: LocalCopy) -> ZooError:
    if len(failures) == 1 and not isinstance(failures[0], NotFound | Unreachable | RegistryError):
        return failures[0]  # such as a package that is missing: nothing about the registry
    accepted = copy.accepted() if request.trust != "enforce" or copy.verified_with(request.key) else None
    kept = f"; the copy with serial {accepted.serial} stays in use" if accepted else ""
    kind = Unreachable if all(isinstance(each, Unreachable) for each in failures) else RegistryError
    return kind(
        f"The registry '{request.name}' was not updated: {'; '.join(dict.fromkeys(map(_clause, failures)))}{kept}."
    )


def _clause(error: ZooError) -> str:
    return str(error).rstrip(".")


class _Update:
    """One attempt to update from one address."""

    def __init__(
        self, request: RegistryRequest, copy: LocalCopy, fetcher: Fetcher, address: str, same_serial_same_index: bool
    ) -> None:
        self.request = request
        self.copy = copy
        self.fetcher = fetcher
        self.address = address
        self.same_serial_same_index = same_serial_same_index
        self.bytes = 0

    def run(self) -> str:
        answer, content, signatures, key = self._index_and_signatures()
        index = parse_index(content, f"{self.address}/{INDEX}")
        digest = hashlib.sha256(content).hexdigest()
        self._refuse_rollback(index, digest)
        before = self._current()
        rows, fetched = self._bring_cards(index)
        state = State(
            serial=index.serial,
            sha256=digest,
            address=self.address,
            etag=answer.etag,
            modified=answer.modified,
            key=key,
        )
        self.copy.install(content, signatures, state)
        self.copy.remember(rows)
        prune_cards(self.copy.folder, index)
        return self._summary(before, index, fetched)

    def _index_and_signatures(self) -> tuple[Fetched, bytes, bytes | None, str]:
        """The index, and the key that it is verified with.

        Between the two requests the publisher may have changed both: they are asked for once more.
        """
        for attempt in (1, 2):
            answer, content = self._fetch_index(conditional=attempt == 1)
            signatures = self._fetch_signatures()
            if signatures is None or signatures_of(signatures, content) or self.request.trust == "off":
                break
        if self.request.trust == "off":
            return answer, content, signatures if signatures_of(signatures, content) else None, ""
        problem = signature_problem(signatures, content, self.request.key)
        if problem and self.request.trust == "enforce":
            raise RegistryError(f"{self.address}/{INDEX} {problem}")
        if problem:
            self.request.warn(f"{self.address}/{INDEX} {problem}; it is used all the same")
        return answer, content, signatures, "" if problem else self.request.key

    def _fetch_index(self, conditional: bool) -> tuple[Fetched, bytes]:
        here, state = self.copy.index_content(), self.copy.state()
        same = here is not None and state is not None and hashlib.sha256(here).hexdigest() == state.sha256
        if conditional and same and state and state.address == self.address:
            answer = self.fetcher.fetch(INDEX, MAX_INDEX, etag=state.etag, modified=state.modified)
        else:
            answer = self.fetcher.fetch(INDEX, MAX_INDEX)
            here = None
        content = here if answer.content is None else answer.content
        if content is None:
            raise RegistryError(f"{self.address}/{INDEX} has not changed, says the server, and it was not asked that")
        return answer, content

    def _fetch_signatures(self) -> bytes | None:
        try:
            return self.fetcher.fetch(SIGNATURES, MAX_SIGNATURES).content
        except NotFound:
            return None
        except ZooError as error:
            if self.request.trust == "warn" and isinstance(error, RegistryError):
                self.request.warn(_clause(error))
            elif self.request.trust != "off":
                raise
            return None

    def _refuse_rollback(self, index: Index, digest: str) -> None:
        accepted = self.copy.accepted()
        if accepted is None:
            return
        where = f"{self.address}/{INDEX}"
        if index.serial < accepted.serial:
            raise RegistryError(f"{where} has the serial {index.serial}, which is older than {accepted.serial}")
        if index.serial == accepted.serial and digest != accepted.sha256 and self.same_serial_same_index:
            raise RegistryError(f"{where} says something else than before under the same serial {index.serial}")

    def _bring_cards(self, index: Index) -> tuple[list[Row], int]:
        """The rows of all cards of the index, and how many cards had to be fetched for them."""
        known = self.copy.known_rows()
        rows: dict[str, Row] = {}
        missing = []
        for listed in index.cards:
            content = self.copy.card_content(listed.digest)
            if content is None:
                missing.append(listed)
                continue
            self._count(len(content))
            row = known.get(listed.digest)
            if row is None or (row.id, row.kind, row.version) != (listed.id, listed.kind, listed.version):
                row = self.copy.row(verify_card(content, listed, f"{self.address}/{listed.path}"), listed)
            rows[listed.id] = row
        for done, row in enumerate(self._fetch_cards(missing), 1):
            rows[row.id] = row
            self.request.progress(done, len(missing))
        return [rows[listed.id] for listed in index.cards], len(missing)

    def _fetch_cards(self, missing: Sequence[Listed]) -> Iterator[Row]:
        """Fetch cards, several at once, and so many at a time that a bad one is noticed before all have been asked for."""
        with ThreadPoolExecutor(PARALLEL) as pool:
            try:
                for start in range(0, len(missing), WINDOW):
                    futures = [pool.submit(self._fetch_card, listed) for listed in missing[start : start + WINDOW]]
                    for future in futures:
                        row, size = future.result()
                        self._count(size)
                        yield row
            finally:
                pool.shutdown(wait=True, cancel_futures=True)

    def _count(self, size: int) -> None:
        self.bytes += size
        if self.bytes > MAX_TOTAL:
            raise RegistryError(f"the cards at {self.address} have more than {MAX_TOTAL:,} bytes together")

    def _fetch_card(self, listed: Listed) -> tuple[Row, int]:
        content = self.fetcher.fetch(listed.path, MAX_BYTES).content or b""
        card = verify_card(content, listed, f"{self.address}/{listed.path}")
        row = self.copy.row(card, listed)
        self.copy.keep_card(content, listed)
        return row, len(content)

    def _current(self) -> dict[str, Listed]:
        with suppress(RegistryError):
            return {listed.id: listed for listed in self.copy.index().cards}
        return {}

    def _summary(self, before: dict[str, Listed], index: Index, fetched: int) -> str:
        """What came; cards that changed without a new version are a publisher's mistake that readers should know of."""
        new = changed = 0
        for listed in index.cards:
            old = before.pop(listed.id, None)
            new += old is None
            changed += old is not None and old.digest != listed.digest
            if old and old.digest != listed.digest and old.version == listed.version:
                self.request.warn(
                    f"the registry '{self.request.name}' changed the card '{listed.id}' without raising its version"
                )
        count = f"{len(index.cards):,} card{'s' * (len(index.cards) != 1)}"
        head = f"The registry '{self.request.name}' has serial {index.serial} and {count}"
        if new or changed or before:
            return f"{head}: {new} new, {changed} changed, {len(before)} removed."
        return f"{head}; nothing has changed{f', {fetched} were fetched again' if fetched else ''}."
