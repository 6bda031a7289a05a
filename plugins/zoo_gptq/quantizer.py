"""The quantizer `gptq` (Frantar et al., 2022): gptqmodel finds the numbers, and we write AutoGPTQ's files.

What is not quantized is copied from the original to the last bit. Also loads such files, which needs no gptqmodel.
"""

from __future__ import annotations

import re
import shutil
import time
from pathlib import Path
from typing import Any

import msgspec
import torch

from zoo_core import (
    Loading,
    Quantization,
    QuantizationJob,
    QuantizationResult,
    UsageProblem,
    ZooError,
    bytes_text,
    write_whole,
)
from zoo_gptq import backend
from zoo_gptq.calibration import Calibration, calibration_rows
from zoo_gptq.loading import load_gptq
from zoo_gptq.options import LIBRARY, Options, library_version
from zoo_gptq.packing import WORD
from zoo_gptq.settings import FILE
from zoo_weights import Checkpoint, Planned, copy_small_files, forget_journal, write_checkpoint

#: The share of the time that gptqmodel takes.
_SHARE = 0.95
_PACKED = (".qweight", ".qzeros", ".scales", ".g_idx")
#: Folders inside the job's folder: what gptqmodel wrote, and what it keeps while it works.
_MADE, _SCRATCH, _LAYERS = "made", "scratch", "layers"


class GptqQuantizer:
    """Makes GPTQ weights, and loads them."""

    def quantize(self, job: QuantizationJob) -> QuantizationResult:
        """Write AutoGPTQ's files into the job's folder. What gptqmodel has finished is not made again."""
        options = Options.of(job.options)
        version = library_version()
        if job.family is None:
            raise ZooError(f"'{job.card.id}' is of a family that no plugin brings, so its tokenizer cannot be read.")
        device = _device(job.device)
        with Checkpoint.open(job.weights) as original:
            _require_plain(original, job.card.id)
            _require_sizes(original, options)
            calibration = calibration_rows(
                job.calibration,
                job.template,
                job.family.load_tokenizer(job.weights, remote_code=job.remote_code),
                samples=options.samples,
                context=original.facts.context,
                seed=job.seed,
            )
            facts = _make(job, options, calibration, device)
            settings = _settings(options, version)
            files = _write(job, original, settings)
        for name in (_MADE, _SCRATCH, _LAYERS):
            shutil.rmtree(job.folder / name, ignore_errors=True)
        quantization = Quantization(
            method="gptq", bits=options.bits, group_size=options.group_size, act_order=options.act_order
        )
        facts |= {LIBRARY: version, "samples": len(calibration.rows), "tokens": calibration.tokens}
        facts |= {"cut": calibration.cut, "damp": options.damp, "device": device}
        return QuantizationResult(files=files, format="safetensors", quantization=quantization, facts=facts)

    def load(self, model_class: Any, folder: Path, loading: Loading) -> Any:
        """Load a folder of GPTQ weights as a model of a class of transformers."""
        return load_gptq(model_class, folder, loading)


def _device(wish: str) -> str:
    best = "cuda" if torch.cuda.is_available() else "cpu"
    if wish == "auto":
        return best
    if wish.split(":")[0] not in {"cpu", best}:
        raise ZooError(f"GPTQ cannot work on the device '{wish}' here. Available: {', '.join(sorted({'cpu', best}))}.")
    return wish


def _require_plain(original: Checkpoint, name: str) -> None:
    if (original.folder / FILE).is_file() or any(each.endswith(_PACKED) for each in original.tensors):
        raise UsageProblem(f"'{name}' is quantized already; quantize the model that it was made from.")


def _require_sizes(original: Checkpoint, options: Options) -> None:
    """Raise `UsageProblem` for groups that are larger than what a layer takes in, and for sizes that 3 bits cannot have."""
    width = original.facts.architecture.hidden_size
    if width and options.group_size > width:
        raise UsageProblem(
            f"The layers of this model take in {width} numbers, so a group of {options.group_size} would be larger than a "
            f"layer; choose a group_size up to {width}, or -1 for one group."
        )
    sizes = {size for name, each in original.tensors.items() if _in_block(name, each.shape) for size in each.shape}
    if options.bits == 3 and (odd := sorted(size for size in sizes if size % WORD)):
        raise UsageProblem(
            f"With 3 bits, layers are packed by {WORD} numbers, and this model has one with {odd[0]}; choose 2, 4 or 8 bits."
        )


def _in_block(name: str, shape: tuple[int, ...]) -> bool:
    """Whether a tensor is that of a linear layer in one of the network's numbered blocks."""
    return len(shape) == 2 and re.search(r"\.\d+\.", name) is not None


def _make(job: QuantizationJob, options: Options, calibration: Calibration, device: str) -> dict[str, Any]:
    """Let gptqmodel work, unless an earlier run has finished that; its facts."""
    made = job.folder / _MADE
    done = made.with_suffix(".json")
    if done.is_file():
        facts: dict[str, Any] = msgspec.json.decode(done.read_bytes())
        return facts
    shutil.rmtree(made, ignore_errors=True)
    shutil.rmtree(job.folder / _SCRATCH, ignore_errors=True)
    job.progress(0.0, f"loading gptqmodel and the model, to measure {calibration.tokens:,} tokens")
    work = backend.Work(
        source=str(job.weights.resolve()),
        target=str(made.resolve()),
        scratch=str((job.folder / _SCRATCH).resolve()),
        rows=calibration.rows,
        options=options,
        device=device,
        seed=job.seed,
        remote_code=job.remote_code,
    )
    started = time.monotonic()
    told = backend.run(work, job.folder, _LayerByLayer(job))
    facts = {"seconds": round(time.monotonic() - started, 1), "peak_memory": bytes_text(told["peak_memory"])}
    write_whole(done, msgspec.json.encode(facts))
    return facts


class _LayerByLayer:
    """Tells how far the work is, and how long the rest will take at this pace."""

    def __init__(self, job: QuantizationJob) -> None:
        self._job = job
        self._first: tuple[int, float] | None = None

    def __call__(self, done: int, layers: int) -> None:
        now = time.monotonic()
        first, since = self._first = self._first or (done, now)
        left = f", {_minutes((now - since) / (done - first) * (layers - done))} left" if done > first else ""
        self._job.progress(_SHARE * done / layers, f"layer {min(done + 1, layers)} of {layers}{left}")


def _settings(options: Options, version: str) -> dict[str, Any]:
    """What the files say of their layout, in AutoGPTQ's words."""
    return {
        "bits": options.bits,
        "group_size": options.group_size,
        "damp_percent": options.damp,
        "desc_act": options.act_order,
        "static_groups": False,
        "sym": True,
        "true_sequential": True,
        "lm_head": False,
        "quant_method": "gptq",
        "checkpoint_format": "gptq",
        "meta": {"quantizer": [f"{LIBRARY}:{version}"]},
    }


def _write(job: QuantizationJob, original: Checkpoint, settings: dict[str, Any]) -> list[Path]:
    """Write the finished files: packed tensors as they were made, all others as they are in the original."""
    with Checkpoint.open(job.folder / _MADE) as made:
        sources = {name: _source(name, made, original) for name in sorted(made.tensors)}
        plan = [
            Planned(name, source.tensors[own].dtype, source.tensors[own].shape)
            for name, (source, own) in sources.items()
        ]

        def rows(name: str, start: int, stop: int) -> torch.Tensor:
            source, own = sources[name]
            return source.load(own, start, stop) if source.tensors[own].shape else source.load(own)

        written = write_checkpoint(
            job.folder,
            plan,
            rows,
            made_from={"original": original.identity(), "made": made.identity()},
            progress=lambda share, line: job.progress(_SHARE + (1 - _SHARE) * share, f"writing {line}"),
        )
    config = {**original.config, "quantization_config": settings}
    small = copy_small_files(job.weights, job.folder, config)
    write_whole(job.folder / FILE, msgspec.json.format(msgspec.json.encode(settings), indent=2) + b"\n")
    forget_journal(job.folder)
    return [*(job.folder / file.path for file in (*written.files, *small)), job.folder / FILE]


def _source(name: str, made: Checkpoint, original: Checkpoint) -> tuple[Checkpoint, str]:
    """Where a tensor's numbers come from, and how it is called there; files have the model's prefix or not."""
    if not name.endswith(_PACKED):
        for own in (name, name.partition(".")[2]):
            if own in original.tensors and original.tensors[own].shape == made.tensors[name].shape:
                return original, own
    return made, name


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"
