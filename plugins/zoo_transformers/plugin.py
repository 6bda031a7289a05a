"""Hooks of the engine `transformers`. Light: names things, imports nothing heavy."""

from __future__ import annotations

from zoo_core import Offer, hookimpl


@hookimpl
def zoo_engines() -> list[Offer]:
    """The engine that runs any family whose models are transformers models."""
    return [
        Offer(
            name="transformers",
            target="zoo_transformers.engine:TransformersEngine",
            summary="PyTorch through transformers, on CPU, CUDA or MPS",
            extra="chat",
            supports={"format": ["safetensors"], "device": ["cpu", "cuda", "mps"]},
        )
    ]
