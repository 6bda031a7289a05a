"""Attention for BLOOM through PyTorch's fused kernels, with ALiBi (Press et al., 2021) as a bias.

What every token sees is decided once for a forward pass, by `plan_for`; all layers then follow that plan. ALiBi adds
`slope * position of the key`, and softmax does not change when the same number is added to a whole row. So positions may be
counted from anywhere. Here they are counted back from the last key, so that one table `[heads, queries, keys]` serves all rows,
layers and documents, and what is near has small numbers, which are exact. Knows nothing of weights, tokens and caches.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple, Protocol

import torch
from torch import nn
from torch.nn import functional as F
from transformers.models.bloom.modeling_bloom import BloomAttention, build_alibi_tensor, dropout_add

from zoo_core import ZooError

#: Queries that go through the kernel at once. More would look at more keys that come after them, fewer would leave cores idle.
BLOCK = 256

#: Up to so many scores, padded or packed rows are computed together, with a mask; beyond, document by document.
TOGETHER = 2**20


class Plan(Protocol):
    """What the queries of a forward pass see. All tensors are `[batch, heads, tokens, size of a head]`."""

    def __call__(
        self, queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, dropout: float
    ) -> torch.Tensor: ...


class Causal:
    """Every query sees the keys up to its own; the last query belongs to the last key."""

    def __init__(self, bias: Bias, queries: int, keys: int) -> None:
        """A plan for up to so many keys, of which up to so many are those of queries."""
        self._keys = keys
        self._rows = min(queries, BLOCK)
        self._table = bias.table(self._rows, keys)

    def __call__(self, queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, dropout: float) -> torch.Tensor:
        """Attend, one block of queries after the other, each to the keys that it sees."""
        count, known = queries.shape[2], min(keys.shape[2], self._keys)  # a static cache has keys that are still empty
        if count <= self._rows:
            return self._block(queries, keys, values, known, dropout)
        blocks, seen = queries.split(self._rows, dim=2), known - count
        done = []
        for block in blocks:
            seen += block.shape[2]
            done.append(self._block(block, keys, values, seen, dropout))
        return torch.cat(done, dim=2)

    def _block(
        self, queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, seen: int, dropout: float
    ) -> torch.Tensor:
        mask = self._table[:, :, self._rows - queries.shape[2] :, self._keys - seen :]
        return attend(queries, keys[:, :, :seen], values[:, :, :seen], mask, dropout)


class Masked:
    """Every query sees the keys for which a mask `[batch, heads, queries, keys]` has a bias."""

    def __init__(self, mask: torch.Tensor) -> None:
        """A plan for the keys of the mask."""
        self._mask = mask

    def __call__(self, queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, dropout: float) -> torch.Tensor:
        """Attend, all rows at once."""
        known = self._mask.shape[3]
        return attend(queries, keys[:, :, :known], values[:, :, :known], self._mask, dropout)


class Run(NamedTuple):
    """Neighbouring keys of one row that belong together, and how many of them, at the end, have queries."""

    keys: int
    queries: int
    is_padding: bool


class Documents:
    """Every query sees the keys of its own document up to its own. Padding is left out, and what comes of it is zero."""

    def __init__(self, causal: Causal, rows: list[list[Run]]) -> None:
        """A plan for rows whose runs cover all keys."""
        self._causal = causal
        self._rows = rows

    def __call__(self, queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, dropout: float) -> torch.Tensor:
        """Attend, one document after the other."""
        known = sum(run.keys for run in self._rows[0])
        parts = (queries, keys[:, :, :known], values[:, :, :known])
        each_row = zip(self._rows, *(part.split(1) for part in parts), strict=True)
        return torch.cat([self._row(runs, asked, seen, held, dropout) for runs, asked, seen, held in each_row])

    def _row(
        self, runs: list[Run], queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, dropout: float
    ) -> torch.Tensor:
        # Split, not sliced: the gradient of a slice is as large as what it was cut from.
        sizes = [run.keys for run in runs]
        each_run = zip(
            runs,
            queries.split([run.queries for run in runs], dim=2),
            keys.split(sizes, dim=2),
            values.split(sizes, dim=2),
            strict=True,
        )
        done = [
            torch.zeros_like(asked) if run.is_padding else self._causal(asked, known, held, dropout)
            for run, asked, known, held in each_run
            if run.queries
        ]
        return torch.cat(done, dim=2)


class Bias:
    """The biases of a model's heads, on a device and in the dtype that its kernels want."""

    def __init__(self, heads: int, device: torch.device, dtype: torch.dtype) -> None:
        """On a CPU the bias is float32 whatever the model's dtype: its kernel adds it to scores in float32."""
        self.heads = heads
        self.dtype = torch.float32 if device.type == "cpu" else dtype
        self.device = device
        self._slopes = torch.tensor(slopes(heads), device=device)[:, None]

    def of(self, positions: torch.Tensor) -> torch.Tensor:
        """The bias `[..., heads, keys]` in float32 of keys at `positions` `[..., keys]`."""
        return self._slopes * positions[..., None, :]

    def table(self, rows: int, keys: int) -> torch.Tensor:
        """The bias `[1, heads, rows, keys]` of the last `rows` of `keys` tokens, minus infinity for what comes after them."""
        place = torch.arange(1 - keys, 1, device=self.device)
        bias = self.of(place).to(self.dtype)[None, :, None, :]
        if rows == 1:
            return bias
        return bias.masked_fill(place > place[-rows:, None], -torch.inf)

    def masked(self, documents: torch.Tensor, queries: int) -> torch.Tensor:
        """The bias `[batch, heads, queries, keys]` of the last `queries` tokens; `documents` `[batch, keys]` are 0 for padding.

        Positions count what is no padding, as stock BLOOM does. What a query does not see gets the lowest finite number, so
        that a query of padding, which sees nothing, becomes a mean and not NaN.
        """
        positions = (documents > 0).cumsum(dim=-1)
        bias = self.of(positions - positions[:, -1:]).to(self.dtype)[:, :, None, :]
        own = documents[:, -queries:]
        seen = (own[:, :, None] == documents[:, None, :]) & (documents[:, None, :] > 0)
        if queries > 1:
            place = torch.arange(documents.shape[1], device=documents.device)
            seen &= place <= place[-queries:, None]
        return torch.where(seen[:, None], bias, torch.finfo(self.dtype).min)


@lru_cache
def slopes(heads: int) -> tuple[float, ...]:
    """The slope of each head, to the last bit as stock BLOOM has them."""
    return tuple(build_alibi_tensor(torch.ones(1, 2), heads, torch.float32)[:, 0, 1].tolist())


def attend(
    queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, mask: torch.Tensor, dropout: float
) -> torch.Tensor:
    """PyTorch's attention; the mask is broadcast over batch and queries."""
    if queries.device.type != "cpu":  # a layer may be on another device than the first; GPU kernels want aligned rows
        mask = mask.to(queries.device).contiguous()
    return F.scaled_dot_product_attention(queries, keys, values, attn_mask=mask, dropout_p=dropout)


def documents_of(
    attention_mask: torch.Tensor | None, position_ids: torch.Tensor | None, past: int, shape: tuple[int, int]
) -> torch.Tensor | None:
    """The document of every key `[batch, keys]`, numbered from 1 in each row, 0 for padding; None where all are 1.

    `shape` is that of the new tokens, `past` the number of keys before them. A document begins where the position is not that
    of the token before it plus one. Raises `ZooError` for masks and positions that BLOOM cannot follow.
    """
    batch, queries = shape
    if attention_mask is None and position_ids is None:
        return None
    here = (position_ids if attention_mask is None else attention_mask).device  # type: ignore[union-attr]
    attended = _attended(attention_mask, (batch, past + queries), here)
    if position_ids is None:
        documents = attended.long()
    else:
        if position_ids.dim() != 2 or position_ids.shape[-1] != queries:
            raise ZooError(f"The position_ids are {list(position_ids.shape)}, but they are one number for each token.")
        documents = _restarted(attended, position_ids.to(here).expand(batch, queries), past)
    return None if bool((documents == 1).all()) else documents


def _attended(attention_mask: torch.Tensor | None, shape: tuple[int, int], device: torch.device) -> torch.Tensor:
    if attention_mask is None:
        return torch.ones(shape, dtype=torch.bool, device=device)
    if attention_mask.dim() != 2 or attention_mask.shape[0] != shape[0] or attention_mask.shape[1] < shape[1]:
        raise ZooError(
            f"The attention_mask is {list(attention_mask.shape)}, but BLOOM wants {list(shape)}: 0 for padding, 1 for the rest."
        )
    return attention_mask[:, : shape[1]].bool()  # for a static cache it covers keys that are still empty


def _restarted(attended: torch.Tensor, position_ids: torch.Tensor, past: int) -> torch.Tensor:
    if past:  # what is in the cache has no positions, so the new tokens can only continue it
        expected = (attended.cumsum(dim=-1) - 1)[:, past:]
        if bool(((position_ids != expected) & attended[:, past:]).any()):
            raise ZooError("The position_ids do not continue the cache; send packed documents without a cache.")
        return attended.long()
    place = torch.arange(attended.shape[1], device=attended.device)
    latest = torch.where(attended, place, -1).cummax(dim=-1).values
    before = F.pad(latest[:, :-1], (1, 0), value=-1)  # the token before this one that is no padding
    continued = (before >= 0) & (position_ids == position_ids.gather(1, before.clamp(min=0)) + 1)
    return (attended & ~continued).cumsum(dim=-1) * attended


def plan_for(bias: Bias, documents: torch.Tensor | None, queries: int, keys: int) -> Plan:
    """The plan for `queries` new tokens at the end of `keys`, whose `documents` are as `documents_of` tells them."""
    if documents is None:
        return Causal(bias, queries, keys)
    if queries == 1 or len(documents) * bias.heads * queries * keys <= TOGETHER or _is_broken(documents):
        return Masked(bias.masked(documents, queries))
    rows = _runs(documents, keys - queries)
    real = [run for runs in rows for run in runs if not run.is_padding]
    longest = max((run.keys for run in real), default=1)
    return Documents(Causal(bias, max((run.queries for run in real), default=1), longest), rows)


def _is_broken(documents: torch.Tensor) -> bool:
    """Whether a document goes on after padding."""
    before = F.pad(documents[:, :-1], (1, 0))
    begun = ((documents != before) & (documents > 0)).sum(dim=-1)
    return not torch.equal(begun, documents.amax(dim=-1))


def _runs(documents: torch.Tensor, past: int) -> list[list[Run]]:
    found = []
    for row in documents.cpu():
        numbers, counts = torch.unique_consecutive(row, return_counts=True)
        end, runs = 0, []
        for number, count in zip(numbers.tolist(), counts.tolist(), strict=True):
            end += count
            runs.append(Run(keys=count, queries=min(count, max(0, end - past)), is_padding=number == 0))
        found.append(runs)
    return found


class FusedAttention(nn.Module):  # type: ignore[misc]
    """The attention of one layer. It takes over the weights of a stock one, under the same names."""

    def __init__(self, stock: BloomAttention) -> None:
        """Use the weights and settings of `stock`."""
        super().__init__()
        self.num_heads = stock.num_heads
        self.layer_idx = stock.layer_idx
        self.hidden_dropout = stock.hidden_dropout
        self.attention_dropout = stock.attention_dropout
        self.query_key_value = stock.query_key_value
        self.dense = stock.dense

    def forward(
        self,
        hidden_states: torch.Tensor,
        residual: torch.Tensor,
        attention_mask: Plan,
        layer_past: Any = None,
        **unused: Any,
    ) -> tuple[torch.Tensor, None]:
        """What stock BLOOM's layers call, with a `Plan` where they have a mask; `alibi` is part of the plan."""
        batch, tokens, _ = hidden_states.shape
        fused = self.query_key_value(hidden_states).view(batch, tokens, self.num_heads, 3, -1)
        queries, keys, values = (each.transpose(1, 2) for each in fused.unbind(dim=3))
        if layer_past is not None:
            keys, values = layer_past.update(keys, values, self.layer_idx)
        context = attention_mask(queries, keys, values, self.attention_dropout.p if self.training else 0.0)
        output = self.dense(context.transpose(1, 2).reshape(batch, tokens, -1))
        return dropout_add(output, residual, self.hidden_dropout, self.training), None
