"""LLM Zoo: the plugin author's whole API, re-exported by name.

The names are imported on first use (PEP 562), so that `zoo --version` and shell completion pay for nothing they do not need.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from zoo_core.cards.parts import Evaluation as Evaluation
    from zoo_core.cards.parts import File as File
    from zoo_core.cards.parts import Quantization as Quantization
    from zoo_core.cards.parts import Source as Source
    from zoo_core.cards.reading import parse_card as parse_card
    from zoo_core.cards.reading import read_card as read_card
    from zoo_core.cards.schema import AnyCard as AnyCard
    from zoo_core.cards.schema import BenchmarkCard as BenchmarkCard
    from zoo_core.cards.schema import Card as Card
    from zoo_core.cards.schema import DatasetCard as DatasetCard
    from zoo_core.cards.schema import ModelCard as ModelCard
    from zoo_core.cards.writing import card_data as card_data
    from zoo_core.cards.writing import card_digest as card_digest
    from zoo_core.cards.writing import card_yaml as card_yaml
    from zoo_core.cards.writing import yaml_text as yaml_text
    from zoo_core.checkpoints.facts import Facts as Facts
    from zoo_core.checkpoints.facts import checkpoint_facts as checkpoint_facts
    from zoo_core.checkpoints.gguf import GgufReader as GgufReader
    from zoo_core.checkpoints.inspection import FolderView as FolderView
    from zoo_core.checkpoints.tensors import read_tensors as read_tensors
    from zoo_core.cli import card_option as card_option
    from zoo_core.cli import zoo_of as zoo_of
    from zoo_core.cli.lazy import LazyGroup as LazyGroup
    from zoo_core.cli.output import ModelName as ModelName
    from zoo_core.cli.output import json_option as json_option
    from zoo_core.cli.output import print_json as print_json
    from zoo_core.conversation import Conversation as Conversation
    from zoo_core.conversation import Message as Message
    from zoo_core.conversation import Rendered as Rendered
    from zoo_core.conversation import Template as Template
    from zoo_core.conversation import render as render
    from zoo_core.errors import CardError as CardError
    from zoo_core.errors import MissingDependency as MissingDependency
    from zoo_core.errors import NotFound as NotFound
    from zoo_core.errors import RegistryError as RegistryError
    from zoo_core.errors import Unreachable as Unreachable
    from zoo_core.errors import UsageProblem as UsageProblem
    from zoo_core.errors import WeightsError as WeightsError
    from zoo_core.errors import ZooError as ZooError
    from zoo_core.files import sha256_of as sha256_of
    from zoo_core.files import write_whole as write_whole
    from zoo_core.hookspecs import hookimpl as hookimpl
    from zoo_core.interfaces import Assembler as Assembler
    from zoo_core.interfaces import Assembly as Assembly
    from zoo_core.interfaces import DataBuilder as DataBuilder
    from zoo_core.interfaces import Engine as Engine
    from zoo_core.interfaces import EngineRequest as EngineRequest
    from zoo_core.interfaces import LoadedModel as LoadedModel
    from zoo_core.interfaces import Loading as Loading
    from zoo_core.interfaces import ModelFamily as ModelFamily
    from zoo_core.interfaces import PackedLoader as PackedLoader
    from zoo_core.interfaces import Piece as Piece
    from zoo_core.interfaces import QuantizationJob as QuantizationJob
    from zoo_core.interfaces import QuantizationResult as QuantizationResult
    from zoo_core.interfaces import Quantizer as Quantizer
    from zoo_core.interfaces import Sampling as Sampling
    from zoo_core.interfaces import Shrinker as Shrinker
    from zoo_core.interfaces import Trainer as Trainer
    from zoo_core.interfaces import TrainingJob as TrainingJob
    from zoo_core.interfaces import TrainingResult as TrainingResult
    from zoo_core.locks import locked as locked
    from zoo_core.names import did_you_mean as did_you_mean
    from zoo_core.names import is_name as is_name
    from zoo_core.names import is_path as is_path
    from zoo_core.offers import Offer as Offer
    from zoo_core.offers import install_name as install_name
    from zoo_core.opening import open_session as open_session
    from zoo_core.parallel import Stopped as Stopped
    from zoo_core.parallel import in_parallel as in_parallel
    from zoo_core.paths import config_folder as config_folder
    from zoo_core.paths import data_folder as data_folder
    from zoo_core.paths import expanded as expanded
    from zoo_core.registries.building import RegistryDraft as RegistryDraft
    from zoo_core.registries.building import draft_registry as draft_registry
    from zoo_core.registries.building import registry_lock as registry_lock
    from zoo_core.registries.building import write_registry as write_registry
    from zoo_core.registries.fetching import Fetched as Fetched
    from zoo_core.registries.fetching import Fetcher as Fetcher
    from zoo_core.registries.fetching import FolderFetcher as FolderFetcher
    from zoo_core.registries.fetching import checked as checked
    from zoo_core.registries.settings import token_variable as token_variable
    from zoo_core.registries.signing import read_key as read_key
    from zoo_core.registries.updating import update_from_cards as update_from_cards
    from zoo_core.registries.updating import update_registry as update_registry
    from zoo_core.sources import CardSource as CardSource
    from zoo_core.sources import Change as Change
    from zoo_core.sources import Download as Download
    from zoo_core.sources import Publication as Publication
    from zoo_core.sources import PublishRequest as PublishRequest
    from zoo_core.sources import RegistryRequest as RegistryRequest
    from zoo_core.sources import RemoteFile as RemoteFile
    from zoo_core.sources import Repository as Repository
    from zoo_core.sources import WeightSource as WeightSource
    from zoo_core.text import bytes_text as bytes_text
    from zoo_core.text import printable as printable
    from zoo_core.weights.bases import own_card as own_card
    from zoo_core.weights.store import find_weights as find_weights
    from zoo_core.weights.store import verify_files as verify_files
    from zoo_core.zoo import Zoo as Zoo

__version__ = "0.1.0"

_HOMES = {
    "Evaluation": "cards.parts",
    "File": "cards.parts",
    "Quantization": "cards.parts",
    "Source": "cards.parts",
    "parse_card": "cards.reading",
    "read_card": "cards.reading",
    "AnyCard": "cards.schema",
    "BenchmarkCard": "cards.schema",
    "Card": "cards.schema",
    "DatasetCard": "cards.schema",
    "ModelCard": "cards.schema",
    "card_data": "cards.writing",
    "card_digest": "cards.writing",
    "card_yaml": "cards.writing",
    "yaml_text": "cards.writing",
    "Facts": "checkpoints.facts",
    "checkpoint_facts": "checkpoints.facts",
    "GgufReader": "checkpoints.gguf",
    "FolderView": "checkpoints.inspection",
    "read_tensors": "checkpoints.tensors",
    "card_option": "cli",
    "zoo_of": "cli",
    "LazyGroup": "cli.lazy",
    "ModelName": "cli.output",
    "json_option": "cli.output",
    "print_json": "cli.output",
    "Conversation": "conversation",
    "Message": "conversation",
    "Rendered": "conversation",
    "Template": "conversation",
    "render": "conversation",
    "CardError": "errors",
    "MissingDependency": "errors",
    "NotFound": "errors",
    "RegistryError": "errors",
    "Unreachable": "errors",
    "UsageProblem": "errors",
    "WeightsError": "errors",
    "ZooError": "errors",
    "sha256_of": "files",
    "write_whole": "files",
    "hookimpl": "hookspecs",
    "DataBuilder": "interfaces",
    "Engine": "interfaces",
    "EngineRequest": "interfaces",
    "LoadedModel": "interfaces",
    "ModelFamily": "interfaces",
    "Piece": "interfaces",
    "PackedLoader": "interfaces",
    "Shrinker": "interfaces",
    "Sampling": "interfaces",
    "Trainer": "interfaces",
    "TrainingJob": "interfaces",
    "TrainingResult": "interfaces",
    "Assembler": "interfaces",
    "Assembly": "interfaces",
    "Loading": "interfaces",
    "QuantizationJob": "interfaces",
    "QuantizationResult": "interfaces",
    "Quantizer": "interfaces",
    "locked": "locks",
    "did_you_mean": "names",
    "is_name": "names",
    "is_path": "names",
    "Offer": "offers",
    "install_name": "offers",
    "Stopped": "parallel",
    "in_parallel": "parallel",
    "config_folder": "paths",
    "data_folder": "paths",
    "expanded": "paths",
    "RegistryDraft": "registries.building",
    "draft_registry": "registries.building",
    "registry_lock": "registries.building",
    "write_registry": "registries.building",
    "Fetched": "registries.fetching",
    "Fetcher": "registries.fetching",
    "FolderFetcher": "registries.fetching",
    "checked": "registries.fetching",
    "token_variable": "registries.settings",
    "read_key": "registries.signing",
    "update_from_cards": "registries.updating",
    "update_registry": "registries.updating",
    "open_session": "opening",
    "CardSource": "sources",
    "Change": "sources",
    "Download": "sources",
    "Publication": "sources",
    "PublishRequest": "sources",
    "RegistryRequest": "sources",
    "RemoteFile": "sources",
    "Repository": "sources",
    "WeightSource": "sources",
    "bytes_text": "text",
    "printable": "text",
    "own_card": "weights.bases",
    "find_weights": "weights.store",
    "verify_files": "weights.store",
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
