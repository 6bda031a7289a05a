"""Hooks of supervised fine-tuning. Light: names things, imports nothing heavy."""

from __future__ import annotations

from zoo_core import Offer, hookimpl


@hookimpl
def zoo_trainers() -> list[Offer]:
    """Full fine-tuning."""
    return [
        Offer(
            name="full",
            target="zoo_sft.full:FullTrainer",
            summary="full fine-tuning of all weights with transformers.Trainer",
            extra="train",
            supports={"device": ["cpu", "cuda", "mps"]},
        )
    ]
