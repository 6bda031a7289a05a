"""Folders in AutoGPTQ's layout, made by hand in every form in which they were published, load with PyTorch alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gptq_reference
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import tiny_bloom, tiny_llama
from transformers import AutoModelForCausalLM, BloomForCausalLM, LlamaForCausalLM

from zoo_core import Loading, WeightsError
from zoo_gptq.layers import NibbleLinear, PackedLinear
from zoo_gptq.loading import load_gptq

IDS = torch.tensor([[1, 17, 42, 99, 7]])
#: As the first AutoGPTQ wrote it, and as its last release did.
OLD = {"bits": 4, "group_size": 32, "damp_percent": 0.01, "desc_act": False}
LAST = {**OLD, "static_groups": False, "sym": True, "model_file_base_name": None, "is_marlin_format": False}
SETTINGS = "quantize_config.json"

Tensors = dict[str, torch.Tensor]


def settings(folder: Path, said: Any, *, name: str = SETTINGS) -> None:
    (folder / name).write_text(json.dumps(said))


def in_config(folder: Path, said: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    settings(folder, {**config, "quantization_config": said}, name="config.json")


def edit(folder: Path, change: Callable[[Tensors], Any]) -> None:
    """Change the tensors of a folder in place, or give others."""
    path = folder / "model.safetensors"
    tensors = load_file(path)
    save_file(change(tensors) or tensors, path, {"format": "pt"})


def logits(model: Any) -> torch.Tensor:
    with torch.inference_mode():
        return model(IDS).logits.float()


def packed_bloom(tmp_path: Path, **layout: Any) -> tuple[Path, torch.Tensor]:
    """A packed BLOOM without settings, and the logits of the same numbers unpacked."""
    dense = gptq_reference.checkpoint(tiny_bloom(tmp_path / "source"), tmp_path / "packed", **layout)
    return tmp_path / "packed", logits(BloomForCausalLM.from_pretrained(dense).eval())


@pytest.mark.parametrize("act_order", [False, True])
@pytest.mark.parametrize("group_size", [-1, 32])
@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_logits_are_those_of_the_dequantized_model(bits: int, group_size: int, act_order: bool, tmp_path: Path) -> None:
    folder, expected = packed_bloom(tmp_path, bits=bits, group_size=group_size, act_order=act_order)
    settings(folder, {**LAST, "bits": bits, "group_size": group_size, "desc_act": act_order})
    gptq_reference.rename_weights(folder, f"gptq_model-{bits}bit-{group_size}g.safetensors")
    model = load_gptq(BloomForCausalLM, folder, Loading())
    torch.testing.assert_close(logits(model), expected)
    assert not model.training


def test_llama_with_odd_sizes_and_the_biases_that_old_files_have(tmp_path: Path) -> None:
    source = tiny_llama(tmp_path / "source")  # 32 and 72 inputs: the last group of 32 is unfinished
    dense = gptq_reference.checkpoint(source, tmp_path / "packed")
    settings(tmp_path / "packed", OLD)

    def with_biases(tensors: Tensors) -> None:
        for name in [name for name in tensors if name.endswith("qweight")]:
            tensors[name.replace("qweight", "bias")] = torch.zeros(tensors[name].shape[1], dtype=torch.float16)
            tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.ones(4)

    edit(tmp_path / "packed", with_biases)
    expected = logits(LlamaForCausalLM.from_pretrained(dense).eval())
    for model_class in (LlamaForCausalLM, AutoModelForCausalLM):
        torch.testing.assert_close(logits(load_gptq(model_class, tmp_path / "packed", Loading())), expected)


def no_order(folder: Path) -> None:
    edit(folder, lambda tensors: {name: each for name, each in tensors.items() if not name.endswith("g_idx")})


def shards(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(tensors)
    places = {}
    for number, part in enumerate((names[::2], names[1::2]), 1):
        file = f"gptq_model-4bit-32g-{number:05d}-of-00002.safetensors"
        save_file({name: tensors[name] for name in part}, folder / file, {"format": "pt"})
        places |= dict.fromkeys(part, file)
    settings(folder, {"metadata": {}, "weight_map": places}, name="gptq_model-4bit-32g.safetensors.index.json")


FORMS: dict[str, Callable[[Path], None]] = {
    "the first AutoGPTQ": lambda folder: settings(folder, OLD),
    "the last AutoGPTQ": lambda folder: settings(folder, LAST),
    "transformers": lambda folder: in_config(folder, {**OLD, "quant_method": "gptq", "checkpoint_format": "gptq"}),
    "both": lambda folder: (settings(folder, OLD), in_config(folder, {**OLD, "quant_method": "gptq"}))[0],
    "gptqmodel": lambda folder: settings(folder, {**OLD, "method": "gptq", "format": "gptq", "pack_dtype": "int32"}),
    "layers of their own": lambda folder: settings(folder, {**OLD, "bits": 8, "dynamic": {".*": {"bits": 4}}}),
    "GPTQ-for-LLaMa": lambda folder: gptq_reference.rename_weights(folder, "bloom-gptq-4bit-32g-no-actor.safetensors"),
    "without an order": lambda folder: (settings(folder, OLD), no_order(folder))[0],
    "shards": lambda folder: (settings(folder, OLD), shards(folder))[0],
    "without the model's prefix": lambda folder: (
        settings(folder, OLD),
        edit(folder, lambda tensors: {name.removeprefix("transformer."): each for name, each in tensors.items()}),
    )[0],
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_read(form: str, tmp_path: Path) -> None:
    folder, expected = packed_bloom(tmp_path)
    FORMS[form](folder)
    torch.testing.assert_close(logits(load_gptq(BloomForCausalLM, folder, Loading())), expected)


def test_second_version_of_the_layout_is_read(tmp_path: Path) -> None:
    folder, expected = packed_bloom(tmp_path, minus_one=False)
    settings(folder, {**OLD, "checkpoint_format": "gptq_v2"})
    torch.testing.assert_close(logits(load_gptq(BloomForCausalLM, folder, Loading())), expected)


def test_bfloat16_on_a_cpu_goes_through_the_fast_kernel(tmp_path: Path) -> None:
    source = tiny_bloom(tmp_path / "source", hidden=64)
    dense = gptq_reference.checkpoint(source, tmp_path / "packed", act_order=True)
    settings(tmp_path / "packed", {**OLD, "desc_act": True})
    model = load_gptq(BloomForCausalLM, tmp_path / "packed", Loading(dtype="bfloat16"))
    kinds = {type(each) for each in model.transformer.h.modules()}
    assert NibbleLinear in kinds
    assert not kinds & {PackedLinear, torch.nn.Linear}
    exact = logits(BloomForCausalLM.from_pretrained(dense).eval())
    plain = logits(BloomForCausalLM.from_pretrained(dense, dtype=torch.bfloat16).eval())
    assert (logits(model) - exact).norm() < 1.5 * (plain - exact).norm()


def test_model_is_spread_by_accelerate(tmp_path: Path) -> None:
    folder, expected = packed_bloom(tmp_path)
    settings(folder, OLD)
    model = load_gptq(BloomForCausalLM, folder, Loading(device_map="auto", max_memory={"cpu": 10**9}))
    torch.testing.assert_close(logits(model), expected)


def cut(part: str, rows: int) -> Callable[[Path], None]:
    """Change one tensor of the first layer to fewer rows."""
    name = f"transformer.h.0.self_attention.dense.{part}"
    return lambda folder: edit(folder, lambda tensors: tensors.update({name: tensors[name][:rows].clone()}))


def without(part: str) -> Callable[[Path], None]:
    return lambda folder: edit(folder, lambda tensors: {name: each for name, each in tensors.items() if name != part})


def wrong_order(tensors: Tensors) -> None:
    tensors["transformer.h.0.self_attention.dense.g_idx"][3] = 7


DENSE = "transformer.h.0.self_attention.dense"
BAD: dict[str, tuple[Callable[[Path], None], str]] = {
    "another method": (lambda folder: settings(folder, {**OLD, "quant_method": "awq"}), "by 'awq', not by gptq"),
    "marlin": (lambda folder: settings(folder, {**OLD, "is_marlin_format": True}), "layout 'marlin'"),
    "another layout": (lambda folder: settings(folder, {**OLD, "checkpoint_format": "bitblas"}), "layout 'bitblas'"),
    "other words": (lambda folder: settings(folder, {**OLD, "pack_dtype": "int16"}), "packed as int16"),
    "5 bits": (lambda folder: settings(folder, {**OLD, "bits": 5}), "5 bits, but GPTQ has 2, 3, 4 or 8"),
    "bits as text": (lambda folder: settings(folder, {**OLD, "bits": "4"}), "'4' bits"),
    "no bits": (lambda folder: settings(folder, {"group_size": 32}), "None bits"),
    "group of nothing": (lambda folder: settings(folder, {**OLD, "group_size": 0}), "size 0"),
    "corrupt settings": (lambda folder: (folder / SETTINGS).write_text('{"bits": 4,') and None, "cannot be read"),
    "settings that are a list": (lambda folder: settings(folder, [4]), "holds a JSON list"),
    "settings in config that are a list": (lambda folder: in_config(folder, [4]), "is no object"),
    "other bits than stated": (
        lambda folder: settings(folder, {**OLD, "bits": 8}),
        "qweight' in .* is 16 × 32, .* with 8 bits .* 32 × 32",
    ),
    "other groups than stated": (
        lambda folder: settings(folder, {**OLD, "group_size": 16}),
        "qzeros' in .* is 4 × 4, .* in groups of 16 it is 8 × 4",
    ),
    "short qweight": (cut("qweight", 3), "dense.qweight' in .* is 3 × 32"),
    "short scales": (cut("scales", 0), "dense.scales' in .* is 0 × 32"),
    "short zeros": (cut("qzeros", 0), "dense.qzeros' in .* is 0 × 4"),
    "short order": (cut("g_idx", 31), "dense.g_idx' in .* is 31, "),
    "short bias": (cut("bias", 31), "dense.bias' in .* is 31, "),
    "no scales": (without(f"{DENSE}.scales"), "lack the tensor 'transformer.h.0.self_attention.dense.scales'"),
    "no bias": (without(f"{DENSE}.bias"), "lack the tensor 'transformer.h.0.self_attention.dense.bias'"),
    "numbers of another size": (
        lambda folder: edit(folder, lambda tensors: tensors.update({f"{DENSE}.qweight": torch.zeros(8, 32)})),
        "dense.qweight' in .* holds F32",
    ),
    "no norm": (without("transformer.ln_f.weight"), "lack 1 tensors, the first of them transformer.ln_f.weight"),
    "no layer": (
        lambda folder: edit(folder, lambda tensors: {k: v for k, v in tensors.items() if DENSE not in k}),
        "lack 2 tensors",
    ),
    "a group that is not there": (lambda folder: edit(folder, wrong_order), "names groups that it does not have"),
    "nothing packed": (
        lambda folder: edit(folder, lambda tensors: {k: v for k, v in tensors.items() if ".h." not in k}),
        "no packed layers",
    ),
}


@pytest.mark.parametrize("problem", BAD)
def test_bad_folder_is_refused_in_one_sentence(problem: str, tmp_path: Path) -> None:
    folder, _ = packed_bloom(tmp_path)
    settings(folder, OLD)
    spoil, sentence = BAD[problem]
    if "in config" in problem:
        (folder / SETTINGS).unlink()
    spoil(folder)
    with pytest.raises(WeightsError, match=sentence):
        load_gptq(BloomForCausalLM, folder, Loading())


def test_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    folder, _ = packed_bloom(tmp_path)
    settings(folder, OLD)
    edit(folder, lambda tensors: {name.replace("dense_h_to_4h", "wide"): each for name, each in tensors.items()})
    with pytest.raises(WeightsError, match=r"a packed layer 'transformer.h.0.mlp.wide', which a BloomForCausalLM"):
        load_gptq(BloomForCausalLM, folder, Loading())


def test_several_files_without_an_index_are_refused(tmp_path: Path) -> None:
    folder, _ = packed_bloom(tmp_path)
    settings(folder, OLD)
    shards(folder)
    (folder / "gptq_model-4bit-32g.safetensors.index.json").unlink()
    with pytest.raises(WeightsError, match="are 2 files, and 0 indexes"):
        load_gptq(BloomForCausalLM, folder, Loading())
