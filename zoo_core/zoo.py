"""The zoo as a whole: plugins and catalog, joined. What the command line, servers and scripts begin with."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from zoo_core.catalog import Catalog, Place
from zoo_core.errors import NotFound, Unreachable, ZooError
from zoo_core.files import write_whole
from zoo_core.names import did_you_mean, is_path
from zoo_core.paths import cache_folder, cards_folder, expanded
from zoo_core.plugins import Plugins
from zoo_core.registries.settings import read_registries

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from zoo_core.cards.schema import AnyCard, ModelCard
    from zoo_core.conversation import Template
    from zoo_core.offers import Offer
    from zoo_core.registries.settings import Registry

#: Problems of cards that are told one by one; a folder of thousands may be broken in the same way thousands of times.
MOST_WARNINGS = 10


class Zoo:
    """Plugins, loaded on first use, and the catalog of their cards."""

    def __init__(
        self,
        *,
        plugins: Plugins | None = None,
        card_files: Sequence[Path] = (),
        taken: Mapping[str, Sequence[str]] | None = None,
        warn: Callable[[str], None] = lambda warning: None,
    ) -> None:
        """`card_files` are cards named on the command line; `taken` are names that the caller itself uses, per hook.

        `warn` is told, one sentence each, of broken plugins and cards; neither stops anything else.
        """
        self._given = plugins
        self._taken = taken
        self._listener = warn
        self._told: set[str] = set()
        self.card_files = list(card_files)
        #: Whether hubs are asked for the cards of repositories although drafts of them are kept.
        self.looks_anew = False

    @cached_property
    def plugins(self) -> Plugins:
        """The installed plugins."""
        plugins = self._given or Plugins(taken=self._taken)
        for warning in plugins.warnings:
            self.warn(warning)
        return plugins

    @cached_property
    def catalog(self) -> Catalog:
        """The cards of the user, of registries, of plugins and of the zoo itself."""
        places = [Place("your cards", cards_folder(), 30), *self._registries()]
        for plugin, folder in self.plugins.items("zoo_card_folders"):
            places.append(Place(f"plugin {plugin.name}", folder, 10 if plugin.built_in else 20))
        catalog = Catalog(
            places,
            files=self.card_files,
            index=cache_folder() / "cards.msgpack",
            elsewhere=self.card_elsewhere,
            drafts=self.draft,
            warn=self.warn,
        )
        for warning in catalog.warnings[:MOST_WARNINGS]:
            self.warn(warning)
        if (more := len(catalog.warnings) - MOST_WARNINGS) > 0:
            self.warn(f"{more:,} cards more have problems; see all of them with: zoo card check --offline")
        return catalog

    def warn(self, warning: str) -> None:
        """Tell a warning, once."""
        if warning not in self._told:
            self._told.add(warning)
            self._listener(warning)

    def _registries(self) -> list[Place]:
        """The places of the user's registries: between the user's own cards and those of plugins, earlier ones higher."""
        try:
            registries = read_registries()
        except ZooError as error:
            self.warn(f"no registry is used: {error}")
            return []
        return [
            Place(f"registry {each.name}", each.folder, 29 - number / 1000, each.name)
            for number, each in enumerate(registries)
            if self._is_usable(each)
        ]

    def _is_usable(self, registry: Registry) -> bool:
        """Whether what the user may have written into the settings by hand lets a registry's copy be used."""
        from zoo_core.registries.copies import LocalCopy

        name = registry.name
        if name in self.plugins.names("zoo_card_sources"):
            self.warn(f"the registry '{name}' is not used: a card source is called '{name}'; give it another name")
            return False
        copy = LocalCopy(name, registry.folder)
        if registry.trust == "enforce" and copy.exists() and not copy.verified_with(registry.key):
            self.warn(
                f"the registry '{name}' is not used: its copy was not verified with the key that you trust; "
                f"get it again with: zoo registry update {name}"
            )
            return False
        return True

    def draft(self, reference: str) -> tuple[AnyCard, Path]:
        """The card of a model that may have none: at an address, in a folder of weights, or of a GGUF file."""
        from zoo_core.cards.drafts import draft_of_path, draft_of_repository, forget_draft, kept_draft

        if is_path(reference):
            return draft_of_path(self, expanded(reference))
        scheme, _, address = reference.partition(":")
        if not self.looks_anew and (kept := kept_draft(scheme, address)) is not None:
            return kept
        try:
            found = self.card_elsewhere(scheme, address)
        except (NotFound, Unreachable) as problem:
            return draft_of_repository(self, scheme, address, problem)
        forget_draft(scheme, address)
        return found

    def card_elsewhere(self, scheme: str, address: str) -> tuple[AnyCard, Path]:
        """The card that a card source reads at an address, such as `hf` and `owner/name`; it is kept in the cache.

        Raises `NotFound` when no plugin reads from there, `CardError` when what is there is no card.
        """
        from zoo_core.cards.reading import parse_card
        from zoo_core.cards.writing import card_digest

        offers = {offer.name: offer for _, offer in self.plugins.items("zoo_card_sources")}
        able = {name: offer for name, offer in offers.items() if "read" in offer.supports.get("does", [])}
        if scheme not in able:
            hint = did_you_mean(scheme, [*able, *(place.registry for place in self._registries())])
            raise NotFound(
                f"'{scheme}:{address}' names no card: no registry and no source of cards is called '{scheme}'.{hint}"
            )
        content = able[scheme].load()().read(address)
        card = parse_card(content, f"{scheme}:{address}")
        path = cache_folder() / "cards" / f"{card_digest(card)}.yaml"
        try:
            write_whole(path, content, durable=False)
        except OSError as error:
            raise ZooError(f"The card cannot be kept at {path}: {error.strerror or error}.") from error
        return card, path

    def template(self, name: str) -> Template:
        """The conversation template called `name`. Raises `NotFound`."""
        template: Template = self.plugins.get("zoo_conversation_templates", name, "template")
        return template

    def template_of(self, card: ModelCard, name: str | None = None) -> Template:
        """The template that a card chooses, or the one called `name` instead. Raises `NotFound`, naming what there is."""
        from zoo_core.cards.checking import card_template

        if not name and (card.template is None or not (card.template.name or card.template.text)):
            names = ", ".join(self.plugins.names("zoo_conversation_templates"))
            raise NotFound(
                f"The card of '{card.id}' names no conversation template. Choose one with --template, or add it to the card: "
                f"{names or 'none is installed'}."
            )
        return self.template(name) if name else card_template(card, self.template)

    def offer(self, hook: str, name: str, kind: str) -> Offer:
        """The offer called `name` for a hook; `kind` is the word for it in the error message."""
        offer: Offer = self.plugins.get(hook, name, kind)
        return offer
