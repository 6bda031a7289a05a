"""Keys and values of conversations: a layer of transformers' cache that grows without copying what it has.

transformers' own makes a new tensor for every token, so that a token of a long conversation costs a copy of its whole cache.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

#: Tokens for which there is room ahead, at least; beyond 8 times that, an eighth of those that are there.
AHEAD = 64


class RoomyLayer(DynamicLayer):  # type: ignore[misc]
    """A layer of a `DynamicCache` with room for the next tokens. `keys` and `values` are views of what is filled."""

    keys: torch.Tensor
    values: torch.Tensor

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Begin empty."""
        super().lazy_initialization(key_states, value_states)
        self._keys = _Room()
        self._values = _Room()

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Add tokens, and return all that are there."""
        if key_states.requires_grad:  # writing in place would lose the gradients
            copied: tuple[torch.Tensor, torch.Tensor] = super().update(key_states, value_states, *args, **kwargs)
            return copied
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        self.keys = self._keys.add(self.keys, key_states)
        self.values = self._values.add(self.values, value_states)
        return self.keys, self.values


class _Room:
    """A tensor `[batch, heads, capacity, size]` of which the first tokens are filled."""

    def __init__(self) -> None:
        self._whole: torch.Tensor | None = None
        self._filled: torch.Tensor | None = None

    def add(self, old: torch.Tensor, new: torch.Tensor) -> torch.Tensor:
        """`old` and `new`, one after the other. Copies `old` if it is not what was returned last, or if there is no room."""
        before = old.shape[-2] if old.numel() else 0
        after = before + new.shape[-2]
        whole = self._whole
        fresh = old is not self._filled or whole is None or after > whole.shape[2]
        if fresh or (whole.is_inference() and not torch.is_inference_mode_enabled()):  # type: ignore[union-attr]
            whole = new.new_empty(*new.shape[:2], after + max(AHEAD, after // 8), new.shape[3])
            if before:
                whole[:, :, :before] = old
        assert whole is not None
        whole[:, :, before:after] = new
        self._whole = whole
        self._filled = whole[:, :, :after]
        return self._filled


def make_roomy(cache: Any) -> None:
    """Give a plain, empty `DynamicCache` layers with room; leave every other cache as it is."""
    if type(cache) is not DynamicCache or cache.offloading or cache.get_seq_length():
        return
    cache.layers = [RoomyLayer() if type(layer) is DynamicLayer else layer for layer in cache.layers]
    if cache.layer_class_to_replicate is DynamicLayer:
        cache.layer_class_to_replicate = RoomyLayer
