"""The memory that a card's architecture implies where nobody has locked the card yet.

A model of known shape needs a known number of bytes once the size of a number is known; chat models are published with 16
bits for each. Whoever shows such a figure says that it is an estimate. Knows nothing of machines.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from zoo_core.cards.parts import Memory

if TYPE_CHECKING:
    from zoo_core.cards.schema import ModelCard

#: Bytes of a number as chat models are usually published, and the dtype of that size.
_WIDE, _DTYPE = 2, "float16"


def memory_of(card: ModelCard) -> tuple[Memory, bool]:
    """The memory that a card names, or an estimate of it and True; quantized weights are not estimated.

    Weights: `params` numbers. Cache: keys and values of every layer, `2 * layers * kv_heads * head_size` numbers a token.
    """
    shape = card.architecture
    if card.memory.weights_bytes or not shape.params or card.quantization is not None:
        return card.memory, False
    heads, hidden = shape.heads or 0, shape.hidden_size or 0
    size = shape.head_size or (hidden // heads if heads else 0)
    cache = 2 * (shape.layers or 0) * (shape.kv_heads or heads) * size * _WIDE
    estimate = Memory(weights_bytes=shape.params * _WIDE, kv_bytes_per_token=cache or None, dtype=_DTYPE)
    return estimate, True
