"""What `zoo registry` does with the user's registries: add, update, remove, mirror. Card sources do the fetching."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from zoo_core.errors import NotFound, UsageProblem, ZooError
from zoo_core.locks import locked
from zoo_core.names import did_you_mean, is_name
from zoo_core.registries.copies import LocalCopy
from zoo_core.registries.settings import (
    Registry,
    change_registries,
    check_trust,
    copies_folder,
    find_registry,
    read_registries,
)
from zoo_core.registries.signing import check_public_key
from zoo_core.sources import CardSource, RegistryRequest

if TYPE_CHECKING:
    from zoo_core.zoo import Zoo

Progress = Callable[[int, int], None]
Warn = Callable[[str], None]


def add_registry(zoo: Zoo, registry: Registry, progress: Progress, warn: Warn) -> str:
    """Fetch a registry and add it as the last; what came, as a sentence. When it cannot be fetched nothing is added."""
    name = registry.name
    if not is_name(name):
        raise UsageProblem(
            f"{name[:80]!r} cannot name a registry: names are lower-case letters, digits, '.', '_' and '-'."
        )
    if name in zoo.plugins.names("zoo_card_sources"):
        raise UsageProblem(f"'{name}:' already begins the addresses of a card source; choose another name.")
    if registry.key:
        check_public_key(registry.key)
    check_trust(registry)
    sources = [_source(zoo, address) for address in registry.addresses]
    copy = LocalCopy(name, registry.folder)
    with locked(copies_folder() / ".adding.lock"):
        if name in {each.name for each in read_registries()}:
            raise ZooError(
                f"A registry is already called '{name}'; take another name, or first: zoo registry remove {name}"
            )
        copy.forget()  # what a run that was killed may have left
        try:
            told = sources[0].update(_request(registry, progress, warn))
            change_registries(lambda known: [*known, registry])
        except BaseException:
            copy.forget()
            raise
    return told


def update_registry_copy(zoo: Zoo, registry: Registry, progress: Progress, warn: Warn) -> str:
    """Bring the copy of one of the user's registries up to date; what came, as a sentence."""
    return _source(zoo, registry.addresses[0]).update(_request(registry, progress, warn))


def remove_registry(name: str) -> None:
    """Remove one of the user's registries and its copy. Raises `NotFound`."""
    registry = find_registry(name)
    change_registries(lambda known: [each for each in known if each.name != name])
    copy = LocalCopy(name, registry.folder)
    with locked(copy.lock):
        copy.forget()


def mirror_registry(name: str, target: Path) -> str:
    """Copy the last good state of a registry, with its signature, to a folder that others can add; a sentence."""
    from zoo_core.registries.building import mirror_draft, registry_lock, write_registry

    copy = LocalCopy(name, find_registry(name).folder)
    with locked(copy.lock), registry_lock(target):
        draft = mirror_draft(copy, target)
        write_registry(draft)
    return f"{target} now holds the registry '{name}' with serial {draft.serial}."


def _request(registry: Registry, progress: Progress, warn: Warn) -> RegistryRequest:
    return RegistryRequest(
        name=registry.name,
        addresses=registry.addresses,
        folder=registry.folder,
        key=registry.key,
        trust=registry.trust,
        progress=progress,
        warn=warn,
    )


def _source(zoo: Zoo, address: str) -> CardSource:
    """The card source that keeps copies of registries at such addresses."""
    scheme = address.partition(":")[0]
    offers = {offer.name: offer for _, offer in zoo.plugins.items("zoo_card_sources")}
    able = sorted(name for name, offer in offers.items() if "update" in offer.supports.get("does", []))
    if scheme not in able:
        known = f" Registries can be at: {', '.join(f'{each}:' for each in able)}" if able else ""
        raise NotFound(f"No installed plugin brings registries from '{scheme}:'.{did_you_mean(scheme, able)}{known}")
    source: CardSource = offers[scheme].load()()
    return source
