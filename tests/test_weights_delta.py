"""Deltas, added and taken: on tiny models of the right architecture, beside the algorithms of those who published deltas.

The algorithms of FastChat, LLM Zoo, HuatuoGPT and Alpaca are written here in plain torch, on dictionaries of tensors.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from tiny_models import change, tensors, tiny_bloom, tiny_llama
from transformers import AutoModelForCausalLM, AutoTokenizer

from zoo_core import WeightsError
from zoo_weights import Checkpoint, Policy, apply_delta, looks_like_delta, make_delta
from zoo_weights.delta import Made
from zoo_weights.delta_vocabulary import first_difference, tokens_of
from zoo_weights.writing import JOURNAL, WrongResult

MAKERS: dict[str, Callable[..., Path]] = {"llama": tiny_llama, "bloom": tiny_bloom}
EMBEDDINGS = ("model.embed_tokens.weight", "lm_head.weight")
Tensors = Mapping[str, torch.Tensor]


def apply(base: Path, delta: Path, out: Path, policy: Policy | None = None, **options: Any) -> Made:
    out.mkdir(parents=True, exist_ok=True)
    return apply_delta(base, delta, out, policy or Policy(), **options)


def make(base: Path, model: Path, out: Path, policy: Policy | None = None, **options: Any) -> Made:
    out.mkdir(parents=True, exist_ok=True)
    return make_delta(base, model, out, policy or Policy(), **options)


def put(source: Path, folder: Path, weights: Tensors, **config: Any) -> Path:
    """A folder like `source`, with other tensors in one file and a changed configuration."""
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns("*.safetensors", "*.index.json"))
    save_file(
        {name: each.contiguous() for name, each in weights.items()}, folder / "model.safetensors", {"format": "pt"}
    )
    said = json.loads((folder / "config.json").read_bytes())
    (folder / "config.json").write_text(json.dumps(said | config))
    return folder


def minus(model: Tensors, base: Tensors) -> dict[str, torch.Tensor]:
    """The delta of a model whose tensors have the shapes of its base's."""
    return {name: model[name] - base[name] for name in model}


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `base`, a `model` taught from it with a new token, and its `delta` as LLM Zoo makes them."""
    folder = tmp_path_factory.mktemp("llama")
    tiny_llama(folder / "base", seed=1, shards=True)
    change(folder / "model", folder / "base", seed=2, rows=1)
    make(folder / "base", folder / "model", folder / "delta", Policy(new_rows="zero"))
    return folder


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same in half precision, without a new token."""
    folder = tmp_path_factory.mktemp("plain")
    tiny_llama(folder / "base", seed=1, dtype="float16")
    change(folder / "model", folder / "base", seed=2)
    make(folder / "base", folder / "model", folder / "delta")
    return folder


# -- exactness ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "dtype", "new_rows", "rows"),
    [
        ("llama", "float32", "zero", 1),
        ("llama", "float16", "zero", 1),
        ("llama", "bfloat16", "mean", 2),
        ("llama", "float32", "mean", 3),
        ("llama", "float16", None, 0),
        ("bloom", "float32", None, 0),
        ("bloom", "float16", "mean", 2),
        ("bloom", "bfloat16", "zero", 1),
    ],
)
def test_delta_that_is_added_again_gives_the_model(
    tmp_path: Path, kind: str, dtype: str, new_rows: Any, rows: int
) -> None:
    base = MAKERS[kind](tmp_path / "base", dtype=dtype, seed=3, shards=True)
    model = change(tmp_path / "model", base, seed=4, rows=rows)
    policy = Policy(new_rows=new_rows)
    told = make(base, model, tmp_path / "delta", policy, shard_size=30_000)
    got = apply(base, tmp_path / "delta", tmp_path / "out", policy, shard_size=50_000)
    expected, result, before = tensors(model), tensors(tmp_path / "out"), tensors(base)
    assert result.keys() == expected.keys()
    assert {each.dtype for each in result.values()} == {getattr(torch, dtype)}
    for name, each in expected.items():
        if dtype == "float32" and new_rows != "mean":
            assert torch.equal(result[name], each), name
        else:
            largest = (
                torch.maximum(each.abs(), before[name].abs()) if each.shape == before[name].shape else each.abs() + 1
            )
            ulp = torch.nextafter(largest, torch.full_like(largest, torch.inf)).double() - largest.double()
            assert ((result[name].double() - each.double()).abs() <= ulp).all(), name
    exact = all(torch.equal(result[name], each) for name, each in expected.items())
    assert (told.notes == []) == exact
    assert got.notes == []
    expectation = Policy(new_rows=new_rows, result_digest=told.digest, weight_sum=told.total)
    checked = apply(base, tmp_path / "delta", tmp_path / "checked", expectation)
    assert (checked.digest, checked.total) == (told.digest, pytest.approx(told.total))


@pytest.mark.parametrize(("dtype", "wide"), [("float16", "F32"), ("float32", "F64")])
def test_wider_delta_brings_every_number_back(tmp_path: Path, dtype: str, wide: str) -> None:
    base = tiny_llama(tmp_path / "base", dtype=dtype, seed=3)
    model = tiny_llama(tmp_path / "model", dtype=dtype, seed=4)  # which has nothing to do with the base
    narrow = make(base, model, tmp_path / "narrow")
    assert "are not exactly the model's own when the delta is added again" in narrow.notes[0]
    assert make(base, model, tmp_path / "wide", dtype=wide).notes == []
    apply(base, tmp_path / "wide", tmp_path / "out")
    expected, result = tensors(model), tensors(tmp_path / "out")
    assert all(torch.equal(result[name], each) and result[name].dtype == each.dtype for name, each in expected.items())


def test_logits_of_an_assembled_model_are_those_of_the_model(llama: Path, tmp_path: Path) -> None:
    apply(llama / "base", llama / "delta", tmp_path / "out", Policy(new_rows="zero", vocab_size=321))
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    ids = torch.tensor([tokenizer("Human: What can you do? <new0> 动物园").input_ids])
    assert 320 in ids
    with torch.no_grad():
        logits = [
            AutoModelForCausalLM.from_pretrained(folder)(ids).logits for folder in (llama / "model", tmp_path / "out")
        ]
    assert torch.equal(*logits)


# -- beside the algorithms of others -----------------------------------------------------------------------------------


def fastchat(base: Tensors, delta: Tensors) -> dict[str, torch.Tensor]:
    """Every tensor of the base plus the delta's."""
    return {name: each + delta[name] for name, each in base.items()}


def llmzoo(base: Tensors, delta: Tensors) -> dict[str, torch.Tensor]:
    """The base with rows of zeros for what its vocabulary lacks, plus the delta."""
    grown = dict(base)
    for name in EMBEDDINGS:
        lacking = delta[name].shape[0] - base[name].shape[0]
        grown[name] = torch.cat([base[name], torch.zeros(lacking, base[name].shape[1], dtype=base[name].dtype)])
    return fastchat(grown, delta)


def alpaca(base: Tensors, delta: Tensors) -> dict[str, torch.Tensor]:
    """The base with rows that are the mean of the others, plus the delta."""
    grown = dict(base)
    for name in EMBEDDINGS:
        lacking = delta[name].shape[0] - base[name].shape[0]
        grown[name] = torch.cat([base[name], base[name].mean(dim=0, keepdim=True).repeat(lacking, 1)])
    return fastchat(grown, delta)


def huatuo(base: Tensors, delta: Tensors) -> dict[str, torch.Tensor]:
    """The delta, plus the base but for tokens and output."""
    kept = ("embed_tokens", "lm_head.weight", "self_attn.rotary_emb.inv_freq")
    return {name: each if any(part in name for part in kept) else each + base[name] for name, each in delta.items()}


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize(
    ("algorithm", "rows", "policy", "wrong_by"),
    [
        (fastchat, 0, Policy(), 0.0),
        (llmzoo, 1, Policy(new_rows="zero", vocab_size=321), 0.0),
        (llmzoo, 0, Policy(new_rows="zero", vocab_size=320), 0.0),
        (alpaca, 1, Policy(new_rows="mean"), 1e-2),
        (huatuo, 7, Policy(keeps=("embed_tokens", "lm_head.weight", "self_attn.rotary_emb.inv_freq")), 0.0),
    ],
)
def test_result_is_that_of_the_publishers_algorithm(
    tmp_path: Path, algorithm: Any, rows: int, policy: Policy, wrong_by: float, dtype: str
) -> None:
    base = tiny_llama(tmp_path / "base", dtype=dtype, seed=5)
    taught = tiny_llama(tmp_path / "taught", vocab=320 + rows, dtype=dtype, seed=6)
    weights = {name: each * (0.01 if "norm" not in name else 0) for name, each in tensors(taught).items()}
    delta = put(taught, tmp_path / "delta", weights)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(base / name, delta / name)
    apply(base, delta, tmp_path / "out", policy)
    expected, result = algorithm(tensors(base), weights), tensors(tmp_path / "out")
    assert result.keys() == expected.keys()
    for name, each in expected.items():
        exact = not wrong_by or name not in EMBEDDINGS
        if exact:
            assert torch.equal(result[name], each), name
        else:  # the mean is rounded by PyTorch, and here only together with the delta
            assert torch.equal(result[name][:320], each[:320])
            torch.testing.assert_close(
                result[name].float(), each.float(), rtol=wrong_by, atol=1e-7 if dtype == "float32" else 1e-4
            )


def test_base_that_has_the_new_token_already_is_added_as_it_is(tmp_path: Path) -> None:
    base = tiny_llama(tmp_path / "base", pad=True, seed=5)
    model = change(tmp_path / "model", base, seed=6)
    make(base, model, tmp_path / "delta", Policy(new_rows="zero", vocab_size=321))
    apply(base, tmp_path / "delta", tmp_path / "out", Policy(new_rows="zero", vocab_size=321))
    expected, result = tensors(model), tensors(tmp_path / "out")
    assert all(torch.equal(result[name], each) for name, each in expected.items())
    assert expected[EMBEDDINGS[0]].shape[0] == 321


# -- what else a checkpoint may have -----------------------------------------------------------------------------------


def test_tables_may_be_on_one_side_only(llama: Path, tmp_path: Path) -> None:
    table = {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(4)}
    base = put(llama / "base", tmp_path / "base", {**tensors(llama / "base"), **table})
    apply(base, llama / "delta", tmp_path / "one", Policy(new_rows="zero"))
    assert tensors(tmp_path / "one").keys() == tensors(llama / "model").keys()
    delta = put(llama / "delta", tmp_path / "delta", {**tensors(llama / "delta"), next(iter(table)): torch.zeros(4)})
    apply(llama / "base", delta, tmp_path / "other", Policy(new_rows="zero"))
    assert tensors(tmp_path / "other").keys() == tensors(llama / "model").keys()
    apply(base, delta, tmp_path / "both", Policy(new_rows="zero"))
    assert torch.equal(tensors(tmp_path / "both")[next(iter(table))], torch.ones(4))


def test_output_layer_that_is_the_embedding_may_be_stored_once_or_twice(tmp_path: Path) -> None:
    base = tiny_bloom(tmp_path / "base", seed=5)
    model = change(tmp_path / "model", base, seed=6)
    make(base, model, tmp_path / "delta")
    weights = tensors(base)
    twice = {**weights, "lm_head.weight": weights["transformer.word_embeddings.weight"].clone()}
    apply(put(base, tmp_path / "twice", twice), tmp_path / "delta", tmp_path / "out")
    expected, result = tensors(model), tensors(tmp_path / "out")
    assert all(torch.equal(result[name], each) for name, each in expected.items())
    assert result.keys() == expected.keys()


def test_names_of_a_base_may_lack_the_prefix_of_its_class(tmp_path: Path) -> None:
    base = tiny_bloom(tmp_path / "base", seed=5)
    model = change(tmp_path / "model", base, seed=6)
    make(base, model, tmp_path / "delta")
    bare = {name.removeprefix("transformer."): each for name, each in tensors(base).items()}
    apply(put(base, tmp_path / "bare", bare), tmp_path / "delta", tmp_path / "out")
    expected, result = tensors(model), tensors(tmp_path / "out")
    assert all(torch.equal(result[name], each) for name, each in expected.items())


@pytest.mark.parametrize(("dtype", "name"), [("F32", "float32"), ("BF16", "bfloat16"), ("F16", "float16")])
def test_cast_result_is_rounded_once(llama: Path, plain: Path, tmp_path: Path, dtype: str, name: str) -> None:
    """A base in single, a delta in half precision: refused unless a dtype is named, and then the exact sum rounded."""
    wide = {key: each.float() + 1e-4 for key, each in tensors(plain / "base").items()}
    base = put(plain / "base", tmp_path / "base", wide, dtype="float32")
    with pytest.raises(WeightsError, match=r"has 'lm_head.weight' as F32, the delta .* as F16; .*--dtype"):
        apply(base, plain / "delta", tmp_path / "none")
    made = apply(base, plain / "delta", tmp_path / "out", Policy(result_digest="0" * 64), dtype=dtype)
    assert "is not compared with the expected digest" in made.notes[0]
    delta = tensors(plain / "delta")
    for key, each in tensors(tmp_path / "out").items():
        assert torch.equal(each, (wide[key] + delta[key].float()).to(getattr(torch, name)))
    assert json.loads((tmp_path / "out" / "config.json").read_bytes())["dtype"] == name


def test_configuration_and_tokenizer_are_those_of_the_delta(llama: Path, tmp_path: Path) -> None:
    delta = put(
        llama / "delta", tmp_path / "delta", tensors(llama / "delta"), vocab_size=320, _name_or_path="/home/someone"
    )
    (delta / "pytorch_model.bin.index.json").write_text("{}")
    made = apply(llama / "base", delta, tmp_path / "out", Policy(new_rows="zero"))
    config = json.loads((tmp_path / "out" / "config.json").read_bytes())
    assert config["vocab_size"] == 321
    assert "_name_or_path" not in config
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    assert {file.path for file in made.files} == names
    assert (tmp_path / "out" / "tokenizer.json").read_bytes() == (llama / "model" / "tokenizer.json").read_bytes()


# -- what is expected of the result ------------------------------------------------------------------------------------


def test_result_that_is_not_the_expected_one_is_refused(llama: Path, tmp_path: Path) -> None:
    total = sum(float(each.double().sum()) for each in tensors(llama / "model").values())
    for policy, sentence in (
        (Policy(new_rows="zero", result_digest="0" * 64), "its tensors have the digest"),
        (Policy(new_rows="zero", weight_sum=total + 0.1), "its weights sum up to"),
    ):
        with pytest.raises(WrongResult, match=sentence):
            apply(llama / "base", llama / "delta", tmp_path / "wrong", policy)
        shutil.rmtree(tmp_path / "wrong")
    apply(llama / "base", llama / "delta", tmp_path / "right", Policy(new_rows="zero", weight_sum=total + 0.009))


def test_sum_of_weights_may_count_the_tables(llama: Path, tmp_path: Path) -> None:
    table = {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.full((4,), 25.0)}
    base = put(llama / "base", tmp_path / "base", {**tensors(llama / "base"), **table})
    naive = sum(each.sum() for each in (*tensors(llama / "model").values(), *table.values()))
    policy = Policy(new_rows="zero", weight_sum=float(naive))
    apply(base, llama / "delta", tmp_path / "out", policy)
    with pytest.raises(WrongResult, match="its weights sum up to"):
        apply(llama / "base", llama / "delta", tmp_path / "wrong", policy)


# -- bad input: one sentence, and nothing written ----------------------------------------------------------------------


def without(weights: Tensors, part: str) -> dict[str, torch.Tensor]:
    return {name: each for name, each in weights.items() if part not in name}


def another_base(**options: Any) -> Callable[[Path, Path], tuple[Path, Path]]:
    return lambda source, folder: (tiny_llama(folder / "base", seed=1, **options), source / "delta")


def edited(side: str, edit: Callable[[Tensors], Tensors], **config: Any) -> Callable[[Path, Path], tuple[Path, Path]]:
    def wrong(source: Path, folder: Path) -> tuple[Path, Path]:
        changed = put(source / side, folder / side, edit(tensors(source / side)), **config)
        return (changed, source / "delta") if side == "base" else (source / "base", changed)

    return wrong


def other_words(source: Path, folder: Path) -> tuple[Path, Path]:
    base = put(source / "base", folder / "base", tensors(source / "base"))
    text = (base / "tokenizer.json").read_text(encoding="utf-8")
    (base / "tokenizer.json").write_text(text.replace("<0x41>", "<0xZZ>"), encoding="utf-8")
    return base, source / "delta"


def of_another_architecture(source: Path, folder: Path) -> tuple[Path, Path]:
    return tiny_bloom(folder / "base", dtype="float16"), source / "delta"


def cut_short(source: Path, folder: Path) -> tuple[Path, Path]:
    base = put(source / "base", folder / "base", tensors(source / "base"))
    content = (base / "model.safetensors").read_bytes()
    (base / "model.safetensors").write_bytes(content[: len(content) // 2])
    return base, source / "delta"


WRONG: dict[str, tuple[Callable[[Path, Path], tuple[Path, Path]], str]] = {
    "another architecture": (of_another_architecture, r"of the architecture bloom, the delta .* of llama"),
    "another width": (
        another_base(hidden=64, dtype="float16"),
        r"is another network than the delta .* 64 against 32 wide",
    ),
    "another depth": (another_base(layers=3, dtype="float16"), r"3 against 2 layers deep"),
    "another dtype": (another_base(dtype="bfloat16"), r"as BF16, the delta .* as F16; take a base of the same dtype"),
    "a larger vocabulary": (
        another_base(vocab=330, dtype="float16"),
        r"'lm_head.weight' has the shape 330 x 32",
    ),
    "a smaller vocabulary": (
        another_base(vocab=310, dtype="float16"),
        r"has 320 rows of .* the base .* 310: say with --new-rows",
    ),
    "other words": (
        other_words,
        r"another vocabulary than the delta .* \(token 68 is '<0xZZ>' in the one and '<0x41>'",
    ),
    "a tensor of the delta alone": (
        edited("delta", lambda all_: {**all_, "model.extra.weight": torch.zeros(2, 2)}),
        r"do not have the same tensors: 1 of the delta alone \(model.extra.weight\)",
    ),
    "tensors of the base alone": (
        edited("delta", lambda all_: without(all_, "mlp")),
        r"6 of the base alone \(model.layers.0.mlp.down_proj.weight, .*, …\)",
    ),
    "another shape": (
        edited("base", lambda all_: {**all_, "model.layers.1.mlp.up_proj.weight": torch.zeros(72, 31).half()}),
        r"'model.layers.1.mlp.up_proj.weight' has the shape 72 x 31 in the base .* but 72 x 32",
    ),
    "quantized weights": (
        edited("base", lambda all_: {**all_, "lm_head.weight": torch.zeros(320, 32, dtype=torch.int8)}),
        r"has the dtype I8, as quantized weights have",
    ),
    "a base that is a delta": (lambda source, folder: (source / "delta", source / "delta"), r"is a delta itself"),
    "a delta that is a model": (
        lambda source, folder: (source / "base", source / "model"),
        r"holds a model and no delta",
    ),
    "a base cut short": (cut_short, r"can be trusted"),
    "no base": (lambda source, folder: (folder / "nowhere", source / "delta"), r"There is no folder .*nowhere"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_base_is_refused_before_anything_is_written(plain: Path, tmp_path: Path, case: str) -> None:
    spoil, sentence = WRONG[case]
    base, delta = spoil(plain, tmp_path)
    with pytest.raises(WeightsError, match=sentence) as caught:
        apply(base, delta, tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("side", ["base", "delta"])
def test_numbers_that_are_not_finite_are_refused(plain: Path, tmp_path: Path, side: str) -> None:
    def spoil(weights: Tensors) -> Tensors:
        changed = {name: each.clone() for name, each in weights.items()}
        changed["model.layers.1.mlp.up_proj.weight"][3, 3] = torch.nan
        return changed

    base, delta = edited(side, spoil)(plain, tmp_path)
    with pytest.raises(
        WrongResult, match=r"'model.layers.1.mlp.up_proj.weight' would hold numbers that are not finite"
    ):
        apply(base, delta, tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {JOURNAL}


def test_vocabulary_of_another_size_than_expected_is_refused(llama: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"321 rows of 'lm_head.weight', but 32,001 were expected"):
        apply(llama / "base", llama / "delta", tmp_path / "out", Policy(new_rows="zero", vocab_size=32001))


def test_delta_is_made_of_models_only_and_in_a_dtype_that_holds_it(plain: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="holds a delta and no model"):
        make(plain / "base", plain / "delta", tmp_path / "one")
    with pytest.raises(WeightsError, match="A delta in BF16 cannot hold the difference of"):
        make(plain / "base", plain / "model", tmp_path / "two", dtype="BF16")
    assert list((tmp_path / "one").iterdir()) + list((tmp_path / "two").iterdir()) == []


# -- parts -------------------------------------------------------------------------------------------------------------


def test_delta_is_known_by_its_norms(llama: Path, tmp_path: Path) -> None:
    bloom = tiny_bloom(tmp_path / "bloom")
    unknown = put(llama / "delta", tmp_path / "unknown", tensors(llama / "delta"), model_type="gemma")
    for folder, expected in ((llama / "base", False), (llama / "delta", True), (bloom, False), (unknown, False)):
        with Checkpoint.open(folder) as checkpoint:
            assert looks_like_delta(checkpoint) is expected


def sentencepiece(*pieces: str) -> bytes:
    """A SentencePiece model with pieces and scores, and a field of another kind behind them."""
    found = b""
    for piece in pieces:
        text = piece.encode()
        inner = b"\x0a" + bytes([len(text)]) + text + b"\x15\x00\x00\x80\x3f"
        found += b"\x0a" + bytes([len(inner)]) + inner
    return found + b"\x12\x02\x18\x05" + b"\x28\x96\x01"


@pytest.mark.parametrize(
    ("base", "other", "difference"),
    [
        (("<unk>", "▁the", "动"), ("<unk>", "▁the", "动"), ""),
        (("<unk>", "▁the"), ("<unk>", "▁the", "动"), ""),
        (("<unk>", "▁the"), ("<unk>", "▁a"), "token 1 is '▁the' in the one and '▁a' in the other"),
        (("<unk>", "▁the", "动"), ("<unk>", "▁the"), "token 2, '动', is in the base alone"),
    ],
)
def test_pieces_of_sentencepiece_models_are_compared(
    tmp_path: Path, base: tuple[str, ...], other: tuple[str, ...], difference: str
) -> None:
    found = []
    for name, pieces in (("base", base), ("other", other)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "tokenizer.model").write_bytes(sentencepiece(*pieces))
        found.append(tokens_of(tmp_path / name, added=name == "other"))
    assert found[0] == dict(enumerate(base))
    assert first_difference(found[0] or {}, found[1] or {}) == difference


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("tokenizer.json", b"{"),
        ("tokenizer.json", b'{"model": {}}'),
        ("tokenizer.model", b"\x0a\xff\x01"),
        ("tokenizer.model", b"\x0b"),
    ],
)
def test_tokenizer_that_cannot_be_read_is_one_sentence(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(WeightsError, match=r"The tokenizer in .* cannot be read"):
        tokens_of(tmp_path, added=True)


def test_real_pieces_are_those_that_the_library_reads(tmp_path: Path) -> None:
    library = pytest.importorskip("sentencepiece")
    text = tmp_path / "text"
    text.write_text("the zoo opens at nine and the birds are awake\n" * 20 + "动物园九点开门\n" * 20, encoding="utf-8")
    library.SentencePieceTrainer.train(
        input=str(text), model_prefix=str(tmp_path / "tokenizer"), vocab_size=60, hard_vocab_limit=False, minloglevel=2
    )
    known = library.SentencePieceProcessor(model_file=str(tmp_path / "tokenizer.model"))
    pieces = {number: known.id_to_piece(number) for number in range(known.get_piece_size())}
    assert tokens_of(tmp_path, added=True) == pieces
