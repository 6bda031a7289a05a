"""Run a transformers model token by token and stream whole characters.

The loop is our own for three reasons: every request draws from a generator of its own (transformers draws from the global
one), closing the stream stops the work before the next token, and text is decoded once per token. Knows nothing of
templates and stop strings; those are the session's.
"""

from __future__ import annotations

import inspect
import json
import os
import platform
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import tokenizers
import torch
import transformers
from tokenizers.decoders import DecodeStream
from transformers import (
    DynamicCache,
    LogitsProcessorList,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from zoo_core import EngineRequest, Loading, ModelCard, Piece, Rendered, Sampling, ZooError

# In bfloat16 on a CPU, PyTorch and oneDNN compile kernels for every length of the cache anew and keep 1,024 of them, a megabyte
# for each new token. Both read their limit when they compile the first; a model has far fewer kernels that it needs again.
for _cache in ("LRU_CACHE_CAPACITY", "ONEDNN_PRIMITIVE_CACHE_CAPACITY"):
    os.environ.setdefault(_cache, "64")

DTYPES = ("float32", "bfloat16", "float16")
SHORT_DTYPES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}

#: Weights of this many bytes take seconds to load.
SLOW_TO_LOAD = 1_000_000_000

#: From this many bytes of weights on, `auto` takes bfloat16 on a CPU: decoding is bound by the memory that is read.
LARGE = 2_000_000_000

#: Tokens of a prompt that go through the model at once. What a pass needs beside weights and cache grows with them, in some
#: architectures with their square; more at once are hardly faster, on a CPU they are slower.
PREFILL = 512

#: Temperatures below this are greedy too: logits divided by them would leave the range of float32.
GREEDY_BELOW = 1e-6


class TransformersEngine:
    """One model in memory. The tokenizer is loaded at once, the weights when the first reply is asked for."""

    name = "transformers"

    def __init__(self, request: EngineRequest) -> None:
        """Choose device and dtype and load the tokenizer. Raises `ZooError` for a device that is not there."""
        assert request.folder is not None, "the offer says that it needs weights"
        assert request.family is not None, "the offer says that it needs a family"
        self._request, self._folder, self._family = request, request.folder, request.family
        self._device = _device(request.device)
        wish = request.card.runtime.dtype or "auto" if request.dtype == "auto" else request.dtype
        if request.quantize and request.device_map:
            raise ZooError("A model that shrinks while it is loaded goes on one device; leave out --device-map.")
        self._dtype = _dtype(wish, self._device, LARGE if request.packed else _weight_bytes(self._folder))
        _quiet(self._folder)
        self._tokenizer = _readable(
            request, lambda: self._family.load_tokenizer(self._folder, remote_code=request.remote_code)
        )
        self.context_length = _context_length(request.card, self._folder)

    @property
    def facts(self) -> dict[str, str]:
        """What has a part in the result, for the record."""
        return {
            "device": self._device,
            **({"device_map": self._request.device_map} if self._request.device_map else {}),
            "dtype": self._dtype,
            **self._shrinking,
            "torch": str(torch.__version__),
            "transformers": transformers.__version__,
            "tokenizers": tokenizers.__version__,
            "python": platform.python_version(),
            "threads": str(torch.get_num_threads()),
        }

    @cached_property
    def _model(self) -> Any:
        request = self._request
        loading = Loading(
            device="cpu"
            if request.shrinker
            else self._device,  # the large model is never on a device that has less memory
            dtype=self._dtype,
            device_map=request.device_map,
            max_memory=request.max_memory,
            remote_code=request.remote_code,
            packed=request.packed,
        )
        model = _readable(request, lambda: self._family.load_model(self._folder, loading))
        if request.shrinker is None:
            return model
        return request.shrinker.shrink(model, request.quantize, device=self._device)

    @property
    def _shrinking(self) -> dict[str, str]:
        """How the weights were shrunk in memory, for the record."""
        request = self._request
        if request.shrinker is None:
            return {}
        return {"quantize": request.quantize, **request.shrinker.facts(request.quantize, self._device)}

    def encode(self, prompt: Rendered) -> list[int]:
        """The token ids of a prompt, a beginning-of-text token in front where the template asks for one."""
        try:
            ids: list[int] = self._tokenizer(prompt.text, add_special_tokens=False)["input_ids"]
        except TypeError as error:  # what the tokenizer raises for a lone surrogate
            raise ZooError("The prompt holds a character that is no Unicode text.") from error
        if not prompt.add_bos:
            return ids
        if self._tokenizer.bos_token_id is None:
            name = self._request.card.id
            raise ZooError(f"The template wants a beginning-of-text token, but the tokenizer of '{name}' has none.")
        return [self._tokenizer.bos_token_id, *ids]

    def stream(self, prompt: Rendered, sampling: Sampling) -> Iterator[Piece]:
        """Yield the continuation of `prompt`, a piece for every token that completes a character."""
        ids = self.encode(prompt)
        if not ids:
            raise ZooError(f"The template gives an empty prompt, so '{self._request.card.id}' has nothing to continue.")
        decoder = DecodeStream(ids=ids[-8:], skip_special_tokens=True)
        waiting: list[int] = []
        for token in self._tokens(ids, sampling):
            if token in self._ends:
                yield Piece(ids=(*waiting, token), finish="stop")
                return
            waiting.append(token)
            try:
                text = decoder.step(self._tokenizer.backend_tokenizer, token)
            except Exception:  # the library has no class for it: a byte of no character changes what is before it
                text = self._tokenizer.decode(waiting, skip_special_tokens=True)
                decoder = DecodeStream(ids=waiting, skip_special_tokens=True)
            if text:
                yield Piece(text=text, ids=tuple(waiting))
                waiting = []
        yield Piece(ids=tuple(waiting), finish="length")

    def close(self) -> None:
        """Let go of the weights."""
        for name in ("_model", "_entrance"):
            self.__dict__.pop(name, None)
        if self._device.startswith("cuda"):
            torch.cuda.empty_cache()

    @cached_property
    def _ends(self) -> frozenset[int]:
        """The ids that end a reply, as the checkpoint's generation settings, the card and the tokenizer name them."""
        configured = self._model.generation_config.eos_token_id
        ends = configured if isinstance(configured, list) else [configured]
        template = self._request.card.template
        said = template.stop_token_ids if template else []
        # A stop string that is a token of its own, such as <eom>, is left out of the text when it is decoded.
        added = self._tokenizer.get_added_vocab()
        stops = [added[stop] for stop in self._request.template.stop if stop in added]
        return frozenset(each for each in (*ends, *said, *stops, self._tokenizer.eos_token_id) if each is not None)

    def _tokens(self, ids: list[int], sampling: Sampling) -> Iterator[int]:
        choose = _Chooser(sampling, self._entrance)
        cache = DynamicCache(config=self._model.config)
        seen = torch.tensor([ids], device=self._entrance)
        step = seen
        for _ in range(sampling.max_new_tokens):
            for part in step.split(PREFILL, dim=1):
                logits = self._logits(part, cache)
            step = choose(seen, logits)
            yield int(step)
            seen = torch.cat([seen, step], dim=1)

    # Not around the loop: a generator would leave inference mode switched on for whoever consumes it.
    @torch.inference_mode()
    def _logits(self, step: torch.Tensor, cache: DynamicCache) -> torch.Tensor:
        """The logits `[1, vocabulary]` after the last of the tokens `step` `[1, n]`; the cache grows by n."""
        model = self._model
        try:
            output = model(input_ids=step, use_cache=True, **{self._cache_name: cache}, **self._last_only)
        except (RuntimeError, IndexError) as error:  # out of memory, or a token that the embedding does not have
            reason = " ".join(str(error).split())[:300]
            raise ZooError(f"'{self._request.card.id}' stopped while it was answering: {reason}") from error
        return output.logits[:, -1].float().to(self._entrance)

    @cached_property
    def _entrance(self) -> str:
        """The device that tokens go to: of a model that is spread over several, the one of its embedding."""
        if not self._request.device_map:
            return self._device
        device = self._model.get_input_embeddings().weight.device
        return self._device if device.type == "meta" else str(device)  # accelerate moves what goes to such a one itself

    @cached_property
    def _parameters(self) -> frozenset[str]:
        """What the model's forward pass takes."""
        return frozenset(inspect.signature(self._model.forward).parameters)

    @property
    def _cache_name(self) -> str:
        """How the forward pass calls the cache; transformers 5.24 began to rename it, one architecture after the other."""
        return "cache" if "cache" in self._parameters else "past_key_values"

    @property
    def _last_only(self) -> dict[str, int]:
        """Where the architecture allows, compute the logits of the last token only: the rest are not needed."""
        return {"logits_to_keep": 1} if "logits_to_keep" in self._parameters else {}


class _Chooser:
    """Chooses the next token from logits, with a generator of its own."""

    def __init__(self, sampling: Sampling, device: str) -> None:
        self._greedy = sampling.temperature < GREEDY_BELOW
        self._generator = torch.Generator(device=device).manual_seed(sampling.seed)
        self._processors = LogitsProcessorList()
        if sampling.repetition_penalty not in (None, 1.0):
            self._processors.append(RepetitionPenaltyLogitsProcessor(sampling.repetition_penalty))
        if self._greedy:
            return
        if sampling.temperature != 1.0:
            self._processors.append(TemperatureLogitsWarper(sampling.temperature))
        if sampling.top_k:
            self._processors.append(TopKLogitsWarper(sampling.top_k))
        if sampling.top_p and sampling.top_p < 1.0:
            self._processors.append(TopPLogitsWarper(sampling.top_p))

    @torch.inference_mode()
    def __call__(self, seen: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        """The next token `[1, 1]` after `seen` `[1, n]`, from logits `[1, vocabulary]`."""
        scores = self._processors(seen, logits)
        if not self._greedy:
            scores = scores.softmax(dim=-1)
        if scores.isnan().any():
            raise ZooError(
                "The model computes numbers that are none (NaN): try --dtype float32, or get its weights again."
            )
        if self._greedy:
            return scores.argmax(dim=-1, keepdim=True)
        return torch.multinomial(scores, 1, generator=self._generator)


def _readable(request: EngineRequest, load: Callable[[], Any]) -> Any:
    """Call a loader and turn what libraries say about damaged files into one sentence."""
    try:
        return load()
    except ZooError:
        raise
    except torch.OutOfMemoryError as error:
        raise ZooError(f"'{request.card.id}' does not fit into the memory of the device: {error}") from error
    except Exception as error:  # the libraries raise many kinds for a damaged checkpoint
        reason = " ".join(str(error).split())[:300]
        place = f"in {request.folder} cannot be loaded"
        raise ZooError(f"The weights of '{request.card.id}' {place}: {type(error).__name__}: {reason}") from error


def _quiet(folder: Path) -> None:
    """Keep the libraries' remarks off the screen; show their progress only where loading takes long."""
    transformers.logging.set_verbosity_error()
    if _weight_bytes(folder) < SLOW_TO_LOAD:
        transformers.logging.disable_progress_bar()
    else:
        transformers.logging.enable_progress_bar()


def _device(wish: str) -> str:
    available = ["cpu"]
    if torch.cuda.is_available():
        available += ["cuda", *(f"cuda:{number}" for number in range(torch.cuda.device_count()))]
    if torch.backends.mps.is_available():
        available.append("mps")
    if wish == "auto":
        return available[1] if len(available) > 1 else "cpu"
    if wish not in available:
        raise ZooError(f"There is no device '{wish}' here. Available: {', '.join(available)}.")
    return wish


def _weight_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("*.safetensors") if path.is_file())


def _dtype(wish: str, device: str, weight_bytes: int) -> str:
    wish = SHORT_DTYPES.get(wish, wish)
    if wish != "auto":
        if wish not in DTYPES:
            raise ZooError(f"The dtype '{wish}' is unknown. Known: auto, {', '.join(DTYPES)}.")
        return wish
    if device.startswith("cuda"):
        return "bfloat16" if torch.cuda.is_bf16_supported() else "float16"
    if device == "mps":
        return "float16"
    return "bfloat16" if weight_bytes >= LARGE else "float32"


def _context_length(card: ModelCard, folder: Path) -> int | None:
    """The card's context, or else what the checkpoint's configuration says."""
    if card.context is not None:
        return card.context.max
    try:
        config = json.loads((folder / "config.json").read_bytes())
    except (OSError, ValueError):
        return None
    for key in ("max_sequence_length", "max_position_embeddings", "seq_length", "n_positions"):
        if type(value := config.get(key)) is int and 0 < value < 2**31:
            return value
    return None
