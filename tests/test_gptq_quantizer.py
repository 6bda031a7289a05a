"""Quantizing by GPTQ: what is asked, what is measured, what is written. The work itself needs gptqmodel, the rest does not."""

from __future__ import annotations

import itertools
import json
import math
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file
from tiny_models import bloom_tokenizer, save, tiny_llama
from transformers import LlamaForCausalLM, OpenAIGPTConfig, OpenAIGPTLMHeadModel

from zoo_core import (
    Conversation,
    Loading,
    Message,
    MissingDependency,
    QuantizationJob,
    QuantizationResult,
    UsageProblem,
    Zoo,
    ZooError,
    render,
)
from zoo_gptq.calibration import calibration_rows
from zoo_gptq.loading import load_gptq
from zoo_gptq.options import Options, library_version
from zoo_gptq.quantizer import GptqQuantizer
from zoo_hatchling.dialogues import HatchlingBuilder, read_languages
from zoo_phoenix.family import PhoenixFamily
from zoo_phoenix.model import BloomForCausalLM
from zoo_weights import TransformersFamily

needs_library = pytest.mark.skipif(find_spec("gptqmodel") is None, reason="gptqmodel is not installed (extra gptq)")
HELD_OUT = Path(__file__).parent / "hatchling" / "heldout"
SHORT = Conversation(messages=(Message("user", "Hello"), Message("assistant", "Hi")))


def conversations(count: int) -> list[Conversation]:
    return list(itertools.islice(HatchlingBuilder().build({"languages": "de,en,zh"}, seed=3), count))


@pytest.fixture(scope="module")
def make_job() -> Callable[..., QuantizationJob]:
    """Make the job of quantizing the embedded model into a folder, with changes."""
    zoo = Zoo()
    card, _ = zoo.catalog.model("hatchling")
    family = PhoenixFamily()
    import zoo_hatchling

    assert zoo_hatchling.__file__ is not None
    weights = Path(zoo_hatchling.__file__).parent / "weights"
    calibration = conversations(128)

    def job(folder: Path, **changes: Any) -> QuantizationJob:
        folder.mkdir(exist_ok=True)
        wishes: dict[str, Any] = {
            "card": card,
            "weights": weights,
            "family": family,
            "template": zoo.template_of(card),
            "method": "gptq",
            "folder": folder,
            "options": {"group_size": "32"},
            "calibration": calibration,
        }
        return QuantizationJob(**(wishes | changes))

    return job


def test_options_may_be_words() -> None:
    said = {"bits": "3", "group_size": "-1", "act_order": "true", "samples": "7", "damp": "0.1"}
    assert Options.of(said) == Options(bits=3, group_size=-1, act_order=True, samples=7, damp=0.1)
    assert Options.of({}) == Options(bits=4, group_size=128, act_order=False, samples=128, damp=0.05)


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ({"bits": "5"}, "bits are 2, 3, 4 or 8, not 5"),
        ({"bits": "four"}, "cannot be understood"),
        ({"group_size": "100"}, "group_size is -1, 16"),
        ({"samples": "0"}, "samples is a number from 1 on"),
        ({"damp": "nan"}, "damp is a number between 0 and 1"),
        ({"damp": "1"}, "damp is a number between 0 and 1"),
        ({"groupsize": "32"}, "no option 'groupsize'. Did you mean"),
    ],
)
def test_wrong_option_is_refused(said: dict[str, str], sentence: str) -> None:
    with pytest.raises(UsageProblem, match=sentence):
        Options.of(said)


def test_calibration_is_rendered_through_the_template(make_job: Callable[..., QuantizationJob], tmp_path: Path) -> None:
    job = make_job(tmp_path / "out")
    assert job.family is not None
    assert job.template is not None
    tokenizer = job.family.load_tokenizer(job.weights)
    choice = {"samples": 40, "context": 512, "seed": 1}
    found = calibration_rows(job.calibration, job.template, tokenizer, **choice)
    texts = [render(job.template, each.messages, reply=False).text for each in job.calibration]
    assert len(found.rows) == 40
    assert {tokenizer.decode(row) for row in found.rows} <= set(texts)
    assert found == calibration_rows(job.calibration, job.template, tokenizer, **choice)
    assert found != calibration_rows(job.calibration, job.template, tokenizer, **{**choice, "seed": 2})
    cut = calibration_rows(job.calibration, job.template, tokenizer, **{**choice, "context": 20})
    assert (cut.cut, cut.tokens) == (40, 800)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"calibration": ()}, "so it needs conversations"),
        ({"calibration": [SHORT]}, "at least 256 are needed"),
        ({"template": None}, "the model's card names none"),
        ({"family": None}, "of a family that no plugin brings"),
        ({"options": {"group_size": "256"}}, "take in 128 numbers, so a group of 256 would be larger"),
        ({"device": "tpu"}, "cannot work on the device 'tpu' here"),
    ],
)
@needs_library
def test_what_cannot_be_quantized_is_refused_before_anything_is_written(
    changes: dict[str, Any], sentence: str, make_job: Callable[..., QuantizationJob], tmp_path: Path
) -> None:
    with pytest.raises(ZooError, match=sentence):
        GptqQuantizer().quantize(make_job(tmp_path / "out", **changes))
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.skipif(find_spec("gptqmodel") is not None, reason="gptqmodel is installed")
def test_missing_library_is_told(make_job: Callable[..., QuantizationJob], tmp_path: Path) -> None:
    with pytest.raises(MissingDependency, match=r"pip install 'llm-zoo\[gptq\]'"):
        GptqQuantizer().quantize(make_job(tmp_path / "out"))


def test_library_that_was_not_tried_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    facts = tmp_path / "gptqmodel-9.1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: gptqmodel\nVersion: 9.1.0\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(MissingDependency, match=r"needs gptqmodel 7.6, but 9.1.0 is installed"):
        library_version()


# -- with the library --------------------------------------------------------------------------------------------------

#: Loads a folder with gptqmodel itself, in a process of its own, and writes the logits of some tokens.
THEIRS = """
import os, sys
os.environ["GPTQMODEL_CPU_WORKERS"] = "2"
import torch
from gptqmodel import GPTQModel
from safetensors.torch import save_file
model = GPTQModel.load(sys.argv[1], device="cpu")
ids = torch.tensor([[36, 306, 352, 262, 353, 285, 284, 263, 356, 355]])
with torch.inference_mode():
    save_file({"logits": model.model(ids).logits.float(), "ids": ids}, sys.argv[2])
"""


@pytest.fixture(scope="module")
def quantized(make_job: Callable[..., QuantizationJob], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The embedded model in 4 bits, its job, the result, and what was told meanwhile."""
    told: list[tuple[float, str]] = []
    folder = tmp_path_factory.mktemp("gptq") / "out"
    job = make_job(folder, progress=lambda share, line: told.append((share, line)))
    return job, GptqQuantizer().quantize(job), told


@needs_library
def test_files_are_those_of_autogptq(quantized: tuple[QuantizationJob, QuantizationResult, Any]) -> None:
    job, result, told = quantized
    assert {path.name for path in result.files} >= {"model.safetensors", "quantize_config.json", "config.json"}
    assert all(path.is_file() for path in result.files)
    assert not [path for path in job.folder.iterdir() if path.is_dir()]
    settings = json.loads((job.folder / "quantize_config.json").read_bytes())
    assert (settings["bits"], settings["group_size"], settings["desc_act"]) == (4, 32, False)
    assert json.loads((job.folder / "config.json").read_bytes())["quantization_config"] == settings
    assert (result.quantization.method, result.quantization.bits, result.quantization.group_size) == ("gptq", 4, 32)
    assert result.facts["samples"] == 128
    original, made = load_file(job.weights / "model.safetensors"), load_file(job.folder / "model.safetensors")
    kept = original.keys() & made.keys()
    assert len(kept) == len(original) - 16
    assert all(torch.equal(original[name], made[name]) for name in kept)
    shares = [share for share, _ in told]
    assert shares == sorted(shares)
    assert any("layer 2 of 4" in line and "left" in line for _, line in told)


@needs_library
def test_logits_are_those_of_gptqmodel(quantized: tuple[QuantizationJob, Any, Any], tmp_path: Path) -> None:
    job, _, _ = quantized
    subprocess.run(
        [sys.executable, "-c", THEIRS, str(job.folder), str(tmp_path / "theirs")], check=True, capture_output=True
    )
    theirs = load_file(tmp_path / "theirs")
    with torch.inference_mode():
        for dtype in ("float32", "bfloat16"):
            ours = load_gptq(BloomForCausalLM, job.folder, Loading(dtype=dtype))(theirs["ids"]).logits.float()
            assert (ours - theirs["logits"]).norm() / theirs["logits"].norm() < 0.01


def held_out() -> list[Conversation]:
    """The held-out questions of three languages, with the answers that they should get."""
    found = []
    for language in read_languages(["de", "en", "zh"]):
        questions = yaml.safe_load((HELD_OUT / f"{language.language}.yaml").read_text(encoding="utf-8"))["intents"]
        for intent, asked in questions.items():
            answer = Message("assistant", language.intents[intent].answer)
            found += [Conversation(messages=(Message("user", question), answer)) for question in asked]
    return found


@torch.inference_mode()
def perplexity(model: Any, job: QuantizationJob) -> float:
    """Of the answers to the held-out questions."""
    assert job.family is not None
    assert job.template is not None
    tokenizer = job.family.load_tokenizer(job.weights)
    total, count = 0.0, 0
    for conversation in held_out():
        rendered = render(job.template, conversation.messages, reply=False)
        encoded = tokenizer(rendered.text, add_special_tokens=False, return_offsets_mapping=True)
        ids = torch.tensor(encoded["input_ids"])
        said = torch.tensor(
            [any(a < end and b > start for start, end in rendered.spans) for a, b in encoded["offset_mapping"]]
        )
        losses = torch.nn.functional.cross_entropy(model(ids[None]).logits[0, :-1].float(), ids[1:], reduction="none")
        total, count = total + float(losses[said[1:]].sum()), count + int(said[1:].sum())
    return math.exp(total / count)


def rounded(model: Any, bits: int, group: int) -> Any:
    """Round every weight of the layers to the nearest of its group's numbers: GPTQ without its corrections."""
    for layer in model.transformer.h.modules():
        if isinstance(layer, torch.nn.Linear):
            weight = layer.weight.data.unflatten(1, (-1, group))
            scale = 2 * weight.abs().amax(dim=2, keepdim=True) / (2**bits - 1)
            half = 2 ** (bits - 1)
            layer.weight.data = ((weight / scale).round().clamp(-half, half - 1) * scale).flatten(1)
    return model


@needs_library
def test_gptq_loses_less_than_rounding(quantized: tuple[QuantizationJob, Any, Any]) -> None:
    job, _, _ = quantized
    assert job.family is not None
    exact = perplexity(job.family.load_model(job.weights, Loading()), job)
    ours = perplexity(load_gptq(BloomForCausalLM, job.folder, Loading()), job)
    plain = perplexity(rounded(job.family.load_model(job.weights, Loading()), 4, 32), job)
    assert ours < plain
    assert ours < 1.01 * exact


class LlamaFamily(TransformersFamily):
    """A family of LLaMA models."""

    model_class = "LlamaForCausalLM"


@needs_library
def test_interrupted_work_goes_on_with_the_next_layer(make_job: Callable[..., QuantizationJob], tmp_path: Path) -> None:
    source = tiny_llama(tmp_path / "source", hidden=64, layers=3, intermediate_size=160, vocab=400)
    options = {"bits": "8", "group_size": "64", "act_order": "true", "samples": "20"}

    def job(name: str, progress: Callable[[float, str], None]) -> QuantizationJob:
        return make_job(tmp_path / name, weights=source, family=LlamaFamily(), options=options, progress=progress)

    def interrupt(share: float, line: str) -> None:
        if "layer 3" in line:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        GptqQuantizer().quantize(job("first", interrupt))
    lines: list[str] = []
    GptqQuantizer().quantize(job("first", lambda share, line: lines.append(line)))
    assert not any("layer 2" in line for line in lines)
    GptqQuantizer().quantize(job("second", lambda share, line: None))
    files = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("first", "second")]
    assert files[0] == files[1]
    ids = torch.tensor([[1, 17, 42, 99, 7]])
    with torch.inference_mode():
        exact = LlamaForCausalLM.from_pretrained(source)(ids).logits
        ours = load_gptq(LlamaForCausalLM, tmp_path / "first", Loading())(ids).logits
    assert (ours - exact).norm() / exact.norm() < 0.02


@needs_library
def test_what_the_library_cannot_do_is_one_sentence(make_job: Callable[..., QuantizationJob], tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = OpenAIGPTLMHeadModel(OpenAIGPTConfig(vocab_size=400, n_embd=64, n_layer=2, n_head=4))
    source = save(tmp_path / "source", model, bloom_tokenizer(400))
    job = make_job(tmp_path / "out", weights=source, family=TransformersFamily(), options={"group_size": "-1"})
    with pytest.raises(ZooError, match=r"gptqmodel could not quantize the model: .*openai-gpt") as told:
        GptqQuantizer().quantize(job)
    assert "\n" not in str(told.value)


@needs_library
def test_sizes_that_are_no_multiples_are_read_back(make_job: Callable[..., QuantizationJob], tmp_path: Path) -> None:
    source = tiny_llama(tmp_path / "source", hidden=40, intermediate_size=72, vocab=400)
    options = {"bits": 3, "group_size": 32}
    with pytest.raises(UsageProblem, match="packed by 32 numbers, and this model has one with 40"):
        GptqQuantizer().quantize(make_job(tmp_path / "out", weights=source, family=LlamaFamily(), options=options))
    options["bits"] = 4
    GptqQuantizer().quantize(make_job(tmp_path / "out", weights=source, family=LlamaFamily(), options=options))
    model = load_gptq(LlamaForCausalLM, tmp_path / "out", Loading())
    exact = LlamaForCausalLM.from_pretrained(source)
    for number in range(2):
        ours, theirs = (each.model.layers[number].mlp.down_proj for each in (model, exact))
        assert (ours.dequantized().t() - theirs.weight).norm() / theirs.weight.norm() < 0.25


@needs_library
def test_nothing_is_left_where_the_user_is(
    make_job: Callable[..., QuantizationJob], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    GptqQuantizer().quantize(make_job(tmp_path / "out"))
    assert list((tmp_path / "here").iterdir()) == []


@needs_library
def test_quantized_weights_are_not_quantized_again(
    quantized: tuple[QuantizationJob, Any, Any], make_job: Callable[..., QuantizationJob], tmp_path: Path
) -> None:
    job = make_job(tmp_path / "out", weights=quantized[0].folder)
    with pytest.raises(UsageProblem, match="is quantized already"):
        GptqQuantizer().quantize(job)
