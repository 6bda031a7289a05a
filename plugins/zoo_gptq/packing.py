"""How GPTQ checkpoints pack small numbers into 32-bit ones, and what they mean. The layout is that of AutoGPTQ.

A column of numbers is one stream of bits, the lowest bit first, cut into words of 32 bits. For 2, 4 and 8 bits a word holds
whole numbers; for 3 bits, 32 numbers take three words and two of them lie across a border. `qweight` `[in * bits / 32, out]` is
packed along its rows, `qzeros` `[groups, out * bits / 32]` along its columns. A weight is `scales[g] * (q - zero[g])`, where
`g = g_idx[row]`. Knows nothing of files and models.
"""

from __future__ import annotations

import math

import torch

#: The bits of a word.
WORD = 32


def words(count: int, bits: int) -> int:
    """How many words `count` numbers take."""
    return math.ceil(count * bits / WORD)


def unpack(packed: torch.Tensor, bits: int, count: int) -> torch.Tensor:
    """The `count` numbers `[count, …]` of `bits` bits each, as int32, that words `[words, …]` of int32 hold."""
    mask = 2**bits - 1
    if WORD % bits == 0:
        shifts = torch.arange(0, WORD, bits, dtype=torch.int32, device=packed.device)
        parts = packed[:, None] >> shifts.view(-1, *[1] * (packed.dim() - 1))
        return parts.bitwise_and_(mask).flatten(0, 1)[:count]
    place = torch.arange(count, device=packed.device) * bits
    first = place // WORD
    shift = (place % WORD).view(-1, *[1] * (packed.dim() - 1))
    whole = packed.long() & 0xFFFFFFFF  # int32 would fill up with its sign when it is shifted to the right
    following = torch.cat([whole[1:], whole[:1]])  # what comes after the last word is never looked at
    return (((whole[first] >> shift) | (following[first] << (WORD - shift))) & mask).int()


def zero_points(qzeros: torch.Tensor, bits: int, out: int, *, minus_one: bool) -> torch.Tensor:
    """The zero points `[groups, out]`. The first version of the layout stores them `minus_one`, and 0 as the largest number."""
    stored = unpack(qzeros.t(), bits, out).t()
    return (stored + 1) & (2**bits - 1) if minus_one else stored


def regular_groups(rows: int, groups: int, group_size: int) -> torch.Tensor:
    """The group of each row where they follow each other: what `g_idx` says without act-order."""
    return torch.div(torch.arange(rows), group_size, rounding_mode="floor").clamp_(max=groups - 1).int()
