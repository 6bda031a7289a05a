"""Hooks of the quantizer `int8`. Light: names things, imports nothing heavy."""

from __future__ import annotations

from zoo_core import Offer, hookimpl

#: What it makes, in memory as well as on disk.
METHODS = ["int8", "nf4", "fp4", "original-int8"]


@hookimpl
def zoo_quantizers() -> list[Offer]:
    """What shrinks linear layers to eight or four bits, without calibration data."""
    return [
        Offer(
            name="int8",
            target="zoo_int8.quantizer:Int8Quantizer",
            summary="8 or 4 bits for any transformers model; fast int8 kernels on a CPU, bitsandbytes on a GPU",
            extra="int8",
            supports={
                "method": METHODS,
                "in_memory": METHODS,
                "load_8bit": ["int8"],
                "load_4bit": ["nf4"],
                "loads": ["bitsandbytes", "zoo-original-int8"],
            },
        )
    ]
