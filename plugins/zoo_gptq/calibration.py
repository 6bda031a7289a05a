"""Conversations as token ids, with which activations are measured: rendered as the model is asked, never raw text."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import msgspec

from zoo_core import Conversation, Template, UsageProblem, render

#: Tokens of a conversation that are measured at most, whatever the model's context.
LONGEST = 2048
#: Tokens that are needed in all; with fewer, the measurements say nothing.
FEWEST = 256


class Calibration(msgspec.Struct, frozen=True, kw_only=True):
    """Rows of token ids, and how many of them were cut because they were too long."""

    rows: list[list[int]]
    cut: int

    @property
    def tokens(self) -> int:
        """How many tokens there are in all."""
        return sum(map(len, self.rows))


def calibration_rows(
    conversations: Sequence[Conversation],
    template: Template | None,
    tokenizer: Any,
    *,
    samples: int,
    context: int | None,
    seed: int,
) -> Calibration:
    """Choose `samples` conversations, all of them where there are fewer, and make them rows. Raises `UsageProblem`."""
    if not conversations:
        raise UsageProblem(
            "GPTQ measures what goes through the model, so it needs conversations like those that the model will have; "
            "name a file of them: --calibration FILE"
        )
    if template is None:
        raise UsageProblem(
            "GPTQ renders its conversations through the model's template, and the model's card names none."
        )
    chosen = random.Random(seed).sample(list(conversations), min(samples, len(conversations)))
    begin = [tokenizer.bos_token_id] if template.add_bos else []
    longest = min(LONGEST, context or LONGEST)
    rows, cut = [], 0
    for conversation in chosen:
        text = render(template, conversation.messages, reply=False).text
        ids = (
            begin + tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        )  # it would warn of long ones
        cut += len(ids) > longest
        rows.append(ids[:longest])
    found = Calibration(rows=rows, cut=cut)
    if found.tokens < FEWEST:
        raise UsageProblem(
            f"The {len(rows)} conversations to calibrate with have {found.tokens} tokens in all, and at least {FEWEST} are "
            "needed, better a hundred times as many; name a larger file."
        )
    return found
