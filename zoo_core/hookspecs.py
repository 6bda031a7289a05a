"""The hooks: every way in which a plugin can extend the zoo.

All hooks take no arguments and return data, so that what they return can be attributed to its plugin, compared and listed.
They are called once when the zoo starts and must be cheap: name heavy things with an `Offer`, never import them. Order
never matters; a name that is offered twice is reported with both owners.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from zoo_core.conversation import Template
    from zoo_core.offers import Offer

GROUP = "zoo"

hookspec = pluggy.HookspecMarker(GROUP)
hookimpl = pluggy.HookimplMarker(GROUP)

# -- what models are ---------------------------------------------------------------------------------------------------


@hookspec
def zoo_card_folders() -> Iterable[Path]:
    """Return the folders of YAML cards inside the plugin's package; every `.yaml` file below them is a card."""
    raise NotImplementedError


@hookspec
def zoo_card_sources() -> Iterable[Offer]:
    """Return offers whose targets make a `CardSource`: where cards are read, registries updated and cards published.

    The offer's name is the word before the colon of an address, such as `hf`; `supports={"does": […]}` names what it does
    of `read`, `update` and `publish`.
    """
    raise NotImplementedError


@hookspec
def zoo_weight_sources() -> Iterable[Offer]:
    """Return offers whose targets make a `WeightSource`: a hub, under the name that cards give it in `sources`."""
    raise NotImplementedError


@hookspec
def zoo_model_families() -> Iterable[Offer]:
    """Return offers whose targets are a `ModelFamily`: how models of one architecture are loaded and made."""
    raise NotImplementedError


@hookspec
def zoo_conversation_templates() -> Iterable[Template]:
    """Return conversation templates. They are data, so they are returned themselves."""
    raise NotImplementedError


# -- how models are made -----------------------------------------------------------------------------------------------


@hookspec
def zoo_data_builders() -> Iterable[Offer]:
    """Return offers whose targets are a `DataBuilder`: where training conversations come from."""
    raise NotImplementedError


@hookspec
def zoo_trainers() -> Iterable[Offer]:
    """Return offers whose targets are a `Trainer`: how a model learns from conversations."""
    raise NotImplementedError


@hookspec
def zoo_quantizers() -> Iterable[Offer]:
    """Return offers whose targets are a `Quantizer`: how a model's weights shrink.

    `supports={"method": […]}` names the methods, such as `q8_0`, by which `zoo quantize` finds the quantizer.
    """
    raise NotImplementedError


# -- how models are used -----------------------------------------------------------------------------------------------


@hookspec
def zoo_engines() -> Iterable[Offer]:
    """Return offers whose targets are an `EngineOpener`: what runs a model and streams its text."""
    raise NotImplementedError


@hookspec
def zoo_commands() -> Iterable[Offer]:
    """Return offers whose targets are a `click.Command`, added to `zoo` under the offer's name."""
    raise NotImplementedError
