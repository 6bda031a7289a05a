"""What a model needs in memory and whether this machine has it: arithmetic on what a card says, before any download.

The formulas are those of a transformer with a cache of keys and values, as the engine `transformers` runs it: a prompt goes
through the model in parts of `PREFILL` tokens, only the last token's logits are computed, and the cache grows by copying one
layer at a time. tests/test_fit.py and benchmarks/memory.py compare them with what the system measures. Knows no model.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from zoo_core.cards.index import Row
    from zoo_core.fit.machine import Device
    from zoo_core.zoo import Zoo

#: Bytes of a number of each dtype that weights are stored in.
BYTES = {"float64": 8, "float32": 4, "bfloat16": 2, "float16": 2}
#: What a model can be loaded in beside the dtype that it is stored in, the exact one first.
LOADABLE = ("float32", "bfloat16")
#: Tokens of a prompt that the engine takes at once.
PREFILL = 512
#: Python with PyTorch and transformers, measured at 0.36 GB on a CPU, and blocks of freed memory that the allocator keeps.
PROGRAM = 500_000_000
#: What an offer can say of the attention of its family's models.
KINDS = ("eager", "biased")
#: Queries for which a biased attention has a bias for every head and key, in float32.
BIASED = 256


class Needs(msgspec.Struct, frozen=True):
    """Bytes that a model needs at the fullest moment of a conversation that fills its context."""

    weights: int
    cache: int
    activations: int
    program: int = PROGRAM

    @property
    def total(self) -> int:
        """All of it."""
        return self.weights + self.cache + self.activations + self.program


class Fit(msgspec.Struct, frozen=True, kw_only=True):
    """A model in one dtype at one context, held against the free memory of one device.

    `estimated` says that its card names no memory, so that the weights are reckoned from the number of parameters.
    """

    id: str
    dtype: str
    context: int
    batch: int
    needs: Needs
    device: Device
    estimated: bool = False

    @property
    def spare(self) -> int:
        """Bytes that are left over; negative where there are too few."""
        return self.device.free_bytes - self.needs.total

    @property
    def fits(self) -> bool:
        """Whether the free memory suffices."""
        return self.spare >= 0


def lacking(row: Row, context: int | None = None, *, attention: str = "") -> list[str]:
    """The fields that a card lacks, without which nobody can tell what its model needs at its own context, or at this one."""
    fields = {
        "memory.weights_bytes": row.weights_bytes,
        "memory.kv_bytes_per_token": row.kv_bytes_per_token,
        "memory.dtype": row.dtype if row.dtype in BYTES else None,
        "context.max": row.context or context,
        "architecture.layers": row.layers,
        "architecture.hidden_size": row.hidden_size,
        "architecture.intermediate_size": row.intermediate_size,
        "architecture.vocab_size": row.vocab_size,
        "architecture.heads": row.heads if attention else 1,
    }
    return [field for field, value in fields.items() if not value]


def attentions(zoo: Zoo) -> dict[str, str]:
    """The families whose offer says `supports={"attention": [KIND]}`, and the kind.

    `eager`: their models compute whole matrices of scores. `biased`: they add a bias of each head to scores that are never
    written down. Any other is as good as none.
    """
    offers = (offer for _, offer in zoo.plugins.items("zoo_model_families"))
    return {offer.name: kind for offer in offers for kind in offer.supports.get("attention", []) if kind in KINDS}


def needs(row: Row, context: int, batch: int, dtype: str, *, attention: str = "") -> Needs:
    """What the model of a row in which nothing is `lacking` needs, loaded in `dtype`, at `batch` conversations at once.

    Weights keep their number and change their size with the dtype. Loading holds no second copy: numbers of the same dtype
    are used where the file is mapped into memory, others are converted tensor by tensor.
    """
    stored, wide = BYTES[row.dtype], BYTES[dtype]
    cache = (row.kv_bytes_per_token or 0) * context * batch * wide // stored
    return Needs(
        weights=(row.weights_bytes or 0) * wide // stored,
        cache=cache,
        activations=_activations(row, context, batch, wide, cache, attention),
    )


def _activations(row: Row, context: int, batch: int, wide: int, cache: int, kind: str) -> int:
    """What a pass over `PREFILL` tokens at the end of the context holds beside weights and cache, at its fullest moment.

    That is the widest of three moments of one layer: inside its feed-forward block, while its cache grows, and during the
    attention. To it come the logits of one token, in `wide` bytes and in float32, and what a biased attention adds to scores.
    """
    step = min(context, PREFILL)
    layers, hidden = row.layers or 1, row.hidden_size or 0
    passing = step * hidden * wide * batch
    inside = step * (row.intermediate_size or 0) * wide * batch
    # The scores of the layer before are held until those of this one are there.
    before = (row.heads or 0) * step * context * wide * batch if kind == "eager" else 0
    block = 4 * passing + 4 * inside + before
    growing = 8 * passing + cache // layers // 2
    attention = 6 * passing + _attention(row, context, batch, wide, kind)
    bias = (row.heads or 0) * min(step, BIASED) * context * BYTES["float32"] if kind == "biased" else 0
    return max(block, growing, attention) + bias + (row.vocab_size or 0) * (wide + 4) * batch


def _attention(row: Row, context: int, batch: int, wide: int, kind: str) -> int:
    """What the attention of one layer holds beside queries, keys and values.

    Eager: the scores of the layer before, the raw, and the masked ones, their softmax in float32, and its input converted
    to that. Otherwise no scores, but a mask from the second part on (unless there is a bias anyway), for which keys and values
    that heads share are repeated, and, in 16 bits, a copy of both in the order that the processor's matrix units want (Dao et
    al. 2022 tell why the scores are not needed).
    """
    step = min(context, PREFILL)
    parts = context > step
    mask = step * context * (1 + wide) * batch if kind == "eager" or (parts and not kind) else 0
    if kind == "eager":
        return mask + (row.heads or 0) * step * context * batch * (3 * wide + 4 + (4 if wide < 4 else 0))
    hidden = row.hidden_size or 0
    both = 2 * context * hidden * wide * batch
    shared = (row.kv_bytes_per_token or 0) < 2 * (row.layers or 0) * hidden * BYTES[row.dtype]
    return mask + (both if parts and shared else 0) + (both if wide < 4 else 0)


def is_packed(row: Row) -> bool:
    """Whether the weights are quantized, so that they stay as they are stored."""
    return row.bits is not None or row.relation == "quantized"


def dtypes(row: Row) -> list[str]:
    """The dtypes to load a model in: as stored, and others of another size, the exact one first."""
    if is_packed(row):
        return [row.dtype]
    others = [each for each in LOADABLE if BYTES[each] != BYTES[row.dtype]]
    own = [row.dtype] if BYTES[row.dtype] <= BYTES["float32"] else []
    return sorted([*own, *others], key=lambda each: -BYTES[each])


def fits_of(
    row: Row, devices: Iterable[Device], context: int | None = None, batch: int = 1, *, attention: str = ""
) -> list[Fit]:
    """The model of a row in each of its `dtypes` on each device; nothing where the card does not say enough.

    `context` is the model's own where it is None or more than that.
    """
    if row.kind != "model" or row.relation == "adapter" or lacking(row, context, attention=attention):
        return []
    tokens = min(each for each in (context, row.context) if each)
    need = {dtype: needs(row, tokens, batch, dtype, attention=attention) for dtype in dtypes(row)}
    return [
        Fit(
            id=row.id,
            dtype=dtype,
            context=tokens,
            batch=batch,
            needs=need[dtype],
            device=device,
            estimated=bool(row.estimated),
        )
        for dtype, device in itertools.product(need, devices)
    ]


def best(fits: Sequence[Fit]) -> Fit | None:
    """The fit to take: the most exact that fits, on the first device that has room; else the one that lacks least."""
    return next((each for each in fits if each.fits), None) or max(fits, key=lambda each: each.spare, default=None)


def fits_row(
    row: Row, devices: Iterable[Device], context: int | None = None, batch: int = 1, *, attention: str = ""
) -> Fit | None:
    """The best fit of a card's own model, for listings; None where the card does not say enough."""
    return best(fits_of(row, devices, context, batch, attention=attention))


def variants(row: Row, rows: Iterable[Row]) -> list[Row]:
    """The cards of the same model in other sizes: those that a card names, and those that say they are quantized from it."""
    return [
        each
        for each in rows
        if each.id != row.id
        and (each.id in row.variants or (each.relation == "quantized" and each.base and each.base == row.id))
    ]
