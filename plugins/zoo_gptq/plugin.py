"""Hooks of the quantizer `gptq`. Light: names things, imports nothing heavy."""

from __future__ import annotations

from zoo_core import Offer, hookimpl


@hookimpl
def zoo_quantizers() -> list[Offer]:
    """What makes and reads GPTQ weights."""
    return [
        Offer(
            name="gptq",
            target="zoo_gptq.quantizer:GptqQuantizer",
            summary="GPTQ: 2, 3, 4 or 8 bits, fitted layer by layer to conversations; AutoGPTQ's files",
            extra="gptq",
            supports={"method": ["gptq"], "loads": ["gptq"], "device": ["cpu", "cuda"]},
        )
    ]
