"""The facts of a checkpoint: counted exactly on real networks of many shapes, and refused where a header lies."""

from __future__ import annotations

import inspect
import json
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from zoo_core.cards.parts import Quantization
from zoo_core.checkpoints import configurations
from zoo_core.checkpoints.facts import Facts, checkpoint_facts, chosen_files, weight_files
from zoo_core.checkpoints.inspection import FolderView
from zoo_core.checkpoints.tensors import MAX_HEADER, read_tensors
from zoo_core.errors import WeightsError

WEIGHTS = Path(__file__).parent.parent / "plugins" / "zoo_hatchling" / "weights"


def facts_of(folder: Path) -> Facts:
    view = FolderView(folder)
    return checkpoint_facts(view.read, view.files)


def header(**tensors: Any) -> bytes:
    """A header of tensors, each given as dtype, shape and offsets."""
    entries = {
        name: {"dtype": dtype, "shape": shape, "data_offsets": offsets}
        for name, (dtype, shape, offsets) in tensors.items()
    }
    return json.dumps(entries).encode()


def file_of(text: bytes, size: int = 0) -> bytes:
    return struct.pack("<Q", len(text)) + text + bytes(size)


def folder_of(tmp_path: Path, **files: Any) -> Path:
    """A folder with files: bytes as they are, everything else as JSON. `__` in a name stands for a dot."""
    for name, content in files.items():
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        (tmp_path / name.replace("__", ".")).write_bytes(data)
    return tmp_path


ONE = file_of(header(w=("F32", [2, 3], [0, 24])), 24)


# -- real networks -----------------------------------------------------------------------------------------------------

LAYERS = {"num_hidden_layers": 2, "num_attention_heads": 4, "hidden_size": 32, "vocab_size": 96}
SHAPES: dict[str, tuple[str, dict[str, Any]]] = {
    "shared heads": ("LlamaConfig", {**LAYERS, "intermediate_size": 48, "num_key_value_heads": 2}),
    "tied": ("LlamaConfig", {**LAYERS, "intermediate_size": 48, "head_dim": 16, "tie_word_embeddings": True}),
    "wide heads": ("Qwen3Config", {**LAYERS, "intermediate_size": 48, "num_key_value_heads": 2, "head_dim": 16}),
    "windows": ("Gemma2Config", {**LAYERS, "intermediate_size": 48, "num_key_value_heads": 2, "head_dim": 8}),
    "experts": ("MixtralConfig", {**LAYERS, "intermediate_size": 48, "num_key_value_heads": 2, "num_local_experts": 4}),
    "n_layer": ("BloomConfig", {"vocab_size": 96, "hidden_size": 32, "n_layer": 2, "n_head": 4}),
    "n_embd": ("GPT2Config", {"vocab_size": 96, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}),
    "rotary": ("GPTJConfig", {"vocab_size": 96, "n_embd": 32, "n_layer": 2, "n_head": 4, "rotary_dim": 4}),
    "d_model": ("MptConfig", {"vocab_size": 96, "d_model": 32, "n_heads": 4, "n_layers": 2}),
    "one head": ("FalconConfig", {**LAYERS, "multi_query": True, "new_decoder_architecture": False}),
    "ffn_dim": ("OPTConfig", {**LAYERS, "ffn_dim": 64, "word_embed_proj_dim": 32}),
}


@pytest.mark.parametrize(("kind", "options"), SHAPES.values(), ids=SHAPES.keys())
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_numbers_are_those_of_the_network(kind: str, options: dict[str, Any], dtype: str, tmp_path: Path) -> None:
    import torch
    import transformers

    transformers.logging.set_verbosity_error()
    tokens = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    config = getattr(transformers, kind)(**options, **tokens)
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=getattr(torch, dtype)).eval()
    model.save_pretrained(tmp_path)
    cache = transformers.DynamicCache(config=model.config)
    name = "cache" if "cache" in inspect.signature(model.forward).parameters else "past_key_values"
    model(input_ids=torch.ones(1, 5, dtype=torch.long), use_cache=True, **{name: cache})

    facts = facts_of(tmp_path)
    network = facts.architecture
    assert network.params == model.num_parameters()
    assert facts.memory.weights_bytes == sum(each.nbytes for each in {id(p): p for p in model.parameters()}.values())
    assert facts.memory.kv_bytes_per_token == sum(each.keys.nbytes + each.values.nbytes for each in cache.layers) // 5
    assert facts.memory.dtype == dtype
    assert (network.layers, network.hidden_size, network.heads, network.vocab_size) == (2, 32, 4, 96)
    assert network.model_class == type(model).__name__
    assert network.intermediate_size in {48, 64, 128}
    assert (facts.format, facts.weights, facts.remote_code) == ("safetensors", ["model.safetensors"], False)


def test_the_embedded_model() -> None:
    facts = facts_of(WEIGHTS)
    assert facts.architecture.params == 1_055_744
    assert facts.context == 512
    assert facts.tied
    assert facts.generation["eos_token_id"] == 2
    assert facts.tokenizer["bos_token"] == "<s>"


def test_shards_count_together(tmp_path: Path) -> None:
    other = file_of(header(v=("F16", [5], [0, 10])), 10)
    names = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
    folder_of(
        tmp_path,
        config__json={},
        model__safetensors__index__json={"metadata": {}, "weight_map": {"w": names[0], "v": names[1]}},
    )
    (tmp_path / names[0]).write_bytes(ONE)
    (tmp_path / names[1]).write_bytes(other)
    facts = facts_of(tmp_path)
    assert (facts.weights, facts.architecture.params) == ([*names], 11)
    assert (facts.memory.weights_bytes, facts.memory.dtype) == (34, "float32")


def test_tables_and_copies_are_no_parameters(tmp_path: Path) -> None:
    tensors = {
        "model.embed_tokens.weight": ("F32", [4, 2], [0, 32]),
        "lm_head.weight": ("F32", [4, 2], [32, 64]),
        "h.0.attn.bias": ("F32", [1, 1, 2, 2], [64, 80]),
        "model.layers.0.self_attn.rotary_emb.inv_freq": ("F32", [2], [80, 88]),
        "h.0.attn.c_attn.bias": ("F32", [2], [88, 96]),
    }
    weights = file_of(header(**tensors), 96)
    folder_of(tmp_path, config__json={"tie_word_embeddings": True}, model__safetensors=weights)
    assert facts_of(tmp_path).architecture.params == 8 + 2
    folder_of(tmp_path, config__json={"tie_word_embeddings": False})
    assert facts_of(tmp_path).architecture.params == 8 + 8 + 2


def test_the_only_copy_of_tied_weights_counts(tmp_path: Path) -> None:
    weights = file_of(header(**{"lm_head.weight": ("F32", [4, 2], [0, 32])}), 32)
    folder_of(tmp_path, config__json={"tie_word_embeddings": True}, model__safetensors=weights)
    assert facts_of(tmp_path).architecture.params == 8


def test_an_adapter_names_its_base(tmp_path: Path) -> None:
    folder_of(tmp_path, adapter_config__json={"base_model_name_or_path": "a/b"}, adapter_model__safetensors=ONE)
    facts = facts_of(tmp_path)
    assert (facts.adapter, facts.base, facts.weights) == (True, "a/b", ["adapter_model.safetensors"])


def test_packed_weights_are_not_counted(tmp_path: Path) -> None:
    config = {"quantization_config": {"quant_method": "gptq", "bits": 4, "group_size": 128, "desc_act": False}}
    packed = file_of(header(w=("I32", [6], [0, 24])), 24)
    folder_of(tmp_path, config__json={**config, "torch_dtype": "float16"}, model__safetensors=packed)
    facts = facts_of(tmp_path)
    assert facts.architecture.params is None
    assert (facts.memory.weights_bytes, facts.memory.dtype) == (24, "float16")
    assert facts.quantization == Quantization(method="gptq", bits=4, group_size=128, act_order=False)


# -- configurations ----------------------------------------------------------------------------------------------------

OLD_GLM = {
    **{"num_layers": 28, "hidden_size": 4096, "num_attention_heads": 32, "kv_channels": 128, "seq_length": 32768},
    **{"multi_query_attention": True, "multi_query_group_num": 2, "padded_vocab_size": 65024, "ffn_hidden_size": 13696},
}
ATTENTION = {"num_hidden_layers": 2, "num_attention_heads": 4, "hidden_size": 64}
CACHES: dict[str, tuple[dict[str, Any], int | None]] = {
    "groups": (OLD_GLM, 2 * 28 * 2 * 128),
    "no groups": ({**OLD_GLM, "multi_query_attention": False}, 2 * 28 * 32 * 128),
    "inside": ({"architectures": ["X"], "text_config": ATTENTION}, 2 * 2 * 64),
    "no heads": ({"num_hidden_layers": 2, "hidden_size": 64}, None),
    "heads that do not divide": ({**ATTENTION, "hidden_size": 65}, None),
    "state": ({**ATTENTION, "mamba_d_state": 16}, None),
    "compressed": ({**ATTENTION, "kv_lora_rank": 16}, None),
    "mixed layers": ({**ATTENTION, "layer_types": ["full_attention", "linear_attention"]}, None),
    "windows": ({**ATTENTION, "layer_types": ["full_attention", "sliding_attention"]}, 2 * 2 * 64),
    "two stacks": ({**ATTENTION, "is_encoder_decoder": True}, None),
    "not numbers": ({**ATTENTION, "num_hidden_layers": "2"}, None),
    "true is no number": ({**ATTENTION, "num_hidden_layers": True}, None),
    "negative": ({**ATTENTION, "num_hidden_layers": -2}, None),
    "huge": ({**ATTENTION, "num_hidden_layers": 10**30}, None),
    "a product beyond 64 bits": ({**ATTENTION, "num_hidden_layers": 2**62}, None),
    "nothing": ({}, None),
}


@pytest.mark.parametrize(("config", "numbers"), CACHES.values(), ids=CACHES.keys())
def test_the_cache_of_a_configuration(config: dict[str, Any], numbers: int | None) -> None:
    assert configurations.kv_numbers_per_token(configurations.flat(config)) == numbers


def test_names_of_older_configurations() -> None:
    network = configurations.architecture(configurations.flat(OLD_GLM))
    assert (network.layers, network.vocab_size, network.intermediate_size, network.kv_heads) == (28, 65024, 13696, 2)
    assert configurations.context(OLD_GLM) == 32768


def test_a_wrapped_configuration_keeps_its_own_class() -> None:
    config = configurations.flat({"architectures": ["Outer"], "text_config": {"architectures": ["Inner"], **ATTENTION}})
    assert configurations.architecture(config).model_class == "Outer"


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"quant_method": "awq", "w_bit": 4, "q_group_size": 64}, Quantization(method="awq", bits=4, group_size=64)),
        ({"quant_method": "bitsandbytes", "load_in_8bit": True}, Quantization(method="bitsandbytes", bits=8)),
        ({"load_in_4bit": True}, Quantization(method="unknown", bits=4)),
        ({"quant_method": "../x", "bits": "4"}, Quantization(method="unknown")),
        ("gptq", None),
    ],
)
def test_quantization(said: Any, expected: Quantization | None) -> None:
    assert configurations.quantization({"quantization_config": said}) == expected


# -- hostile headers ---------------------------------------------------------------------------------------------------

LIES: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "it is shorter than its own header"),
    "seven bytes": (b"1234567", "it is shorter than its own header"),
    "longer than the file": (struct.pack("<Q", 1000) + b"{}", "it is shorter than its own header"),
    "2**64 - 1": (b"\xff" * 8 + b"{}", "it is shorter than its own header"),
    "no JSON": (file_of(b"hello"), "its header cannot be read"),
    "a list": (file_of(b"[]"), "its header cannot be read"),
    "not UTF-8": (file_of(b'{"\xff": 1}'), "its header cannot be read"),
    "deep": (file_of(b'{"a":' * 100_000), "its header cannot be read"),
    "no shape": (file_of(b'{"w":{"dtype":"F32","data_offsets":[0,4]}}', 4), "its header cannot be read"),
    "negative shape": (file_of(header(w=("F32", [-1], [0, 4])), 4), "its header cannot be read"),
    "huge number": (file_of(header(w=("F32", [10**30], [0, 4])), 4), "its header cannot be read"),
    "unknown dtype": (file_of(header(w=("F99", [1], [0, 4])), 4), "has the unknown dtype 'F99'"),
    "too long": (
        file_of(header(w=("F32", [1], [0, 8])), 8),
        "takes 8 bytes, which is not what its shape and dtype need",
    ),
    "backwards": (file_of(header(w=("F32", [1], [4, 0])), 4), "does not begin where the one before it ends"),
    "overflowing shape": (file_of(header(w=("F32", [2**62, 2**62], [0, 4])), 4), "takes 4 bytes"),
    "a gap": (file_of(header(w=("F32", [1], [4, 8])), 8), "does not begin where the one before it ends"),
    "twice the same bytes": (
        file_of(header(w=("F32", [1], [0, 4]), v=("F32", [1], [0, 4])), 8),
        "does not begin where the one before it ends",
    ),
    "bytes that belong to nothing": (file_of(header(w=("F32", [1], [0, 4])), 8), "its tensors end at byte 4 of 8"),
    "too few bytes": (file_of(header(w=("F32", [2], [0, 8])), 4), "its tensors end at byte 8 of 4"),
    "many dimensions": (file_of(header(w=("F32", [1] * 65, [0, 4])), 4), "has 65 dimensions"),
}


@pytest.mark.parametrize(("content", "expected"), LIES.values(), ids=LIES.keys())
def test_headers_that_lie_are_refused(content: bytes, expected: str, tmp_path: Path) -> None:
    folder_of(tmp_path, model__safetensors=content)
    with pytest.raises(WeightsError) as caught:
        facts_of(tmp_path)
    assert expected in str(caught.value)
    assert str(caught.value).startswith("The file model.safetensors is no safetensors file that can be trusted: ")
    assert len(str(caught.value)) < 400


def reader(content: bytes) -> tuple[Callable[[str, int, int], bytes], list[int]]:
    """A function that reads parts of `content`, and the sizes that it was asked for."""
    asked: list[int] = []

    def read(path: str, start: int, size: int) -> bytes:
        asked.append(size)
        return content[start : start + size]

    return read, asked


def test_a_header_beyond_the_format_is_not_read() -> None:
    read, asked = reader(struct.pack("<Q", MAX_HEADER + 1))
    with pytest.raises(WeightsError, match="more than the 100,000,000 that the format allows"):
        read_tensors(read, "x", 10**12)
    assert asked == [8]


def test_millions_of_tensors_cost_no_memory() -> None:
    text = b"{" + b",".join(b'"%d":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}' % n for n in range(600_000)) + b"}"
    read, _ = reader(file_of(text))
    tracemalloc.start()
    try:
        with pytest.raises(WeightsError, match="names too many tensors"):
            read_tensors(read, "x", 8 + len(text))
        assert tracemalloc.get_traced_memory()[1] < 2 * len(text)
    finally:
        tracemalloc.stop()


def test_a_server_that_ends_too_early() -> None:
    read, _ = reader(ONE[:20])
    with pytest.raises(WeightsError, match="ends in the middle of its header"):
        read_tensors(read, "x", len(ONE))


def test_a_tensor_in_two_files(tmp_path: Path) -> None:
    folder_of(tmp_path, a__safetensors=ONE, b__safetensors=ONE)
    with pytest.raises(WeightsError, match=r"The tensor 'w' stands in b\.safetensors and in another file"):
        facts_of(tmp_path)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"{", "is no JSON that can be read"),
        (b"[" * 100_000, "is nested too deeply"),
        (b"[]", "holds a JSON list, but an object was expected"),
        (b"\xff\xfe", "is no JSON that can be read"),
    ],
)
@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json", "generation_config.json"])
def test_broken_configurations(name: str, content: bytes, expected: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(WeightsError, match=f"The file {name} .*{expected}"):
        facts_of(tmp_path)


def test_a_configuration_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "config.json").open("wb") as file:
        file.truncate(20_000_001)
    with pytest.raises(WeightsError, match=r"config\.json has 20,000,001 bytes, too many"):
        facts_of(tmp_path)


@pytest.mark.parametrize(
    ("index", "expected"),
    [
        ({}, "names no files of weights"),
        ({"weight_map": {}}, "names no files of weights"),
        ({"weight_map": {"w": 1}}, "names no files of weights"),
        ({"weight_map": {"w": "../x"}}, "names '../x', which is not there"),
        ({"weight_map": {"w": "model-00009-of-00009.safetensors"}}, "which is not there"),
    ],
)
def test_indexes_that_lie(index: Any, expected: str, tmp_path: Path) -> None:
    folder_of(tmp_path, model__safetensors__index__json=index)
    (tmp_path / "model-00001-of-00001.safetensors").write_bytes(ONE)
    with pytest.raises(WeightsError, match=expected):
        facts_of(tmp_path)


# -- which files -------------------------------------------------------------------------------------------------------

CHOICES: dict[str, tuple[list[str], str | None, list[str]]] = {
    "one": (["a.png", "README.md", "config.json", "model.safetensors"], "safetensors", ["model.safetensors"]),
    "two layouts": (["consolidated.safetensors", "model.safetensors"], "safetensors", ["model.safetensors"]),
    "pickled beside": (["model.safetensors", "pytorch_model.bin"], "safetensors", ["model.safetensors"]),
    "pickled only": (["pytorch_model.bin", "training_args.bin", "optimizer.pt"], "pickle", ["pytorch_model.bin"]),
    "gguf": (["a.gguf", "b.gguf"], "gguf", ["a.gguf", "b.gguf"]),
    "below": (["onnx/model.safetensors"], None, []),
    "none": (["README.md"], None, []),
}


@pytest.mark.parametrize(("names", "kind", "expected"), CHOICES.values(), ids=CHOICES.keys())
def test_the_files_of_weights(names: list[str], kind: str | None, expected: list[str], tmp_path: Path) -> None:
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(ONE)
    view = FolderView(tmp_path)
    assert weight_files(view.read, view.files) == (kind, expected)


def test_the_files_of_a_model(tmp_path: Path) -> None:
    names = ["config.json", "tokenizer.model", "vocab.txt", "chat_template.jinja", "merges.txt", "model.safetensors"]
    others = ["README.md", "run.py", "LICENSE.txt", "pytorch_model.bin", "picture.png", "consolidated.safetensors"]
    for name in [*names, *others]:
        (tmp_path / name).write_bytes(b"{}" if name.endswith(".json") else ONE)
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "config.json").write_bytes(b"{}")
    view = FolderView(tmp_path)
    facts = checkpoint_facts(view.read, view.files)
    assert [file.path for file in chosen_files(view.files, facts)] == sorted(names)
    assert [file.path for file in chosen_files(view.files, facts, ["run.py"])] == sorted([*names, "run.py"])


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"chat_template__jinja": b"from a file", "tokenizer_config__json": {"chat_template": "x"}}, "from a file"),
        ({"tokenizer_config__json": {"chat_template": "inside"}}, "inside"),
        (
            {
                "tokenizer_config__json": {
                    "chat_template": [{"name": "tools", "template": "t"}, {"name": "default", "template": "d"}]
                }
            },
            "d",
        ),
        ({"tokenizer_config__json": {"chat_template": 5}}, ""),
        ({}, ""),
    ],
    ids=["file", "inside", "several", "number", "none"],
)
def test_where_a_chat_template_is(files: dict[str, Any], expected: str, tmp_path: Path) -> None:
    assert facts_of(folder_of(tmp_path, **files)).chat_template == expected
