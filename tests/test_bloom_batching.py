"""Continuous batching of BLOOM: every conversation gets what it would get alone, whoever joins and leaves beside it."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from typing import Any

import pytest
import torch
import transformers
from transformers import BloomConfig

from zoo_core import ZooError
from zoo_phoenix import batching
from zoo_phoenix.batching import ContinuousBatch
from zoo_phoenix.model import BloomForCausalLM

NEAR = {"atol": 1e-5, "rtol": 1e-6}


def make(kind: type, dtype: torch.dtype = torch.float32) -> Any:
    torch.manual_seed(0)
    made = BloomConfig(vocab_size=300, hidden_size=96, n_layer=3, n_head=6, hidden_dropout=0.0, attention_dropout=0.0)
    return kind(made).to(dtype).eval()


@pytest.fixture(scope="module")
def model() -> Any:
    return make(BloomForCausalLM)


@pytest.fixture(scope="module")
def stock() -> Any:
    """The same weights in transformers' own class."""
    return make(transformers.BloomForCausalLM)


def prompt(length: int, seed: int = 0) -> list[int]:
    chance = random.Random(seed * 10_000 + length)
    return [chance.randrange(4, 300) for _ in range(length)]


@torch.no_grad()
def alone(stock: Any, ids: Sequence[int], count: int) -> tuple[list[int], list[torch.Tensor]]:
    """Greedy tokens and their logits, from transformers' BLOOM, without a cache."""
    ids, found = list(ids), []
    for _ in range(count):
        found.append(stock(torch.tensor([ids]), use_cache=False).logits[0, -1])
        ids.append(int(found[-1].argmax()))
    return ids[-count:], found


def until_all_is_through(batch: ContinuousBatch, handle: int) -> torch.Tensor:
    while (found := batch.step().get(handle)) is None:
        pass
    return found


class Served:
    """A conversation with the tokens and logits that it has got."""

    def __init__(self, ids: list[int], count: int) -> None:
        self.ids, self.count = ids, count
        self.tokens: list[int] = []
        self.logits: list[torch.Tensor] = []

    def take(self, logits: torch.Tensor) -> int:
        self.logits.append(logits)
        self.tokens.append(int(logits.argmax()))
        return self.tokens[-1]


def serve(batch: ContinuousBatch, jobs: Sequence[Served], chance: random.Random) -> None:
    """Answer all, greedily; they join whenever there is room and chance has it."""
    waiting, live = list(jobs), dict[int, Served]()
    while waiting or live:
        while waiting and batch.free and (not live or chance.random() < 0.7):
            served = waiting.pop(0)
            live[batch.join(served.ids)] = served
        for handle, logits in batch.step().items():
            token = live[handle].take(logits)
            if len(live[handle].tokens) == live[handle].count:
                batch.leave(handle)
                del live[handle]
            else:
                batch.extend(handle, [token])


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("slots", "part"), [(1, 512), (3, 7), (4, 64), (8, 512)])
def test_each_conversation_gets_what_it_gets_alone(model: Any, stock: Any, slots: int, part: int, seed: int) -> None:
    chance = random.Random(seed)
    jobs = [Served(prompt(chance.choice([1, 2, 9, 40, 150]), seed), chance.randint(1, 9)) for _ in range(9)]
    serve(ContinuousBatch(model, slots=slots, context=200, part=part), jobs, chance)
    for job in jobs:
        tokens, logits = alone(stock, job.ids, job.count)
        assert job.tokens == tokens
        torch.testing.assert_close(torch.stack(job.logits), torch.stack(logits), **NEAR)


def test_rows_grow_while_conversations_go_on(model: Any, stock: Any) -> None:
    batch = ContinuousBatch(model, slots=4, context=700, part=300)
    jobs = [Served(prompt(length), 3) for length in (5, 120, 600, 3)]
    serve(batch, jobs, random.Random(0))
    assert [job.tokens for job in jobs] == [alone(stock, job.ids, 3)[0] for job in jobs]


def test_what_a_neighbour_said_has_no_part_in_an_answer(model: Any) -> None:
    """The row of a conversation that left, broken numbers and all, is that of the next; another beside it is longer."""
    batch = ContinuousBatch(model, slots=2, context=64)
    broken = batch.join(prompt(40))
    batch.step()
    with torch.inference_mode():
        for whole in itertools.chain.from_iterable(batch._cache._layers.values()):
            whole[:1] = torch.nan
    batch.leave(broken)
    fresh = ContinuousBatch(model, slots=2, context=64)
    found, expected = ([each.join(prompt(length)) for length in (20, 30)] for each in (batch, fresh))
    for _ in range(2):  # the second time both rows are attended together
        after, same = batch.step(), fresh.step()
        for one, other in zip(found, expected, strict=True):
            assert torch.equal(after[one], same[other])
            batch.extend(one, [9])
            fresh.extend(other, [9])


def test_a_longer_input_waits_for_nobody_and_nobody_for_it(model: Any) -> None:
    batch = ContinuousBatch(model, slots=2, context=100, part=10)
    quick = batch.join(prompt(4))
    assert batch.step().keys() == {quick}
    slow = batch.join(prompt(35))
    told = []
    for _ in range(4):
        batch.extend(quick, [7])
        told.append(set(batch.step()))
    assert told == [{quick}, {quick}, {quick}, {quick, slow}]
    assert (batch.room(quick), batch.room(slow)) == (92, 65)
    assert batch.step() == {}


def test_the_oldest_input_goes_first_and_shares_what_it_leaves(model: Any) -> None:
    batch = ContinuousBatch(model, slots=3, context=100, part=10)
    first, second, third = (batch.join(prompt(length)) for length in (14, 6, 8))
    assert [list(batch.step()) for _ in range(4)] == [[], [first, second], [third], []]


def test_a_conversation_has_several_turns(model: Any, stock: Any) -> None:
    batch = ContinuousBatch(model, slots=2, context=200, part=16)
    handle, other = batch.join(prompt(30)), batch.join(prompt(10))
    history = prompt(30)
    for turn in (prompt(20, seed=1), prompt(1, seed=2), prompt(33, seed=3)):
        found = until_all_is_through(batch, handle)
        torch.testing.assert_close(found, alone(stock, history, 1)[1][0], **NEAR)
        batch.extend(handle, turn)
        history += turn
    torch.testing.assert_close(until_all_is_through(batch, handle), alone(stock, history, 1)[1][0], **NEAR)
    batch.leave(other)


def test_slots_are_used_again_and_handles_are_not(model: Any) -> None:
    batch = ContinuousBatch(model, slots=2, context=20)
    first, second = batch.join([5]), batch.join([6])
    assert (len(batch), batch.free) == (2, 0)
    batch.leave(first)
    third = batch.join([7])
    assert len({first, second, third}) == 3
    assert batch.step().keys() == {second, third}


@pytest.mark.parametrize(
    ("alike", "expected"), [(2, [[0, 1], [2], [3]]), (1000, [[0, 1, 2, 3]]), (1, [[0], [1], [2], [3]])]
)
def test_rows_of_like_length_are_attended_together(
    model: Any, stock: Any, alike: int, expected: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batching, "ALIKE", alike)
    batch = ContinuousBatch(model, slots=4, context=200)
    prompts = [prompt(length) for length in (10, 14, 90, 3)]
    handles = [batch.join(each) for each in prompts]
    chosen = {handle: int(each.argmax()) for handle, each in batch.step().items()}
    for handle, token in chosen.items():
        batch.extend(handle, [token])
    bias = batching.Bias(6, torch.device("cpu"), torch.float32)
    groups = batching._groups(bias, batch._shares())
    assert [list(range(4))[group.rows] for group in groups] == expected
    found = batch.step()
    for handle, ids in zip(handles, prompts, strict=True):
        torch.testing.assert_close(found[handle], alone(stock, [*ids, chosen[handle]], 1)[1][0], **NEAR)


def test_sixteen_bits(model: Any) -> None:
    half = make(BloomForCausalLM, torch.bfloat16)
    batch = ContinuousBatch(half, slots=3, context=300, part=100)
    prompts = [prompt(length) for length in (250, 7, 90)]
    found = {}
    handles = [batch.join(each) for each in prompts]
    while len(found) < 3:
        found |= batch.step()
    for handle, ids in zip(handles, prompts, strict=True):
        with torch.no_grad():
            expected = half(torch.tensor([ids])).logits[0, -1]
        torch.testing.assert_close(found[handle], expected, atol=0.05, rtol=0.05)


def test_a_step_that_failed_can_be_done_again(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = ContinuousBatch(model, slots=2, context=300)
    handle = batch.join(prompt(20))
    expected = ContinuousBatch(model, slots=2, context=300)
    same = expected.join(prompt(20))
    with monkeypatch.context() as patch:
        patch.setattr(type(model.transformer.ln_f), "forward", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            batch.step()
    assert batch.room(handle) == 280
    assert torch.equal(batch.step()[handle], expected.step()[same])


@pytest.mark.parametrize(
    ("ids", "told"),
    [
        ([], "no tokens"),
        ([5, 300], "no token 300: its vocabulary has 300"),
        ([-1], "no token -1"),
        ([5] * 11, "11 tokens do not fit: there is room for 10 of the 10"),
    ],
)
def test_inputs_that_cannot_run_are_refused_and_take_no_slot(model: Any, ids: list[int], told: str) -> None:
    batch = ContinuousBatch(model, slots=1, context=10)
    with pytest.raises(ZooError, match=told):
        batch.join(ids)
    assert batch.free == 1


def test_a_conversation_that_is_full_or_gone_is_refused(model: Any) -> None:
    batch = ContinuousBatch(model, slots=1, context=3)
    handle = batch.join([5, 6, 7])
    with pytest.raises(ZooError, match="All 1 slots"):
        batch.join([5])
    batch.step()
    with pytest.raises(ZooError, match="room for 0 of the 3"):
        batch.extend(handle, [5])
    batch.leave(handle)
    for use in (batch.room, batch.leave, lambda gone: batch.extend(gone, [5])):
        with pytest.raises(ZooError, match=f"no conversation {handle}"):
            use(handle)


def test_models_that_cannot_be_batched_are_refused(model: Any, stock: Any) -> None:
    with pytest.raises(ZooError, match="models of zoo_phoenix"):
        ContinuousBatch(stock, slots=1, context=10)
    with pytest.raises(ZooError, match="at least one slot"):
        ContinuousBatch(model, slots=0, context=10)
    training = make(BloomForCausalLM).train()
    with pytest.raises(ZooError, match="eval"):
        ContinuousBatch(training, slots=1, context=10)


def test_the_batching_of_transformers_is_refused(model: Any) -> None:
    """With stock BLOOM it logs an error and returns empty answers."""
    with pytest.raises(ZooError, match=r"use zoo_phoenix\.batching\.ContinuousBatch"):
        model.generate_batch([[5, 6, 7]], generation_config=transformers.GenerationConfig(eos_token_id=2))
