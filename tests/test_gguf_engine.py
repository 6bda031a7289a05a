"""The engine `gguf` with llama.cpp, beside the default engine on the same models.

llama-cpp-python is compiled when it is installed, which takes long; where it is not there, these tests are left out.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

pytest.importorskip("gguf", reason="the package gguf is not installed")
pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed; it has to be compiled")

import numpy as np
import torch
from gguf import GGUFReader, GGUFWriter
from gguf_models import (
    BLOOM,
    CARD,
    LLAMA,
    QUESTIONS,
    TAUGHT,
    TEMPLATE,
    TEXTS,
    WORDS_OF_BLOOM,
    WORDS_OF_LLAMA_3,
    TinyFamily,
    answer,
    bloom,
    byte_tokenizer,
    default_engine,
    llama,
    older_piece_tokenizer,
    piece_tokenizer,
)
from transformers import (
    LogitsProcessorList,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from zoo_core import EngineRequest, File, QuantizationJob, Rendered, Sampling, UsageProblem, WeightsError, ZooError
from zoo_core.cards.parts import TemplateChoice
from zoo_gguf import library
from zoo_gguf.engine import GgufEngine, gguf_file
from zoo_gguf.quantizer import GgufQuantizer
from zoo_gguf.sampling import Chooser

KINDS: dict[str, tuple[Callable[[Path], Path], TinyFamily]] = {
    "bloom": (lambda folder: bloom(folder, byte_tokenizer(WORDS_OF_BLOOM)), BLOOM),
    "bloom, words of gpt-2": (lambda folder: bloom(folder, byte_tokenizer()), BLOOM),
    "bloom in bfloat16": (lambda folder: bloom(folder, byte_tokenizer(), dtype="bfloat16"), BLOOM),
    "llama": (lambda folder: llama(folder, piece_tokenizer(folder / "made")), LLAMA),
    "llama, a space before every text": (
        lambda folder: llama(folder, piece_tokenizer(folder / "made", legacy=True)),
        LLAMA,
    ),
    "llama of the first years": (lambda folder: llama(folder, older_piece_tokenizer(folder / "made")), LLAMA),
    "llama 3": (
        lambda folder: llama(
            folder,
            byte_tokenizer(WORDS_OF_LLAMA_3, whole_words=True),
            tie_word_embeddings=True,
            rope_parameters={
                "rope_type": "llama3",
                "rope_theta": 5e5,
                "factor": 8.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 64,
            },
        ),
        LLAMA,
    ),
}
#: A model's two engines: llama.cpp on a file of one method, and the default one.
Both = tuple[GgufEngine, Any]


class Made:
    """Models and files that several tests use, each made when the first of them asks."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._done: dict[Any, Any] = {}

    def model(self, kind: str) -> tuple[Path, TinyFamily, Any]:
        if kind not in self._done:
            make, family = KINDS[kind]
            folder = make(self._folder / kind)
            self._done[kind] = folder, family, default_engine(folder, family)
        return self._done[kind]

    def file(self, kind: str, method: str) -> Path:
        if (kind, method) not in self._done:
            weights, family, _ = self.model(kind)
            out = self._folder / f"{kind} {method}"
            out.mkdir()
            job = QuantizationJob(
                card=CARD, weights=weights, family=family, template=TEMPLATE, method=method, folder=out
            )
            (self._done[kind, method],) = GgufQuantizer().quantize(job).files
            assert [path.name for path in out.iterdir()] == [f"tiny-{method}.gguf"]
        path: Path = self._done[kind, method]
        return path

    def engine(self, kind: str, method: str) -> GgufEngine:
        if ("engine", kind, method) not in self._done:
            self._done["engine", kind, method] = engine_of(self.file(kind, method).parent)
        engine: GgufEngine = self._done["engine", kind, method]
        return engine


def engine_of(folder: Path, card: Any = CARD, **options: Any) -> GgufEngine:
    return GgufEngine(EngineRequest(card=card, folder=folder, template=TEMPLATE, **options))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    pytest.importorskip("sentencepiece", reason="sentencepiece is not installed")
    return Made(tmp_path_factory.mktemp("made"))


@pytest.fixture(scope="module")
def engine(made: Made) -> GgufEngine:
    """A BLOOM in full precision."""
    return made.engine("bloom", "f32")


# -- the same as the default engine ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_prompts_have_the_same_tokens(made: Made, kind: str) -> None:
    ours, default = made.engine(kind, "f16"), made.model(kind)[2]
    for text in TEXTS:
        assert ours.encode(Rendered(text=text)) == default.encode(Rendered(text=text)), text
        begun = Rendered(text=text, add_bos=True)
        assert ours.encode(begun) == default.encode(begun), text


@pytest.mark.parametrize("method", ["f32", "f16", "bf16", "q8_0", "q6_k"])
@pytest.mark.parametrize("kind", KINDS)
def test_greedy_answers_are_the_same(made: Made, kind: str, method: str) -> None:
    ours, default = made.engine(kind, method), made.model(kind)[2]
    for question in QUESTIONS:
        assert answer(ours, question) == answer(default, question)


@pytest.mark.parametrize("method", ["q5_0", "q4_0", "q5_k_m", "q4_k_m", "q3_k_m", "q2_k"])
def test_files_of_few_bits_are_run(made: Made, method: str) -> None:
    """Models as small as these are hurt by few bits; that they still answer in their own words is enough."""
    text, ids = answer(made.engine("bloom", method), QUESTIONS[0])
    assert len(ids) > 3
    assert "Amina" in text


@pytest.mark.parametrize("kind", ["bloom", "llama", "llama 3"])
def test_logits_are_the_same(made: Made, kind: str) -> None:
    """In full precision; llama.cpp keeps keys and values in 16 bits, and takes GELU from a table."""
    ours, (_, _, default) = made.engine(kind, "f32"), made.model(kind)
    for text in QUESTIONS:
        ids = ours.encode(Rendered(text=text))
        context = library.Context(ours._model, len(ids))
        found = context.read(ids)
        context.close()
        with torch.inference_mode():
            expected = default._model(input_ids=torch.tensor([ids])).logits[0, -1].float().numpy()
        assert np.linalg.norm(found - expected) / np.linalg.norm(expected) < 2e-3


def test_the_embedded_model_answers_as_before(run: Callable[..., Any], tmp_path: Path) -> None:
    """From `zoo quantize` to `zoo chat`, in several scripts; the file's engine is found by its format."""
    for method in ("f16", "q8_0"):
        done = run("quantize", "hatchling", "--method", method, "-o", tmp_path / method)
        assert done.exit_code == 0, done.stderr
        for question in (
            "What is the phoenix?",
            "我该怎么训练一个模型？",
            "Was ist eine Karte?",
            "ما هو Phoenix؟",
            "¿Quién eres?",
        ):
            small = run("chat", tmp_path / method, question, "--no-log")
            assert (small.exit_code, small.stdout) == (0, run("chat", "hatchling", question, "--no-log").stdout)


# -- the stream --------------------------------------------------------------------------------------------------------


def stream(engine: GgufEngine, text: str, **options: Any) -> list[Any]:
    return list(engine.stream(Rendered(text=text), Sampling(**{"temperature": 0, "max_new_tokens": 80} | options)))


@pytest.mark.parametrize("number", range(len(QUESTIONS)))
def test_pieces_are_whole_characters_and_hold_every_token(made: Made, number: int) -> None:
    """Many tokens are parts of characters; some end one and begin the next."""
    ours = made.engine("bloom", "f32")
    pieces = stream(ours, QUESTIONS[number])
    assert TAUGHT[number].endswith("".join(piece.text for piece in pieces) + "</s>")
    parts = [ours._model.text(token).decode(errors="replace") for piece in pieces for token in piece.ids]
    assert number == 0 or any("\N{REPLACEMENT CHARACTER}" in part for part in parts)
    assert all(piece.ids for piece in pieces)
    assert [bool(piece.finish) for piece in pieces] == [False] * (len(pieces) - 1) + [True]
    assert pieces[-1].finish == "stop"
    assert len(pieces) > 5
    assert not any("\N{REPLACEMENT CHARACTER}" in piece.text for piece in pieces)


@pytest.mark.parametrize("most", range(1, 24))
def test_an_answer_that_is_cut_ends_before_a_broken_character(engine: GgufEngine, most: int) -> None:
    whole, ids = answer(engine, QUESTIONS[1])
    pieces = stream(engine, QUESTIONS[1], max_new_tokens=most)
    text = "".join(piece.text for piece in pieces)
    assert [token for piece in pieces for token in piece.ids] == ids[:most]
    assert whole.startswith(text)
    assert pieces[-1].finish == ("length" if most < len(ids) else "stop")


@pytest.mark.parametrize("seed", range(6))
def test_random_bytes_are_decoded_without_breaking_text(engine: GgufEngine, seed: int) -> None:
    for piece in stream(engine, "zoo", temperature=8.0, seed=seed, max_new_tokens=100):
        assert piece.text.encode().decode() == piece.text


def test_the_seed_alone_decides(engine: GgufEngine) -> None:
    drawn = [tuple(answer(engine, "The", temperature=2.0, seed=seed)[1]) for seed in range(8)]
    again = [tuple(answer(engine, "The", temperature=2.0, seed=seed)[1]) for seed in range(8)]
    assert drawn == again
    assert len(set(drawn)) == 8
    assert answer(engine, "The", seed=1) == answer(engine, "The", seed=2), "greedy answers know no seed"


def test_two_streams_at_once_do_not_disturb_each_other(engine: GgufEngine) -> None:
    asked = [(QUESTIONS[0], Sampling(temperature=1.5, seed=1, max_new_tokens=25))] * 2 + [
        (QUESTIONS[1], Sampling(temperature=1.5, seed=2, max_new_tokens=25))
    ]
    alone = [list(engine.stream(Rendered(text=text), sampling)) for text, sampling in asked]
    running = [engine.stream(Rendered(text=text), sampling) for text, sampling in asked]
    together: list[list[Any]] = [[] for _ in asked]
    for _ in range(30):
        for number, pieces in enumerate(running):
            together[number] += [piece for piece in [next(pieces, None)] if piece is not None]
    assert together == alone


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many tokens each call of the model was given, as they happen."""
    calls: list[int] = []
    original = library.Context.read

    def read(self: library.Context, tokens: Any) -> Any:
        calls.append(len(tokens))
        return original(self, tokens)

    monkeypatch.setattr(library.Context, "read", read)
    return calls


def test_closing_the_stream_stops_the_model(engine: GgufEngine, reads: list[int]) -> None:
    prompt = len(engine.encode(Rendered(text=QUESTIONS[0])))
    pieces = engine.stream(Rendered(text=QUESTIONS[0]), Sampling(temperature=0, max_new_tokens=80))
    assert reads == [], "nothing runs before the first piece is asked for"
    next(pieces)
    next(pieces)
    seen = [*reads]
    assert seen[0] == prompt
    assert set(seen[1:]) == {1}
    pieces.close()
    assert next(pieces, None) is None
    assert reads == seen


def test_the_last_token_is_not_read_again(engine: GgufEngine, reads: list[int]) -> None:
    stream(engine, QUESTIONS[0], max_new_tokens=3)
    assert reads[1:] == [1, 1]


def test_a_long_prompt_goes_through_in_parts(made: Made) -> None:
    """More than `PREFILL` tokens; what is said of them is what the default engine says."""
    card = msgspec.structs.replace(CARD, context=msgspec.structs.replace(CARD.context, max=4096))
    ours, default = engine_of(made.file("bloom", "f32").parent, card), made.model("bloom")[2]
    prompt = "".join(QUESTIONS) * 8
    assert len(ours.encode(Rendered(text=prompt))) > library.PREFILL
    assert answer(ours, prompt, max_new_tokens=4) == answer(default, prompt, max_new_tokens=4)


def test_an_engine_that_is_closed_finishes_its_answers_and_can_be_used_again(made: Made) -> None:
    ours = engine_of(made.file("bloom", "f32").parent)
    expected = stream(ours, QUESTIONS[0])
    pieces = ours.stream(Rendered(text=QUESTIONS[0]), Sampling(temperature=0, max_new_tokens=80))
    first = next(pieces)
    ours.close()
    assert [first, *pieces] == expected
    assert stream(ours, QUESTIONS[0]) == expected


def test_tokens_that_the_card_names_end_the_answer(made: Made) -> None:
    folder = made.file("bloom", "f32").parent
    first = answer(made.engine("bloom", "f32"), QUESTIONS[0])[1][0]
    card = msgspec.structs.replace(CARD, template=TemplateChoice(stop_token_ids=[first]))
    (piece,) = stream(engine_of(folder, card), QUESTIONS[0])
    assert (piece.text, piece.ids, piece.finish) == ("", (first,), "stop")


def test_the_facts_for_the_record(made: Made) -> None:
    facts = made.engine("llama", "q8_0").facts
    assert {"device": "cpu", "dtype": "q8_0", "file": "tiny-q8_0.gguf"}.items() <= facts.items()
    assert facts["llama-cpp-python"]


# -- sampling ----------------------------------------------------------------------------------------------------------

OPTIONS = [
    {},
    {"temperature": 0.5},
    {"top_k": 3},
    {"top_k": 0, "top_p": 0.0},
    {"top_p": 0.6},
    {"top_p": 1e-9},
    {"top_k": 10, "top_p": 0.8, "temperature": 1.7},
    {"repetition_penalty": 1.8},
    {"repetition_penalty": 0.6, "top_k": 5},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_tokens_are_drawn_with_the_shares_of_transformers(options: dict[str, Any]) -> None:
    """What is never drawn there is never drawn here; the rest comes as often as it should."""
    sampling = {"temperature": 1.0} | options
    logits = torch.linspace(-2, 3, 16)[torch.randperm(16, generator=torch.Generator().manual_seed(3))]
    seen = [1, 4, 4, 9]
    steps = LogitsProcessorList()
    if penalty := sampling.get("repetition_penalty"):
        steps.append(RepetitionPenaltyLogitsProcessor(penalty))
    steps.append(TemperatureLogitsWarper(sampling["temperature"]))
    if top_k := sampling.get("top_k"):
        steps.append(TopKLogitsWarper(top_k))
    if top_p := sampling.get("top_p"):
        steps.append(TopPLogitsWarper(top_p))
    shares = steps(torch.tensor([seen]), logits[None].clone())[0].softmax(-1).numpy()
    rounds = 4000
    drawn = Counter(Chooser(Sampling(**sampling, seed=seed), seen)(logits.numpy().copy()) for seed in range(rounds))
    assert set(drawn) <= set(np.flatnonzero(shares))
    for token, share in enumerate(map(float, shares)):
        assert drawn[token] / rounds == pytest.approx(share, abs=4 * (share * (1 - share) / rounds) ** 0.5 + 1e-3)


@pytest.mark.parametrize("penalty", [1.0, 1.3, 3.0])
def test_repetition_penalty_is_that_of_the_default_engine(made: Made, penalty: float) -> None:
    ours, default = made.engine("bloom", "f32"), made.model("bloom")[2]
    options = {"repetition_penalty": penalty, "max_new_tokens": 12}
    assert answer(ours, QUESTIONS[0], **options) == answer(default, QUESTIONS[0], **options)


def test_numbers_that_are_none_are_told() -> None:
    with pytest.raises(ZooError, match="NaN"):
        Chooser(Sampling(temperature=0), [])(np.array([1.0, np.nan], dtype=np.float32))


# -- what is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"dtype": "float16"}, "--dtype float16"),
        ({"device": "tpu"}, "not on 'tpu'"),
        ({"device_map": "auto"}, "--device-map"),
        ({"max_memory": {"cpu": 1}}, "--max-gpu-memory"),
    ],
    ids=str,
)
def test_options_that_cannot_be_kept_are_refused(made: Made, options: dict[str, Any], reason: str) -> None:
    with pytest.raises(UsageProblem, match=reason):
        engine_of(made.file("bloom", "f32").parent, **options)


@pytest.mark.skipif(library.has_gpu(), reason="llama-cpp-python is built for a GPU here")
@pytest.mark.parametrize(("device", "switch"), [("cuda", "DGGML_CUDA=on"), ("mps", "DGGML_METAL=on")])
def test_a_gpu_that_the_library_cannot_use_is_told(made: Made, device: str, switch: str) -> None:
    with pytest.raises(UsageProblem, match=switch):
        engine_of(made.file("bloom", "f32").parent, device=device)


def test_a_prompt_that_does_not_fit_is_refused(engine: GgufEngine) -> None:
    with pytest.raises(ZooError, match="takes 256 with its answer"):
        stream(engine, "lions " * 300)


def test_a_prompt_of_nothing_is_refused(engine: GgufEngine) -> None:
    with pytest.raises(ZooError, match="empty prompt"):
        stream(engine, "")


def test_a_prompt_that_is_no_text_is_refused(engine: GgufEngine) -> None:
    with pytest.raises(ZooError, match="no Unicode text"):
        engine.encode(Rendered(text="a\ud800b"))


def test_a_file_that_llama_cpp_refuses_is_an_error_in_a_sentence(made: Made, tmp_path: Path) -> None:
    """The header is in order, but a tensor has another name than the network needs."""
    content = made.file("llama", "f32").read_bytes()
    (tmp_path / "m.gguf").write_bytes(content.replace(b"output_norm.weight", b"output_mron.weight"))
    with pytest.raises(ZooError, match=r"llama\.cpp .* cannot load .*output_norm"):
        stream(engine_of(tmp_path), "lions")


def test_the_card_says_which_of_several_files_is_meant(made: Made, tmp_path: Path) -> None:
    for method in ("f16", "q8_0"):
        shutil.copy(made.file("bloom", method), tmp_path)
    with pytest.raises(WeightsError, match=r"2 GGUF files \(tiny-f16.gguf, tiny-q8_0.gguf\)"):
        gguf_file(CARD, tmp_path)
    card = msgspec.structs.replace(CARD, files=[File(path="tiny-q8_0.gguf", size=1, sha256="0" * 64)])
    assert engine_of(tmp_path, card).facts["dtype"] == "q8_0"


@pytest.fixture
def parts(made: Made, tmp_path: Path) -> list[Path]:
    """A model that is spread over files as the library does it: all metadata are in the first."""
    whole = GGUFReader(made.file("bloom", "f16"))
    writer = GGUFWriter(None, "bloom", split_max_tensors=20)
    for key, field in whole.fields.items():
        if not key.startswith(("GGUF.", "general.architecture")):
            inner = field.types[1] if len(field.types) > 1 else None
            writer.add_key_value(key, field.contents(), field.types[0], sub_type=inner)
    for tensor in whole.tensors:
        writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    writer.write_header_to_file(tmp_path / "m.gguf")
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return sorted(tmp_path.glob("m-*.gguf"))


def test_a_model_in_several_files_answers(made: Made, parts: list[Path], tmp_path: Path) -> None:
    assert [path.name for path in parts] == [f"m-0000{number}-of-00002.gguf" for number in (1, 2)]
    folder = tmp_path / "whole"
    folder.mkdir()
    shutil.copy(made.file("bloom", "f16"), folder)
    assert stream(engine_of(tmp_path), "lions") == stream(engine_of(folder), "lions")
    listed = [File(path=path.name, size=1, sha256="0" * 64) for path in reversed(parts)]
    assert gguf_file(msgspec.structs.replace(CARD, files=listed), tmp_path)[0] == parts[0]


def test_every_file_of_a_model_is_checked_before_llama_cpp_opens_it(parts: list[Path], tmp_path: Path) -> None:
    """What is not named llama.cpp would open all the same, by the name of the first."""
    card = msgspec.structs.replace(CARD, files=[File(path=parts[0].name, size=1, sha256="0" * 64)])
    with pytest.raises(WeightsError, match="is one of 2, but 1 of them are there or in the card"):
        engine_of(tmp_path, card)
    parts[1].write_bytes(parts[1].read_bytes()[:-100])
    with pytest.raises(WeightsError, match=r"m-00002-of-00002.gguf is no GGUF file .* it is incomplete"):
        engine_of(tmp_path)
    parts[1].unlink()
    with pytest.raises(WeightsError, match="is one of 2"):
        engine_of(tmp_path)
    (tmp_path / "other.gguf").write_bytes(b"GGUF")
    with pytest.raises(WeightsError, match="2 GGUF files"):
        engine_of(tmp_path)


def test_what_is_called_like_a_file_but_is_none(tmp_path: Path) -> None:
    (tmp_path / "m.gguf").mkdir()
    with pytest.raises(WeightsError, match="no GGUF file of 'tiny'"):
        engine_of(tmp_path)


def test_a_folder_without_a_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no GGUF file of 'tiny'"):
        engine_of(tmp_path)
