"""The quantizer `int8`: shrinks models in memory and on disk, and loads what it or bitsandbytes has saved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from zoo_core import Loading, Quantization, QuantizationJob, QuantizationResult, ZooError
from zoo_int8 import bits, shrinking
from zoo_int8.formats import BITS
from zoo_int8.loading import load
from zoo_int8.original import GROUP
from zoo_int8.saving import require_floats, save, written_paths
from zoo_weights import Checkpoint


class Int8Quantizer:
    """Eight and four bits for every number of a linear layer."""

    def quantize(self, job: QuantizationJob) -> QuantizationResult:
        """Write the smaller model into the job's folder, from rows that are read a few at a time."""
        if job.options:
            raise ZooError(f"The method '{job.method}' has no option '{min(job.options)}'.")
        if job.method in ("nf4", "fp4"):
            bits.load_bitsandbytes()  # before anything is written
        with Checkpoint.open(job.weights) as checkpoint:
            require_floats(checkpoint, job.card.id)
            files, facts = save(job, checkpoint)
        group = {"original-int8": GROUP, "int8": None}.get(job.method, bits.BLOCK)
        return QuantizationResult(
            files=written_paths(job.folder, files),
            format="safetensors",
            quantization=Quantization(method=job.method, bits=BITS[job.method], group_size=group),
            facts=facts,
        )

    def shrink(self, model: Any, method: str, *, device: str) -> Any:
        """Replace the linear layers of a loaded model in place, and put it on the device."""
        return shrinking.shrink(model, method, device=device)

    def facts(self, method: str, device: str) -> dict[str, str]:
        """What computes on a device, for the record of an answer."""
        return shrinking.facts(method, device)

    def load(self, model_class: Any, folder: Path, loading: Loading) -> Any:
        """Load a quantized folder as a model of a class of transformers."""
        return load(model_class, folder, loading)
