"""Adapters are merged as peft merges them; what does not belong together is refused before anything is written."""

from __future__ import annotations

import json
import re
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from click.testing import Result
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from tiny_models import bloom_tokenizer, save, tensors, tiny_bloom, tiny_llama
from transformers import AutoModelForCausalLM, AutoTokenizer, GPT2Config, GPT2LMHeadModel

from zoo_core import ModelCard, UsageProblem, WeightsError, read_card
from zoo_weights import merge_adapter
from zoo_weights.adapter_settings import Settings, read_settings

PROMPT = torch.arange(3, 40)[None]
ATTENTION = ["q_proj", "v_proj"]
FUSED = ["query_key_value"]


def tiny_gpt2(folder: Path, *, dtype: str = "float32") -> Path:
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=320, n_embd=32, n_layer=2, n_head=4, bos_token_id=1, eos_token_id=2)
    return save(folder, GPT2LMHeadModel(config), bloom_tokenizer(320), dtype=dtype)


def loaded(folder: Path, dtype: str = "float32") -> Any:
    model, told = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype), output_loading_info=True)
    assert not told["missing_keys"]
    assert not told["unexpected_keys"]
    return model.eval()


def taught(folder: Path, base: Path, *, dtype: str = "float32", rows: int = 0, **config: Any) -> Path:
    """An adapter over `base` with random numbers where training would have put learned ones; `rows` are new tokens."""
    model = AutoModelForCausalLM.from_pretrained(base, dtype=getattr(torch, dtype))
    tokenizer = AutoTokenizer.from_pretrained(base)
    torch.manual_seed(7)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # peft warns of tied embeddings and of layers that lie the other way round
        if rows:
            tokenizer.add_tokens([f"<new{number}>" for number in range(rows)])
            model.resize_token_embeddings(model.config.vocab_size + rows, mean_resizing=False)
        model = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", **({"r": 4, "lora_alpha": 8} | config)))
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.requires_grad:
                    parameter.add_((torch.randn(parameter.shape) * 0.1).to(parameter.dtype))
        model.save_pretrained(folder, save_embedding_layers=True if rows else "auto")
    if rows:
        tokenizer.save_pretrained(folder)
    return folder


class Theirs(NamedTuple):
    """What peft makes: the logits of base with adapter, and the tensors after its own merge."""

    logits: torch.Tensor
    merged: dict[str, torch.Tensor]


def by_peft(base: Path, adapter: Path, dtype: str = "float32", rows: int = 0) -> Theirs:
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        model = AutoModelForCausalLM.from_pretrained(base, dtype=getattr(torch, dtype))
        if rows:
            model.resize_token_embeddings(model.config.vocab_size + rows, mean_resizing=False)
        whole = PeftModel.from_pretrained(model, adapter).eval()
        logits = whole(PROMPT).logits
        return Theirs(logits, whole.merge_and_unload().state_dict())


def merged(tmp_path: Path, base: Path, adapter: Path, **options: Any) -> Path:
    out = tmp_path / "out"
    out.mkdir()
    merge_adapter(base, adapter, out, **options)
    return out


def ulp(first: torch.Tensor, second: torch.Tensor) -> int:
    """The largest distance of two tensors of half precision, in numbers that lie between."""
    ordered = [each.view(torch.int16).int() for each in (first, second)]
    ordered = [torch.where(each < 0, -32768 - each, each) for each in ordered]
    return int((ordered[0] - ordered[1]).abs().max())


# -- equality with peft ------------------------------------------------------------------------------------------------

SAME: dict[str, tuple[Callable[..., Path], dict[str, Any]]] = {
    "plain": (tiny_llama, {"target_modules": ATTENTION}),
    "rslora-and-patterns": (
        tiny_llama,
        {
            "target_modules": [*ATTENTION, "down_proj"],
            "use_rslora": True,
            "rank_pattern": {"layers.1.self_attn.q_proj": 2, "down_proj": 3},
            "alpha_pattern": {r"layers\.0\..*": 32, "v_proj": 5},
        },
    ),
    "regex": (tiny_llama, {"target_modules": r".*layers\.[01]\.(self_attn|mlp)\.(k|up)_proj"}),
    "all-linear": (tiny_llama, {"target_modules": "all-linear"}),
    "excluded": (tiny_llama, {"target_modules": ATTENTION, "exclude_modules": ["layers.0.self_attn.q_proj"]}),
    "one-layer": (tiny_llama, {"target_modules": ATTENTION, "layers_to_transform": [1], "layers_pattern": "layers"}),
    "dora": (tiny_llama, {"target_modules": ATTENTION, "use_dora": True}),
    "embeddings": (tiny_llama, {"target_modules": [*ATTENTION, "embed_tokens", "lm_head"]}),
    "embedding-dora": (tiny_llama, {"target_modules": ["q_proj", "embed_tokens"], "use_dora": True}),
    "whole-modules": (
        tiny_llama,
        {"target_modules": ATTENTION, "modules_to_save": ["embed_tokens", "lm_head", "norm"]},
    ),
    "bloom": (tiny_bloom, {"target_modules": [*FUSED, "dense"]}),
    "bloom-all-biases": (tiny_bloom, {"target_modules": FUSED, "bias": "all"}),
    "bloom-own-biases": (tiny_bloom, {"target_modules": FUSED, "bias": "lora_only"}),
    "bloom-output-of-its-own": (tiny_bloom, {"target_modules": FUSED, "modules_to_save": ["lm_head"]}),
    "bloom-embedding-of-its-own": (tiny_bloom, {"target_modules": FUSED, "modules_to_save": ["word_embeddings"]}),
    "gpt2": (tiny_gpt2, {"target_modules": ["c_attn", "c_proj"], "fan_in_fan_out": True}),
    "gpt2-dora": (tiny_gpt2, {"target_modules": ["c_attn", "c_proj"], "fan_in_fan_out": True, "use_dora": True}),
}


@pytest.mark.parametrize("kind", SAME)
def test_the_result_is_that_of_peft(kind: str, tmp_path: Path) -> None:
    make, config = SAME[kind]
    base = make(tmp_path / "base")
    adapter = taught(tmp_path / "adapter", base, **config)
    theirs = by_peft(base, adapter)
    ours = loaded(merged(tmp_path, base, adapter))
    with torch.no_grad():
        torch.testing.assert_close(ours(PROMPT).logits, theirs.logits, rtol=0, atol=1e-5)
    assert ours.state_dict().keys() == theirs.merged.keys()
    for name, tensor in ours.state_dict().items():
        torch.testing.assert_close(tensor, theirs.merged[name], rtol=0, atol=1e-6, msg=name)
    assert any(not torch.equal(each, loaded(base).state_dict()[name]) for name, each in ours.state_dict().items())


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("use_dora", [False, True])
def test_half_precision_is_within_one_step_of_peft(dtype: str, use_dora: bool, tmp_path: Path) -> None:
    base = tiny_llama(tmp_path / "base", dtype=dtype)
    adapter = taught(tmp_path / "adapter", base, dtype=dtype, target_modules=["q_proj", "down_proj"], use_dora=use_dora)
    theirs = by_peft(base, adapter, dtype).merged
    ours = tensors(merged(tmp_path, base, adapter))
    assert max(ulp(tensor, theirs[name]) for name, tensor in ours.items()) <= 1


@pytest.mark.parametrize(
    "target_modules",
    [[*FUSED, "word_embeddings"], [*FUSED, "lm_head"], ["dense", "word_embeddings", "lm_head"]],
    ids=["embedding", "output", "both"],
)
def test_numbers_that_two_layers_share_become_two(target_modules: list[str], tmp_path: Path) -> None:
    """peft merges into the shared numbers, so that its merged model is another one than it was trained as. Ours is not."""
    base = tiny_bloom(tmp_path / "base")
    adapter = taught(tmp_path / "adapter", base, target_modules=target_modules)
    out = merged(tmp_path, base, adapter)
    with torch.no_grad():
        torch.testing.assert_close(loaded(out)(PROMPT).logits, by_peft(base, adapter).logits, rtol=0, atol=1e-5)
    assert json.loads((out / "config.json").read_text())["tie_word_embeddings"] is False
    assert "lm_head.weight" in tensors(out)


@pytest.mark.parametrize(
    ("make", "config"),
    [
        (tiny_llama, {"target_modules": ATTENTION, "modules_to_save": ["embed_tokens", "lm_head"]}),
        (tiny_llama, {"target_modules": ATTENTION}),
        (tiny_llama, {"target_modules": [*ATTENTION, "embed_tokens", "lm_head"]}),
        (tiny_bloom, {"target_modules": FUSED}),
    ],
    ids=["chinese-llama-alpaca", "resized", "resized-and-adapted", "resized-shared"],
)
def test_a_grown_vocabulary_is_taken_from_the_adapter(
    make: Callable[..., Path], config: dict[str, Any], tmp_path: Path
) -> None:
    base = make(tmp_path / "base")
    adapter = taught(tmp_path / "adapter", base, rows=5, **config)
    theirs = by_peft(base, adapter, rows=5)
    out = merged(tmp_path, base, adapter)
    model = loaded(out)
    with torch.no_grad():
        torch.testing.assert_close(model(PROMPT).logits, theirs.logits, rtol=0, atol=1e-5)
    assert (model.config.vocab_size, model.get_output_embeddings().weight.shape[0]) == (325, 325)
    assert AutoTokenizer.from_pretrained(out).convert_tokens_to_ids("<new4>") == 324


def test_a_checkpoint_without_the_prefix_of_its_class_is_the_same_base(tmp_path: Path) -> None:
    base = tiny_bloom(tmp_path / "base")
    adapter = taught(tmp_path / "adapter", base, target_modules=FUSED)
    path = base / "model.safetensors"
    bare = {name.removeprefix("transformer."): each for name, each in load_file(path).items()}
    whole = merged(tmp_path, base, adapter)
    save_file(bare, path, {"format": "pt"})
    found = tensors(merged(tmp_path / "base", base, adapter))
    assert {f"transformer.{name}": each.tolist() for name, each in found.items()} == {
        name: each.tolist() for name, each in tensors(whole).items()
    }


def test_another_dtype_and_small_files(tmp_path: Path) -> None:
    base = tiny_llama(tmp_path / "base", shards=True)
    adapter = taught(tmp_path / "adapter", base, target_modules=ATTENTION)
    theirs = by_peft(base, adapter).merged
    out = merged(tmp_path, base, adapter, dtype="BF16", shard_size=30_000)
    assert len(list(out.glob("model-*.safetensors"))) > 1
    found = tensors(out)
    assert {each.dtype for each in found.values()} == {torch.bfloat16}
    for name, tensor in found.items():
        assert torch.equal(tensor, theirs[name].bfloat16()), name  # rounded once
    assert json.loads((out / "config.json").read_text())["dtype"] == "bfloat16"
    assert not (out / "adapter_config.json").exists()


def test_an_interrupted_merge_goes_on_with_the_next_file(tmp_path: Path) -> None:
    base = tiny_llama(tmp_path / "base")
    adapter = taught(tmp_path / "adapter", base, target_modules=ATTENTION)
    out = tmp_path / "out"
    out.mkdir()

    def stop(share: float, line: str) -> None:
        if list(out.glob("model-*.safetensors")):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        merge_adapter(base, adapter, out, shard_size=30_000, progress=stop)
    (first,) = out.glob("model-*.safetensors")
    written = first.stat().st_mtime_ns
    settings = (adapter / "adapter_config.json").read_bytes()
    Parts(base, adapter).config(lora_alpha=9)
    with pytest.raises(UsageProblem, match="holds the unfinished work of another merge"):
        merge_adapter(base, adapter, out, shard_size=30_000)
    (adapter / "adapter_config.json").write_bytes(settings)
    merge_adapter(base, adapter, out, shard_size=30_000)
    assert first.stat().st_mtime_ns == written
    theirs = by_peft(base, adapter).merged
    for name, tensor in tensors(out).items():
        torch.testing.assert_close(tensor, theirs[name], rtol=0, atol=1e-6)


# -- what a configuration means ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "modules"),
    [
        ({"target_modules": ["q_proj"]}, {"a.layers.0.q_proj", "a.layers.1.q_proj"}),
        ({"target_modules": ["0.q_proj"]}, {"a.layers.0.q_proj"}),
        ({"target_modules": ["proj"]}, set()),
        ({"target_modules": r".*\.0\.\w_proj"}, {"a.layers.0.q_proj", "a.layers.0.k_proj"}),
        ({"target_modules": ["q_proj"], "exclude_modules": r".*\.0\..*"}, {"a.layers.1.q_proj"}),
        ({"target_modules": ["q_proj"], "modules_to_save": ["layers.0"]}, {"a.layers.1.q_proj"}),
        ({"target_modules": ["q_proj"], "layers_to_transform": 1}, {"a.layers.1.q_proj"}),
        (
            {"target_modules": ["q_proj"], "layers_to_transform": [0], "layers_pattern": ["h", "layers"]},
            {"a.layers.0.q_proj"},
        ),
        ({"target_modules": ["q_proj"], "layers_to_transform": [0], "layers_pattern": "h"}, set()),
        ({"target_modules": ["a.layers.1.q_proj"], "layers_to_transform": [0]}, {"a.layers.1.q_proj"}),
    ],
)
def test_target_modules_are_those_of_peft(fields: dict[str, Any], modules: set[str]) -> None:
    from peft.tuners.tuners_utils import check_target_module_exists

    names = ["a.layers.0.q_proj", "a.layers.1.q_proj", "a.layers.0.k_proj", "a.norm"]
    settings = Settings(peft_type="LORA", r=4, lora_alpha=8, **fields)
    assert {name for name in names if settings.targets(name)} == modules
    assert {name for name in names if check_target_module_exists(LoraConfig(**fields), name)} == modules


# -- what is refused ---------------------------------------------------------------------------------------------------


class Parts(NamedTuple):
    """A base and an adapter on the disk, to be spoiled."""

    base: Path
    adapter: Path

    def config(self, **fields: Any) -> None:
        path = self.adapter / "adapter_config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | fields))

    def tensors(self, change: Callable[[dict[str, torch.Tensor]], Any]) -> None:
        path = self.adapter / "adapter_model.safetensors"
        found = load_file(path)
        change(found)
        save_file({name: each.contiguous() for name, each in found.items()}, path, {"format": "pt"})

    def base_config(self, **fields: Any) -> None:
        path = self.base / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | fields))


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Parts:
    folder = tmp_path_factory.mktemp("parts")
    base = tiny_llama(folder / "base")
    return Parts(base, taught(folder / "adapter", base, target_modules=ATTENTION))


@pytest.fixture
def parts(pristine: Parts, tmp_path: Path) -> Parts:
    return Parts(*(Path(shutil.copytree(each, tmp_path / each.name)) for each in pristine))


Q = "base_model.model.model.layers.0.self_attn.q_proj"


def other_base(parts: Parts, make: Callable[..., Path], **options: Any) -> None:
    shutil.rmtree(parts.base)
    make(parts.base, **options)


def without_norms(folder: Path) -> None:
    """Make the weights look like those of a delta."""
    found = load_file(folder / "model.safetensors")
    zeros = {name: torch.zeros_like(each) if "norm" in name else each for name, each in found.items()}
    save_file(zeros, folder / "model.safetensors", {"format": "pt"})


BAD: dict[str, tuple[Callable[[Parts], Any], str]] = {
    "kind": (lambda p: p.config(peft_type="IA3"), "is of the kind IA3; only LoRA adapters can be merged"),
    "prompt": (lambda p: p.config(peft_type="PROMPT_TUNING"), "is of the kind PROMPT_TUNING"),
    "bias-of-lora": (lambda p: p.config(lora_bias=True), "uses lora_bias, which is not merged here"),
    "tokens": (lambda p: p.config(trainable_token_indices=[1]), "uses trainable_token_indices"),
    "unknown-field": (lambda p: p.config(new_invention={"a": 1}), "uses new_invention"),
    "pissa": (
        lambda p: p.config(init_lora_weights="pissa"),
        "began its training with pissa, which also changes the base",
    ),
    "rank-zero": (lambda p: p.config(r=0), "adapter_config.json cannot be used"),
    "regex": (lambda p: p.config(target_modules="(q_proj"), "adapter_config.json cannot be used"),
    "no-json": (lambda p: (p.adapter / "adapter_config.json").write_text("{"), "is no JSON that can be read"),
    "no-config": (lambda p: (p.adapter / "adapter_config.json").unlink(), "so it is not an adapter"),
    "no-weights": (
        lambda p: (p.adapter / "adapter_model.safetensors").unlink(),
        "has adapter_config.json, but no adapter_mod",
    ),
    "pickled": (
        lambda p: (p.adapter / "adapter_model.safetensors").rename(p.adapter / "adapter_model.bin"),
        "is pickled (adapter_model.bin), and reading a pickle can run code; make safetensors of it first: zoo convert",
    ),
    "truncated": (
        lambda p: (p.adapter / "adapter_model.safetensors").write_bytes(b"\x10"),
        "is no safetensors file that can be trusted",
    ),
    "other-rank": (
        lambda p: p.config(r=8),
        "has matrices of 4 x 32 and 32 x 4 for 'model.layers.0.self_attn.q_proj', but",
    ),
    "other-modules": (lambda p: p.config(target_modules=["k_proj"]), "which its adapter_config.json does not name"),
    "missing-module": (lambda p: p.config(target_modules=[*ATTENTION, "o_proj"]), "but holds nothing for it"),
    "missing-half": (
        lambda p: p.tensors(lambda t: t.pop(f"{Q}.lora_B.weight")),
        "lacks lora_B of 'model.layers.0.self_attn",
    ),
    "no-magnitudes": (lambda p: p.config(use_dora=True), "lacks lora_magnitude_vector of"),
    "stray": (
        lambda p: p.tensors(lambda t: t.update({"x.y": torch.ones(1)})),
        "holds 'x.y', which is called otherwise",
    ),
    "stray-part": (
        lambda p: p.tensors(lambda t: t.update({f"{Q}.lora_E.weight": torch.ones(1)})),
        "changes 'model.layers.0.self_attn.q_proj.lora_E.weight', which the base",
    ),
    "whole-unnamed": (
        lambda p: p.tensors(lambda t: t.update({"base_model.model.model.norm.weight": torch.ones(32)})),
        "holds 'model.norm.weight', which its adapter_config.json does not name",
    ),
    "whole-of-other-shape": (
        lambda p: p.tensors(lambda t: t.update({"base_model.model.lm_head.weight": torch.ones(320, 16)})),
        "holds 'lm_head.weight' with the shape 320 x 16, which is 320 x 32 in the base",
    ),
    "half-a-vocabulary": (
        lambda p: p.tensors(lambda t: t.update({"base_model.model.lm_head.weight": torch.ones(330, 32)})),
        "gives the model rows for different vocabularies",
    ),
    "nothing": (lambda p: p.tensors(lambda t: t.clear()), "holds no matrices"),
    "not-finite": (
        lambda p: p.tensors(lambda t: t[f"{Q}.lora_A.weight"].fill_(torch.nan)),
        "would hold numbers that are not finite",
    ),
    "whole-numbers": (
        lambda p: p.tensors(lambda t: t.update({f"{Q}.lora_A.weight": torch.ones(4, 32, dtype=torch.int8)})),
        "as I8, with which it cannot be merged",
    ),
    "other-architecture": (lambda p: other_base(p, tiny_bloom), "which the base"),
    "wider-base": (lambda p: other_base(p, tiny_llama, hidden=64), "which is 64 x 64 in the base"),
    "deeper-base": (
        lambda p: other_base(p, tiny_llama, layers=3),
        "to change 'model.layers.2.self_attn.q_proj' of the base",
    ),
    "shallower-base": (lambda p: other_base(p, tiny_llama, layers=1), "changes 'model.layers.1.self_attn"),
    "delta-as-base": (lambda p: without_norms(p.base), "is a delta: its norms are about zero"),
    "no-base": (lambda p: shutil.rmtree(p.base), "There is no folder"),
    "other-words": (
        lambda p: bloom_tokenizer(320).save_pretrained(p.adapter),
        "has another vocabulary than the adapter",
    ),
    "more-words": (lambda p: bloom_tokenizer(400).save_pretrained(p.adapter), "but the result would have rows for 320"),
}


@pytest.mark.parametrize("kind", BAD)
def test_what_does_not_belong_together_is_refused(kind: str, parts: Parts, tmp_path: Path) -> None:
    spoil, reason = BAD[kind]
    spoil(parts)
    with pytest.raises(WeightsError, match=re.escape(reason)) as caught:
        merged(tmp_path, parts.base, parts.adapter)
    assert str(caught.value).count("\n") == 0
    # Numbers are looked at while they are written; everything else is known before.
    assert kind == "not-finite" or not any((tmp_path / "out").iterdir())


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8])
def test_a_quantized_base_is_refused(dtype: torch.dtype, parts: Parts, tmp_path: Path) -> None:
    path = parts.base / "model.safetensors"
    found = load_file(path)
    found["model.layers.0.self_attn.q_proj.weight"] = torch.ones(32, 32, dtype=dtype)
    save_file(found, path, {"format": "pt"})
    with pytest.raises(WeightsError, match="as quantized weights do"):
        merged(tmp_path, parts.base, parts.adapter)


def test_shared_layers_that_were_taught_as_one_are_refused(tmp_path: Path) -> None:
    base = tiny_bloom(tmp_path / "base")
    adapter = taught(tmp_path / "adapter", base, target_modules=[*FUSED, "word_embeddings"])
    Parts(base, adapter).config(ensure_weight_tying=True)
    with pytest.raises(WeightsError, match="ensure_weight_tying"):
        merged(tmp_path, base, adapter)


def test_fields_of_older_and_newer_versions_that_change_nothing_are_passed_over(parts: Parts) -> None:
    parts.config(merge_weights=True, enable_lora=None, new_invention=None, qalora_group_size=16, layer_replication=[])
    assert read_settings(parts.adapter).r == 4


# -- the command -------------------------------------------------------------------------------------------------------

CARD = """\
schema: zoo.card/v1
kind: model
id: {id}
family: phoenix
summary: A part of a model
sources: [{{hub: folder, path: {folder}}}]
license: {{spdx: Apache-2.0}}
template: {{name: phoenix}}
{more}
"""


@pytest.fixture
def cards(tmp_path: Path) -> list[str]:
    """Options that add the cards of a BLOOM and of an adapter over it."""
    taught(tmp_path / "adapter", tiny_bloom(tmp_path / "base"), target_modules=FUSED)
    (tmp_path / "base.yaml").write_text(CARD.format(id="base", folder="base", more="format: safetensors"))
    lineage = "lineage: {base: {id: base}, relation: adapter}"
    (tmp_path / "adapter.yaml").write_text(CARD.format(id="tuned", folder="adapter", more=lineage))
    return ["--card", str(tmp_path / "base.yaml"), "--card", str(tmp_path / "adapter.yaml")]


@pytest.mark.parametrize(
    "sides",
    [
        ["tuned"],
        ["tuned", "--base", "base"],
        ["tuned", "--adapter", "{}/adapter"],
        ["--adapter", "tuned"],
        ["--adapter", "{}/adapter", "--base", "{}/base"],
    ],
)
def test_cards_and_folders_name_both_sides(
    sides: list[str], cards: list[str], run: Callable[..., Result], tmp_path: Path
) -> None:
    arguments = [each.format(tmp_path) for each in sides]
    done = run(*cards, "merge", "adapter", *arguments, "--target", tmp_path / "new")
    assert done.exit_code == 0, done.stderr
    template = " --template NAME" if "--base" in sides and "tuned" not in sides else ""
    assert done.stdout == f"Made new in {tmp_path / 'new'}. Talk to it with: zoo chat {tmp_path / 'new'}{template}\n"
    theirs = by_peft(tmp_path / "base", tmp_path / "adapter").merged
    for name, tensor in tensors(tmp_path / "new").items():
        torch.testing.assert_close(tensor, theirs[name], rtol=0, atol=1e-6)
    card = read_card(tmp_path / "new" / "zoo.yaml")
    assert isinstance(card, ModelCard)
    assert card.lineage is not None
    assert (card.lineage.relation, card.lineage.base.id or card.lineage.base.name) == ("merge", "base")
    assert {file.path for file in card.files} == {path.name for path in (tmp_path / "new").iterdir()} - {"zoo.yaml"}


def test_a_merged_model_talks_and_is_told_as_json(cards: list[str], run: Callable[..., Result], tmp_path: Path) -> None:
    arguments = ["tuned", "--target", tmp_path / "new", "--name", "mine", "--dtype", "float16", "--smoke", "--json"]
    done = run(*cards, "merge", "adapter", *arguments)
    assert done.exit_code == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["schema"], told["card"]["id"], told["card"]["memory"]["dtype"]) == ("zoo.merge/v1", "mine", "float16")
    assert isinstance(told["smoke"], str)


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        (["tuned"], 2, "Missing option '--target'"),
        (["--target", "new"], 2, "Name the model whose card tells of adapter and base"),
        (["base", "--target", "new"], 2, "does not say that it is an adapter"),
        (["tuned", "--target", "taken"], 2, "exists already and is not empty"),
        (["--adapter", "adapter", "--target", "new"], 2, "Name the folder of the base with --base"),
        (["--adapter", "base", "--base", "base", "--target", "new"], 1, "so it is not an adapter"),
        (["tuned", "--base", "adapter", "--target", "new"], 1, "The folder adapter has no"),
        (["tuned", "--target", "new", "--name", "No Name"], 2, "cannot be a card's id"),
    ],
)
def test_a_command_that_fails_leaves_nothing(
    arguments: list[str],
    code: int,
    reason: str,
    cards: list[str],
    run: Callable[..., Result],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").touch()
    done = run(*cards, "merge", "adapter", *arguments)
    assert (done.exit_code, reason in done.stderr) == (code, True), done.stderr
    assert not list(tmp_path.glob("new*"))
