"""Many conversations in one BLOOM, which begin and end whenever they like (continuous batching; Yu et al., 2022).

Every conversation has a row of a cache. In a step, the new tokens of all of them pass the model as one long row, so that the
weights are read once for all, and only the attention tells them apart. ALiBi counts from key to query, so neither where a row
lies nor what its neighbours do has a part in the result. Knows nothing of text, sampling and who waits for an answer.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import torch

from zoo_core import ZooError
from zoo_phoenix.attention import Bias, Causal, attend
from zoo_phoenix.model import BloomForCausalLM

#: Conversations whose lengths differ by more than this factor are attended apart: together, all cost as much as the longest.
ALIKE = 2

#: Tokens for which a row has room at first.
ROOM = 128


class ContinuousBatch:
    """Conversations that a model continues together.

    The caller chooses tokens and puts them in; a step runs what was put in and gives the logits after it:

        batch = ContinuousBatch(model, slots=8, context=2048)
        handle = batch.join(ids)
        while (logits := batch.step().get(handle)) is None:
            pass
        batch.extend(handle, [int(logits.argmax())])

    A handle is never given twice. Not for several threads at once.
    """

    def __init__(self, model: BloomForCausalLM, *, slots: int, context: int, part: int = 512) -> None:
        """Room for `slots` conversations of up to `context` tokens; a step takes up to `part` tokens of longer inputs."""
        if not isinstance(model, BloomForCausalLM):
            raise ZooError(f"A continuous batch runs models of zoo_phoenix, not a {type(model).__name__}.")
        if model.training:
            raise ZooError("A continuous batch runs a model that is not being trained; call its eval() first.")
        if min(slots, context, part) < 1:
            raise ZooError("A continuous batch has at least one slot, a context of one token, and parts of one token.")
        self._model = model
        self._slots = slots
        self._context = context
        self._part = part
        self._cache = _SlotCache(slots, context)
        self._conversations: dict[int, _Conversation] = {}
        self._next = 0

    def __len__(self) -> int:
        """The number of conversations."""
        return len(self._conversations)

    @property
    def free(self) -> int:
        """How many more can join."""
        return self._slots - len(self)

    def room(self, handle: int) -> int:
        """How many tokens a conversation can still be extended by."""
        conversation = self._of(handle)
        return self._context - conversation.done - len(conversation.waiting)

    def join(self, ids: Sequence[int]) -> int:
        """Begin a conversation with a prompt; returns its handle. Raises `ZooError` where there is no slot or room for it."""
        if not self.free:
            raise ZooError(f"All {self._slots} slots of the batch are taken; let a conversation leave first.")
        taken = {each.slot for each in self._conversations.values()}
        slot = next(number for number in range(self._slots) if number not in taken)
        handle, self._next = self._next, self._next + 1
        self._conversations[handle] = _Conversation(slot)
        try:
            self.extend(handle, ids)
        except ZooError:
            self.leave(handle)
            raise
        return handle

    def extend(self, handle: int, ids: Sequence[int]) -> None:
        """Add tokens: the one that was chosen, or those of the user's next message. They run in the next steps."""
        size = self._model.config.vocab_size
        if not ids:
            raise ZooError("There are no tokens to extend the conversation by.")
        if unknown := next((each for each in ids if not 0 <= each < size), None):
            raise ZooError(f"The model has no token {unknown}: its vocabulary has {size}.")
        if len(ids) > (room := self.room(handle)):
            raise ZooError(f"{len(ids)} tokens do not fit: there is room for {room} of the {self._context}.")
        self._of(handle).waiting.extend(ids)

    def leave(self, handle: int) -> None:
        """End a conversation; its row is free at once."""
        conversation = self._of(handle)
        self._cache.clear(conversation.slot)
        del self._conversations[handle]

    @torch.inference_mode()  # type: ignore[untyped-decorator]
    def step(self) -> dict[int, torch.Tensor]:
        """Run what waits; returns logits `[vocabulary]` of the conversations of which nothing waits any more.

        A conversation with one token waiting always takes part. Longer inputs go in parts, the oldest conversation first, and
        their conversations are missing in the result until all is through. If a step fails, it can be done again.
        """
        shares = self._shares()
        if not shares:
            return {}
        ids = [each for share in shares for each in share.conversation.waiting[: share.tokens]]
        device = self._model.get_input_embeddings().weight.device
        embeds = self._model.get_input_embeddings()(torch.tensor([ids], device=device))
        self._cache.aim(shares, device)
        plan = _Rows(Bias(self._model.config.n_head, device, embeds.dtype), shares)
        hidden, _ = self._model.transformer.run(embeds, plan, self._cache)
        ends = zip(shares, itertools.accumulate(share.tokens for share in shares), strict=True)
        last = {share.handle: end - 1 for share, end in ends if share.tokens == len(share.conversation.waiting)}
        logits = self._model.lm_head(hidden[0, list(last.values())])
        for share in shares:
            share.conversation.done = share.after
            del share.conversation.waiting[: share.tokens]
        return dict(zip(last, logits, strict=True))

    def _shares(self) -> list[_Share]:
        """What each conversation brings to the next step: single tokens first, by slot, so that neighbours can go together."""
        shares, left = [], self._part
        for handle, each in self._conversations.items():
            count = len(each.waiting) if len(each.waiting) == 1 else min(len(each.waiting), left)
            left -= count if len(each.waiting) > 1 else 0
            if count:
                shares.append(_Share(handle, each, count))
        return sorted(shares, key=lambda share: (share.tokens > 1, share.conversation.slot))

    def _of(self, handle: int) -> _Conversation:
        try:
            return self._conversations[handle]
        except KeyError:
            raise ZooError(f"There is no conversation {handle} in the batch; it has left, or never joined.") from None


class _Conversation:
    """Which row a conversation has, how many tokens are in it, and which are not yet."""

    def __init__(self, slot: int) -> None:
        self.slot = slot
        self.done = 0
        self.waiting: list[int] = []


class _Share(NamedTuple):
    """The tokens of one conversation in a step: so many of those that wait."""

    handle: int
    conversation: _Conversation
    tokens: int

    @property
    def slot(self) -> int:
        return self.conversation.slot

    @property
    def after(self) -> int:
        """Tokens that are in the row after the step."""
        return self.conversation.done + self.tokens


class _SlotCache:
    """Keys and values `[slots, heads, tokens, size]` of each layer. Rows are used again; rows and room grow when they must."""

    def __init__(self, slots: int, context: int) -> None:
        self._slots = slots
        self._context = context
        self._rows = 0
        self._room = 0
        self._layers: dict[int, list[torch.Tensor]] = {}
        self._places: tuple[torch.Tensor, torch.Tensor] | None = None

    def aim(self, shares: Sequence[_Share], device: torch.device) -> None:
        """Say which rows and places the next tokens go to."""
        rows = max(share.slot for share in shares) + 1
        room = max(share.after for share in shares)
        if rows > self._rows:
            self._rows = min(self._slots, max(rows, 2 * self._rows))
        if room > self._room:
            self._room = min(self._context, max(room, 2 * self._room, ROOM))
        slots = [share.slot for share in shares for _ in range(share.tokens)]
        places = [place for share in shares for place in range(share.conversation.done, share.after)]
        self._places = (torch.tensor(slots, device=device), torch.tensor(places, device=device))

    def update(self, keys: torch.Tensor, values: torch.Tensor, layer: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Put the tokens `[1, heads, tokens, size]` where they belong, and return what the layer has."""
        assert self._places is not None
        slots, places = (each.to(keys.device) for each in self._places)
        held = self._layers.get(layer, [])
        if not held or held[0].shape[0] < self._rows or held[0].shape[2] < self._room:
            held = [self._grown(each, old) for each, old in zip((keys, values), held or (None, None), strict=True)]
            self._layers[layer] = held
        for whole, new in zip(held, (keys, values), strict=True):
            whole[slots, :, places] = new[0].transpose(0, 1)
        return held[0], held[1]

    @torch.inference_mode()  # type: ignore[untyped-decorator]
    def clear(self, slot: int) -> None:
        """Forget a row: the next conversation in it finds zeros, and nobody what was said."""
        for whole in itertools.chain.from_iterable(self._layers.values()):
            whole[slot : slot + 1] = 0

    def _grown(self, new: torch.Tensor, old: torch.Tensor | None) -> torch.Tensor:
        # Zeros, because what is masked is multiplied by 0, and 0 times what was in the memory before may be NaN.
        whole = new.new_zeros(self._rows, new.shape[1], self._room, new.shape[3])
        if old is not None:
            whole[: old.shape[0], :, : old.shape[2]] = old
        return whole


class _Group(NamedTuple):
    """Single tokens of neighbouring rows that are attended together: where they lie, and the bias of their keys."""

    places: slice
    rows: slice
    bias: torch.Tensor


class _Rows:
    """The plan of a step: every token sees the keys of its own row up to its own."""

    def __init__(self, bias: Bias, shares: Sequence[_Share]) -> None:
        singles = [share for share in shares if share.tokens == 1]
        self._longer = [share for share in shares if share.tokens > 1]
        self._groups = _groups(bias, singles)
        self._singles = len(singles)
        if self._longer:
            most = max(share.tokens for share in self._longer)
            self._causal = Causal(bias, most, max(share.after for share in self._longer))

    def __call__(self, queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, dropout: float) -> torch.Tensor:
        """Attend; queries are `[1, heads, tokens, size]`, keys and values those of all rows."""
        done = []
        for group in self._groups:
            known = group.bias.shape[3]
            asked = queries[:, :, group.places].transpose(0, 2)
            seen, held = keys[group.rows, :, :known], values[group.rows, :, :known]
            done.append(attend(asked, seen, held, group.bias, dropout).transpose(0, 2))
        start = self._singles
        for share in self._longer:
            asked = queries[:, :, start : start + share.tokens]
            row = slice(share.slot, share.slot + 1)
            done.append(self._causal(asked, keys[row, :, : share.after], values[row, :, : share.after], dropout))
            start += share.tokens
        return torch.cat(done, dim=2)


def _groups(bias: Bias, shares: Sequence[_Share]) -> list[_Group]:
    """Runs of neighbouring rows whose lengths are alike."""
    runs: list[list[_Share]] = []
    for share in shares:
        run = runs[-1] if runs else []
        lengths = [each.after for each in (*run, share)]
        if run and share.slot == run[-1].slot + 1 and max(lengths) <= ALIKE * min(lengths):
            run.append(share)
        else:
            runs.append([share])
    groups, start = [], 0
    for run in runs:
        rows = slice(run[0].slot, run[-1].slot + 1)
        groups.append(_Group(slice(start, start + len(run)), rows, _bias(bias, [each.after for each in run])))
        start += len(run)
    return groups


def _bias(bias: Bias, lengths: Sequence[int]) -> torch.Tensor:
    """The bias `[rows, heads, 1, keys]` of rows of these lengths, counted back from the last key of each."""
    ends = torch.tensor(lengths, device=bias.device)[:, None]
    places = torch.arange(max(lengths), device=bias.device) - (ends - 1)
    biases = bias.of(places).to(bias.dtype)
    return biases.masked_fill((places > 0)[:, None], -torch.inf)[:, :, None]
