"""What `zoo registry` does with the user's registries: add, update, remove. Card sources do the fetching."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from zoo_core.errors import NotFound, RegistryError, UsageProblem, ZooError
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
    token_variable,
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
    if any(type(each) is not type(sources[0]) for each in sources):
        raise UsageProblem(
            "A registry and its mirrors are of one kind: either all at git: addresses, or all at web addresses and folders."
        )
    copy = LocalCopy(name, registry.folder)
    with locked(copies_folder() / ".adding.lock"):
        for each in read_registries():
            if each.name == name:
                raise ZooError(
                    f"A registry is already called '{name}'; take another name, or first: zoo registry remove {name}"
                )
            if token_variable(each.name) == token_variable(name):
                raise UsageProblem(
                    f"'{name}' would be sent the token of the registry '{each.name}', for both have it in "
                    f"{token_variable(name)}; choose another name."
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
    """Bring the copy of one of the user's registries up to date; what came, as a sentence. Raises nothing but `ZooError`."""
    source = _source(zoo, registry.addresses[0])
    try:
        return source.update(_request(registry, progress, warn))
    except ZooError:
        raise
    except Exception as error:  # a mistake in the code for one registry must not stop the updates of the others
        problem = f"{type(error).__name__}: {error}"
        raise RegistryError(
            f"The registry '{registry.name}' was not updated: its card source failed ({problem})."
        ) from error


def remove_registry(name: str) -> None:
    """Remove one of the user's registries and its copy. Raises `NotFound`, and `ZooError` where that cannot be done."""
    registry = find_registry(name)
    copy = LocalCopy(name, registry.folder)
    with locked(copy.lock):
        aside = copy.set_aside()
        try:
            change_registries(lambda known: [each for each in known if each.name != name])
        except BaseException:
            if aside is not None:
                aside.rename(copy.folder)
            raise
        copy.forget()
        if aside is not None:
            _delete(aside, name)


def _delete(folder: Path, name: str) -> None:
    try:
        shutil.rmtree(folder)
    except OSError as error:
        raise ZooError(
            f"The registry '{name}' is removed, but its copy in {folder} cannot be deleted "
            f"({error.strerror or error}); delete that folder yourself."
        ) from error


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
