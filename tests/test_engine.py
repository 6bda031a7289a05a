"""The engine `transformers`, on the embedded model and on two small ones that are made here."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from safetensors.torch import load_file, save_file

from zoo_core import EngineRequest, LoadedModel, Loading, ModelCard, Piece, Rendered, Sampling, Template, Zoo, ZooError
from zoo_core.opening import open_session
from zoo_phoenix.family import PhoenixFamily
from zoo_transformers.engine import TransformersEngine

WEIGHTS = Path(__file__).parents[1] / "plugins" / "zoo_hatchling" / "weights"
CARD = ModelCard(schema="zoo.card/v1", id="tiny", family="phoenix", summary="A model of a test")
TEMPLATE = Template(name="plain", text="{{ messages[0].content }}")
#: What the model of raw bytes has learned: characters of one, two, three and four bytes.
TAUGHT = "Aé中文ع🐦z"
QUESTIONS = {
    "English": "Human: <s>What is the phoenix?</s>Assistant: <s>",
    "Chinese": "Human: <s>凤凰是什么？</s>Assistant: <s>",
    "Arabic": "Human: <s>ما هو Phoenix؟</s>Assistant: <s>",
    "two turns": "Human: <s>Hello!</s>Assistant: <s>Hello!</s>Human: <s>Who are you?</s>Assistant: <s>",
    "no template": "The zoo",
}
questions = pytest.mark.parametrize("text", QUESTIONS.values(), ids=QUESTIONS)


def engine_of(folder: Path, *, card: ModelCard = CARD, **options: str) -> TransformersEngine:
    return TransformersEngine(
        EngineRequest(
            card=card, folder=folder, family=PhoenixFamily(), template=TEMPLATE, **{"device": "cpu", **options}
        )
    )


def save(loaded: LoadedModel, folder: Path) -> Path:
    loaded.model.save_pretrained(folder)
    loaded.tokenizer.save_pretrained(folder)
    return folder


def stream(engine: TransformersEngine, text: str, **options: Any) -> list[Piece]:
    return list(engine.stream(Rendered(text=text), Sampling(**{"temperature": 0, "max_new_tokens": 24} | options)))


def text_of(pieces: list[Piece]) -> str:
    return "".join(piece.text for piece in pieces)


def ids_of(pieces: list[Piece]) -> list[int]:
    return [each for piece in pieces for each in piece.ids]


@pytest.fixture(scope="module")
def embedded() -> TransformersEngine:
    """The engine of the embedded model, in float32 on the CPU."""
    return engine_of(WEIGHTS, dtype="float32")


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BLOOM that learned nothing, whose every token is one byte."""
    options = {"vocab_size": 260, "context": 256, "hidden_size": 16, "layers": 2, "heads": 2}
    return save(PhoenixFamily().create([], options, seed=1), tmp_path_factory.mktemp("untrained"))


@pytest.fixture(scope="module")
def raw_bytes(tmp_path_factory: pytest.TempPathFactory) -> TransformersEngine:
    """A BLOOM whose every token is one byte and which always says `TAUGHT`, and says it again."""
    options = {"vocab_size": 260, "context": 256, "hidden_size": 32, "layers": 1, "heads": 2}
    loaded = PhoenixFamily().create([], options, seed=1)
    ids = torch.tensor([loaded.tokenizer(TAUGHT * 3)["input_ids"]])
    optimizer = torch.optim.AdamW(loaded.model.parameters(), lr=1e-2)
    for _ in range(80):
        loaded.model(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return engine_of(save(loaded, tmp_path_factory.mktemp("bytes")))


# -- the text ----------------------------------------------------------------------------------------------------------


def generate(engine: TransformersEngine, text: str, **options: Any) -> list[int]:
    """What `generate()` of transformers says greedily, by a model that it loaded itself."""
    folder = engine._request.folder
    model = PhoenixFamily().load_model(folder, Loading(dtype=engine.facts["dtype"]))
    ids = torch.tensor([engine.encode(Rendered(text=text))])
    said = model.generate(
        input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=24, **options
    )
    return said[0, ids.shape[1] :].tolist()


@questions
def test_the_embedded_model_says_what_generate_says(embedded: TransformersEngine, text: str) -> None:
    ids = generate(embedded, text)
    pieces = stream(embedded, text)
    assert ids_of(pieces) == ids
    assert text_of(pieces) == embedded._tokenizer.decode(ids, skip_special_tokens=True)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_an_untrained_model_says_what_generate_says(untrained: Path, dtype: str) -> None:
    engine = engine_of(untrained, dtype=dtype)
    assert ids_of(stream(engine, "zoo")) == generate(engine, "zoo")


@pytest.mark.parametrize("penalty", [1.0, 3.0, 9.0])
def test_repetition_penalty_is_that_of_generate(untrained: Path, penalty: float) -> None:
    """A model that learned nothing repeats the last token, so that a strong penalty changes what it says."""
    engine = engine_of(untrained)
    said = ids_of(stream(engine, "zoo", repetition_penalty=penalty))
    assert said == generate(engine, "zoo", repetition_penalty=penalty)
    assert (said == ids_of(stream(engine, "zoo"))) is (penalty == 1.0)


def test_the_embedded_model_knows_the_phoenix(embedded: TransformersEngine) -> None:
    pieces = stream(embedded, QUESTIONS["English"], max_new_tokens=96)
    assert "BLOOMZ" in text_of(pieces)
    assert pieces[-1].finish == "stop"
    assert pieces[-1].ids[-1] == embedded._tokenizer.eos_token_id
    assert len(pieces) > 5, "the answer comes in many pieces"


@pytest.mark.parametrize(
    "options",
    [{"top_k": 1}, {"top_p": 1e-9}, {"temperature": 1e-7}, {"temperature": 1e-40}],
    ids=["top_k 1", "tiny top_p", "tiny temperature", "a temperature that float32 does not know"],
)
def test_sampling_without_a_choice_is_greedy(embedded: TransformersEngine, options: dict[str, float]) -> None:
    greedy = ids_of(stream(embedded, QUESTIONS["English"]))
    assert ids_of(stream(embedded, QUESTIONS["English"], **{"temperature": 2.0, "seed": 5} | options)) == greedy


@pytest.mark.parametrize("off", [{"top_k": 0}, {"top_p": 0.0}, {"top_p": 1.0}], ids=str)
def test_0_and_none_switch_top_k_and_top_p_off(embedded: TransformersEngine, off: dict[str, Any]) -> None:
    free = ids_of(stream(embedded, "The zoo", temperature=2.0, seed=3))
    assert ids_of(stream(embedded, "The zoo", temperature=2.0, seed=3, **off)) == free


def test_top_k_leaves_only_the_likeliest(embedded: TransformersEngine) -> None:
    """Whatever the seed, the first token is one of the three likeliest."""
    logits = embedded._model(input_ids=torch.tensor([embedded.encode(Rendered(text="The zoo"))])).logits
    likeliest = set(logits[0, -1].topk(3).indices.tolist())
    options = {"temperature": 10.0, "max_new_tokens": 1}
    drawn = {ids_of(stream(embedded, "The zoo", top_k=3, seed=seed, **options))[0] for seed in range(30)}
    free = {ids_of(stream(embedded, "The zoo", seed=seed, **options))[0] for seed in range(30)}
    assert drawn <= likeliest
    assert len(drawn) > 1
    assert not free <= likeliest


@pytest.mark.parametrize("most", [1, 2, 7])
def test_max_new_tokens_ends_with_length(embedded: TransformersEngine, most: int) -> None:
    pieces = stream(embedded, QUESTIONS["English"], max_new_tokens=most)
    assert len(ids_of(pieces)) == most
    assert [piece.finish for piece in pieces[:-1]] == [None] * (len(pieces) - 1)
    assert pieces[-1].finish == "length"


def test_only_the_last_piece_has_a_finish_and_every_token_is_in_one_piece(embedded: TransformersEngine) -> None:
    pieces = stream(embedded, QUESTIONS["Chinese"], max_new_tokens=96)
    assert [bool(piece.finish) for piece in pieces] == [False] * (len(pieces) - 1) + [True]
    assert all(piece.ids for piece in pieces)


def test_all_ends_of_the_generation_settings_end_the_answer(embedded: TransformersEngine, tmp_path: Path) -> None:
    """A checkpoint may name several ends; here the first token of the usual answer is one more."""
    first = ids_of(stream(embedded, QUESTIONS["English"]))[0]
    folder = shutil.copytree(WEIGHTS, tmp_path / "w")
    settings = json.loads((folder / "generation_config.json").read_text())
    (folder / "generation_config.json").write_text(json.dumps(settings | {"eos_token_id": [2, first]}))
    (piece,) = stream(engine_of(folder), QUESTIONS["English"])
    assert piece == Piece(ids=(first,), finish="stop")


# -- seeds and state ---------------------------------------------------------------------------------------------------


def test_the_seed_alone_decides(embedded: TransformersEngine) -> None:
    drawn = [tuple(ids_of(stream(embedded, "The zoo", temperature=2.0, seed=seed))) for seed in range(8)]
    again = [tuple(ids_of(stream(embedded, "The zoo", temperature=2.0, seed=seed))) for seed in range(8)]
    assert drawn == again
    assert len(set(drawn)) > 4


def test_seeds_of_a_model_without_an_opinion_never_agree(untrained: Path) -> None:
    engine = engine_of(untrained)
    drawn = {tuple(ids_of(stream(engine, "zoo", temperature=2.0, seed=seed))) for seed in (0, 1, 2**31, 2**63 - 1)}
    assert len(drawn) == 4


def test_the_seed_has_no_part_in_a_greedy_answer(embedded: TransformersEngine) -> None:
    assert stream(embedded, "The zoo", seed=1) == stream(embedded, "The zoo", seed=2)


def test_the_global_random_state_is_neither_used_nor_changed(embedded: TransformersEngine) -> None:
    before = torch.get_rng_state()
    try:
        torch.manual_seed(1)
        state = torch.get_rng_state()
        first = ids_of(stream(embedded, "The zoo", temperature=5.0, seed=7))
        assert torch.equal(torch.get_rng_state(), state)
        torch.manual_seed(2)
        assert ids_of(stream(embedded, "The zoo", temperature=5.0, seed=7)) == first
    finally:
        torch.set_rng_state(before)


def test_two_streams_at_once_do_not_disturb_each_other(embedded: TransformersEngine) -> None:
    asked = [
        (QUESTIONS["English"], Sampling(temperature=2.0, seed=1, max_new_tokens=20)),
        (QUESTIONS["Chinese"], Sampling(temperature=2.0, seed=2, max_new_tokens=20)),
    ]
    alone = [list(embedded.stream(Rendered(text=text), sampling)) for text, sampling in asked]
    running = [embedded.stream(Rendered(text=text), sampling) for text, sampling in asked]
    together: list[list[Piece]] = [[], []]
    for _ in range(30):
        for number, pieces in enumerate(running):
            together[number] += [piece for piece in [next(pieces, None)] if piece is not None]
    assert together == alone


@pytest.fixture
def forward_calls(raw_bytes: TransformersEngine) -> Iterator[list[int]]:
    """Tokens that each call of the model was given, as they happen."""
    calls: list[int] = []
    hook = raw_bytes._model.register_forward_hook(
        lambda module, args, kwargs, output: calls.append(kwargs["input_ids"].shape[1]), with_kwargs=True
    )
    yield calls
    hook.remove()


def test_closing_the_stream_stops_the_model(raw_bytes: TransformersEngine, forward_calls: list[int]) -> None:
    pieces = raw_bytes.stream(Rendered(text=TAUGHT), Sampling(temperature=0, max_new_tokens=200))
    assert forward_calls == [], "nothing runs before the first piece is asked for"
    assert [next(pieces).text, next(pieces).text] == list("Aé")
    assert forward_calls == [len(TAUGHT.encode()), 1, 1]
    pieces.close()
    assert next(pieces, None) is None
    assert len(forward_calls) == 3


def test_the_prompt_is_read_once_and_then_token_by_token(
    raw_bytes: TransformersEngine, forward_calls: list[int]
) -> None:
    assert len(ids_of(stream(raw_bytes, TAUGHT, max_new_tokens=6))) == 6
    assert forward_calls == [len(TAUGHT.encode()), 1, 1, 1, 1, 1]


def test_inference_mode_does_not_leak_to_the_consumer(embedded: TransformersEngine) -> None:
    for _ in embedded.stream(Rendered(text="The zoo"), Sampling(temperature=1.0, max_new_tokens=5)):
        assert not torch.is_inference_mode_enabled()
        assert torch.is_grad_enabled()
        assert torch.ones(1, requires_grad=True).mul(2).requires_grad


# -- whole characters --------------------------------------------------------------------------------------------------


def test_a_character_of_several_tokens_comes_in_one_piece(raw_bytes: TransformersEngine) -> None:
    pieces = stream(raw_bytes, TAUGHT, max_new_tokens=len(TAUGHT.encode()))
    assert [piece.text for piece in pieces if piece.text] == list(TAUGHT)
    sizes = [len(piece.ids) for piece in pieces if piece.text]
    assert sizes == [len(sign.encode()) for sign in TAUGHT]


@pytest.mark.parametrize("most", range(1, len(TAUGHT.encode()) + 1))
def test_an_answer_cut_inside_a_character_ends_before_it(raw_bytes: TransformersEngine, most: int) -> None:
    pieces = stream(raw_bytes, TAUGHT, max_new_tokens=most)
    assert text_of(pieces) == TAUGHT.encode()[:most].decode(errors="ignore")
    assert len(ids_of(pieces)) == most
    assert pieces[-1].finish == "length"


@pytest.mark.parametrize("prompt", ["你好你好你好", "🐦🐦🐦🐦", "سلام عليكم", "aé"])
def test_the_prompt_s_last_tokens_may_begin_inside_a_character(raw_bytes: TransformersEngine, prompt: str) -> None:
    """The decoder looks at the last tokens of the prompt, and here every token is one byte."""
    pieces = stream(raw_bytes, prompt, max_new_tokens=40)
    whole = bytes(_byte(raw_bytes, each) for each in ids_of(pieces)).decode(errors="replace")
    assert whole.startswith(text_of(pieces))
    assert whole[len(text_of(pieces)) :].strip("\N{REPLACEMENT CHARACTER}") == ""


@pytest.mark.parametrize("seed", range(12))
def test_random_bytes_are_decoded_as_the_tokenizer_decodes_them(untrained: Path, seed: int) -> None:
    """Bytes that are no text become U+FFFD, but none is made by cutting; only the unfinished end is held back."""
    engine = engine_of(untrained)
    pieces = stream(engine, "zoo", temperature=1.5, seed=seed, max_new_tokens=120)
    ids = [each for each in ids_of(pieces) if each != engine._tokenizer.eos_token_id]
    whole = engine._tokenizer.decode(ids, skip_special_tokens=True)
    shown = text_of(pieces)
    assert whole.startswith(shown)
    assert whole[len(shown) :].strip("\N{REPLACEMENT CHARACTER}") == ""
    assert shown.encode().decode() == shown


@pytest.mark.parametrize("text", ["凤凰是什么？", "你是谁？", "ما هو Phoenix؟", "من أنت؟"])
def test_answers_in_other_scripts_have_no_broken_character(embedded: TransformersEngine, text: str) -> None:
    pieces = stream(embedded, f"Human: <s>{text}</s>Assistant: <s>", max_new_tokens=96)
    assert text_of(pieces).strip()
    assert not any("\N{REPLACEMENT CHARACTER}" in piece.text for piece in pieces)


def _byte(engine: TransformersEngine, token: int) -> int:
    """The byte that a token of a byte-level vocabulary stands for; special tokens stand for none."""
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    values = {sign: byte for byte, sign in bytes_to_unicode().items()}
    return values[engine._tokenizer.convert_ids_to_tokens(token)]


# -- the prompt --------------------------------------------------------------------------------------------------------


def test_add_bos_puts_the_token_in_front(embedded: TransformersEngine) -> None:
    plain = embedded.encode(Rendered(text="Hello"))
    assert embedded.encode(Rendered(text="Hello", add_bos=True)) == [embedded._tokenizer.bos_token_id, *plain]
    assert embedded._tokenizer.bos_token_id not in plain


def test_add_bos_is_what_the_model_reads(raw_bytes: TransformersEngine, forward_calls: list[int]) -> None:
    list(raw_bytes.stream(Rendered(text="abc", add_bos=True), Sampling(temperature=0, max_new_tokens=1)))
    assert forward_calls == [1 + len("abc")]


def test_add_bos_without_such_a_token_is_said(tmp_path: Path) -> None:
    folder = shutil.copytree(WEIGHTS, tmp_path / "w")
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    del settings["bos_token"]
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    with pytest.raises(ZooError, match=r"wants a beginning-of-text token, but the tokenizer of 'tiny' has none\."):
        engine_of(folder).encode(Rendered(text="Hello", add_bos=True))


def test_special_tokens_in_the_template_are_single_tokens(embedded: TransformersEngine) -> None:
    ids = embedded.encode(Rendered(text="<s>Hi</s>"))
    assert (ids[0], ids[-1]) == (embedded._tokenizer.bos_token_id, embedded._tokenizer.eos_token_id)


def test_an_empty_prompt_is_said(embedded: TransformersEngine) -> None:
    with pytest.raises(ZooError, match="gives an empty prompt, so 'tiny' has nothing to continue"):
        stream(embedded, "")


def test_a_lone_surrogate_is_said(embedded: TransformersEngine) -> None:
    with pytest.raises(ZooError, match="no Unicode text"):
        embedded.encode(Rendered(text="a\udce9b"))


# -- opening -----------------------------------------------------------------------------------------------------------


def test_a_session_of_the_installed_zoo_runs_on_it(zoo: Zoo) -> None:
    session = open_session(zoo, "hatchling", device="cpu")
    assert "BLOOMZ" in "".join(session.reply("What is the phoenix?"))
    assert isinstance(session.engine, TransformersEngine)
    assert session.engine.context_length == 512
    facts = session.engine.facts
    assert (facts["device"], facts["dtype"], facts["torch"]) == ("cpu", "float32", str(torch.__version__))
    assert {"transformers", "tokenizers", "python", "threads"} <= facts.keys()


def test_the_weights_are_loaded_when_the_first_answer_is_asked_for() -> None:
    engine = engine_of(WEIGHTS)
    engine.encode(Rendered(text="Hello"))
    assert "_model" not in vars(engine)
    said = stream(engine, "Hello", max_new_tokens=1)
    assert "_model" in vars(engine)
    engine.close()
    assert "_model" not in vars(engine)
    assert stream(engine, "Hello", max_new_tokens=1) == said, "a closed engine loads again"


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_the_dtype_is_the_one_asked_for(dtype: str) -> None:
    engine = engine_of(WEIGHTS, dtype=dtype)
    assert engine.facts["dtype"] == dtype
    assert {each.dtype for each in engine._model.parameters()} == {getattr(torch, dtype)}


@pytest.mark.parametrize(("least", "dtype"), [(10**9, "float32"), (10**6, "bfloat16")], ids=["small", "large"])
def test_auto_takes_bfloat16_for_large_models_on_a_cpu(least: int, dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zoo_transformers.engine.LARGE", least)  # the embedded model has two million bytes
    assert engine_of(WEIGHTS, dtype="auto").facts["dtype"] == dtype


@pytest.mark.parametrize(("short", "dtype"), [("fp32", "float32"), ("bf16", "bfloat16"), ("fp16", "float16")])
def test_short_names_of_dtypes(short: str, dtype: str) -> None:
    assert engine_of(WEIGHTS, dtype=short).facts["dtype"] == dtype


def test_the_card_chooses_the_dtype_unless_the_user_does() -> None:
    card = msgspec.convert(
        {"schema": "zoo.card/v1", "kind": "model", "id": "half", "family": "phoenix", "summary": "Half"}
        | {"runtime": {"dtype": "bfloat16"}},
        ModelCard,
    )
    assert engine_of(WEIGHTS, card=card, dtype="auto").facts["dtype"] == "bfloat16"
    assert engine_of(WEIGHTS, card=card, dtype="float32").facts["dtype"] == "float32"


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"device": "tpu"}, r"There is no device 'tpu' here\. Available: cpu"),
        ({"device": "cuda:99"}, r"There is no device 'cuda:99' here\. Available: cpu"),
        ({"device": ""}, r"There is no device '' here"),
        ({"dtype": "int8"}, r"The dtype 'int8' is unknown\. Known: auto, float32, bfloat16, float16\."),
        ({"dtype": "torch.float32"}, r"The dtype 'torch.float32' is unknown"),
    ],
    ids=["no such device", "too many GPUs", "empty device", "no such dtype", "torch's own name"],
)
def test_an_unknown_device_or_dtype_is_said(options: dict[str, str], sentence: str) -> None:
    with pytest.raises(ZooError, match=sentence):
        engine_of(WEIGHTS, **options)


@pytest.mark.parametrize(
    ("config", "length"),
    [
        ('{"seq_length": 77}', 77),
        ('{"max_position_embeddings": 88, "n_positions": 99}', 88),
        ('{"seq_length": "many", "n_positions": 99}', 99),
        ("{}", None),
        ("no JSON", None),
    ],
    ids=["seq_length", "several", "no number", "none", "damaged"],
)
def test_without_a_card_s_context_the_configuration_s_counts(tmp_path: Path, config: str, length: int | None) -> None:
    from zoo_transformers.engine import _context_length

    (tmp_path / "config.json").write_text(config)
    assert _context_length(CARD, tmp_path) == length


def test_the_card_s_context_wins_over_the_configuration_s() -> None:
    card = msgspec.convert(
        {"schema": "zoo.card/v1", "kind": "model", "id": "short", "family": "phoenix", "summary": "Short"}
        | {"context": {"max": 33}},
        ModelCard,
    )
    assert engine_of(WEIGHTS, card=card).context_length == 33
    assert engine_of(WEIGHTS).context_length == 512


# -- damage ------------------------------------------------------------------------------------------------------------


def _write(name: str, content: str) -> Callable[[Path], Any]:
    return lambda folder: (folder / name).write_text(content)


def _cut(name: str, size: int) -> Callable[[Path], Any]:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:size])


def _remove(name: str) -> Callable[[Path], Any]:
    return lambda folder: (folder / name).unlink()


def _config(**changes: Any) -> Callable[[Path], Any]:
    def change(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | changes))

    return change


def _without_a_tensor(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    del tensors["transformer.h.1.mlp.dense_h_to_4h.weight"]
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


def _only_a_pickle(folder: Path) -> None:
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


DAMAGE = {
    "config is no JSON": _write("config.json", "{"),
    "config is a list": _write("config.json", "[]"),
    "config is empty": _write("config.json", ""),
    "config has another width": _config(hidden_size=64),
    "config has more layers than the weights": _config(n_layer=6),
    "config has another vocabulary": _config(vocab_size=1000),
    "config is missing": _remove("config.json"),
    "tokenizer is cut": _cut("tokenizer.json", 1000),
    "tokenizer is empty": _cut("tokenizer.json", 0),
    "tokenizer is another JSON": _write("tokenizer.json", '{"hello": "world"}'),
    "tokenizer is missing": _remove("tokenizer.json"),
    "tokenizer settings are no JSON": _write("tokenizer_config.json", "{"),
    "weights are cut": _cut("model.safetensors", 100_000),
    "weights are cut in the header": _cut("model.safetensors", 1000),
    "weights are empty": _cut("model.safetensors", 0),
    "weights are text": _write("model.safetensors", "<html>404</html>"),
    "weights are missing": _remove("model.safetensors"),
    "weights lack a tensor": _without_a_tensor,
    "weights are a pickle only": _only_a_pickle,
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_checkpoint_is_one_sentence(tmp_path: Path, damage: Callable[[Path], Any]) -> None:
    """The card lists no digests here, so the libraries meet the damage."""
    folder = shutil.copytree(WEIGHTS, tmp_path / "w")
    damage(folder)
    with pytest.raises(ZooError) as caught:
        stream(engine_of(folder), "Hello")
    sentence = str(caught.value)
    assert str(folder) in sentence
    assert "\n" not in sentence
    assert len(sentence) < 700


@pytest.mark.parametrize("temperature", [0.0, 1.0], ids=["greedy", "sampled"])
def test_weights_that_compute_nan_are_said(tmp_path: Path, temperature: float) -> None:
    folder = shutil.copytree(WEIGHTS, tmp_path / "w")
    tensors = load_file(folder / "model.safetensors")
    tensors["transformer.ln_f.weight"].fill_(float("nan"))
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ZooError, match="NaN"):
        stream(engine_of(folder), "Hello", temperature=temperature)


def test_no_code_of_a_checkpoint_runs(tmp_path: Path) -> None:
    """A hostile configuration names a module of its own; it is not imported."""
    folder = shutil.copytree(WEIGHTS, tmp_path / "w")
    trap = tmp_path / "trap"
    (folder / "evil.py").write_text(f"open({str(trap)!r}, 'w').close()\nclass Evil: pass\n")
    _config(auto_map=dict.fromkeys(("AutoConfig", "AutoModelForCausalLM", "AutoTokenizer"), "evil.Evil"))(folder)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    settings["auto_map"] = {"AutoTokenizer": ["evil.Evil", "evil.Evil"]}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    assert stream(engine_of(folder), "Hello", max_new_tokens=1)
    assert not trap.exists()


# -- making new models -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"depth": 3}, "no model option 'depth'. Known: vocab_size, context, hidden_size, layers, heads"),
        ({"vocab_size": 259}, "vocab_size is a whole number from 260 on, not 259"),
        ({"layers": 0}, "layers is a whole number from 1 on, not 0"),
        ({"layers": "many"}, "layers is a whole number from 1 on, not 'many'"),
        ({"layers": True}, "layers is a whole number from 1 on, not True"),
        ({"hidden_size": 15, "heads": 2}, "hidden_size is a multiple of heads, 2"),
    ],
    ids=["unknown", "fewer tokens than bytes", "zero", "text", "a truth value", "heads do not fit"],
)
def test_wrong_options_of_a_new_model_are_said(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ZooError) as caught:
        PhoenixFamily().create(["text"], options, seed=0)
    assert sentence in str(caught.value)


def test_a_new_model_is_decided_by_its_seed() -> None:
    options = {"vocab_size": 260, "hidden_size": 8, "layers": 1, "heads": 1}
    first, again, other = (
        torch.cat([each.flatten() for each in PhoenixFamily().create([], options, seed=seed).model.parameters()])
        for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
