"""The base class of families: whole models are loaded as transformers loads them, and nothing else is."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from tiny_models import TEXT, change, tiny_bloom, tiny_llama
from transformers import LlamaForCausalLM

from zoo_core import Loading, MissingDependency, ModelFamily, WeightsError, ZooError
from zoo_core.interfaces import Assembler
from zoo_weights import Policy, TransformersFamily, make_delta

IDS = torch.tensor([[1, 17, 42, 99, 7]])

#: peft asks transformers for a property that has another name now.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")


class Llama(TransformersFamily):
    model_class = "LlamaForCausalLM"


class Anything(TransformersFamily):
    pass


def adapter(folder: Path, base: Path) -> Path:
    model = get_peft_model(LlamaForCausalLM.from_pretrained(base), LoraConfig(r=2, target_modules=["q_proj"]))
    model.save_pretrained(folder)
    return folder


def delta(folder: Path, base: Path) -> Path:
    folder.mkdir()
    make_delta(base, change(folder.with_name("target"), base, seed=1), folder, Policy())
    return folder


def edit(folder: Path, **values: object) -> Path:
    """Change the configuration; None takes a field away."""
    config = json.loads((folder / "config.json").read_text())
    kept = {key: value for key, value in (config | values).items() if value is not None}
    (folder / "config.json").write_text(json.dumps(kept))
    return folder


def without(folder: Path, name: str) -> Path:
    found = load_file(folder / "model.safetensors")
    del found[name]
    save_file(found, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def pickled(folder: Path) -> Path:
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    return folder


def test_it_is_a_family_and_puts_models_together() -> None:
    def is_family(family: ModelFamily) -> ModelFamily:
        return family

    def is_assembler(family: Assembler) -> Assembler:
        return family

    assert is_family(Llama())
    assert is_assembler(Llama())


@pytest.mark.parametrize("family", [Llama, Anything])
@pytest.mark.parametrize("shards", [False, True])
def test_a_model_is_loaded_as_transformers_loads_it(
    family: type[TransformersFamily], shards: bool, tmp_path: Path
) -> None:
    folder = tiny_llama(tmp_path / "model", shards=shards)
    model = family().load_model(folder, Loading())
    assert not model.training
    with torch.inference_mode():
        assert torch.equal(model(IDS).logits, LlamaForCausalLM.from_pretrained(folder)(IDS).logits)


def test_the_dtype_is_the_one_that_is_asked_for(tmp_path: Path) -> None:
    model = Llama().load_model(tiny_llama(tmp_path / "model"), Loading(dtype="bfloat16"))
    assert {each.dtype for each in model.parameters()} == {torch.bfloat16}


def test_the_tokenizer_is_loaded_without_weights(tmp_path: Path) -> None:
    folder = tiny_llama(tmp_path / "model")
    (folder / "model.safetensors").unlink()
    tokenizer = Llama().load_tokenizer(folder)
    assert tokenizer.decode(tokenizer("The zoo opens.", add_special_tokens=False)["input_ids"]) == "The zoo opens."


def sentencepiece_llama(folder: Path, **config: object) -> Path:
    """A LLaMA whose tokenizer is a file of SentencePiece, as they were all published in 2023."""
    sentencepiece = pytest.importorskip("sentencepiece")
    pytest.importorskip("google.protobuf")
    tiny_llama(folder, vocab=400)
    for path in folder.glob("*token*"):
        path.unlink()
    (folder / "text.txt").write_text("\n".join(TEXT), encoding="utf-8")
    sentencepiece.SentencePieceTrainer.train(
        input=str(folder / "text.txt"),
        model_prefix=str(folder / "tokenizer"),
        vocab_size=400,
        model_type="bpe",
        byte_fallback=True,
        character_coverage=1.0,
        remove_extra_whitespaces=False,
        normalization_rule_name="identity",
        minloglevel=2,
    )
    told = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "add_bos_token": True} | config
    (folder / "tokenizer_config.json").write_text(json.dumps(told))
    return folder


@pytest.mark.parametrize(
    ("config", "old"),
    [
        ({"tokenizer_class": "LlamaTokenizer"}, True),
        ({"tokenizer_class": "LLaMATokenizer"}, True),
        ({"tokenizer_class": "LlamaTokenizer", "legacy": True}, True),
        ({"tokenizer_class": "LlamaTokenizer", "legacy": False}, False),
    ],
    ids=["of 2023", "first spelling", "says that it is old", "says that it is new"],
)
def test_old_tokenizers_of_llama_cut_texts_as_they_did_when_models_learned(
    config: dict[str, object], old: bool, tmp_path: Path
) -> None:
    """Each text between special tokens began with a space: the pieces are those of SentencePiece itself."""
    import sentencepiece

    folder = sentencepiece_llama(tmp_path / "model", **config)
    own = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
    tokenizer = Llama().load_tokenizer(folder)
    ids = tokenizer("The zoo: <s>The birds</s>A chat <s>", add_special_tokens=False)["input_ids"]
    legacy = [*own.encode("The zoo: "), 1, *own.encode("The birds"), 2, *own.encode("A chat "), 1]
    assert (ids == legacy) is old
    assert tokenizer.bos_token_id == 1


def test_without_sentencepiece_a_tokenizer_that_needs_it_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = sentencepiece_llama(tmp_path / "model", tokenizer_class="LlamaTokenizer")
    monkeypatch.setitem(sys.modules, "sentencepiece", None)
    with pytest.raises(MissingDependency, match="needs the packages 'sentencepiece' and 'protobuf'"):
        Llama().load_tokenizer(folder)


def test_the_first_spelling_of_the_class_of_llama_is_known(tmp_path: Path) -> None:
    folder = edit(tiny_llama(tmp_path / "model"), architectures=["LLaMAForCausalLM"])
    assert Llama().load_model(folder, Loading()).config.model_type == "llama"


Maker = Callable[[Path], Path]
REFUSED: dict[str, tuple[Maker, str]] = {
    "another architecture": (
        lambda here: tiny_bloom(here / "m"),
        "are those of a BloomForCausalLM, but this family loads LlamaForCausalLM; name a folder of that class",
    ),
    "another head": (
        lambda here: edit(tiny_llama(here / "m"), architectures=["LlamaForSequenceClassification"]),
        "are those of a LlamaForSequenceClassification, but this family loads LlamaForCausalLM",
    ),
    "another type without a class": (
        lambda here: edit(tiny_llama(here / "m"), architectures=None, model_type="mistral"),
        "are those of a mistral, but this family loads LlamaForCausalLM",
    ),
    "quantized": (
        lambda here: edit(tiny_llama(here / "m"), quantization_config={"quant_method": "gptq", "bits": 4}),
        "are quantized in a way that no installed plugin runs",
    ),
    "a tensor is missing": (
        lambda here: without(tiny_llama(here / "m"), "model.layers.1.mlp.up_proj.weight"),
        "lack 1 tensors, the first of them model.layers.1.mlp.up_proj.weight; get the folder again.",
    ),
    "a delta": (
        lambda here: delta(here / "m", tiny_llama(here / "base")),
        "holds a delta, which by itself gives gibberish; add it to its base: zoo merge delta --base BASE --delta",
    ),
    "an adapter": (
        lambda here: adapter(here / "m", tiny_llama(here / "base")),
        "holds an adapter, which is no model by itself; merge it into its base: zoo merge adapter --base BASE --adapter",
    ),
    "nothing": (lambda here: here, "has no safetensors (model.safetensors, or shards with their index)."),
    "pickled": (
        lambda here: pickled(tiny_llama(here / "m")),
        "zoo convert",
    ),
}


@pytest.mark.parametrize(("make", "sentence"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_whole_model_of_the_class_is_refused(make: Maker, sentence: str, tmp_path: Path) -> None:
    folder = make(tmp_path)
    with pytest.raises(WeightsError) as caught:
        Llama().load_model(folder, Loading())
    assert sentence in str(caught.value)


def test_a_family_that_lets_the_checkpoint_choose_refuses_raw_deltas_too(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="holds a delta"):
        Anything().load_model(delta(tmp_path / "m", tiny_llama(tmp_path / "base")), Loading())


def test_parts_are_told_from_models(tmp_path: Path) -> None:
    base = tiny_llama(tmp_path / "base")
    assert not Llama().is_part(base)
    assert not Llama().is_part(tiny_bloom(tmp_path / "bloom"))
    assert Llama().is_part(delta(tmp_path / "delta", base))
    assert Llama().is_part(adapter(tmp_path / "adapter", base))


def test_no_new_models_are_made() -> None:
    with pytest.raises(ZooError, match="loads models of the class LlamaForCausalLM, but makes no new ones"):
        Llama().create(["text"], {}, seed=0)


def test_code_of_a_checkpoint_stays_where_it_is(tmp_path: Path) -> None:
    """The class is known, so the code that the configuration names is not needed; it must not run either."""
    folder = edit(
        tiny_llama(tmp_path / "m"), auto_map={"AutoModelForCausalLM": "evil.Model", "AutoConfig": "evil.Config"}
    )
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with torch.inference_mode():
        assert Llama().load_model(folder, Loading())(IDS).logits.shape[-1] == 320
    Llama().load_tokenizer(folder)
    assert not (tmp_path / "ran").exists()


def test_a_broken_header_is_one_sentence(tmp_path: Path) -> None:
    folder = tiny_llama(tmp_path / "m")
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(WeightsError) as caught:
        Llama().load_model(folder, Loading())
    assert str(folder) in str(caught.value)
