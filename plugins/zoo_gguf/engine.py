"""Run a GGUF file with llama.cpp, token by token, and stream whole characters. PyTorch is not needed.

The loop is our own for the reasons of the default engine: every request draws from a generator of its own, and closing the
stream stops the work before the next token. Knows nothing of templates and stop strings; those are the session's.
"""

from __future__ import annotations

import codecs
import platform
import re
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

from gguf.constants import LlamaFileType

from zoo_core import EngineRequest, ModelCard, Piece, Rendered, Sampling, UsageProblem, WeightsError, ZooError
from zoo_gguf import library
from zoo_gguf.header import ENDS, PREFIX, Header, read_header
from zoo_gguf.sampling import Chooser

#: How parts of a model that is spread over several files are called.
_PART = re.compile(r"(.+)-\d{5}-of-(\d{5})\.gguf")


class GgufEngine:
    """One GGUF file. Its vocabulary is loaded when a prompt is encoded, its weights when the first reply is asked for."""

    name = "gguf"

    def __init__(self, request: EngineRequest) -> None:
        """Find the file and check its header. Raises `ZooError` for one that is none, and for options that cannot be kept."""
        assert request.folder is not None  # the offer needs weights
        self._card = request.card
        self._gpu = _wants_gpu(request)
        self._path, self._header = gguf_file(request.card, request.folder)
        self.context_length = request.card.context.max if request.card.context else self._header.context

    @property
    def facts(self) -> dict[str, str]:
        """What has a part in the result, for the record."""
        kind = self._header.metadata.get("general.file_type", -1)
        names = {each.value: each.name.removeprefix("MOSTLY_").removeprefix("ALL_").lower() for each in LlamaFileType}
        return {
            "device": "gpu" if self._gpu else "cpu",
            "dtype": names.get(kind, ""),
            "llama-cpp-python": library.version(),
            "python": platform.python_version(),
            "threads": str(library.threads()),
            "file": self._path.name,
        }

    def encode(self, prompt: Rendered) -> list[int]:
        """The token ids of a prompt, a beginning-of-text token in front where the template asks for one."""
        vocabulary = self._vocabulary
        ids: list[int] = []
        try:
            for part, begins in self._parts(prompt.text):
                token = self._specials.get(part)
                ids += vocabulary.tokens(self._prefixed(part, begins)) if token is None else [token]
        except UnicodeEncodeError as error:
            raise ZooError("The prompt holds a character that is no Unicode text.") from error
        if not prompt.add_bos:
            return ids
        if vocabulary.begin is None:
            raise ZooError(
                f"The template wants a beginning-of-text token, but the vocabulary of '{self._card.id}' has none."
            )
        return [vocabulary.begin, *ids]

    def stream(self, prompt: Rendered, sampling: Sampling) -> Iterator[Piece]:
        """Yield the continuation of `prompt`, a piece for every token that completes a character."""
        ids = self.encode(prompt)
        if not ids:
            raise ZooError(f"The template gives an empty prompt, so '{self._card.id}' has nothing to continue.")
        if self.context_length is not None and len(ids) >= self.context_length:
            raise ZooError(
                f"The prompt has {len(ids):,} tokens, but '{self._card.id}' takes {self.context_length:,} with its answer."
            )
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        waiting: list[int] = []
        for token in self._tokens(ids, sampling):
            waiting.append(token)
            if token in self._ends or self._model.is_end(token):
                yield Piece(ids=tuple(waiting), finish="stop")
                return
            if text := decoder.decode(self._model.text(token)):
                yield Piece(text=text, ids=tuple(waiting))
                waiting = []
        yield Piece(ids=tuple(waiting), finish="length")

    def close(self) -> None:
        """Let go of the weights; an answer that is still being streamed keeps them until it is over."""
        self.__dict__.pop("_model", None)
        self.__dict__.pop("_vocabulary", None)

    def _tokens(self, ids: list[int], sampling: Sampling) -> Iterator[int]:
        choose = Chooser(sampling, ids)
        context = library.Context(self._model, len(ids) + sampling.max_new_tokens)
        try:
            logits = context.read(ids)
            for number in range(sampling.max_new_tokens):
                token = choose(logits)
                yield token
                if number + 1 < sampling.max_new_tokens:
                    logits = context.read([token])
        finally:
            context.close()

    def _parts(self, text: str) -> Iterator[tuple[str, bool]]:
        """The text cut at its special tokens, these among the parts, and of each whether the text begins with it."""
        for number, part in enumerate(re.split(self._pattern, text) if self._specials else [text]):
            if part:
                yield part, number == 0

    def _prefixed(self, part: str, begins: bool) -> str:
        """A part with the space in front that the vocabulary wants there."""
        said = self._header.metadata.get(PREFIX)
        if said is None:  # then it is as llama.cpp does it
            wanted = self._header.in_pieces and self._header.metadata.get("tokenizer.ggml.add_space_prefix", True)
            return f" {part}" if wanted else part
        spaced = said == "prepend" or (
            not part.startswith((" ", "▁")) and (said == "always" or (said == "first" and begins))
        )
        return f" {part}" if spaced else part

    @cached_property
    def _model(self) -> library.Model:
        return library.Model(self._path, gpu=self._gpu)

    @cached_property
    def _vocabulary(self) -> library.Model:
        return library.Model(self._path, vocabulary_only=True)

    @cached_property
    def _specials(self) -> dict[str, int]:
        return self._header.specials

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        """Finds special tokens, of several that begin at the same place the longest."""
        texts = sorted(self._specials, key=len, reverse=True)
        return re.compile(f"({'|'.join(map(re.escape, texts))})")

    @cached_property
    def _ends(self) -> frozenset[int]:
        """The ids that end a reply, as the file and the card name them."""
        template = self._card.template
        return frozenset([*self._header.metadata.get(ENDS, []), *(template.stop_token_ids if template else [])])


def gguf_file(card: ModelCard, folder: Path) -> tuple[Path, Header]:
    """The GGUF file of a card, the first where it has several parts, and its header. Raises `WeightsError`."""
    listed = sorted(folder / file.path for file in card.files if file.path.endswith(".gguf"))
    found = listed or sorted(path for path in folder.glob("*.gguf") if path.is_file())
    if not found:
        raise WeightsError(f"There is no GGUF file of '{card.id}' in {folder}.")
    parts = {match.groups() if (match := _PART.fullmatch(path.name)) else path.name for path in found}
    if len(found) > 1 and parts != {(found[0].name[:-20], f"{len(found):05}")}:
        names = ", ".join(path.name for path in found[:5])
        raise WeightsError(
            f"{folder} holds {len(found)} GGUF files ({names}), each a model of its own; list under 'files' of the card "
            f"of '{card.id}' which is meant."
        )
    header = read_header(found[0])
    for path in found[1:]:  # llama.cpp opens these by itself
        read_header(path, later=True)
    if header.files != len(found):
        raise WeightsError(
            f"The file {found[0]} is one of {header.files:,}, but {len(found):,} of them are there or in the card; "
            "get them all."
        )
    return found[0], header


def _wants_gpu(request: EngineRequest) -> bool:
    """Whether to compute on a GPU. Raises `UsageProblem` for what this engine cannot do."""
    if request.dtype != "auto":
        raise UsageProblem(
            f"A GGUF file is computed in the numbers that it holds, so --dtype {request.dtype} cannot be kept."
        )
    if request.device_map or request.max_memory:
        raise UsageProblem("The engine 'gguf' does not spread a model by --device-map or --max-gpu-memory.")
    if request.device not in ("auto", "cpu", "cuda", "mps"):
        raise UsageProblem(f"The engine 'gguf' runs on cpu, cuda or mps, not on '{request.device}'.")
    if request.device in ("cuda", "mps") and not library.has_gpu():
        switch = {"cuda": "CUDA", "mps": "METAL"}[request.device]
        raise UsageProblem(
            f"llama-cpp-python was built here without '{request.device}'; build it anew with: "
            f'CMAKE_ARGS="-DGGML_{switch}=on" pip install --force-reinstall --no-cache-dir llama-cpp-python'
        )
    return request.device != "cpu" and library.has_gpu()
