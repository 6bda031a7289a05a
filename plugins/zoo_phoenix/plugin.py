"""Hooks of the family `phoenix`. Light: names things, imports nothing heavy."""

from __future__ import annotations

from pathlib import Path

from zoo_core import Offer, Template, hookimpl

SYSTEM = (
    "A chat between a curious human and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the human's questions."
)


@hookimpl
def zoo_model_families() -> list[Offer]:
    """The BLOOM architecture."""
    return [
        Offer(
            name="phoenix",
            target="zoo_phoenix.family:PhoenixFamily",
            summary="BLOOM architecture: Phoenix and its relatives",
            extra="chat",
            supports={
                "format": ["safetensors"],
                "device": ["cpu", "cuda", "mps"],
                "model_class": ["BloomForCausalLM"],
                "attention": ["biased"],
            },
        )
    ]


@hookimpl
def zoo_conversation_templates() -> list[Template]:
    """The template that Phoenix and Chimera were trained with."""
    return [
        Template.from_file(
            Path(__file__).parent / "templates" / "phoenix.jinja",
            system=SYSTEM,
            roles={"user": "Human", "assistant": "Assistant"},
            stop=("</s>",),
            summary="Human and Assistant, every message between <s> and </s>",
        )
    ]
