"""Training: which characters are learned, that something is learned, and that what is interrupted or wrong leaves no model."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from click.testing import Result

from zoo_core import Conversation, Message, ModelCard, Template, Zoo, ZooError, render
from zoo_core.cards.checking import check_card
from zoo_core.cards.reading import read_card
from zoo_core.files import sha256_of
from zoo_core.training import Data, NewModel, Recipe, train
from zoo_phoenix.family import PhoenixFamily
from zoo_sft.rows import IGNORED, collate, learned, make_rows

WEIGHTS = Path(__file__).parents[1] / "plugins" / "zoo_hatchling" / "weights"
FACT = ("What is a flurb?", "A flurb is a purple bird.")
#: Enough for a model of a million parameters to learn one sentence by heart.
QUICKLY = ("-o", "epochs=40", "-o", "learning_rate=1e-3")

Run = Callable[..., Result]


def talk(*texts: str, id: str = "", language: str = "", system: str | None = None) -> Conversation:
    """A conversation in which user and assistant take turns."""
    head = [Message("system", system)] if system is not None else []
    turns = [Message(role, text) for role, text in zip(itertools.cycle(("user", "assistant")), texts, strict=False)]
    return Conversation(messages=(*head, *turns), id=id, language=language)


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    """The tokenizer of the embedded model."""
    return PhoenixFamily().load_tokenizer(WEIGHTS)


@pytest.fixture
def phoenix(zoo: Zoo) -> Template:
    return zoo.template("phoenix")


# -- rows --------------------------------------------------------------------------------------------------------------


def taught(row: dict[str, list[int]], tokenizer: Any) -> list[str]:
    """The texts that a row teaches: each run of tokens with labels."""
    pairs = zip(row["input_ids"], row["labels"], strict=True)
    runs = itertools.groupby(pairs, key=lambda pair: pair[1] != IGNORED)
    return [tokenizer.decode([each for each, _ in pairs]) for is_learned, pairs in runs if is_learned]


CONVERSATIONS = {
    "one turn": talk("Hi", "Hello!"),
    "three turns": talk("Hi", "Hello!", "Who are you?", "A model.", "Bye", "See you."),
    "a system prompt": talk("Hi", "Hello!", system="Be kind."),
    "Chinese": talk("你好", "你好！我是小鸟。", "再见", "再见。"),
    "Arabic": talk("مرحبا", "أهلا وسهلا"),
    "four bytes": talk("🐦?", "🐦🦜 𝄞", "?", "👩‍👩‍👧"),
    "combining marks": talk("e\u0301", "e\u0301\u0301 ñ n\u0303"),
    "the same words on both sides": talk("yes", "yes", "yes", "yes"),
    "white space": talk(" a ", "  b\n\n c  "),
    "the template's words": talk("Assistant: ", "Human: Assistant: "),
    "an empty answer": talk("Say nothing", ""),
    "a last question": talk("Hi", "Hello!", "And you?"),
}


@pytest.mark.parametrize("conversation", CONVERSATIONS.values(), ids=CONVERSATIONS)
def test_exactly_what_the_assistant_says_and_the_end_sign_is_learned(
    conversation: Conversation, phoenix: Template, tokenizer: Any
) -> None:
    (row,), skipped = make_rows([conversation], phoenix, tokenizer, max_length=512, too_long="error")
    said = [f"{each.content}</s>" for each in conversation.messages if each.role == "assistant"]
    assert taught(row, tokenizer) == said
    assert skipped == 0
    text = render(phoenix, conversation.messages, reply=False).text
    assert row["input_ids"] == tokenizer(text, add_special_tokens=False)["input_ids"]
    assert all(label in (each, IGNORED) for each, label in zip(row["input_ids"], row["labels"], strict=True))


def test_a_tokenizer_of_bytes_learns_whole_characters(phoenix: Template) -> None:
    """Every token is a byte, and all bytes of a character stand at the same place."""
    tokenizer = PhoenixFamily().create([], {"vocab_size": 260}, seed=0).tokenizer
    (row,), _ = make_rows([talk("é中", "中🐦é")], phoenix, tokenizer, max_length=512, too_long="error")
    assert taught(row, tokenizer) == ["中🐦é</s>"]
    assert sum(label != IGNORED for label in row["labels"]) == len("中🐦é".encode()) + 1


def test_the_beginning_of_text_token_is_read_and_not_learned(phoenix: Template, tokenizer: Any) -> None:
    with_bos = msgspec.structs.replace(phoenix, add_bos=True)
    conversation = talk("Hi", "Hello!")
    (plain,), _ = make_rows([conversation], phoenix, tokenizer, max_length=512, too_long="error")
    (row,), _ = make_rows([conversation], with_bos, tokenizer, max_length=512, too_long="error")
    assert row["input_ids"] == [tokenizer.bos_token_id, *plain["input_ids"]]
    assert row["labels"] == [IGNORED, *plain["labels"]]


def test_rows_of_more_than_one_batch_stay_in_order(phoenix: Template, tokenizer: Any) -> None:
    conversations = [talk("n", str(number)) for number in range(1003)]
    rows, _ = make_rows(conversations, phoenix, tokenizer, max_length=512, too_long="error")
    assert [taught(row, tokenizer) for row in rows] == [[f"{number}</s>"] for number in range(1003)]


@pytest.mark.parametrize(
    "conversation",
    [talk("Hi", id="seven"), talk(id="seven"), talk(system="Be kind.", id="seven")],
    ids=["only a question", "nothing at all", "only a system prompt"],
)
def test_a_row_that_would_teach_nothing_is_an_error(
    conversation: Conversation, phoenix: Template, tokenizer: Any
) -> None:
    with pytest.raises(ZooError) as caught:
        make_rows([talk("Hi", "Hello!"), conversation], phoenix, tokenizer, max_length=512, too_long="skip")
    assert str(caught.value) == (
        "Conversation 2 (seven) would teach nothing: the assistant says nothing in it. Remove it from the data."
    )


def test_a_template_that_marks_nothing_teaches_nothing(tokenizer: Any) -> None:
    template = Template(name="unmarked", text="{% for m in messages %}{{ m.content }}{% endfor %}")
    with pytest.raises(ZooError, match="Conversation 1 would teach nothing"):
        make_rows([talk("Hi", "Hello!")], template, tokenizer, max_length=512, too_long="error")


def test_a_conversation_that_is_too_long_is_named_or_counted(phoenix: Template, tokenizer: Any) -> None:
    short, long = talk("Hi", "Hello!", id="short"), talk("Hi", "Hello! " * 50, id="long")
    (row,), _ = make_rows([short], phoenix, tokenizer, max_length=512, too_long="error")
    fits = len(row["input_ids"])
    rows, skipped = make_rows([short, long, long], phoenix, tokenizer, max_length=fits, too_long="skip")
    assert (rows, skipped) == ([row], 2)
    with pytest.raises(ZooError) as caught:
        make_rows([short, long], phoenix, tokenizer, max_length=fits, too_long="error")
    assert str(caught.value).startswith("Conversation 2 (long) has ")
    assert str(caught.value).endswith(f" tokens, but only {fits} fit; raise max_length, or choose too_long=skip.")
    with pytest.raises(ZooError, match="There is nothing to learn from: the data holds no conversation that fits"):
        make_rows([short, long], phoenix, tokenizer, max_length=fits - 1, too_long="skip")


@pytest.mark.parametrize(
    ("offsets", "spans", "expected"),
    [
        ([(0, 2), (2, 4), (4, 6)], [(2, 4)], [1]),
        ([(0, 2), (2, 4), (4, 6)], [], []),
        ([(0, 2), (2, 4), (4, 6)], [(0, 6)], [0, 1, 2]),
        ([(0, 3), (3, 6)], [(2, 4)], [0, 1]),
        ([(0, 1), (0, 1), (0, 1), (1, 2)], [(0, 1)], [0, 1, 2]),
        ([(0, 1), (1, 1), (1, 2)], [(0, 2)], [0, 2]),
        ([(0, 1), (1, 2), (2, 3), (3, 4)], [(0, 1), (1, 2), (3, 4)], [0, 1, 3]),
        ([(0, 9)], [(1, 2), (5, 6)], [0]),
        ([(5, 6)], [(0, 1), (2, 3), (5, 6)], [0]),
    ],
    ids=[
        "one inside",
        "no span",
        "all",
        "tokens over the edges",
        "several tokens of a character",
        "an empty token",
        "spans side by side",
        "two spans in a token",
        "spans before the first token",
    ],
)
def test_tokens_that_hold_a_character_of_a_span_are_learned(
    offsets: list[tuple[int, int]], spans: list[tuple[int, int]], expected: list[int]
) -> None:
    labels = learned(range(100, 100 + len(offsets)), offsets, spans)
    assert [place for place, label in enumerate(labels) if label != IGNORED] == expected
    assert all(label in (100 + place, IGNORED) for place, label in enumerate(labels))


def test_rows_become_tensors_padded_at_the_right() -> None:
    rows = [{"input_ids": [5, 6, 7], "labels": [IGNORED, 6, 7]}, {"input_ids": [8], "labels": [8]}]
    batch = collate(rows, pad_id=3)
    assert {name: each.tolist() for name, each in batch.items()} == {
        "input_ids": [[5, 6, 7], [8, 3, 3]],
        "labels": [[IGNORED, 6, 7], [8, IGNORED, IGNORED]],
        "attention_mask": [[1, 1, 1], [1, 0, 0]],
    }
    assert batch["input_ids"].dtype == torch.int64


# -- learning ----------------------------------------------------------------------------------------------------------


def write(path: Path, *conversations: Conversation) -> Path:
    """A file of conversations."""
    lines = [
        {"messages": msgspec.to_builtins(each.messages), "id": each.id, "language": each.language}
        for each in conversations
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write(tmp_path / "talks.jsonl", talk(*FACT, id="flurb", language="en"))


def made(folder: Path) -> ModelCard:
    """The card of a trained folder, after its files were compared with it."""
    card = read_card(folder / "zoo.yaml")
    assert isinstance(card, ModelCard)
    assert {each.path for each in card.files} | {"zoo.yaml"} == {each.name for each in folder.iterdir()}
    assert "model.safetensors" in {each.path for each in card.files}
    for each in card.files:
        path = folder / each.path
        assert (path.stat().st_size, sha256_of(path)) == (each.size, each.sha256)
    return card


def test_the_embedded_model_learns_a_new_fact(run: Run, zoo: Zoo, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "Flurb"
    result = run("train", "hatchling", "--data", data, *QUICKLY, "--out", out)
    assert result.exit_code == 0, result.stderr
    assert result.stdout == f"Made flurb in {out}. Talk to it with: zoo chat {out}\n"
    assert result.stderr.splitlines()[0] == "  0%  reading the conversations"
    assert result.stderr.splitlines()[-1].startswith("100%  step 40 of 40, loss 0.")
    assert not out.with_name("Flurb.partial").exists()
    answer = run("chat", out, FACT[0], "--temperature", "0")
    assert (answer.exit_code, answer.stdout) == (0, f"{FACT[1]}\n")

    card = made(out)
    assert check_card(card, zoo.template) == []
    assert (card.id, card.family, card.format) == ("flurb", "phoenix", "safetensors")
    assert card.lineage is not None
    assert (card.lineage.base.id, card.lineage.relation) == ("hatchling", "finetune")
    assert card.template is not None
    assert card.template.name == "phoenix"
    assert card.context is not None
    assert card.context.max == 512
    assert card.languages == ["en"]
    assert card.training.data == ["file"]
    assert msgspec.convert(card.training.recipe, Recipe) == Recipe(
        base="hatchling",
        data=Data(builder="file", options={"path": str(data)}),
        options={"epochs": "40", "learning_rate": "1e-3"},
    )
    assert card.architecture.model_class == "BloomForCausalLM"
    weights = next(each for each in card.files if each.path == "model.safetensors")
    assert card.memory.weights_bytes == weights.size
    facts = card.extra["training"]
    assert (facts["conversations"], facts["skipped"], facts["steps"]) == (1, 0, 40)
    assert len(facts["data_sha256"]) == 64

    (out / "model.safetensors").write_bytes(b"damaged")
    broken = run("chat", out, FACT[0])
    assert broken.exit_code == 1
    assert "model.safetensors has 7 bytes, but the card of 'flurb' says" in broken.stderr


RECIPE = """
data: {builder: file, options: {path: PATH}}
model:
  family: phoenix
  template: phoenix
  options: {vocab_size: 300, context: 256, hidden_size: 32, layers: 1, heads: 2}
options: {epochs: 2, learning_rate: 0.01}
seed: 5
"""


def test_a_model_is_made_from_nothing_and_made_again(run: Run, data: Path, tmp_path: Path) -> None:
    """The card of the result holds the recipe, and the same recipe gives the same weights."""
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(RECIPE.replace("PATH", str(data)), encoding="utf-8")
    first = run("train", "--recipe", recipe, "--out", tmp_path / "first", "--json")
    assert first.exit_code == 0, first.stderr
    told = json.loads(first.stdout)
    assert (told["schema"], told["folder"]) == ("zoo.train/v1", str(tmp_path / "first"))
    assert told["card"]["id"] == "first"
    card = made(tmp_path / "first")
    assert card.lineage is None
    assert (card.family, card.architecture.layers, card.architecture.hidden_size) == ("phoenix", 1, 32)
    assert card.context is not None
    assert card.context.max == 256
    assert run("chat", tmp_path / "first", "Hi", "--max-new-tokens", "5").exit_code == 0

    again = run("train", "--recipe", tmp_path / "first", "--out", tmp_path / "again")
    assert again.exit_code == 0, again.stderr
    other = run(
        "train", "--recipe", tmp_path / "first", "--seed", "6", "--out", tmp_path / "other", "--name", "o.t-h_er"
    )
    assert other.exit_code == 0, other.stderr
    digests = [
        next(each.sha256 for each in made(tmp_path / name).files if each.path == "model.safetensors")
        for name in ("first", "again", "other")
    ]
    assert digests[0] == digests[1] != digests[2]
    assert made(tmp_path / "other").id == "o.t-h_er"


def test_the_dtype_of_the_saved_weights(run: Run, data: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(RECIPE.replace("PATH", str(data)), encoding="utf-8")
    for name, dtype in {"float32": torch.float32, "bfloat16": torch.bfloat16}.items():
        result = run("train", "--recipe", recipe, "-o", f"save_dtype={name}", "--out", tmp_path / name)
        assert result.exit_code == 0, result.stderr
        assert {each.dtype for each in load_file(tmp_path / name / "model.safetensors").values()} == {dtype}


def test_long_conversations_are_an_error_or_counted_in_the_card(run: Run, tmp_path: Path) -> None:
    data = write(tmp_path / "talks.jsonl", talk(*FACT, id="flurb"), talk("Hi", "Hello! " * 400, id="long"))
    command = ("train", "hatchling", "--data", data, "-o", "epochs=1", "--out", tmp_path / "out")
    refused = run(*command)
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "Conversation 2 (long) has " in refused.stderr
    assert run(*command, "-o", "too_long=skip").exit_code == 0
    facts = made(tmp_path / "out").extra["training"]
    assert (facts["conversations"], facts["skipped"]) == (1, 1)


# -- interruptions -----------------------------------------------------------------------------------------------------


def recipe_of(data: Path, **changes: Any) -> Recipe:
    """A recipe for a tiny model: 60 steps, a checkpoint after every 20, a line of progress too."""
    return Recipe(
        **{
            "data": Data(builder="file", options={"path": str(data)}),
            "model": NewModel(
                family="phoenix",
                template="phoenix",
                options={"vocab_size": 300, "context": 256, "hidden_size": 16, "layers": 1, "heads": 2},
            ),
            "options": {"epochs": 15, "batch_size": 1, "learning_rate": 0.01, "checkpoint_steps": 20},
        }
        | changes
    )


@pytest.fixture
def four(tmp_path: Path) -> Path:
    return write(tmp_path / "four.jsonl", *(talk(f"Question {number}?", f"Answer {number}.") for number in range(4)))


def interrupted(zoo: Zoo, recipe: Recipe, out: Path, at: str) -> None:
    """Train until a line of progress begins so, and be interrupted there."""

    def progress(share: float, line: str) -> None:
        if line.startswith(at):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(zoo, recipe, out, name="tiny", progress=progress)


def test_an_interrupted_training_goes_on_where_it_stopped(zoo: Zoo, four: Path, tmp_path: Path) -> None:
    recipe, out = recipe_of(four), tmp_path / "tiny"
    interrupted(zoo, recipe, out, "step 40 ")
    assert not out.exists()
    partial = tmp_path / "tiny.partial"
    assert sorted(each.name for each in tmp_path.glob("tiny*")) == ["tiny.partial"]
    assert [each.name for each in (partial / "checkpoints").iterdir()] == ["checkpoint-20"]

    lines: list[str] = []
    card = train(zoo, recipe, out, name="tiny", progress=lambda share, line: lines.append(line.split(",")[0]))
    assert lines == ["reading the conversations", "step 40 of 60", "step 60 of 60"]
    assert not partial.exists()
    assert made(out) == card
    assert card.extra["training"]["steps"] == 60

    whole = train(zoo, recipe, tmp_path / "whole", name="tiny")
    assert {each.path: each.sha256 for each in whole.files} == {each.path: each.sha256 for each in card.files}


def test_a_training_that_was_interrupted_while_saving_has_a_whole_card(zoo: Zoo, four: Path, tmp_path: Path) -> None:
    recipe, out = recipe_of(four), tmp_path / "tiny"
    interrupted(zoo, recipe, out, "step 40 ")
    partial = tmp_path / "tiny.partial"
    (partial / "made").mkdir()
    for place in (partial, partial / "made"):
        for name in ("model.safetensors", "config.json"):
            (place / name).write_bytes(b"half of i")
    train(zoo, recipe, out, name="tiny")
    assert {"model.safetensors", "config.json", "tokenizer.json"} <= {each.path for each in made(out).files}


def test_another_recipe_does_not_go_on_with_it(zoo: Zoo, four: Path, tmp_path: Path) -> None:
    recipe, out = recipe_of(four), tmp_path / "tiny"
    interrupted(zoo, recipe, out, "step 40 ")
    with pytest.raises(ZooError) as caught:
        train(zoo, recipe_of(four, seed=1), out, name="tiny")
    partial = tmp_path / "tiny.partial"
    assert str(caught.value) == (
        f"{partial} holds the unfinished work of another recipe or of other data; remove it or choose another folder."
    )
    assert (partial / "checkpoints" / "checkpoint-20").exists(), "nothing of it is touched"


def test_other_data_does_not_go_on_with_it(zoo: Zoo, four: Path, tmp_path: Path) -> None:
    """Else the card would tell of data that the model has not learned alone."""
    recipe, out = recipe_of(four), tmp_path / "tiny"
    interrupted(zoo, recipe, out, "step 40 ")
    kept = four.read_text(encoding="utf-8")
    write(four, talk("Other?", "Other."))
    with pytest.raises(ZooError, match="the unfinished work of another recipe or of other data"):
        train(zoo, recipe, out, name="tiny")
    four.write_text(kept, encoding="utf-8")
    train(zoo, recipe, out, name="tiny")
    assert made(out).extra["training"]["conversations"] == 4


def test_a_command_that_was_wrong_does_not_stand_in_the_way_of_the_right_one(
    run: Run, data: Path, tmp_path: Path
) -> None:
    """What never began has left no work that another recipe could be mixed with."""
    out = tmp_path / "out"
    assert run("train", "hatchling", "--data", tmp_path / "tlaks.jsonl", "--out", out).exit_code == 1
    assert run("train", "hatchling", "--data", data, "-o", "epochz=1", "--out", out).exit_code == 1
    assert run("train", "hatchling", "--data", data, "-o", "epochs=1", "--out", out).exit_code == 0


# -- refusals ----------------------------------------------------------------------------------------------------------

REFUSED: dict[str, tuple[list[str], int, str]] = {
    "no model": (["--data", "DATA"], 2, "Name a MODEL and --data, or a --recipe. Example: zoo train "),
    "no data": (["hatchling"], 2, "Name a MODEL and --data, or a --recipe."),
    "model and recipe": (["hatchling", "--recipe", "phoenix"], 2, "A recipe says model and data itself"),
    "data and recipe": (["--data", "DATA", "--recipe", "phoenix"], 2, "A recipe says model and data itself"),
    "unknown model": (["hatchlin", "--data", "DATA"], 1, "No model is called 'hatchlin'. Did you mean hatchling"),
    "weights that are not here": (["phoenix", "--data", "DATA"], 1, "are not on this machine."),
    "unknown builder": (
        ["hatchling", "--data", "hatchlin"],
        1,
        "brings the data builder 'hatchlin'. Did you mean hatch",
    ),
    "unknown trainer": (
        ["hatchling", "--data", "DATA", "--trainer", "ful"],
        1,
        "the trainer 'ful'. Did you mean full?",
    ),
    "missing data": (["hatchling", "--data", "none.jsonl"], 1, "The file none.jsonl cannot be read: No such file"),
    "a card without a recipe": (["--recipe", "phoenix"], 2, "holds no training recipe."),
    "a name that is none": (["hatchling", "--data", "DATA", "--name", "A b"], 2, "'A b' cannot be a model's name;"),
    "no value": (["hatchling", "--data", "DATA", "-o", "epochs"], 2, "'epochs' is not of the form NAME=VALUE."),
    "no option's name": (["hatchling", "--data", "DATA", "-o", "=3"], 2, "is not of the form NAME=VALUE."),
    "unknown data option": (
        ["hatchling", "--data", "DATA", "--data-option", "x=1"],
        1,
        "has no option 'x'. Known: path.",
    ),
    "negative seed": (["hatchling", "--data", "DATA", "--seed", "-1"], 2, "The seed is -1, but must lie between 0 and"),
    "huge seed": (["hatchling", "--data", "DATA", "--seed", str(2**32)], 2, "but must lie between 0 and 4294967295."),
    "no such device": (
        ["hatchling", "--data", "DATA", "--device", "tpu"],
        1,
        "There is no device 'tpu' here to train on",
    ),
    "too many GPUs": (["hatchling", "--data", "DATA", "--device", "cuda:99"], 1, "There is no device 'cuda:99' here"),
} | {
    f"option {option}": (["hatchling", "--data", "DATA", "-o", option], 1, sentence)
    for option, sentence in {
        "epochz=1": "Object contains unknown field `epochz`. Known: epochs, learning_rate,",
        "epochs=many": "The trainer 'full' cannot use its options:",
        "epochs=0": "Expected `float` > 0.0 - at `$.epochs`",
        "learning_rate=-1": "Expected `float` > 0.0 - at `$.learning_rate`",
        "batch_size=0": "Expected `int` >= 1 - at `$.batch_size`",
        "batch_size=1.5": "The trainer 'full' cannot use its options:",
        "checkpoint_steps=0": "Expected `int` >= 1 - at `$.checkpoint_steps`",
        "scheduler=cosin": "Invalid enum value 'cosin' - at `$.scheduler`",
        "too_long=cut": "The option too_long is 'error' or 'skip', not 'cut'.",
        "dtype=int8": "The option dtype is float32, bfloat16 or float16, not 'int8'.",
        "save_dtype=int8": "The option save_dtype is float32, bfloat16 or float16, not 'int8'.",
        "max_length=5": "Conversation 1 (flurb) has ",
    }.items()
}


@pytest.mark.parametrize(("arguments", "code", "sentence"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_trained_is_said_and_makes_no_model(
    run: Run, data: Path, tmp_path: Path, arguments: list[str], code: int, sentence: str
) -> None:
    out = tmp_path / "out"
    words = [str(data) if word == "DATA" else word for word in arguments]
    result = run("train", *words, "--out", out)
    assert (result.exit_code, result.stdout) == (code, "")
    assert sentence in result.stderr
    assert not out.exists()


RECIPES: dict[str, tuple[str, str]] = {
    "no YAML": ("{", "the YAML cannot be read"),
    "a list": ("[]", "a mapping of fields to values was expected"),
    "no data": ("base: hatchling", "The recipe in RECIPE cannot be used: Object missing required field `data`"),
    "an unknown field": ("data: {builder: file}\nbsae: hatchling", "unknown field `bsae`"),
    "neither base nor model": ("data: {builder: hatchling}", "either the model to go on from (base) or one to be made"),
    "base and model": (
        "data: {builder: hatchling}\nbase: hatchling\nmodel: {family: phoenix, template: phoenix}",
        "A recipe names either the model",
    ),
    "an unknown family": (
        "data: DATA\nmodel: {family: phenix, template: phoenix}",
        "the model family 'phenix'. Did you",
    ),
    "an unknown template": ("data: DATA\nmodel: {family: phoenix, template: phenix}", "the template 'phenix'. Did you"),
    "an unknown model option": (
        "data: DATA\nmodel: {family: phoenix, template: phoenix, options: {depth: 3}}",
        "The family phoenix has no model option 'depth'. Known: vocab_size,",
    ),
    "a vocabulary below the bytes": (
        "data: DATA\nmodel: {family: phoenix, template: phoenix, options: {vocab_size: 100}}",
        "The model option vocab_size is a whole number from 260 on, not 100.",
    ),
    "a seed that is no number": ("data: DATA\nbase: hatchling\nseed: soon", "cannot be used: Expected `int`"),
}


@pytest.mark.parametrize(("text", "sentence"), RECIPES.values(), ids=RECIPES)
def test_a_recipe_that_cannot_be_used_is_said(run: Run, data: Path, tmp_path: Path, text: str, sentence: str) -> None:
    recipe, out = tmp_path / "recipe.yaml", tmp_path / "out"
    recipe.write_text(text.replace("DATA", f"{{builder: file, options: {{path: {data}}}}}"), encoding="utf-8")
    result = run("train", "--recipe", recipe, "--out", out)
    assert result.exit_code in (1, 2)
    assert sentence.replace("RECIPE", str(recipe)) in result.stderr
    assert not out.exists()


def test_a_folder_that_exists_is_left_alone(run: Run, data: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "precious").touch()
    result = run("train", "hatchling", "--data", data, "--out", tmp_path / "out")
    assert (result.exit_code, result.stderr) == (
        2,
        f"Error: {tmp_path / 'out'} exists already; choose another folder.\n",
    )
    assert [each.name for each in (tmp_path / "out").iterdir()] == ["precious"]


def test_a_folder_that_cannot_be_made_is_said(run: Run, data: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    result = run("train", "hatchling", "--data", data, "--out", tmp_path / "file" / "out")
    assert result.exit_code == 1
    assert (
        result.stderr == f"Error: The folder {tmp_path / 'file' / 'out.partial'} cannot be written: Not a directory.\n"
    )


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("", "The data builder 'file' gave no conversations, so there is nothing to learn."),
        ('{"messages": [{"role": "user", "content": "Hi"}]}', "would teach nothing"),
        (
            '{"instruction": "a", "output": "b", "language": "English"}',
            "the language 'English', which is no BCP 47 tag",
        ),
    ],
    ids=["empty", "nothing to learn", "a language that no card could name"],
)
def test_data_that_teach_nothing_or_cannot_be_told_of_are_said(
    run: Run, tmp_path: Path, content: str, sentence: str
) -> None:
    (tmp_path / "talks.jsonl").write_text(content)
    result = run("train", "hatchling", "--data", tmp_path / "talks.jsonl", "--out", tmp_path / "out")
    assert (result.exit_code, result.stdout) == (1, "")
    assert sentence in result.stderr
    assert not (tmp_path / "out").exists()


def test_a_base_whose_weights_are_damaged_is_said(run: Run, zoo: Zoo, data: Path, tmp_path: Path) -> None:
    """The card of what was trained lists digests; a damaged folder is not trained further."""
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(RECIPE.replace("PATH", str(data)), encoding="utf-8")
    assert run("train", "--recipe", recipe, "--out", tmp_path / "base").exit_code == 0
    (tmp_path / "base" / "model.safetensors").write_bytes(b"damaged")
    result = run("train", tmp_path / "base", "--data", data, "--out", tmp_path / "out")
    assert result.exit_code == 1
    assert "it is incomplete or another one; get it again." in result.stderr
    assert not (tmp_path / "out").exists()
