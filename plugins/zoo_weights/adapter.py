"""Merge an adapter (LoRA) into its base as peft does, tensor by tensor, a few rows at a time.

Sums are computed in single precision and rounded once, to the dtype that is written. Configuration and other files are the
base's, the tokenizer is the adapter's where it brings one. Knows nothing of cards.
"""

from __future__ import annotations

import functools
import threading
from pathlib import Path
from typing import Any

import torch

from zoo_core import File, WeightsError, ZooError, sha256_of
from zoo_weights.adapter_plan import Adapter, Change, Plan, Step, plan_of
from zoo_weights.checkpoint import TORCH_DTYPES, Checkpoint
from zoo_weights.delta import Made, looks_like_delta
from zoo_weights.small_files import copy_small_files, is_like, small_files, write_small_files
from zoo_weights.writing import SHARD_SIZE, Progress, forget_journal, write_checkpoint

#: The files of a tokenizer. Those of two tokenizers are never mixed.
_TOKENIZER = (
    *("tokenizer*.json", "special_tokens_map.json", "added_tokens.json", "vocab*", "merges*.txt"),
    *("*.model", "*.tiktoken", "chat_template*"),
)
#: One of these makes a tokenizer.
_VOCABULARIES = ("tokenizer.json", "*.model", "vocab.json", "vocab.txt", "*.tiktoken")


def merge_adapter(
    base: Path,
    adapter: Path,
    out: Path,
    *,
    dtype: str | None = None,
    shard_size: int = SHARD_SIZE,
    threads: int = 0,
    progress: Progress = lambda share, line: None,
) -> Made:
    """Merge an adapter into its base and write the model into the existing folder `out`, as an interrupted run has begun it.

    `dtype` (`F16`, `BF16`, `F32`, `F64`) is that of the result; without it, the base's. Raises `WeightsError` for an adapter
    that is of another kind or was made for another base, before anything is written.
    """
    theirs = Adapter.open(adapter)
    with theirs.checkpoint, Checkpoint.open(base) as ours:
        if looks_like_delta(ours):
            raise WeightsError(
                f"The base {base} is a delta: its norms are about zero; merge it into its own base first."
            )
        plan = plan_of(ours, theirs, dtype)
        tokenizer = _tokenizer(adapter)
        written = write_checkpoint(
            out,
            [step.tensor for step in plan.steps],
            _Sums(ours, theirs.checkpoint, plan).rows,
            made_from={
                "work": "merge_adapter",
                "inputs": [{str(each.folder.resolve()): each.identity()} for each in (ours, theirs.checkpoint)],
                "settings": sha256_of(adapter / "adapter_config.json"),
                "dtype": dtype,
            },
            shard_size=shard_size,
            threads=threads,
            progress=progress,
        )
        files = [*written.files, *_small_files(ours, tokenizer, plan, out, dtype)]
    forget_journal(out)
    return Made(files=files)


class _Sums:
    """The rows of the result."""

    def __init__(self, base: Checkpoint, adapter: Checkpoint, plan: Plan) -> None:
        self._base = base
        self._adapter = adapter
        self._steps = {step.tensor.name: step for step in plan.steps}
        self._lock = threading.Lock()
        self._matrix = functools.lru_cache(maxsize=8)(self._loaded)  # several threads work on the rows of one tensor
        self._norms = functools.lru_cache(maxsize=2)(self._column_norms)

    def rows(self, name: str, start: int, stop: int) -> torch.Tensor:
        """The rows of a tensor from `start` up to `stop`."""
        step = self._steps[name]
        wanted = TORCH_DTYPES[step.tensor.dtype]
        if step.change is None:
            return self._side(step).load(step.source, start, stop).to(wanted)
        total = self._sum(step, step.change, start, stop)
        if step.change.magnitude:
            total *= self._factors(step, step.change, total, start, stop)
        return total.to(wanted)

    def _side(self, step: Step) -> Checkpoint:
        return self._adapter if step.from_adapter else self._base

    def _sum(self, step: Step, change: Change, start: int, stop: int) -> torch.Tensor:
        """Rows of the weight with what the adapter adds to them."""
        side = self._side(step)
        wide = torch.float64 if "F64" in (step.tensor.dtype, side.tensors[step.source].dtype) else torch.float32
        total = side.load(step.source, start, stop).to(wide)
        a, b = self._matrix(change.a).to(wide), self._matrix(change.b).to(wide)
        product = b[start:stop] @ a if change.kind == "linear" else (b @ a[:, start:stop]).T
        return total.add_(product * change.scaling)

    def _factors(self, step: Step, change: Change, total: torch.Tensor, start: int, stop: int) -> torch.Tensor:
        """What DoRA multiplies the sum with, so that each output has the length that was learned."""
        magnitudes = self._matrix(change.magnitude).to(total.dtype)
        if change.kind == "linear":
            return (magnitudes[start:stop] / torch.linalg.norm(total, dim=1))[:, None]
        with self._lock:
            norms = self._norms(step.tensor.name)
        return (magnitudes / norms)[None, :]

    def _column_norms(self, name: str) -> torch.Tensor:
        """The lengths of a sum's columns, for which all of its rows are needed."""
        step = self._steps[name]
        assert step.change is not None
        return torch.linalg.norm(self._sum(step, step.change, 0, step.tensor.shape[0]), dim=0)

    def _loaded(self, name: str) -> torch.Tensor:
        found = self._adapter.load(name)
        return found if found.dtype == torch.float64 else found.float()


def _tokenizer(adapter: Path) -> list[Path]:
    """The files of the tokenizer that an adapter brings; none where it brings none."""
    found = small_files(adapter, _TOKENIZER, ())
    return found if any(is_like(path.name, _VOCABULARIES) for path in found) else []


def _small_files(base: Checkpoint, tokenizer: list[Path], plan: Plan, out: Path, dtype: str | None) -> list[File]:
    """Write the configuration, and copy what is beside the weights, with the adapter's `tokenizer` in place of the base's."""
    files = copy_small_files(base.folder, out, _config(base, plan, dtype))
    if not tokenizer:
        return files
    try:
        for file in files:
            if is_like(file.path, _TOKENIZER):
                (out / file.path).unlink()
        contents = {path.name: path.read_bytes() for path in tokenizer}
    except OSError as error:
        raise ZooError(
            f"The tokenizer {tokenizer[0].parent} cannot be copied to {out}: {error.strerror or error}."
        ) from error
    return [*(file for file in files if not is_like(file.path, _TOKENIZER)), *write_small_files(out, contents)]


def _config(base: Checkpoint, plan: Plan, dtype: str | None) -> dict[str, Any]:
    """The base's configuration, with what the tensors say and without where it once lay."""
    config = {name: value for name, value in base.config.items() if name != "_name_or_path"}
    if plan.rows is not None and isinstance(config.get("vocab_size"), int):
        config["vocab_size"] = plan.rows
    if plan.unties:
        config["tie_word_embeddings"] = False
    if dtype is not None:
        name = "torch_dtype" if "torch_dtype" in config and "dtype" not in config else "dtype"
        config[name] = str(TORCH_DTYPES[dtype]).removeprefix("torch.")
    return config
