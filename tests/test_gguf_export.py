"""The quantizer `gguf` against the reader of the `gguf` package: every number, name and token is where it should be.

llama.cpp is not needed here; what it makes of the files is in test_gguf_engine.py.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

pytest.importorskip("gguf", reason="the package gguf is not installed")

import jinja2
import torch
from gguf import GGUFReader, dequantize
from gguf_models import (
    BLOOM,
    CARD,
    LLAMA,
    TEMPLATE,
    WORDS_OF_BLOOM,
    WORDS_OF_LLAMA_3,
    TinyFamily,
    bloom,
    byte_tokenizer,
    llama,
    older_piece_tokenizer,
    piece_tokenizer,
)
from safetensors.torch import load_file, save_file
from tokenizers import normalizers, pre_tokenizers

from zoo_core import Message, QuantizationJob, Template, WeightsError, ZooError, render
from zoo_gguf.chat_templates import portable
from zoo_gguf.header import read_header
from zoo_gguf.plugin import MADE_BY_LLAMA_CPP, WRITTEN
from zoo_gguf.quantizer import GgufQuantizer

Models = dict[str, tuple[Path, TinyFamily]]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    """One checkpoint of each kind; the LLaMA shares its embedding with its output layer in one of them."""
    folder = tmp_path_factory.mktemp("models")
    pieces = pytest.importorskip("sentencepiece", reason="sentencepiece is not installed") and piece_tokenizer
    return {
        "bloom": (bloom(folder / "bloom", byte_tokenizer(WORDS_OF_BLOOM)), BLOOM),
        "llama": (llama(folder / "llama", pieces(folder / "pieces")), LLAMA),
        "tied": (
            llama(folder / "tied", byte_tokenizer(WORDS_OF_LLAMA_3, whole_words=True), tie_word_embeddings=True),
            LLAMA,
        ),
    }


@pytest.fixture
def export(models: Models, tmp_path: Path) -> Callable[..., GGUFReader]:
    """Export a model, and read what came of it with the library's own reader."""

    def do(which: str | tuple[Path, TinyFamily], method: str = "f32", **options: Any) -> GGUFReader:
        weights, family = models[which] if isinstance(which, str) else which
        job = QuantizationJob(
            **{
                "card": CARD,
                "weights": weights,
                "family": family,
                "template": TEMPLATE,
                "method": method,
                "folder": tmp_path,
            }
            | options
        )
        (path,) = GgufQuantizer().quantize(job).files
        assert [each.name for each in tmp_path.iterdir() if each.suffix == ".unfinished"] == []
        assert set(read_header(path).tensors) == {each.name for each in GGUFReader(path).tensors}
        return GGUFReader(path)

    return do


def numbers(reader: GGUFReader) -> dict[str, np.ndarray[Any, Any]]:
    """Every tensor in float32, in the shape that a checkpoint gives it."""
    return {
        tensor.name: dequantize(tensor.data, tensor.tensor_type).reshape([*map(int, tensor.shape[::-1])])
        for tensor in reader.tensors
    }


def value(reader: GGUFReader, key: str) -> Any:
    field = reader.get_field(key)
    return None if field is None else field.contents()


# -- the numbers -------------------------------------------------------------------------------------------------------


def checkpoint(folder: Path) -> dict[str, np.ndarray[Any, Any]]:
    return {name: tensor.float().numpy() for name, tensor in load_file(folder / "model.safetensors").items()}


def test_the_tensors_of_a_bloom(models: Models, export: Callable[..., GGUFReader]) -> None:
    """Queries, keys and values of 4 heads of 16 lie one head after the other in the checkpoint, and by kind in the file."""
    source, found = checkpoint(models["bloom"][0]), numbers(export("bloom"))
    names = {
        "input_layernorm": "attn_norm",
        "self_attention.dense": "attn_output",
        "post_attention_layernorm": "ffn_norm",
        "mlp.dense_h_to_4h": "ffn_up",
        "mlp.dense_4h_to_h": "ffn_down",
    }
    expected = {
        "token_embd.weight": source["transformer.word_embeddings.weight"],
        **{f"token_embd_norm.{kind}": source[f"transformer.word_embeddings_layernorm.{kind}"] for kind in KINDS},
        **{f"output_norm.{kind}": source[f"transformer.ln_f.{kind}"] for kind in KINDS},
    }
    for layer in range(2):
        for kind in KINDS:
            for old, new in names.items():
                expected[f"blk.{layer}.{new}.{kind}"] = source[f"transformer.h.{layer}.{old}.{kind}"]
            fused = source[f"transformer.h.{layer}.self_attention.query_key_value.{kind}"]
            rows = [48 * head + 16 * part + row for part in range(3) for head in range(4) for row in range(16)]
            expected[f"blk.{layer}.attn_qkv.{kind}"] = fused[rows]
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert np.array_equal(found[name], tensor), name


KINDS = ("weight", "bias")


@pytest.mark.parametrize("which", ["llama", "tied"])
def test_the_tensors_of_a_llama(models: Models, export: Callable[..., GGUFReader], which: str) -> None:
    """The halves of each head of queries and keys (of 16 rows) become pairs; the output layer is there if it is its own."""
    source, found = checkpoint(models[which][0]), numbers(export(which))
    names = {
        "self_attn.v_proj": "attn_v",
        "self_attn.o_proj": "attn_output",
        "mlp.gate_proj": "ffn_gate",
        "mlp.up_proj": "ffn_up",
        "mlp.down_proj": "ffn_down",
        "input_layernorm": "attn_norm",
        "post_attention_layernorm": "ffn_norm",
    }
    expected = {
        "token_embd.weight": source["model.embed_tokens.weight"],
        "output_norm.weight": source["model.norm.weight"],
    }
    if which == "llama":
        expected["output.weight"] = source["lm_head.weight"]
    for layer in range(2):
        for old, new in names.items():
            expected[f"blk.{layer}.{new}.weight"] = source[f"model.layers.{layer}.{old}.weight"]
        for name, heads in (("q", 4), ("k", 2)):
            rows = [16 * head + 8 * half + row for head in range(heads) for row in range(8) for half in range(2)]
            tensor = source[f"model.layers.{layer}.self_attn.{name}_proj.weight"]
            expected[f"blk.{layer}.attn_{name}.weight"] = tensor[rows]
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert np.array_equal(found[name], tensor), name


@pytest.mark.parametrize(
    ("method", "error"), [("f16", 5e-4), ("bf16", 4e-3), ("q8_0", 1e-2), ("q5_0", 6e-2), ("q4_0", 1.3e-1)]
)
def test_fewer_bits_are_near_the_original(export: Callable[..., GGUFReader], method: str, error: float) -> None:
    """The largest error in proportion to the largest number, of every matrix; vectors are exact."""
    exact, found = numbers(export("llama")), numbers(export("llama", method))
    worst = 0.0
    for name, tensor in exact.items():
        difference = float(np.abs(found[name] - tensor).max() / np.abs(tensor).max())
        assert (difference == 0) if tensor.ndim == 1 else (0 < difference <= error), (name, difference)
        worst = max(worst, difference)
    assert worst > error / 20, "the method should not be more exact than it can be"


@pytest.mark.parametrize("method", ["q5_0", "q4_0"])
def test_embedding_and_output_keep_8_bits(export: Callable[..., GGUFReader], method: str) -> None:
    kinds = {tensor.name: tensor.tensor_type.name for tensor in export("llama", method).tensors}
    assert {kinds["token_embd.weight"], kinds["output.weight"]} == {"Q8_0"}
    assert {kind for name, kind in kinds.items() if name.startswith("blk") and "norm" not in name} == {method.upper()}


def test_rows_that_cannot_be_cut_into_blocks_stay_16_bits_wide(
    models: Models, export: Callable[..., GGUFReader], tmp_path: Path
) -> None:
    """96 is three blocks of 32; 80 is not a whole number of them."""
    odd = llama(tmp_path / "odd", models["tied"][1].load_tokenizer(models["tied"][0]), intermediate_size=80)
    kinds = {tensor.name: tensor.tensor_type.name for tensor in export((odd, LLAMA), "q8_0").tensors}
    assert (kinds["blk.0.ffn_down.weight"], kinds["blk.0.ffn_up.weight"]) == ("F16", "Q8_0")


def test_a_checkpoint_in_bfloat16_and_in_shards(
    models: Models, export: Callable[..., GGUFReader], tmp_path: Path
) -> None:
    family = models["llama"][1]
    model = family._class.from_pretrained(models["llama"][0], dtype=torch.bfloat16)
    model.save_pretrained(tmp_path / "shards", max_shard_size="100KB")
    assert len(list((tmp_path / "shards").glob("*.safetensors"))) > 2
    for path in models["llama"][0].glob("token*"):
        shutil.copy(path, tmp_path / "shards")
    found = numbers(export((tmp_path / "shards", family), "bf16"))
    exact = numbers(export((tmp_path / "shards", family), "f32"))
    assert all(np.array_equal(found[name], exact[name]) for name in exact)


def test_parts_are_put_together_in_order(models: Models, export: Callable[..., GGUFReader], monkeypatch: Any) -> None:
    """A large tensor is turned a few rows at a time; here each row is."""
    whole = numbers(export("llama"))
    monkeypatch.setattr("zoo_gguf.exporting.AT_ONCE", 1)
    parts = numbers(export("llama", card=msgspec.structs.replace(CARD, id="again")))
    assert all(np.array_equal(whole[name], parts[name]) for name in whole)


def test_a_finished_file_of_an_interrupted_run_is_taken_over(export: Callable[..., GGUFReader], tmp_path: Path) -> None:
    export("llama", "q8_0")
    (path,) = tmp_path.glob("*.gguf")
    before = path.stat().st_mtime_ns
    export("llama", "q8_0")
    assert path.stat().st_mtime_ns == before


# -- what the file says ------------------------------------------------------------------------------------------------


def test_what_the_file_of_a_bloom_says(export: Callable[..., GGUFReader]) -> None:
    reader = export("bloom", "f16")
    said = {
        "general.architecture": "bloom",
        "general.name": "tiny",
        "general.license": "Apache-2.0",
        "general.languages": ["en", "zh"],
        "general.file_type": 1,
        "bloom.context_length": 256,
        "bloom.embedding_length": 64,
        "bloom.feed_forward_length": 256,
        "bloom.block_count": 2,
        "bloom.attention.head_count": 4,
        "bloom.attention.head_count_kv": 4,
        "bloom.vocab_size": 416,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "bloom",
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.unknown_token_id": 0,
        "tokenizer.ggml.padding_token_id": 3,
        "tokenizer.ggml.add_bos_token": False,
    }
    assert {key: value(reader, key) for key in said} == said
    assert value(reader, "bloom.attention.layer_norm_epsilon") == pytest.approx(1e-5)


def test_what_the_file_of_a_llama_says(export: Callable[..., GGUFReader]) -> None:
    reader = export("llama")
    said = {
        "general.architecture": "llama",
        "llama.context_length": 256,
        "llama.feed_forward_length": 96,
        "llama.attention.head_count": 4,
        "llama.attention.head_count_kv": 2,
        "llama.attention.key_length": 16,
        "llama.rope.dimension_count": 16,
        "llama.rope.freq_base": 10000.0,
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.pre": "default",
        "zoo.tokenizer.prefix": "first",
        "zoo.tokenizer.ends": [2],
    }
    assert {key: value(reader, key) for key in said} == said


def test_the_tokens_are_the_tokenizers(models: Models, export: Callable[..., GGUFReader]) -> None:
    reader = export("bloom")
    tokenizer = BLOOM.load_tokenizer(models["bloom"][0])
    tokens, types = value(reader, "tokenizer.ggml.tokens"), value(reader, "tokenizer.ggml.token_type")
    assert tokens[: len(tokenizer)] == tokenizer.convert_ids_to_tokens(range(len(tokenizer)))
    assert tokens[len(tokenizer) :] == [f"[PAD{number}]" for number in range(len(tokenizer), 416)]
    assert types == [3] * 4 + [1] * (len(tokenizer) - 4) + [5] * (416 - len(tokenizer))
    merges = json.loads(tokenizer.backend_tokenizer.to_str())["model"]["merges"]
    assert value(reader, "tokenizer.ggml.merges") == [" ".join(pair) for pair in merges]


def test_pieces_have_the_order_that_sentencepiece_gave_them(models: Models, export: Callable[..., GGUFReader]) -> None:
    """Of two pieces with different scores, the better one has the better score in the file."""
    import sentencepiece

    reader = export("llama")
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(models["llama"][0].parent / "pieces/tokenizer.model"))
    scores = value(reader, "tokenizer.ggml.scores")
    merged = [number for number in range(259, len(pieces)) if len(pieces.id_to_piece(number)) > 1]
    assert len(merged) > 40
    by_file = sorted(merged, key=lambda number: -scores[number])
    assert [pieces.get_score(number) for number in by_file] == sorted(map(pieces.get_score, merged), reverse=True)
    assert value(reader, "tokenizer.ggml.token_type")[:5] == [3, 3, 3, 6, 6]


def test_all_ends_of_an_answer_are_named(models: Models, export: Callable[..., GGUFReader], tmp_path: Path) -> None:
    folder = shutil.copytree(models["llama"][0], tmp_path / "ends")
    path = folder / "generation_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"eos_token_id": [2, 300, 301]}))
    reader = export((folder, LLAMA))
    assert value(reader, "zoo.tokenizer.ends") == [2, 300, 301]
    assert (value(reader, "tokenizer.ggml.eos_token_id"), value(reader, "tokenizer.ggml.eot_token_id")) == (2, 300)


@pytest.mark.parametrize(
    ("rope", "said"),
    [
        (
            {"rope_type": "linear", "factor": 4.0, "rope_theta": 5e5},
            {"rope.scaling.factor": 4.0, "rope.freq_base": 5e5},
        ),
        (
            {
                "rope_type": "llama3",
                "rope_theta": 5e5,
                "factor": 8.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 8192,
            },
            {"rope.freq_base": 5e5, "rope.scaling.type": None},
        ),
    ],
    ids=["linear", "llama3"],
)
def test_a_stretched_context(
    models: Models, export: Callable[..., GGUFReader], tmp_path: Path, rope: dict[str, Any], said: dict[str, Any]
) -> None:
    """What transformers divides each frequency by is what the file says."""
    from transformers import LlamaForCausalLM

    folder = shutil.copytree(models["llama"][0], tmp_path / "stretched")
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"rope_parameters": rope}))
    reader = export((folder, LLAMA))
    assert {key: value(reader, f"llama.{key}") for key in said} == said
    if rope["rope_type"] == "llama3":
        rotation = LlamaForCausalLM.from_pretrained(folder).model.rotary_emb.inv_freq
        plain = 1.0 / rope["rope_theta"] ** (torch.arange(0, 16, 2) / 16)
        assert np.allclose(numbers(reader)["rope_freqs.weight"], (plain / rotation).numpy(), rtol=1e-5)


def test_the_chat_template_needs_nothing_but_messages(export: Callable[..., GGUFReader]) -> None:
    text = value(export("bloom"), "tokenizer.chat_template")
    assert text == portable(TEMPLATE)
    said = [Message("user", "Hi {{ 1 }}"), Message("assistant", "Yes."), Message("user", "And?")]
    own = [Message("system", "Be long."), *said]
    for messages in (said, own):
        data = [{"role": each.role, "content": each.content} for each in messages]
        rendered = jinja2.Environment().from_string(text).render(messages=data, add_generation_prompt=True)
        assert rendered == render(TEMPLATE, messages).text


def test_the_templates_of_the_zoo_are_portable() -> None:
    from zoo_core import Zoo

    said = [Message("user", "Hi"), Message("assistant", "Yes.\n"), Message("user", " And?")]
    for _, template in Zoo().plugins.items("zoo_conversation_templates"):
        environment = jinja2.Environment(extensions=["jinja2.ext.loopcontrols"])
        environment.globals["raise_exception"] = pytest.fail
        data = [{"role": each.role, "content": each.content} for each in said]
        rendered = environment.from_string(portable(template)).render(messages=data, add_generation_prompt=True)
        assert rendered == render(template, said).text, template.name


def test_a_template_without_a_system_prompt_gets_no_head() -> None:
    template = Template(name="plain", text="{{ messages[0].content }}")
    assert portable(template) == template.text


# -- what is refused ---------------------------------------------------------------------------------------------------


def changed(models: Models, tmp_path: Path, which: str, **config: Any) -> tuple[Path, TinyFamily]:
    """A model with another configuration."""
    folder = shutil.copytree(models[which][0], tmp_path / "changed")
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | config))
    return folder, models[which][1]


@pytest.mark.parametrize(
    ("which", "config", "reason"),
    [
        ("llama", {"architectures": ["GPTNeoXForCausalLM"]}, "'tiny' is a GPTNeoXForCausalLM"),
        ("llama", {"architectures": None}, "'tiny' is a ?"),
        ("llama", {"rope_parameters": {"rope_type": "yarn", "factor": 2.0}}, "stretches its context by 'yarn'"),
        ("llama", {"hidden_act": "gelu"}, "computes with gelu"),
        ("llama", {"num_hidden_layers": 3}, "lack 9 tensors"),
        ("llama", {"num_attention_heads": None}, "does not say 'num_attention_heads'"),
        ("bloom", {"apply_residual_connection_post_layernorm": True}, "residuals"),
        ("bloom", {"n_layer": 3, "num_hidden_layers": 3}, "lack 12 tensors"),
    ],
)
def test_a_network_that_cannot_be_exported_is_named(
    models: Models, export: Callable[..., GGUFReader], tmp_path: Path, which: str, config: dict[str, Any], reason: str
) -> None:
    with pytest.raises(ZooError) as raised:
        export(changed(models, tmp_path, which, **config))
    assert reason in str(raised.value)
    assert not list(tmp_path.glob("*.gguf"))


def with_tensors(models: Models, tmp_path: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> tuple[Path, Any]:
    folder = shutil.copytree(models["llama"][0], tmp_path / "changed")
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder, LLAMA


NORM, DOWN = "model.norm.weight", "model.layers.1.mlp.down_proj.weight"


@pytest.mark.parametrize(
    ("change", "method", "reason"),
    [
        (lambda all: all.update({"model.extra.weight": torch.ones(3)}), "f16", "for which GGUF has no place"),
        (lambda all: all.pop(NORM), "f16", "lack 1 tensors, for GGUF's output_norm.weight"),
        (lambda all: all[DOWN].__setitem__((1, 2), torch.nan), "q8_0", "numbers that are none"),
        (lambda all: all[DOWN].__setitem__((1, 2), torch.inf), "f32", "numbers that are none"),
        (lambda all: all[DOWN].__setitem__((1, 2), 70_000.0), "f16", "choose --method bf16"),
    ],
    ids=["unknown", "missing", "NaN", "infinite", "too large"],
)
def test_weights_that_cannot_be_exported_are_named(
    models: Models, export: Callable[..., GGUFReader], tmp_path: Path, change: Any, method: str, reason: str
) -> None:
    with pytest.raises((ZooError, WeightsError), match=reason.replace("'", ".")):
        export(with_tensors(models, tmp_path, change), method)
    assert not list(tmp_path.glob("*.gguf"))


def test_old_tables_of_angles_are_left_out(models: Models, export: Callable[..., GGUFReader], tmp_path: Path) -> None:
    table = {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(8)}
    found = export(with_tensors(models, tmp_path, lambda tensors: tensors.update(table)))
    assert {each.name for each in found.tensors} == set(
        numbers(export("llama", card=msgspec.structs.replace(CARD, id="b")))
    )


def spoiled(change: Callable[[Any], None]) -> Any:
    tokenizer = byte_tokenizer(WORDS_OF_BLOOM)
    change(tokenizer.backend_tokenizer)
    return tokenizer


def _cut(regex: str) -> Callable[[Any], None]:
    return lambda backend: setattr(backend, "pre_tokenizer", byte_tokenizer(regex).backend_tokenizer.pre_tokenizer)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda backend: setattr(backend, "normalizer", normalizers.NFC()), "prepares text"),
        (lambda backend: setattr(backend, "pre_tokenizer", pre_tokenizers.ByteLevel()), "prepares text"),
        (_cut(r"\p{L}+|\p{N}"), "prepares text"),
        (_cut(WORDS_OF_LLAMA_3), "prepares text"),
        (lambda backend: backend.add_special_tokens([_token(lstrip=True)]), "takes what is beside it"),
        (lambda backend: backend.add_tokens([f"token {number}" for number in range(40)]), "its embedding has 416 rows"),
    ],
    ids=["normalizer", "space in front", "unknown words", "words that are cut", "greedy token", "more than rows"],
)
def test_a_tokenizer_that_llama_cpp_does_not_have_is_refused(
    models: Models, export: Callable[..., GGUFReader], tmp_path: Path, change: Callable[[Any], None], reason: str
) -> None:
    folder = shutil.copytree(models["bloom"][0], tmp_path / "changed")
    spoiled(change).save_pretrained(folder)
    with pytest.raises(ZooError, match=reason):
        export((folder, BLOOM))


def _token(**options: Any) -> Any:
    from tokenizers import AddedToken

    return AddedToken("<greedy>", special=True, **options)


def test_pieces_that_are_merged_in_another_way_are_refused(
    models: Models, export: Callable[..., GGUFReader], tmp_path: Path
) -> None:
    """llama.cpp merges whatever makes a piece; a tokenizer that leaves one such pair out cuts text differently."""
    folder = shutil.copytree(models["llama"][0], tmp_path / "changed")
    data = json.loads(older_piece_tokenizer(tmp_path / "older").backend_tokenizer.to_str())
    data["model"]["merges"] = data["model"]["merges"][1:]
    (folder / "tokenizer.json").write_text(json.dumps(data))
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(settings | {"tokenizer_class": "TokenizersBackend"}))
    with pytest.raises(ZooError, match="does not merge"):
        export((folder, LLAMA))


def test_a_model_of_unknown_context_is_refused(
    models: Models, export: Callable[..., GGUFReader], tmp_path: Path
) -> None:
    folder, family = changed(models, tmp_path, "bloom", seq_length=None)
    with pytest.raises(ZooError, match=r"add context\.max to its card"):
        export((folder, family), card=msgspec.structs.replace(CARD, context=None))


def test_an_option_is_refused_by_name(export: Callable[..., GGUFReader]) -> None:
    with pytest.raises(ZooError, match="'q8_0' has no option 'group_size'"):
        export("llama", "q8_0", options={"group_size": "64"})


def test_every_method_has_bits(export: Callable[..., GGUFReader]) -> None:
    from zoo_gguf.quantizer import _quantization

    bits = {method: _quantization(method).bits for method in [*WRITTEN, *MADE_BY_LLAMA_CPP]}
    assert bits["f16"] == bits["bf16"] == 16
    assert {key: value for key, value in bits.items() if key.startswith("q")} == {
        key: int(key[1]) for key in bits if key.startswith("q")
    }
