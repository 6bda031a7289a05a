"""What the targets of offers look like: Protocols, so that a plugin needs no base class, and the data that they exchange.

Data flows one way: card → folder of weights → family → engine → session. Nothing here imports a heavy library.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Protocol

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from zoo_core.cards.schema import ModelCard
    from zoo_core.conversation import Conversation, Rendered, Template


class LoadedModel(msgspec.Struct, frozen=True):
    """A model and its tokenizer in memory, as the libraries that an engine is written for know them."""

    model: Any
    tokenizer: Any


class ModelFamily(Protocol):
    """How the models of one architecture are loaded from a folder, and made anew."""

    def load_tokenizer(self, folder: Path) -> Any:
        """Load the tokenizer from a local folder, without the weights."""
        ...

    def load_model(self, folder: Path, *, device: str, dtype: str) -> Any:
        """Load safetensors weights from a local folder. No code of the checkpoint runs.

        `device` is `cpu`, `cuda`, `cuda:1`, `mps`; `dtype` is `float32`, `bfloat16` or `float16`.
        """
        ...

    def create(self, texts: Iterable[str], options: Mapping[str, Any], *, seed: int) -> LoadedModel:
        """Make an untrained model and a tokenizer fitted to `texts`, for training from nothing."""
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

    `finish` is set on the last piece: `stop` (the model ended) or `length` (`max_new_tokens` was reached).
    """

    text: str = ""
    ids: tuple[int, ...] = ()
    finish: Literal["stop", "length"] | None = None


class Engine(Protocol):
    """A loaded model that continues prompts. Stop strings and history are the session's work, not the engine's."""

    #: Offer name of the engine, and `{"device": …, "dtype": …, library: version, …}` for the record.
    name: str
    facts: dict[str, str]
    #: Tokens that prompt and reply may have together, or None where the engine does not know.
    context_length: int | None

    def encode(self, prompt: Rendered) -> list[int]:
        """The token ids of a prompt exactly as `stream` sends them, a beginning-of-text token included if there is one."""
        ...

    def stream(self, prompt: Rendered, sampling: Sampling) -> Iterator[Piece]:
        """Continue `prompt`. Closing the iterator stops the work at once. Never shows a broken character."""
        ...

    def close(self) -> None:
        """Free what the engine holds."""
        ...


class EngineRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What an engine is opened with."""

    card: ModelCard
    folder: Path
    family: ModelFamily
    template: Template
    device: str = "auto"
    dtype: str = "auto"


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
