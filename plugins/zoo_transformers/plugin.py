"""Hooks of engine and family `transformers`. Light: names things, imports nothing heavy."""

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


@hookimpl
def zoo_model_families() -> list[Offer]:
    """The family of models that no other family claims."""
    return [
        Offer(
            name="transformers",
            target="zoo_transformers.family:GeneralFamily",
            summary="any causal language model that transformers knows",
            extra="chat",
            supports={"format": ["safetensors"], "device": ["cpu", "cuda", "mps"], "model_class": ["*"]},
        )
    ]
