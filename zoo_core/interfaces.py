"""What the targets of offers look like: Protocols, so that a plugin needs no base class, and the data that they exchange.

Data flows one way: card → folder of weights → family → engine → session. Nothing here imports a heavy library.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Protocol

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from zoo_core.cards.parts import Quantization
    from zoo_core.cards.schema import ModelCard
    from zoo_core.conversation import Conversation, Rendered, Template


class LoadedModel(msgspec.Struct, frozen=True):
    """A model and its tokenizer in memory, as the libraries that an engine is written for know them."""

    model: Any
    tokenizer: Any


class Loading(msgspec.Struct, frozen=True, kw_only=True):
    """Where and how weights are loaded.

    `device` is `cpu`, `cuda`, `cuda:1`, `mps`; `dtype` is `float32`, `bfloat16` or `float16`. `device_map` spreads a model over
    several devices in one of accelerate's ways (`auto`, `balanced`, `balanced_low_0`, `sequential`), `max_memory` are the bytes
    that it may take of each (`0`, `1`, … or `cpu`). `remote_code` says that the user has read and allowed exactly the code that
    is in the folder; without it no code of a checkpoint runs. `packed` is the quantizer that loads the folder's weights where
    they are quantized: the family hands it the class of its models.
    """

    device: str = "cpu"
    dtype: str = "float32"
    device_map: str = ""
    max_memory: dict[str, int] = {}
    remote_code: bool = False
    packed: PackedLoader | None = None


class ModelFamily(Protocol):
    """How the models of one architecture are loaded from a folder, and made anew."""

    def load_tokenizer(self, folder: Path, *, remote_code: bool = False) -> Any:
        """Load the tokenizer from a local folder, without the weights. `remote_code` as in `Loading`."""
        ...

    def load_model(self, folder: Path, loading: Loading) -> Any:
        """Load safetensors weights from a local folder. What `loading` asks for and the family cannot do is a `ZooError`."""
        ...

    def create(self, texts: Iterable[str], options: Mapping[str, Any], *, seed: int) -> LoadedModel:
        """Make an untrained model and a tokenizer fitted to `texts`, for training from nothing."""
        ...


class Assembly(msgspec.Struct, frozen=True, kw_only=True):
    """A model that is published in parts, to be put together: a delta or an adapter, and the base that it belongs to.

    `card.lineage` says how. `parts` and `base` are folders of verified weights; `base_card` is None where the user named a
    folder that has none. `folder` exists and is the family's own; what it finds there of an interrupted run it resumes.
    """

    card: ModelCard
    parts: Path
    base: Path
    folder: Path
    base_card: ModelCard | None = None
    progress: Callable[[float, str], None] = lambda share, line: None


class Assembler(Protocol):
    """What a family has beside `ModelFamily` when its models may be published as deltas or adapters."""

    def is_part(self, folder: Path) -> bool:
        """Whether a folder holds a delta or an adapter, which is no model without its base. Raises `ZooError`."""
        ...

    def assemble(self, assembly: Assembly) -> None:
        """Write the whole model, with tokenizer and configuration, into the assembly's folder.

        Raises `ZooError` for a base that is not the right one before it writes anything, and `UsageProblem` for unfinished work
        in the folder that it cannot go on with: it is then called again with an empty one.
        """
        ...


class Sampling(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=False):
    """How the next token is chosen. A temperature of 0 is greedy; `None` and 0 switch `top_p` and `top_k` off."""

    temperature: float = 0.7
    top_p: float | None = None
    top_k: int | None = None
    repetition_penalty: float | None = None
    max_new_tokens: int = 512
    seed: int = 0
    stop: tuple[str, ...] = ()


class Piece(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a reply: whole characters of text, and the ids of the tokens that they came from.

    `finish` is set on the last piece: `stop` (the model ended) or `length` (`max_new_tokens` was reached). An engine that sees
    no tokens leaves `ids` empty; it says on the last piece how many there were, where it was told.
    """

    text: str = ""
    ids: tuple[int, ...] = ()
    finish: Literal["stop", "length"] | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class Engine(Protocol):
    """A loaded model that continues prompts. Stop strings and history are the session's work, not the engine's."""

    #: Offer name of the engine, and `{"device": …, "dtype": …, library: version, …}` for the record.
    name: str
    facts: dict[str, str]
    #: Tokens that prompt and reply may have together, or None where the engine does not know.
    context_length: int | None

    def encode(self, prompt: Rendered) -> list[int]:
        """The token ids of a prompt exactly as `stream` sends them, a beginning-of-text token included if there is one.

        Empty where only the service behind the engine knows them; `context_length` is then None.
        """
        ...

    def stream(self, prompt: Rendered, sampling: Sampling) -> Iterator[Piece]:
        """Continue `prompt`. Closing the iterator stops the work at once. Never shows a broken character."""
        ...

    def close(self) -> None:
        """Free what the engine holds."""
        ...


class EngineRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What an engine is opened with.

    `folder` and `family` are None for an engine whose offer says that it does without: `supports={"needs": […]}` names what it
    needs of `weights` and `family`, both where it says nothing. The other fields are as in `Loading`.
    """

    card: ModelCard
    template: Template
    folder: Path | None = None
    family: ModelFamily | None = None
    device: str = "auto"
    dtype: str = "auto"
    device_map: str = ""
    max_memory: dict[str, int] = {}
    remote_code: bool = False
    packed: PackedLoader | None = None
    #: The method by which the user wants the weights to shrink while they are loaded, and what does it.
    quantize: str = ""
    shrinker: Shrinker | None = None


class EngineOpener(Protocol):
    """Opens an engine: loads the model that the request names."""

    def __call__(self, request: EngineRequest) -> Engine: ...


class DataBuilder(Protocol):
    """Where training conversations come from."""

    def build(self, options: Mapping[str, Any], *, seed: int) -> Iterator[Conversation]:
        """Yield conversations. Equal options and seed give equal conversations.

        Raises `ZooError` for an unknown option or unreadable data.
        """
        ...


class TrainingJob(msgspec.Struct, frozen=True, kw_only=True):
    """What a trainer is given. `base` is None when the family is to make a new model from `model_options`."""

    family: ModelFamily
    template: Template
    conversations: Sequence[Conversation]
    #: An existing folder that is the trainer's own; what it finds there of an interrupted run it resumes.
    folder: Path
    base: Path | None = None
    model_options: Mapping[str, Any] = {}
    options: Mapping[str, Any] = {}
    seed: int = 0
    device: str = "auto"
    remote_code: bool = False
    #: Called now and then with the share of the work that is done (0 to 1) and a line to show.
    progress: Callable[[float, str], None] = lambda share, line: None


class TrainingResult(msgspec.Struct, frozen=True, kw_only=True):
    """What a trainer made: the finished files inside the job's folder, and the facts for their card."""

    files: Sequence[Path]
    architecture: Mapping[str, Any]
    context: int
    facts: Mapping[str, Any]


class Trainer(Protocol):
    """How a model learns from conversations."""

    def train(self, job: TrainingJob) -> TrainingResult:
        """Train and write safetensors weights, configuration and tokenizer below `job.folder`.

        Raises `ZooError` for an unknown option, for conversations that do not fit, and for a row that would teach nothing.
        """
        ...


class QuantizationJob(msgspec.Struct, frozen=True, kw_only=True):
    """What a quantizer is given: a model's verified weights, and how they are to shrink.

    `folder` exists and is the quantizer's own; what it finds there of an interrupted run it resumes. `method` is one of those
    that its offer names. `calibration` are conversations to measure activations with, for methods that need them.
    """

    card: ModelCard
    weights: Path
    family: ModelFamily | None
    template: Template | None
    method: str
    folder: Path
    options: Mapping[str, Any] = {}
    calibration: Sequence[Conversation] = ()
    device: str = "auto"
    seed: int = 0
    remote_code: bool = False
    progress: Callable[[float, str], None] = lambda share, line: None


class QuantizationResult(msgspec.Struct, frozen=True, kw_only=True):
    """What a quantizer made: the finished files inside the job's folder, their format, and the facts for their card."""

    files: Sequence[Path]
    format: Literal["safetensors", "gguf"]
    quantization: Quantization
    facts: Mapping[str, Any] = {}


class Quantizer(Protocol):
    """Shrinks the weights of a model."""

    def quantize(self, job: QuantizationJob) -> QuantizationResult:
        """Write the smaller model into the job's folder. Raises `ZooError` for what the method cannot do."""
        ...


class Shrinker(Protocol):
    """What a quantizer has beside `quantize` when it shrinks models in memory: its offer names the methods in `in_memory`."""

    def shrink(self, model: Any, method: str, *, device: str) -> Any:
        """Replace the weights of a loaded model by smaller ones, layer by layer, and put it on the device."""
        ...

    def facts(self, method: str, device: str) -> dict[str, str]:
        """What then computes, for the record of an answer."""
        ...


class PackedLoader(Protocol):
    """What a quantizer has beside `quantize` when it loads quantized folders: its offer names their methods in `loads`."""

    def load(self, model_class: Any, folder: Path, loading: Loading) -> Any:
        """Load a model of a class of transformers. Raises `ZooError` for what is damaged or cannot be run on the device."""
        ...
