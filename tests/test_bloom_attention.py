"""The fast BLOOM: equal to stock transformers where that is right, and to documents alone where stock lets packed ones leak."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from transformers import BloomConfig, DynamicCache, StaticCache, Trainer, TrainingArguments
from transformers.data import DataCollatorWithFlattening

from zoo_core import Loading, ZooError
from zoo_phoenix import attention
from zoo_phoenix.caching import RoomyLayer
from zoo_phoenix.family import PhoenixFamily
from zoo_phoenix.model import BloomForCausalLM

Pair = tuple[Any, Any]

#: In float32. Logits of these models are between -10 and 10.
NEAR = {"atol": 1e-5, "rtol": 1e-6}


def config(**changes: Any) -> BloomConfig:
    """A small BLOOM whose weights are as large as those of a real one at its beginning."""
    given = {"vocab_size": 300, "hidden_size": 96, "n_layer": 3, "n_head": 6, "pad_token_id": 3, "use_cache": True}
    return BloomConfig(**given | {"hidden_dropout": 0.0, "attention_dropout": 0.0} | changes)


def make(kind: type, seed: int = 0, **changes: Any) -> Any:
    torch.manual_seed(seed)
    model = kind(config(**changes)).eval()
    for parameter in model.parameters():  # biases and norms are not all zeros and ones, as they are in a new model
        parameter.data += 0.02 * torch.randn(parameter.shape)
    return model


@pytest.fixture(scope="module")
def pair() -> Pair:
    """A stock BLOOM and ours, with the same weights."""
    return make(transformers.BloomForCausalLM), make(BloomForCausalLM)


@pytest.fixture(params=[0, attention.TOGETHER], ids=["apart", "together"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways to compute rows that are padded or packed, whatever their size."""
    monkeypatch.setattr(attention, "TOGETHER", request.param)


def tokens(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randint(4, 300, shape, generator=torch.Generator().manual_seed(seed))


def padded(length: int, *paddings: tuple[int, int]) -> torch.Tensor:
    """A mask `[batch, length]` with so many zeros at the left and at the right of each row."""
    mask = torch.ones(len(paddings), length, dtype=torch.long)
    for row, (left, right) in enumerate(paddings):
        mask[row, :left] = 0
        mask[row, length - right :] = 0
    return mask


def positions(*lengths: int) -> torch.Tensor:
    return torch.cat([torch.arange(length) for length in lengths])[None]


@torch.no_grad()
def logits(model: Any, ids: torch.Tensor, **options: Any) -> torch.Tensor:
    result: torch.Tensor = model(ids, **options).logits
    return result


# -- equal to stock ----------------------------------------------------------------------------------------------------


def test_weights_and_their_names_are_those_of_stock(pair: Pair) -> None:
    stock, ours = (model.state_dict() for model in pair)
    assert list(stock) == list(ours)
    assert all(torch.equal(stock[name], ours[name]) for name in stock)


def test_stock_models_beside_ours_stay_as_they_are(pair: Pair) -> None:
    stock, ours = pair
    assert type(stock.transformer.h[0].self_attention).__module__.startswith("transformers.")
    assert type(ours.transformer.h[0].self_attention) is attention.FusedAttention
    assert isinstance(
        make(transformers.BloomForCausalLM).transformer.h[0].mlp.gelu_impl, type(stock.transformer.h[0].mlp.gelu_impl)
    )


@pytest.mark.parametrize("heads", [1, 6, 8, 12])
@pytest.mark.parametrize("shape", [(1, 1), (2, 7), (1, 255), (1, 257), (3, 600)])
def test_logits_are_those_of_eager(heads: int, shape: tuple[int, int]) -> None:
    stock, ours = (make(kind, n_head=heads) for kind in (transformers.BloomForCausalLM, BloomForCausalLM))
    torch.testing.assert_close(logits(ours, tokens(*shape)), logits(stock, tokens(*shape)), **NEAR)


def test_residual_after_the_norm_is_equal_too() -> None:
    kinds = (transformers.BloomForCausalLM, BloomForCausalLM)
    stock, ours = (make(kind, apply_residual_connection_post_layernorm=True) for kind in kinds)
    torch.testing.assert_close(logits(ours, tokens(2, 20)), logits(stock, tokens(2, 20)), **NEAR)


def test_long_prompts_are_as_exact_as_eager(pair: Pair) -> None:
    """At 2,048 tokens ALiBi is large, and float32 rounds it: both are held against float64."""
    stock, ours = pair
    ids = tokens(1, 2048)
    exact = logits(copy.deepcopy(stock).double(), ids)
    far = (logits(stock, ids) - exact).abs().max()
    assert (logits(ours, ids) - exact).abs().max() < 1.5 * far
    torch.testing.assert_close(logits(ours, ids), logits(stock, ids), **NEAR)


@pytest.mark.parametrize("mask", [padded(20, (0, 0), (7, 0), (19, 0)), padded(20, (0, 0), (0, 6)), padded(20, (3, 4))])
@pytest.mark.usefixtures("way")
def test_padding_at_either_side_is_not_seen(pair: Pair, mask: torch.Tensor) -> None:
    ids = tokens(*mask.shape)
    stock, ours = (logits(model, ids, attention_mask=mask)[mask.bool()] for model in pair)
    torch.testing.assert_close(ours, stock, **NEAR)


@pytest.mark.usefixtures("way")
def test_padding_within_a_text_is_not_seen_and_not_counted(pair: Pair) -> None:
    mask = padded(30, (0, 0), (4, 0))
    mask[0, 10:15] = 0
    mask[1, 20] = 0
    ids = tokens(2, 30)
    stock, ours = (logits(model, ids, attention_mask=mask)[mask.bool()] for model in pair)
    torch.testing.assert_close(ours, stock, **NEAR)
    without = ids[0][mask[0].bool()][None]
    torch.testing.assert_close(ours[: mask[0].sum()], logits(pair[1], without)[0], **NEAR)


@pytest.mark.usefixtures("way")
def test_rows_of_nothing_but_padding_give_numbers(pair: Pair) -> None:
    mask = padded(9, (0, 0), (9, 0))
    assert logits(pair[1], tokens(2, 9), attention_mask=mask).isfinite().all()


@pytest.mark.parametrize("mask", [None, padded(700, (0, 0), (300, 0)), padded(700, (650, 0), (0, 0))])
@pytest.mark.parametrize(
    "cache", [lambda model: DynamicCache(config=model.config), lambda model: StaticCache(model.config, 720)]
)
@pytest.mark.usefixtures("way")
def test_prompts_in_parts_and_single_tokens_over_a_cache(
    pair: Pair, mask: torch.Tensor | None, cache: Callable[[Any], Any]
) -> None:
    ids = tokens(2, 700)
    filled, start, parts = cache(pair[1]), 0, []
    for size in (512, 150, 30, *[1] * 8):
        end = start + size
        seen = None if mask is None else mask[:, :end]
        parts.append(logits(pair[1], ids[:, start:end], cache=filled, attention_mask=seen))
        start = end
    expected = logits(pair[0], ids, attention_mask=mask)
    real = torch.ones(2, 700, dtype=torch.bool) if mask is None else mask.bool()
    torch.testing.assert_close(torch.cat(parts, dim=1)[real], expected[real], **NEAR)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_sixteen_bits_are_no_worse_than_stock(pair: Pair, dtype: torch.dtype) -> None:
    ids, mask = tokens(2, 400), padded(400, (0, 0), (100, 0))
    exact = copy.deepcopy(pair[0]).double()
    rows = torch.cat([logits(exact, ids[:1])[0], logits(exact, ids[1:, 100:])[0]])
    stock, ours = (copy.deepcopy(model).to(dtype) for model in pair)
    far, near = ((logits(model, ids, attention_mask=mask)[mask.bool()] - rows).abs().mean() for model in (stock, ours))
    assert near < 1.1 * far


@pytest.mark.parametrize("options", [{}, {"use_cache": False}, {"num_beams": 3}, {"cache_implementation": "static"}])
@pytest.mark.parametrize("mask", [padded(12, (0, 0), (0, 0)), padded(12, (5, 0), (0, 0))])
def test_generate_gives_the_same_tokens(pair: Pair, mask: torch.Tensor, options: dict[str, Any]) -> None:
    given = {"attention_mask": mask, "max_new_tokens": 20, "do_sample": False, "eos_token_id": None, "pad_token_id": 3}
    stock, ours = (model.generate(tokens(2, 12), **given, **options) for model in pair)
    assert torch.equal(stock, ours)


def test_everything_else_that_stock_returns(pair: Pair) -> None:
    ids = tokens(2, 9)
    with torch.no_grad():
        stock, ours = (model(ids, labels=ids, output_hidden_states=True, logits_to_keep=0) for model in pair)
        assert [type(each).__name__ for each in pair[1](ids, return_dict=False)] == ["Tensor", "DynamicCache"]
        embedded = pair[1](inputs_embeds=pair[1].get_input_embeddings()(ids)).logits
    torch.testing.assert_close(ours.loss, stock.loss)
    torch.testing.assert_close(ours.hidden_states, stock.hidden_states, **NEAR)
    assert torch.equal(embedded, ours.logits)
    assert logits(pair[1], ids, logits_to_keep=1).shape == (2, 1, 300)


# -- training ----------------------------------------------------------------------------------------------------------


def gradients(model: Any, ids: torch.Tensor, labels: torch.Tensor, **options: Any) -> dict[str, torch.Tensor]:
    model.zero_grad()
    model(ids, labels=labels, use_cache=False, **options).loss.backward()
    return {name: each.grad.clone() for name, each in model.named_parameters() if each.grad is not None}


@pytest.mark.parametrize("mask", [None, padded(300, (0, 0), (0, 120)), padded(300, (0, 3), (200, 0))])
@pytest.mark.usefixtures("way")
def test_gradients_are_those_of_eager(pair: Pair, mask: torch.Tensor | None) -> None:
    ids = tokens(2, 300)
    # What comes of padding is another thing in ours, so no token is learned from it.
    labels = ids if mask is None else ids.masked_fill((mask == 0) | (mask.roll(1, dims=1) == 0), -100)
    stock, ours = (gradients(model, ids, labels, attention_mask=mask) for model in pair)
    assert stock.keys() == ours.keys()
    for name, expected in stock.items():
        torch.testing.assert_close(
            ours[name], expected, atol=1e-6, rtol=1e-4, msg=lambda text, name=name: f"{name}: {text}"
        )


@pytest.mark.filterwarnings("ignore:.*gradient_checkpointing:FutureWarning")  # the name that older versions know
def test_gradient_checkpointing_changes_nothing(pair: Pair) -> None:
    ids, model = tokens(2, 40), copy.deepcopy(pair[1]).train()
    expected = gradients(model, ids, ids)
    model.gradient_checkpointing_enable()
    torch.testing.assert_close(gradients(model, ids, ids), expected)
    with pytest.raises(ZooError, match="cannot go with a cache"):
        model(ids, cache=DynamicCache(config=model.config))


def test_dropout_of_the_attention_is_applied_in_training_only() -> None:
    model = make(BloomForCausalLM, attention_dropout=0.5)
    ids = tokens(1, 20)
    assert torch.equal(logits(model, ids), logits(model, ids))
    model.train()
    assert not torch.equal(logits(model, ids), logits(model, ids))


@pytest.mark.filterwarnings("ignore:.*gradient_checkpointing:FutureWarning")  # peft asks in the old words
def test_trainer_and_adapter(tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    model = make(BloomForCausalLM)
    settings = peft.LoraConfig(task_type="CAUSAL_LM", r=4, target_modules=["query_key_value"], init_lora_weights=False)
    adapted = peft.get_peft_model(model, settings)
    rows = [{"input_ids": row, "labels": row} for row in tokens(8, 30)]
    arguments = TrainingArguments(
        output_dir=str(tmp_path / "run"),
        max_steps=3,
        report_to="none",
        use_cpu=True,
        disable_tqdm=True,
        save_strategy="no",
    )
    trained = Trainer(model=adapted, args=arguments, train_dataset=rows)
    trained.train()
    adapted.eval().save_pretrained(tmp_path / "adapter")
    stock = peft.PeftModel.from_pretrained(make(transformers.BloomForCausalLM), tmp_path / "adapter").eval()
    torch.testing.assert_close(logits(adapted, tokens(1, 25)), logits(stock, tokens(1, 25)), **NEAR)
    torch.testing.assert_close(logits(adapted.merge_and_unload(), tokens(1, 25)), logits(stock, tokens(1, 25)), **NEAR)


# -- packed documents --------------------------------------------------------------------------------------------------


PACKED = [(5, 9), (1, 1, 4), (300, 20, 280), (64,)]


@pytest.mark.parametrize("lengths", PACKED)
@pytest.mark.usefixtures("way")
def test_packed_documents_are_as_if_they_were_alone(pair: Pair, lengths: tuple[int, ...]) -> None:
    ids = tokens(1, sum(lengths))
    packed = logits(pair[1], ids, position_ids=positions(*lengths)).split(list(lengths), dim=1)
    for document, found in zip(ids.split(list(lengths), dim=1), packed, strict=True):
        torch.testing.assert_close(found, logits(pair[0], document), **NEAR)


@pytest.mark.usefixtures("way")
def test_gradients_of_packed_documents_are_those_of_documents_alone(pair: Pair) -> None:
    lengths = (40, 300, 7)
    ids = tokens(1, sum(lengths))
    labels = ids.masked_fill(positions(*lengths) == 0, -100)
    packed = gradients(pair[1], ids, labels, position_ids=positions(*lengths))
    targets = sum(lengths) - len(lengths)
    model = pair[0]
    model.zero_grad()
    for document in ids.split(list(lengths), dim=1):
        (model(document, labels=document, use_cache=False).loss * (document.shape[1] - 1) / targets).backward()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(packed[name], parameter.grad, atol=1e-6, rtol=1e-4)


def test_stock_lets_packed_documents_leak(pair: Pair) -> None:
    """transformers 5 drops BLOOM's `position_ids`, so document B sees document A; without this, ours would prove nothing."""
    ids = tokens(1, 30)
    stock, ours = (logits(model, ids, position_ids=positions(18, 12))[:, 18:] for model in pair)
    alone = logits(pair[0], ids[:, 18:])
    assert (stock - alone).abs().max() > 1e-3
    torch.testing.assert_close(ours, alone, **NEAR)


@pytest.mark.usefixtures("way")
def test_packed_rows_with_padding(pair: Pair) -> None:
    ids = tokens(2, 20)
    places = torch.stack([torch.cat([positions(6, 11)[0], torch.zeros(3, dtype=torch.long)]), positions(20)[0]])
    mask = padded(20, (0, 3), (0, 0))
    found = logits(pair[1], ids, position_ids=places, attention_mask=mask, use_cache=False)
    torch.testing.assert_close(found[:1, 6:17], logits(pair[0], ids[:1, 6:17]), **NEAR)
    torch.testing.assert_close(found[1:], logits(pair[0], ids[1:]), **NEAR)


def test_what_the_collator_of_transformers_sends_is_isolated(pair: Pair) -> None:
    rows = [{"input_ids": tokens(1, length)[0].tolist()} for length in (7, 4, 11)]
    batch = DataCollatorWithFlattening(return_flash_attn_kwargs=True, return_seq_idx=True)(rows)
    batch.pop("labels")
    found = logits(pair[1], batch.pop("input_ids"), **batch)
    torch.testing.assert_close(found[:, 7:11], logits(pair[0], torch.tensor([rows[1]["input_ids"]])), **NEAR)
    del batch["position_ids"]
    with pytest.raises(ZooError, match="told by position_ids; cu_seq_lens_q alone"):
        logits(pair[1], tokens(1, 22), **batch)


def test_positions_that_only_count_are_no_documents(pair: Pair) -> None:
    ids, mask = tokens(2, 10), padded(10, (0, 0), (4, 0))
    counted = (mask.cumsum(dim=-1) - 1).clamp(min=0)
    assert torch.equal(logits(pair[1], ids, position_ids=positions(10) + 5), logits(pair[1], ids))
    found, expected = (logits(pair[1], ids, attention_mask=mask, **each) for each in ({"position_ids": counted}, {}))
    assert torch.equal(found, expected)


# -- refused -----------------------------------------------------------------------------------------------------------


def full(model: Any) -> DynamicCache:
    cache = DynamicCache(config=model.config)
    logits(model, tokens(1, 4), cache=cache)
    return cache


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"position_ids": positions(3, 3), "use_cache": True}, "cannot be continued from one cache"),
        ({"position_ids": positions(3, 3), "cache": lambda model: DynamicCache(config=model.config)}, "from one cache"),
        ({"position_ids": positions(6), "cache": full}, "do not continue the cache"),
        ({"position_ids": positions(3)}, "one number for each token"),
        ({"attention_mask": torch.ones(1, 1, 6, 6)}, "0 for padding, 1 for the rest"),
        ({"attention_mask": torch.ones(1, 5)}, "0 for padding"),
        ({"attention_mask": torch.ones(1, 6), "cache": full}, r"wants \[1, 10\]"),
        ({"output_attentions": True}, "no matrix to show"),
        ({"inputs_embeds": torch.ones(1, 6, 96)}, "one of them"),
    ],
)
def test_what_cannot_be_followed_is_refused(pair: Pair, options: dict[str, Any], told: str) -> None:
    if callable(options.get("cache")):
        options = options | {"cache": options["cache"](pair[1])}
    with pytest.raises(ZooError, match=told):
        logits(pair[1], tokens(1, 6), **options)


def test_packed_documents_leave_no_cache_behind(pair: Pair) -> None:
    with torch.no_grad():
        assert pair[1](tokens(1, 6), position_ids=positions(3, 3)).cache is None
        assert pair[1](tokens(1, 6), position_ids=positions(6)).cache is not None


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"attn_implementation": "eager"}, "'eager' load the model with transformers"),
        ({"pretraining_tp": 2, "slow_but_exact": True}, "does not know slow_but_exact"),
    ],
)
def test_another_arithmetic_is_refused(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(ZooError, match=told):
        BloomForCausalLM(config(**changes))


# -- files -------------------------------------------------------------------------------------------------------------


def test_saved_models_are_plain_bloom_models(pair: Pair, tmp_path: Path) -> None:
    pair[1].save_pretrained(tmp_path)
    said = json.loads((tmp_path / "config.json").read_text())
    assert said["architectures"] == ["BloomForCausalLM"]
    assert "attn" not in json.dumps(said)
    stock = transformers.AutoModelForCausalLM.from_pretrained(tmp_path)
    assert type(stock) is transformers.BloomForCausalLM
    ours = PhoenixFamily().load_model(tmp_path, Loading())
    assert type(ours) is BloomForCausalLM
    assert torch.equal(logits(ours, tokens(1, 9)), logits(pair[1], tokens(1, 9)))
    torch.testing.assert_close(logits(stock, tokens(1, 9)), logits(pair[0], tokens(1, 9)), **NEAR)


# -- the cache ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        lambda cache: None,
        lambda cache: cache.crop(-2),
        lambda cache: cache.reorder_cache(torch.tensor([1, 0])),
        lambda cache: cache.batch_repeat_interleave(1),
        lambda cache: cache.batch_select_indices(torch.tensor([1, 1])),
        lambda cache: cache.reset(),
    ],
)
def test_roomy_cache_holds_what_a_plain_one_holds(change: Callable[[Any], None]) -> None:
    plain, roomy = DynamicCache(), DynamicCache()
    roomy.layer_class_to_replicate = RoomyLayer
    for seed, count in enumerate((3, 1, 1, 700, 1, 64, 200)):
        new = torch.randn(2, 3, count, 4, generator=torch.Generator().manual_seed(seed))
        found, expected = (each.update(new, -new, 0) for each in (roomy, plain))
        assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))
        assert roomy.get_seq_length() == plain.get_seq_length()
        change(roomy)
        change(plain)


def test_roomy_cache_does_not_copy_for_a_token_and_keeps_copies_apart() -> None:
    cache = DynamicCache()
    cache.layer_class_to_replicate = RoomyLayer
    new = torch.ones(1, 1, 1, 2)
    first, _ = cache.update(new, new, 0)
    other = copy.deepcopy(cache)
    second, _ = cache.update(2 * new, new, 0)
    assert second.data_ptr() == first.data_ptr()
    third, _ = other.update(3 * new, new, 0)
    assert (second[0, 0, 1, 0], third[0, 0, 1, 0]) == (2, 3)


def test_roomy_cache_goes_from_inference_mode_to_gradients(pair: Pair) -> None:
    cache, ids = DynamicCache(config=pair[1].config), tokens(1, 12)
    with torch.inference_mode():
        pair[1](ids[:, :5], cache=cache)
    after = logits(pair[1], ids[:, 5:8], cache=cache)
    output = pair[1](ids[:, 8:], cache=cache).logits
    assert output.requires_grad
    expected = logits(pair[0], ids)
    torch.testing.assert_close(torch.cat([after, output.detach()], dim=1), expected[:, 5:], **NEAR)
