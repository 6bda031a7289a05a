"""The zoo as a whole: plugins and catalog, joined. What the command line, servers and scripts begin with."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from zoo_core.catalog import Catalog, Place
from zoo_core.paths import cache_folder, cards_folder
from zoo_core.plugins import Plugins

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from zoo_core.cards.schema import ModelCard
    from zoo_core.conversation import Template
    from zoo_core.offers import Offer


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
        self._warn = warn
        self.card_files = list(card_files)

    @cached_property
    def plugins(self) -> Plugins:
        """The installed plugins."""
        plugins = self._given or Plugins(taken=self._taken)
        for warning in plugins.warnings:
            self._warn(warning)
        return plugins

    @cached_property
    def catalog(self) -> Catalog:
        """The cards of the user, of plugins and of the zoo itself."""
        places = [Place("your cards", cards_folder(), 30)]
        for plugin, folder in self.plugins.items("zoo_card_folders"):
            places.append(Place(f"plugin {plugin.name}", folder, 10 if plugin.built_in else 20))
        catalog = Catalog(places, files=self.card_files, index=cache_folder() / "cards.msgpack")
        for warning in catalog.warnings:
            self._warn(warning)
        return catalog

    def template(self, name: str) -> Template:
        """The conversation template called `name`. Raises `NotFound`."""
        template: Template = self.plugins.get("zoo_conversation_templates", name, "template")
        return template

    def template_of(self, card: ModelCard, name: str | None = None) -> Template:
        """The template that a card chooses, or the one called `name` instead."""
        from zoo_core.cards.checking import card_template

        return self.template(name) if name else card_template(card, self.template)

    def offer(self, hook: str, name: str, kind: str) -> Offer:
        """The offer called `name` for a hook; `kind` is the word for it in the error message."""
        offer: Offer = self.plugins.get(hook, name, kind)
        return offer
