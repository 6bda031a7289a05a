"""llama.cpp through llama-cpp-python's low-level functions: load, tokenise, compute, quantize.

Its high-level class is passed by: that draws from one generator for all answers, and compiles the template that a file brings.
What the library would print is kept, so that its complaint can be told in a sentence. Knows nothing of cards.
"""

from __future__ import annotations

import ctypes
import importlib.metadata
import os
import threading
import weakref
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import llama_cpp.llama_cpp as low
import numpy as np

from zoo_core import ZooError

#: Tokens of a prompt that go through the model at once.
PREFILL = 512
#: The number by which the library calls an error among what it tells.
_ERROR = 4
#: The number by which it calls a switch among metadata that is given in place of a file's own.
_BOOL = 2

_complaints: list[str] = []


@low.llama_log_callback
def _hear(level: int, text: bytes, _: object) -> None:
    """What the library tells of its work; kept where it is an error."""
    if level == _ERROR and len(_complaints) < 5:
        _complaints.append(" ".join(text.decode("utf-8", errors="replace").split()))


@cache
def _begin() -> None:
    low.llama_log_set(_hear, ctypes.c_void_p(0))
    low.llama_backend_init()


def version() -> str:
    """The version of llama-cpp-python."""
    return importlib.metadata.version("llama-cpp-python")


def has_gpu() -> bool:
    """Whether the library was built for a GPU."""
    return bool(low.llama_supports_gpu_offload())


def threads() -> int:
    """How many threads to compute with: what `OMP_NUM_THREADS` says, else the processors that this process may use."""
    said = os.environ.get("OMP_NUM_THREADS", "")
    return int(said) if said.isdecimal() and int(said) else len(os.sched_getaffinity(0))


class Model:
    """A model in memory, or its vocabulary alone. Freed when nobody holds it any more."""

    def __init__(self, path: Path, *, gpu: bool = False, vocabulary_only: bool = False) -> None:
        """Load a file that `header` has checked. Raises `ZooError` for one that the library refuses."""
        _begin()
        parameters = low.llama_model_default_params()
        parameters.n_gpu_layers = -1 if gpu else 0
        parameters.vocab_only = vocabulary_only
        # With the matrix unit of newer Intel processors, llama.cpp crashes on some quantized weights (its issue 20824).
        parameters.use_extra_bufts = b"AMX_INT8 = 1" not in low.llama_print_system_info()
        # Spaces in front of text are the engine's work, which knows better where they belong.
        overrides = (low.llama_model_kv_override * 2)()
        overrides[0].key = b"tokenizer.ggml.add_space_prefix"
        overrides[0].tag = _BOOL
        overrides[0].value.val_bool = False
        parameters.kv_overrides = overrides
        _complaints.clear()
        self.pointer = low.llama_model_load_from_file(os.fsencode(path), parameters)
        if not self.pointer:
            raise ZooError(f"llama.cpp {version()} cannot load {path}: {_complaint()}")
        self._freed = weakref.finalize(self, low.llama_model_free, self.pointer)
        self._vocabulary = low.llama_model_get_vocab(self.pointer)
        self.size: int = low.llama_vocab_n_tokens(self._vocabulary)

    @property
    def begin(self) -> int | None:
        """The beginning-of-text token."""
        token: int = low.llama_vocab_bos(self._vocabulary)
        return token if token >= 0 else None

    def is_end(self, token: int) -> bool:
        """Whether a token ends an answer."""
        return bool(low.llama_vocab_is_eog(self._vocabulary, token))

    def tokens(self, text: str) -> list[int]:
        """The ids of a text in which no special token is looked for."""
        content = text.encode()
        for room in (len(content) + 1, 4 * len(content) + 16):
            found = (low.llama_token * room)()
            count = low.llama_tokenize(self._vocabulary, content, len(content), found, room, False, False)
            if count >= 0:
                return [*found[:count]]
        raise ZooError(f"llama.cpp cannot turn a text of {len(content):,} bytes into tokens.")

    def text(self, token: int) -> bytes:
        """The bytes that a token stands for; none for one that controls the model."""
        room = 64
        while True:
            found = ctypes.create_string_buffer(room)
            count: int = low.llama_token_to_piece(self._vocabulary, token, found, room, 0, False)
            if count >= 0:
                return found.raw[:count]
            room = -count


class Context:
    """The memory of one answer: what the model has read so far."""

    def __init__(self, model: Model, length: int) -> None:
        """`length` tokens can be read. Raises `ZooError` where the memory does not suffice."""
        parameters = low.llama_context_default_params()
        parameters.n_ctx = length
        parameters.n_batch = parameters.n_ubatch = min(length, PREFILL)
        parameters.n_threads = parameters.n_threads_batch = threads()
        parameters.no_perf = True
        _complaints.clear()
        pointer = low.llama_init_from_model(model.pointer, parameters)
        if not pointer:
            raise ZooError(f"llama.cpp cannot set up a conversation of {length:,} tokens: {_complaint()}")
        self._model = model  # which has to live as long as this
        self._pointer = pointer
        self.close = weakref.finalize(self, low.llama_free, pointer)

    def read(self, tokens: Sequence[int]) -> np.ndarray[Any, np.dtype[np.float32]]:
        """Read tokens; the logits `[vocabulary]` after the last of them. Raises `ZooError`."""
        for start in range(0, len(tokens), PREFILL):
            part = tokens[start : start + PREFILL]
            memory = (low.llama_token * len(part))(*part)  # which the batch points at, and does not keep
            batch = low.llama_batch_get_one(memory, len(part))
            _complaints.clear()
            if code := low.llama_decode(self._pointer, batch):
                raise ZooError(f"llama.cpp stopped while it was computing (code {code}): {_complaint()}")
        logits = low.llama_get_logits_ith(self._pointer, -1)
        return np.ctypeslib.as_array(logits, (self._model.size,)).copy()


def quantize(source: Path, target: Path, kind: int, watch: Callable[[], None]) -> None:
    """Write a GGUF file with fewer bits. `kind` is the library's number of the method; `watch` is called now and then.

    Runs in a thread of its own, which dies with the process, so that Ctrl-C need not wait for it.
    """
    _begin()
    parameters = low.llama_model_quantize_default_params()
    parameters.ftype = kind
    parameters.nthread = threads()
    codes: list[int] = []
    _complaints.clear()

    def work() -> None:
        codes.append(low.llama_model_quantize(os.fsencode(source), os.fsencode(target), ctypes.byref(parameters)))

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(0.5)
        watch()
    if codes != [0]:
        raise ZooError(f"llama.cpp {version()} cannot quantize {source.name}: {_complaint()}")


def _complaint() -> str:
    """The first error that the library told: those that follow only say that there was one."""
    return (_complaints[0] if _complaints else "it does not say why")[:300].rstrip(".") + "."
