"""Hooks of the families `chimera` and `llama`. Light: names things, imports nothing heavy.

Chimera speaks the template of Phoenix, which its cards name.
"""

from __future__ import annotations

from zoo_core import Offer, hookimpl


@hookimpl
def zoo_model_families() -> list[Offer]:
    """The LLaMA architecture: Chimera, and the models that it is a delta of."""
    return [
        Offer(
            name="chimera",
            target="zoo_chimera.family:ChimeraFamily",
            summary="LLaMA architecture: Chimera, from the deltas over LLaMA or whole",
            extra="chat",
            supports={"format": ["safetensors"], "device": ["cpu", "cuda", "mps"]},
        ),
        Offer(
            name="llama",
            target="zoo_chimera.family:ChimeraFamily",
            summary="LLaMA architecture: the base models",
            extra="chat",
            supports={
                "format": ["safetensors"],
                "device": ["cpu", "cuda", "mps"],
                "model_class": ["LlamaForCausalLM"],
            },
        ),
    ]
