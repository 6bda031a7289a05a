"""Quantized folders: written a few rows at a time, read by the zoo and by plain transformers, refused where corrupt."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import tiny_models
import torch
import transformers
from safetensors.torch import load_file, save_file

from zoo_core import (
    Loading,
    ModelCard,
    Quantization,
    QuantizationJob,
    QuantizationResult,
    Zoo,
    ZooError,
)
from zoo_core.entry_points import installed_plugins
from zoo_core.plugins import Plugins
from zoo_core.quantizing import quantize
from zoo_int8 import bits, plugin, rounding, saving
from zoo_int8.kernels import Int8Linear
from zoo_int8.original import GROUP, OriginalInt8Linear
from zoo_int8.quantizer import Int8Quantizer
from zoo_phoenix.model import BloomForCausalLM
from zoo_weights import Checkpoint

BITSANDBYTES = pytest.mark.skipif(
    importlib.util.find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed"
)
METHODS = ["int8", "original-int8", *(pytest.param(each, marks=BITSANDBYTES) for each in ("nf4", "fp4"))]
IDS = torch.tensor([[1, 40, 77, 300, 12, 9, 64]])
KINDS: dict[str, tuple[Callable[..., Path], Any]] = {
    "llama": (tiny_models.tiny_llama, transformers.LlamaForCausalLM),
    "bloom": (tiny_models.tiny_bloom, BloomForCausalLM),
}


def job_of(source: Path, folder: Path, method: str, **changes: Any) -> QuantizationJob:
    folder.mkdir(exist_ok=True)
    card = ModelCard(schema="zoo.card/v1", id="tiny", family="phoenix", summary="A tiny model")
    job = QuantizationJob(card=card, weights=source, family=None, template=None, method=method, folder=folder)
    return msgspec.structs.replace(job, **changes)


def made(source: Path, folder: Path, method: str, **changes: Any) -> QuantizationResult:
    return Int8Quantizer().quantize(job_of(source, folder, method, **changes))


@torch.no_grad()
def logits(model: Any) -> torch.Tensor:
    found: torch.Tensor = model(IDS).logits.float()
    return found


def apart(found: torch.Tensor, wanted: torch.Tensor) -> float:
    return float((found - wanted).norm() / wanted.norm())


# -- what is written ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("method", METHODS)
def test_a_folder_loads_as_what_is_shrunk_in_memory(method: str, dtype: str, kind: str, tmp_path: Path) -> None:
    make, of_class = KINDS[kind]
    source = make(tmp_path / "m", hidden=64, dtype=dtype, shards=True)
    result = made(source, tmp_path / "small", method)
    (tmp_path / "m").rename(tmp_path / "gone")
    assert {path.name for path in (tmp_path / "small").iterdir()} == {path.name for path in result.files}
    loaded = Int8Quantizer().load(of_class, tmp_path / "small", Loading())
    original = of_class.from_pretrained(tmp_path / "gone", dtype=torch.float32).eval()
    before = logits(original)
    shrunk = Int8Quantizer().shrink(original, method, device="cpu")
    assert apart(logits(loaded), logits(shrunk)) <= (1e-5 if "int8" in method else 5e-3)
    assert apart(logits(loaded), before) < (0.02 if "int8" in method else 0.3)
    transformers.AutoTokenizer.from_pretrained(tmp_path / "small")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", ["int8", "nf4", "fp4"])
@BITSANDBYTES
def test_plain_transformers_reads_the_folder(method: str, kind: str, tmp_path: Path) -> None:
    source = KINDS[kind][0](tmp_path / "m", hidden=64, intermediate_size=128, dtype="float32")
    made(source, tmp_path / "small", method)
    bits.load_bitsandbytes()
    theirs, told = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "small", output_loading_info=True)
    assert not any(told[each] for each in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    layers = [
        type(layer).__module__.partition(".")[0] for layer in theirs.modules() if "Linear" in type(layer).__name__
    ]
    assert layers.count("bitsandbytes") == len(layers) - 1
    ours = Int8Quantizer().load(KINDS[kind][1], tmp_path / "small", Loading())
    assert apart(logits(ours), logits(theirs)) < 0.02
    greedy = {"max_new_tokens": 8, "do_sample": False, "pad_token_id": 0}
    assert torch.equal(ours.generate(IDS, **greedy), theirs.generate(IDS, **greedy))


@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize("method", ["int8", "nf4"])
@BITSANDBYTES
def test_what_transformers_saved_loads(method: str, double: bool, tmp_path: Path) -> None:
    source = tiny_models.tiny_llama(tmp_path / "m", hidden=64)
    wish = {"load_in_8bit": True} if method == "int8" else {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}
    settings = transformers.BitsAndBytesConfig(**wish, bnb_4bit_use_double_quant=double)
    bits.load_bitsandbytes()
    theirs = transformers.LlamaForCausalLM.from_pretrained(source, quantization_config=settings, dtype=torch.float32)
    theirs.save_pretrained(tmp_path / "small")
    ours = Int8Quantizer().load(transformers.LlamaForCausalLM, tmp_path / "small", Loading())
    before = transformers.LlamaForCausalLM.from_pretrained(source, dtype=torch.float32)
    assert apart(logits(ours), logits(before)) < (0.02 if method == "int8" else 0.3)


@pytest.mark.parametrize("kind", KINDS)
def test_int8_runs_in_the_fast_kernels_and_the_rest_stays(kind: str, tmp_path: Path) -> None:
    source = KINDS[kind][0](tmp_path / "m", hidden=64, dtype="float16")
    made(source, tmp_path / "small", "int8")
    model = Int8Quantizer().load(KINDS[kind][1], tmp_path / "small", Loading(dtype="bfloat16"))
    fast = [layer for layer in model.modules() if isinstance(layer, Int8Linear)]
    assert len(fast) == {"llama": 14, "bloom": 8}[kind]
    assert {each.dtype for each in model.parameters()} == {torch.bfloat16}
    tied = model.get_output_embeddings().weight is model.get_input_embeddings().weight
    assert tied == (kind == "bloom")


@pytest.mark.parametrize("columns", [64, 300])
def test_original_int8_is_exactly_specified(columns: int, tmp_path: Path) -> None:
    """Names, dtypes, shapes and formula, as docs/how-to/load-in-8-or-4-bits.md has them."""
    source = tiny_models.tiny_llama(tmp_path / "m", hidden=columns, heads=2, dtype="float16")
    made(source, tmp_path / "small", "original-int8")
    before, after = tiny_models.tensors(source), tiny_models.tensors(tmp_path / "small")
    layers = [name.removesuffix(".weight") for name in before if "proj" in name or "lm_head" in name]
    assert len(layers) == 15
    for name in layers:
        weight, absmax = after[f"{name}.weight"], after[f"{name}.absmax"]
        rows, width = before[f"{name}.weight"].shape
        groups = -(-width // GROUP)
        assert (weight.dtype, weight.shape) == (torch.int8, (rows, groups * GROUP))
        assert (absmax.dtype, absmax.shape) == (torch.float32, (rows, groups))
        assert not weight[:, width:].any()
        for group in range(groups):
            part = before[f"{name}.weight"].float()[:, group * GROUP : (group + 1) * GROUP]
            assert torch.equal(absmax[:, group], part.abs().amax(dim=1))
            meant = weight[:, group * GROUP :][:, : part.shape[1]] * absmax[:, group, None] / 127
            assert (meant - part).abs().max() <= absmax[:, group].max() / 254 * 1.0001
    assert {name for name in after if name not in before} == {f"{name}.absmax" for name in layers}
    config = json.loads((tmp_path / "small" / "config.json").read_bytes())
    wanted = {"quant_method": "zoo-original-int8", "version": 1, "bits": 8, "group_size": 256}
    assert config["quantization_config"] == wanted


def test_original_int8_of_a_tied_model_has_an_output_layer_of_its_own(tmp_path: Path) -> None:
    source = tiny_models.tiny_bloom(tmp_path / "m", hidden=64)
    made(source, tmp_path / "small", "original-int8")
    after = tiny_models.tensors(tmp_path / "small")
    embedding = after["transformer.word_embeddings.weight"]
    assert torch.equal(after["lm_head.weight"], rounding.rounded(embedding, GROUP))
    model = Int8Quantizer().load(BloomForCausalLM, tmp_path / "small", Loading())
    assert isinstance(model.get_output_embeddings(), OriginalInt8Linear)
    assert torch.equal(model.get_input_embeddings().weight, embedding)


@pytest.mark.parametrize(("method", "most"), [("int8", 0.55), pytest.param("nf4", 0.35, marks=BITSANDBYTES)])
def test_linear_weights_take_less_room(method: str, most: float, tmp_path: Path) -> None:
    source = tiny_models.tiny_llama(tmp_path / "m", hidden=256, layers=1, dtype="float16")
    facts = made(source, tmp_path / "small", method).facts
    assert facts["linear_bytes"] <= most * 2 * facts["linear_weights"]
    before, after = (sum(each.nbytes for each in tiny_models.tensors(f).values()) for f in (source, tmp_path / "small"))
    assert before - after == 2 * facts["linear_weights"] - facts["linear_bytes"]


def test_a_file_of_the_bare_network_is_given_whole_names(tmp_path: Path) -> None:
    """BLOOM's own checkpoints name their tensors without the prefix of the class with an output layer."""
    source = tiny_models.tiny_bloom(tmp_path / "m", hidden=64)
    path = source / "model.safetensors"
    save_file(
        {name.removeprefix("transformer."): each for name, each in load_file(path).items()}, path, {"format": "pt"}
    )
    made(source, tmp_path / "small", "int8")
    model = Int8Quantizer().load(BloomForCausalLM, tmp_path / "small", Loading())
    assert apart(logits(model), logits(BloomForCausalLM.from_pretrained(source))) < 0.02


@pytest.mark.parametrize("method", METHODS)
def test_rows_are_the_same_however_they_are_cut(method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tiny_models.tiny_llama(tmp_path / "m", hidden=96)
    made(source, tmp_path / "whole", method)
    monkeypatch.setattr(saving, "_AT_ONCE", 128)
    monkeypatch.setattr("zoo_weights.layout.PIECE_SIZE", 960)
    made(source, tmp_path / "cut", method)
    whole, cut = (tiny_models.tensors(tmp_path / each) for each in ("whole", "cut"))
    assert whole.keys() == cut.keys()
    assert all(torch.equal(each, cut[name]) for name, each in whole.items())


def test_an_interrupted_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tiny_models.tiny_llama(tmp_path / "m", hidden=64)
    monkeypatch.setattr(saving, "_SHARD", 40_000)
    said: list[str] = []

    def stop(share: float, line: str) -> None:
        said.append(line)
        if share > 0.5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        made(source, tmp_path / "small", "int8", progress=stop)
    times = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "small").glob("*.safetensors")}
    assert times
    made(source, tmp_path / "small", "int8", progress=lambda share, line: said.append(line))
    assert {line.partition(".self_attn")[0] for line in said} >= {"model.layers.0", "model.layers.1"}
    assert all((tmp_path / "small" / name).stat().st_mtime_ns == each for name, each in times.items())
    made(source, tmp_path / "again", "int8")
    ours, again = (tiny_models.tensors(tmp_path / each) for each in ("small", "again"))
    assert all(torch.equal(each, again[name]) for name, each in ours.items())


def test_the_command_makes_a_card(tmp_path: Path) -> None:
    zoo = Zoo(plugins=Plugins(installed_plugins(), modules={"int8": plugin}))
    card = quantize(zoo, "hatchling", "int8", tmp_path / "small", name="small")
    assert card.quantization == Quantization(method="int8", bits=8)
    assert card.format == "safetensors"
    with Checkpoint.open(tmp_path / "small") as checkpoint:
        assert checkpoint.facts.quantization == Quantization(method="bitsandbytes", bits=8)
    with pytest.raises(ZooError, match="'small' is quantized already; quantize hatchling instead"):
        quantize(zoo, str(tmp_path / "small"), "int8", tmp_path / "smaller", name="smaller")


# -- what is refused ---------------------------------------------------------------------------------------------------


def spoil_config(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_bytes()) | changes))


def spoil_tensor(folder: Path, name: str, change: Callable[[torch.Tensor], torch.Tensor] | None) -> None:
    path = folder / "model.safetensors"
    found = load_file(path)
    if change is None:
        del found[name]
    else:
        found[name] = change(found[name]).contiguous()
    save_file(found, path, {"format": "pt"})


FIRST = "model.layers.0.self_attn.q_proj.weight"


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda f: spoil_tensor(f, FIRST, lambda each: each.fill_(float("nan"))), "not finite"),
        (lambda f: spoil_tensor(f, FIRST, None), f"lack '{FIRST}'"),
        (
            lambda f: spoil_tensor(f, FIRST, lambda each: each[:, :7]),
            r"is \[64, 7\], but the configuration says \[64, 64\]",
        ),
        (lambda f: spoil_config(f, hidden_size="x"), "describes no network that transformers can build"),
        (lambda f: spoil_config(f, model_type="griffin"), "describes no network that transformers can build"),
        (lambda f: spoil_config(f, quantization_config={"quant_method": "gptq"}), "quantized already"),
    ],
)
@pytest.mark.parametrize("method", METHODS)
def test_weights_that_make_no_sense_are_refused(method: str, spoil: Any, reason: str, tmp_path: Path) -> None:
    source = tiny_models.tiny_llama(tmp_path / "m", hidden=64)
    spoil(source)
    with pytest.raises(ZooError, match=reason):
        made(source, tmp_path / "small", method)
    assert not list((tmp_path / "small").glob("*.safetensors"))


def test_options_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ZooError, match="'int8' has no option 'bits'"):
        made(tmp_path, tmp_path / "small", "int8", options={"bits": "3"})


def test_without_the_library_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tiny_models.tiny_llama(tmp_path / "m", hidden=64)
    bits.load_bitsandbytes.cache_clear()
    with monkeypatch.context() as change:
        change.setattr(bits.importlib.util, "find_spec", lambda name: None)
        with pytest.raises(ZooError, match=r"pip install 'llm-zoo\[int8\]'"):
            made(source, tmp_path / "small", "nf4")
    assert list((tmp_path / "small").iterdir()) == []


STATE = f"{FIRST}.quant_state.bitsandbytes__nf4"
SPOILT: list[tuple[str, Any, str]] = [
    ("int8", lambda f: spoil_config(f, quantization_config="8"), "is no object"),
    ("int8", lambda f: spoil_config(f, quantization_config={"load_in_8bit": True, "load_in_4bit": True}), "no method"),
    ("int8", lambda f: spoil_config(f, quantization_config={}), "no method"),
    (
        "int8",
        lambda f: spoil_tensor(f, FIRST.replace("weight", "SCB"), lambda each: each[:5]),
        r"where F32 \[64\] belongs",
    ),
    ("int8", lambda f: spoil_tensor(f, FIRST.replace("weight", "SCB"), None), "is missing where"),
    ("int8", lambda f: spoil_tensor(f, FIRST, lambda each: each.float()), r"is F32 \[64, 64\] where I8"),
    ("original-int8", lambda f: spoil_tensor(f, FIRST, lambda each: each[:, :64]), r"where I8 \[64, 256\] belongs"),
    (
        "original-int8",
        lambda f: spoil_config(f, quantization_config={"quant_method": "zoo-original-int8", "version": 2}),
        "of another version",
    ),
    ("nf4", lambda f: spoil_tensor(f, f"{FIRST}.absmax", lambda each: each[:3]), r"is F32 \[3\] where F32 \[64\]"),
    ("nf4", lambda f: spoil_tensor(f, FIRST, lambda each: each[:9]), r"is U8 \[9, 1\] where"),
    ("nf4", lambda f: spoil_tensor(f, STATE, lambda each: each[:9]), r"does not say nf4 of a layer of \[64, 64\]"),
    ("nf4", lambda f: spoil_tensor(f, STATE, lambda each: each.fill_(ord("1"))), "does not say nf4"),
    ("nf4", lambda f: spoil_tensor(f, STATE, None), "does not say nf4"),
]


@pytest.mark.parametrize(("method", "spoil", "reason"), SPOILT)
def test_corrupt_folders_are_refused(method: str, spoil: Any, reason: str, tmp_path: Path) -> None:
    if method == "nf4":
        pytest.importorskip("bitsandbytes")
    source = tiny_models.tiny_llama(tmp_path / "m", hidden=64)
    made(source, tmp_path / "small", method)
    spoil(tmp_path / "small")
    with pytest.raises(ZooError, match=reason):
        Int8Quantizer().load(transformers.LlamaForCausalLM, tmp_path / "small", Loading())


@pytest.mark.parametrize("loading", [Loading(device_map="auto")])
def test_own_layers_are_on_one_device(loading: Loading, tmp_path: Path) -> None:
    source = tiny_models.tiny_llama(tmp_path / "m", hidden=64)
    made(source, tmp_path / "small", "int8")
    with pytest.raises(ZooError, match="leave out --device-map"):
        Int8Quantizer().load(transformers.LlamaForCausalLM, tmp_path / "small", loading)


@BITSANDBYTES
def test_the_library_is_loaded_without_a_word() -> None:
    """And without fetching kernels: in a process of its own, because a library is imported once."""
    code = "from zoo_int8 import bits; import sys; bits.load_bitsandbytes(); assert 'kernels' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
