"""Choose the next token from logits, in the order and with the meaning that transformers gives to the options.

Every choice draws from a generator of its own, so that a seed decides one answer and nothing else.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from zoo_core import Sampling, ZooError

#: Temperatures below this are greedy too: logits divided by them would leave the range of float32.
GREEDY_BELOW = 1e-6


class Chooser:
    """Chooses tokens for one answer. `seen` are the ids that a repetition penalty makes less likely."""

    def __init__(self, sampling: Sampling, seen: list[int]) -> None:
        """Tokens that are chosen are added to those that were seen."""
        self._sampling = sampling
        self._greedy = sampling.temperature < GREEDY_BELOW
        self._generator = np.random.default_rng(sampling.seed)
        self._seen = set(seen)

    def __call__(self, logits: np.ndarray[Any, np.dtype[np.float32]]) -> int:
        """The next token, from logits `[vocabulary]`, which are changed."""
        if np.isnan(logits).any():
            raise ZooError("The model computes numbers that are none (NaN): get its weights again.")
        if self._sampling.repetition_penalty not in (None, 1.0):
            ids = np.fromiter(self._seen, dtype=np.int64)
            scores, penalty = logits[ids], np.float32(self._sampling.repetition_penalty)
            logits[ids] = np.where(scores < 0, scores * penalty, scores / penalty)
        token = int(logits.argmax()) if self._greedy else self._drawn(logits)
        self._seen.add(token)
        return token

    def _drawn(self, logits: np.ndarray[Any, np.dtype[np.float32]]) -> int:
        ids = np.arange(len(logits))
        top_k, top_p = self._sampling.top_k, self._sampling.top_p
        if top_k and top_k < len(logits):
            least = np.partition(logits, -top_k)[-top_k]
            ids = np.flatnonzero(logits >= least)
        scores = logits[ids].astype(np.float64) / self._sampling.temperature
        shares = np.exp(scores - scores.max())
        if top_p and top_p < 1.0:
            order = np.argsort(-shares, kind="stable")
            before = np.cumsum(shares[order]) - shares[order]
            order = order[: max(1, int(np.searchsorted(before, top_p * shares.sum())))]
            ids, shares = ids[order], shares[order]
        sums = np.cumsum(shares)
        return int(ids[np.searchsorted(sums, self._generator.random() * sums[-1], side="right")])
