"""Hooks of engine and quantizer `gguf`. Light: names things, imports nothing heavy."""

from __future__ import annotations

from zoo_core import Offer, hookimpl

#: What is written in Python, and what llama.cpp makes from that.
WRITTEN = ["f32", "f16", "bf16", "q8_0", "q5_0", "q4_0"]
MADE_BY_LLAMA_CPP = ["q6_k", "q5_k_m", "q5_k_s", "q4_k_m", "q4_k_s", "q3_k_l", "q3_k_m", "q3_k_s", "q2_k"]


@hookimpl
def zoo_engines() -> list[Offer]:
    """The engine that runs GGUF files."""
    return [
        Offer(
            name="gguf",
            target="zoo_gguf.engine:GgufEngine",
            summary="GGUF files through llama.cpp, on CPU or GPU, without PyTorch",
            extra="gguf",
            supports={"format": ["gguf"], "needs": ["weights"], "device": ["cpu", "cuda", "mps"]},
        )
    ]


@hookimpl
def zoo_quantizers() -> list[Offer]:
    """What writes GGUF files, in full precision or in fewer bits."""
    return [
        Offer(
            name="gguf",
            target="zoo_gguf.quantizer:GgufQuantizer",
            summary="GGUF files for llama.cpp, from BLOOM and LLaMA checkpoints",
            extra="chat,gguf",
            supports={
                "method": [*WRITTEN, *MADE_BY_LLAMA_CPP],
                "model_class": ["BloomForCausalLM", "LlamaForCausalLM"],
            },
        )
    ]
