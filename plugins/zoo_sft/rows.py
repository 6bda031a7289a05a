"""Conversations as rows of token ids and labels. What is learned is decided by the template's spans alone.

The text of a conversation is tokenised once, as a whole, and every token that holds a character which the assistant said
is a target: linear in the number of turns, and no searching for turns in the tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch

from zoo_core import Conversation, Template, ZooError, render

#: The label of a token that is not learned (the `ignore_index` of torch's cross entropy).
IGNORED = -100


def make_rows(
    conversations: Sequence[Conversation], template: Template, tokenizer: Any, *, max_length: int, too_long: str
) -> tuple[list[dict[str, list[int]]], int]:
    """Rows with `input_ids` and `labels` of equal length, and how many conversations were left out as too long.

    `too_long` is `error` or `skip`. Raises `ZooError` for a conversation without a learned token.
    """
    rows, skipped = [], 0
    for number, (conversation, ids, labels) in enumerate(_tokenised(conversations, template, tokenizer), 1):
        name = f"Conversation {number}" + (f" ({conversation.id})" if conversation.id else "")
        if len(ids) > max_length:
            if too_long == "skip":
                skipped += 1
                continue
            message = (
                f"{name} has {len(ids)} tokens, but only {max_length} fit; raise max_length, or choose too_long=skip."
            )
            raise ZooError(message)
        if all(label == IGNORED for label in labels):
            raise ZooError(f"{name} would teach nothing: the assistant says nothing in it. Remove it from the data.")
        rows.append({"input_ids": ids, "labels": labels})
    if not rows:
        raise ZooError("There is nothing to learn from: the data holds no conversation that fits.")
    return rows, skipped


def _tokenised(
    conversations: Sequence[Conversation], template: Template, tokenizer: Any
) -> Iterator[tuple[Conversation, list[int], list[int]]]:
    begin = [tokenizer.bos_token_id] if template.add_bos else []
    for start in range(0, len(conversations), 1000):
        batch = conversations[start : start + 1000]
        rendered = [render(template, conversation.messages, reply=False) for conversation in batch]
        encoded = tokenizer([each.text for each in rendered], add_special_tokens=False, return_offsets_mapping=True)
        for conversation, each, ids, offsets in zip(
            batch, rendered, encoded["input_ids"], encoded["offset_mapping"], strict=True
        ):
            labels = learned(ids, offsets, each.spans)
            yield conversation, begin + ids, [IGNORED] * len(begin) + labels


def learned(ids: Sequence[int], offsets: Sequence[tuple[int, int]], spans: Sequence[tuple[int, int]]) -> list[int]:
    """The labels of one row: a token's own id where it holds a character of a span, else `IGNORED`.

    `offsets` are the `[start, end)` characters of each token, in order; `spans` are those of the assistant, in order.
    """
    labels = [IGNORED] * len(ids)
    remaining = iter(spans)
    span = next(remaining, None)
    for position, (start, end) in enumerate(offsets):
        while span is not None and start >= span[1]:
            span = next(remaining, None)
        if span is None:
            break
        if end > span[0] and end > start:
            labels[position] = ids[position]
    return labels


def collate(rows: Sequence[dict[str, list[int]]], pad_id: int) -> dict[str, torch.Tensor]:
    """Rows as tensors `[batch, longest]`, padded at the right; padding is neither attended to nor learned."""
    longest = max(len(row["input_ids"]) for row in rows)
    missing = [longest - len(row["input_ids"]) for row in rows]
    pairs = list(zip(rows, missing, strict=True))
    return {
        "input_ids": torch.tensor([row["input_ids"] + [pad_id] * count for row, count in pairs]),
        "labels": torch.tensor([row["labels"] + [IGNORED] * count for row, count in pairs]),
        "attention_mask": torch.tensor([[1] * len(row["input_ids"]) + [0] * count for row, count in pairs]),
    }
