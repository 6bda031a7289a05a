"""LLM Zoo: the plugin author's whole API, re-exported by name.

The names are imported on first use (PEP 562), so that `zoo --version` and shell completion pay for nothing they do not need.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from zoo_core.cards.schema import Card as Card
    from zoo_core.cards.schema import DatasetCard as DatasetCard
    from zoo_core.cards.schema import ModelCard as ModelCard
    from zoo_core.conversation import Conversation as Conversation
    from zoo_core.conversation import Message as Message
    from zoo_core.conversation import Rendered as Rendered
    from zoo_core.conversation import Template as Template
    from zoo_core.conversation import render as render
    from zoo_core.errors import ZooError as ZooError
    from zoo_core.hookspecs import hookimpl as hookimpl
    from zoo_core.interfaces import DataBuilder as DataBuilder
    from zoo_core.interfaces import Engine as Engine
    from zoo_core.interfaces import EngineRequest as EngineRequest
    from zoo_core.interfaces import LoadedModel as LoadedModel
    from zoo_core.interfaces import ModelFamily as ModelFamily
    from zoo_core.interfaces import Piece as Piece
    from zoo_core.interfaces import Sampling as Sampling
    from zoo_core.interfaces import Trainer as Trainer
    from zoo_core.interfaces import TrainingJob as TrainingJob
    from zoo_core.interfaces import TrainingResult as TrainingResult
    from zoo_core.offers import Offer as Offer
    from zoo_core.zoo import Zoo as Zoo

__version__ = "0.1.0"

_HOMES = {
    "Card": "cards.schema",
    "DatasetCard": "cards.schema",
    "ModelCard": "cards.schema",
    "Conversation": "conversation",
    "Message": "conversation",
    "Rendered": "conversation",
    "Template": "conversation",
    "render": "conversation",
    "ZooError": "errors",
    "hookimpl": "hookspecs",
    "DataBuilder": "interfaces",
    "Engine": "interfaces",
    "EngineRequest": "interfaces",
    "LoadedModel": "interfaces",
    "ModelFamily": "interfaces",
    "Piece": "interfaces",
    "Sampling": "interfaces",
    "Trainer": "interfaces",
    "TrainingJob": "interfaces",
    "TrainingResult": "interfaces",
    "Offer": "offers",
    "Zoo": "zoo",
}

__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> object:
    """Import a public name from its home module on first use."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'zoo_core' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"zoo_core.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
