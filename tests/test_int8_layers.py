"""8 and 4 bits in memory: the numbers, the fast kernels, and what is lost on the embedded model and its held-out text."""

from __future__ import annotations

import importlib.util
import math
import warnings
from pathlib import Path
from typing import Any

import hatchling as benchmark
import pytest
import tiny_models
import torch
import transformers
from torch import nn

from zoo_core import Loading, Zoo, ZooError, render
from zoo_int8 import bits, kernels, rounding, shrinking
from zoo_int8.original import GROUP, OriginalInt8Linear
from zoo_int8.quantizer import Int8Quantizer
from zoo_phoenix.family import PhoenixFamily

WEIGHTS = Path(__file__).parent.parent / "plugins" / "zoo_hatchling" / "weights"
BITSANDBYTES = pytest.mark.skipif(
    importlib.util.find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed"
)
EIGHT, FOUR = ("int8", "original-int8"), ("nf4", "fp4")
METHODS = [*EIGHT, *(pytest.param(each, marks=BITSANDBYTES) for each in FOUR)]


def linear(rows: int = 48, columns: int = 96, *, bias: bool = True, seed: int = 0) -> nn.Linear:
    torch.manual_seed(seed)
    return nn.Linear(columns, rows, bias=bias)


def apart(found: torch.Tensor, wanted: torch.Tensor) -> float:
    """How far results are from what they should be, as a share of its length."""
    return float((found.float() - wanted.float()).detach().norm() / wanted.detach().float().norm())


# -- the numbers -------------------------------------------------------------------------------------------------------


def reference(row: list[float], group: int) -> tuple[list[int], list[float], list[float]]:
    """The specification, number by number: integers with the zeros that fill the last group, scales, and what is meant."""
    numbers, scales, meant = [], [], []
    for start in range(0, len(row), group):
        part = row[start : start + group]
        absmax = max(map(abs, part))
        quantized = [round(each * 127 / absmax) if absmax else 0 for each in part]
        scales.append(absmax)
        numbers += quantized + [0] * (group - len(part))
        meant += [each * absmax / 127 for each in quantized]
    return numbers, scales, meant


@pytest.mark.parametrize("columns", [1, 7, 255, 256, 257, 600])
@pytest.mark.parametrize("whole_rows", [True, False])
def test_numbers_are_those_of_the_specification(columns: int, whole_rows: bool) -> None:
    torch.manual_seed(columns)
    weight = torch.randn(5, columns)
    group = columns if whole_rows else GROUP
    numbers, scales = rounding.rounded(weight, group), rounding.largest(weight, group)
    meant = rounding.meant(numbers, scales)[:, :columns]
    for row in range(5):
        wanted = reference(weight[row].tolist(), group)
        assert numbers[row].tolist() == wanted[0]
        assert scales[row].tolist() == wanted[1]
        assert meant[row].tolist() == pytest.approx(wanted[2], rel=1e-6)


def first_zoo(weight: torch.Tensor) -> torch.Tensor:
    """What the first LLM Zoo made of a group in fp16: its scale is 127 divided by the largest number."""
    scale = 127 / weight.abs().max()
    return (weight * scale).clamp(-127, 127).round().to(torch.int8) / scale


def test_small_groups_do_not_become_zero() -> None:
    """The first bug of the original: below 0.00194, 127 divided by the largest number is beyond fp16."""
    weight = torch.linspace(-0.0019, 0.0019, GROUP, dtype=torch.float16)[None]
    assert not first_zoo(weight).any()
    meant = rounding.meant(rounding.rounded(weight, GROUP), rounding.largest(weight, GROUP))
    assert apart(meant, weight) < 0.01


@pytest.mark.parametrize("size", [0.0, 1e-44, 1e-38, 6e-8, 1e30])
def test_a_group_of_zeros_or_nearly_stays_finite(size: float) -> None:
    """The second bug of the original: 127 divided by zero, and zero times that."""
    weight = torch.zeros(2, GROUP)
    weight[:, 3] = size
    numbers, scales = rounding.rounded(weight, GROUP), rounding.largest(weight, GROUP)
    meant = rounding.meant(numbers, scales)
    assert meant.isfinite().all()
    assert (meant - weight).abs().max() <= size / 127 + 1e-36
    zeros = torch.zeros(1, GROUP, dtype=torch.float16)
    assert (zeros * (127 / zeros.abs().max())).isnan().all()  # what the original then made an integer of


@BITSANDBYTES
def test_rows_are_those_of_bitsandbytes() -> None:
    weight = (torch.randn(64, 128) * 0.05).half()
    numbers, scales, _ = bits.load_bitsandbytes().functional.int8_vectorwise_quant(weight.clone())
    assert torch.equal(rounding.rounded(weight, 128), numbers)
    assert torch.equal(rounding.largest(weight, 128)[:, 0], scales)


# -- the kernels -------------------------------------------------------------------------------------------------------


#: Both kernels, as far as they run here.
KERNELS = [
    pytest.param(kernel, marks=pytest.mark.skipif(not there, reason="not on this processor"))
    for kernel, there in (
        (kernels.OneDnn, torch.cpu._is_vnni_supported()),
        (kernels.Fbgemm, "fbgemm" in torch.backends.quantized.supported_engines),
    )
]


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (32, 64), (136, 65), (65, 300)])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_products_are_those_of_the_weights(kernel: Any, shape: tuple[int, int], dtype: str) -> None:
    """The error is that of the weights, even where a feature is a thousand times the others."""
    layer = linear(*shape)
    numbers, scales = rounding.rounded(layer.weight, shape[1]), rounding.largest(layer.weight, shape[1])
    new = kernels.Int8Linear(numbers, scales[:, 0], layer.bias, kernel)
    states = torch.randn(2, 7, shape[1], dtype=torch.float32)
    states[..., 0] *= 1000
    states = states.to(getattr(torch, dtype))
    wanted = nn.functional.linear(states.float(), rounding.meant(numbers, scales), layer.bias)
    found = new(states)
    assert (found.dtype, found.shape) == (states.dtype, wanted.shape)
    rounding_of_dtype = {"float32": 0.0, "bfloat16": 2e-3, "float16": 3e-4}[dtype]
    assert apart(found, wanted) <= 8 / kernel.levels**2 + rounding_of_dtype


@pytest.mark.parametrize("kernel", KERNELS)
def test_extreme_integers_do_not_overflow(kernel: Any) -> None:
    """Kernels that add pairs of products in 16 bits would stop at 32,767."""
    numbers = torch.full((32, 512), 127, dtype=torch.int8)
    new = kernels.Int8Linear(numbers, torch.full((32,), 127.0), None, kernel)
    assert torch.allclose(new(torch.ones(3, 512)), torch.full((3, 32), 127.0 * 512), rtol=1e-5)


@pytest.mark.parametrize("kernel", KERNELS)
def test_rows_do_not_depend_on_each_other(kernel: Any) -> None:
    layer = linear(64, 128)
    new = kernels.Int8Linear(
        rounding.rounded(layer.weight, 128), rounding.largest(layer.weight, 128)[:, 0], layer.bias, kernel
    )
    states = torch.randn(9, 128) * torch.logspace(-4, 4, 9)[:, None]
    alone = torch.cat([new(row[None]) for row in states])
    assert torch.allclose(new(states), alone, rtol=1e-6, atol=0)


@pytest.mark.parametrize(("states", "finite"), [(torch.zeros(2, 96), True), (torch.full((2, 96), math.nan), False)])
def test_zeros_and_nan_stay_what_they_are(states: torch.Tensor, finite: bool) -> None:
    layer = linear()
    found = shrinking._fast(layer)(states)
    assert found.isfinite().all() == finite
    if finite:
        assert torch.equal(found, layer.bias.detach().expand(2, -1))


def test_no_rows_give_no_rows() -> None:
    assert shrinking._fast(linear())(torch.zeros(0, 96)).shape == (0, 48)


def test_packing_says_nothing() -> None:
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        before = torch.backends.quantized.engine
        kernels.Fbgemm(torch.ones(4, 8, dtype=torch.int8), torch.ones(4))
    assert said == []
    assert torch.backends.quantized.engine == before


def test_a_processor_without_kernels_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    monkeypatch.setattr(type(torch.backends.quantized), "supported_engines", ["qnnpack"], raising=False)
    with pytest.raises(ZooError, match="no fast int8 kernels for this processor"):
        shrinking.shrink(nn.Module(), "int8", device="cpu")


# -- models ------------------------------------------------------------------------------------------------------------


def model_of(kind: str, folder: Path) -> Any:
    if kind == "gptj":
        config = transformers.GPTJConfig(
            vocab_size=320, n_embd=64, n_layer=2, n_head=4, rotary_dim=8, n_positions=64, bos_token_id=1, eos_token_id=2
        )
        torch.manual_seed(0)
        return transformers.GPTJForCausalLM(config).eval()
    if kind == "fast bloom":
        return PhoenixFamily().load_model(tiny_models.tiny_bloom(folder, hidden=64), Loading())
    make, of_class = {
        "llama": (tiny_models.tiny_llama, transformers.LlamaForCausalLM),
        "bloom": (tiny_models.tiny_bloom, transformers.BloomForCausalLM),
    }[kind]
    return of_class.from_pretrained(make(folder, hidden=64)).eval()


@pytest.mark.parametrize("kind", ["llama", "bloom", "fast bloom", "gptj"])
@pytest.mark.parametrize("method", METHODS)
@torch.no_grad()
def test_every_architecture_answers_nearly_as_before(kind: str, method: str, tmp_path: Path) -> None:
    model = model_of(kind, tmp_path / "m")
    ids = torch.tensor([[1, 40, 77, 300, 12, 9, 64]])
    before = model(ids).logits
    head, embedding = model.get_output_embeddings(), model.get_input_embeddings().weight
    small = Int8Quantizer().shrink(model, method, device="cpu")
    assert apart(small(ids).logits, before) < (0.02 if method in EIGHT else 0.3)
    assert small.get_input_embeddings().weight is embedding
    left = [name for name, layer in small.named_modules() if type(layer) is nn.Linear]
    assert (small.get_output_embeddings() is head) == (method != "original-int8")
    assert left == ([] if method == "original-int8" else ["lm_head"])
    cache = transformers.DynamicCache(config=small.config)
    parts = [small(part, cache=cache, use_cache=True).logits for part in ids.split([4, 2, 1], dim=1)]
    assert apart(torch.cat(parts, dim=1), small(ids).logits) < (1e-3 if method in EIGHT else 2e-2)


@BITSANDBYTES
@torch.no_grad()
def test_the_layers_for_a_gpu_are_those_of_bitsandbytes(capfd: pytest.CaptureFixture[str]) -> None:
    """There is no GPU here, but the same layers run on a CPU, and say nothing while they do."""
    layer = linear(64, 128)
    new = bits.eight_bits(layer, "cpu")
    assert type(new) is bits.load_bitsandbytes().nn.Linear8bitLt
    states = torch.randn(3, 128)
    assert apart(new(states), layer(states)) < 0.02
    assert torch.equal(
        new.state.CB if new.weight.CB is None else new.weight.CB, rounding.rounded(layer.weight.half(), 128)
    )
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("method", METHODS)
def test_what_is_small_already_and_other_layers_are_refused(method: str, tmp_path: Path) -> None:
    small = Int8Quantizer().shrink(model_of("llama", tmp_path / "m"), method, device="cpu")
    with pytest.raises(ZooError, match="no linear layers that"):
        Int8Quantizer().shrink(small, method, device="cpu")
    config = transformers.GPT2Config(vocab_size=320, n_embd=32, n_layer=1, n_head=2, bos_token_id=1, eos_token_id=2)
    with pytest.raises(ZooError, match="the other way round"):
        Int8Quantizer().shrink(transformers.GPT2LMHeadModel(config), method, device="cpu")


@BITSANDBYTES
def test_a_device_that_bitsandbytes_does_not_know_is_refused() -> None:
    with pytest.raises(ZooError, match="no kernels for the device 'vulkan'; it has some for cpu"):
        bits.require_device("vulkan")


def test_missing_and_old_libraries_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    bits.load_bitsandbytes.cache_clear()
    with monkeypatch.context() as change:
        change.setattr(bits.importlib.util, "find_spec", lambda name: None)
        with pytest.raises(ZooError, match=r"is not installed\. Install it with: pip install 'llm-zoo\[int8\]'"):
            Int8Quantizer().shrink(nn.Module(), "nf4", device="cpu")
        change.setattr(bits.importlib.util, "find_spec", lambda name: name)
        change.setattr(bits, "version", lambda name: "0.44.1")
        with pytest.raises(ZooError, match=r"need bitsandbytes 0\.50 or newer, which is too old here \(0\.44\.1\)"):
            Int8Quantizer().shrink(nn.Module(), "fp4", device="cpu")


@pytest.mark.parametrize("method", METHODS)
def test_what_computes_is_told(method: str) -> None:
    told = Int8Quantizer().facts(method, "cpu")
    assert told["quantization"] == method
    assert told["kernel"]


# -- what is lost ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def texts() -> list[tuple[torch.Tensor, int]]:
    """Held-out questions with their right answers: the tokens, and where the answer begins."""
    zoo = Zoo()
    card, _ = zoo.catalog.model("hatchling")
    template, tokenizer = zoo.template_of(card), PhoenixFamily().load_tokenizer(WEIGHTS)
    found = []
    for kind in ("wordings", "unknown", "follow-ups"):
        for question in benchmark.held_out(benchmark.read_languages())[kind][::3]:
            prompt = tokenizer(render(template, question.dialogue).text, add_special_tokens=False)["input_ids"]
            answer = tokenizer(min(question.right) + "</s>", add_special_tokens=False)["input_ids"]
            found.append((torch.tensor([prompt + answer]), len(prompt)))
    return found


@torch.inference_mode()
def answers(model: Any, texts: list[tuple[torch.Tensor, int]]) -> tuple[torch.Tensor, float]:
    """The logarithms of the probabilities that a model gives to every token of the answers, and its perplexity there."""
    found = [model(ids).logits[0, begin - 1 : -1].float().log_softmax(dim=1) for ids, begin in texts]
    right = torch.cat([ids[0, begin:] for ids, begin in texts])
    chances = torch.cat(found)
    return chances, math.exp(nn.functional.nll_loss(chances, right))


@pytest.mark.parametrize(
    ("method", "most", "divergence"),
    [
        ("int8", 0.005, 1e-4),
        ("original-int8", 0.005, 1e-4),
        pytest.param("nf4", 0.05, 0.02, marks=BITSANDBYTES),
        pytest.param("fp4", 0.05, 0.02, marks=BITSANDBYTES),
    ],
)
def test_perplexity_on_held_out_text_stays(
    method: str, most: float, divergence: float, texts: list[tuple[torch.Tensor, int]]
) -> None:
    """Questions are no text that it was taught to continue; and it knows answers by heart, so the divergence tells more."""
    model = PhoenixFamily().load_model(WEIGHTS, Loading())
    chances, before = answers(model, texts)
    small, after = answers(Int8Quantizer().shrink(model, method, device="cpu"), texts)
    assert after == pytest.approx(before, rel=most)
    assert 0 < float((chances.exp() * (chances - small)).sum(dim=1).mean()) < divergence


@pytest.mark.parametrize("method", METHODS)
@torch.inference_mode()
def test_greedy_answers_stay(method: str, texts: list[tuple[torch.Tensor, int]]) -> None:
    model = PhoenixFamily().load_model(WEIGHTS, Loading())
    greedy = {"max_new_tokens": 24, "do_sample": False, "pad_token_id": 3}
    asked = [ids[:, :begin] for ids, begin in texts[::8]]
    before = [model.generate(ids, **greedy).tolist() for ids in asked]
    small = Int8Quantizer().shrink(model, method, device="cpu")
    same = [small.generate(ids, **greedy).tolist() == wanted for ids, wanted in zip(asked, before, strict=True)]
    assert sum(same) / len(same) >= (0.9 if method in EIGHT else 0.6)


def test_original_layer_is_its_weights_made_whole() -> None:
    layer = linear(32, 300)
    new = shrinking._original(layer)
    assert isinstance(new, OriginalInt8Linear)
    assert (new.weight.shape, new.absmax.shape, new.absmax.dtype) == ((32, 512), (32, 2), torch.float32)
    states = torch.randn(4, 300)
    assert apart(new(states), layer(states)) < 0.01
