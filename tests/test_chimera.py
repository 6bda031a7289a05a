"""Chimera: a delta over LLaMA, from its card and the base in a folder to its answers, through the command line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from click.testing import Result
from tiny_models import change, tensors, tiny_llama
from transformers import AutoModelForCausalLM, AutoTokenizer

from zoo_core import Loading, Zoo
from zoo_core.opening import open_session
from zoo_core.weights.assembled import all_assembled
from zoo_weights import Policy, make_delta

IDS = torch.tensor([[1, 17, 42, 99, 7]])
CHIMERAS = ["chimera-chat-7b", "chimera-chat-13b", "chimera-inst-chat-7b", "chimera-inst-chat-13b"]

CARD = """
schema: zoo.card/v1
kind: model
id: chimera-like
family: chimera
summary: A small Chimera
sources: [{hub: folder, path: DELTA}]
format: pickle
lineage:
  base: {id: llama-7b, name: LLaMA-7b}
  relation: delta
  delta: {op: add, new_rows: zero, vocab_size: 321}
context: {max: 2048}
template: {name: phoenix, add_bos: true}
generation: {temperature: 0, max_new_tokens: 8}
"""

Run = Callable[..., Result]


@pytest.fixture
def parts(tmp_path: Path, zoo_folders: Path) -> Path:
    """A base, a Chimera that was made from it and its delta, as the original made them; and the card of the delta."""
    base = tiny_llama(tmp_path / "base", dtype="float16", max_position_embeddings=2048)
    target = with_pad(change(tmp_path / "target", base, seed=1, rows=1))
    (tmp_path / "delta").mkdir()
    make_delta(base, target, tmp_path / "delta", Policy(new_rows="zero"))
    cards = zoo_folders / "config" / "cards"
    cards.mkdir(parents=True)
    (cards / "chimera-like.yaml").write_text(CARD.replace("DELTA", str(tmp_path / "delta")))
    return tmp_path


def with_pad(folder: Path) -> Path:
    """With `<pad>` as the last token, as the original's trainer added it."""
    text = (folder / "tokenizer.json").read_text().replace("<new0>", "<pad>")
    (folder / "tokenizer.json").write_text(text)
    return folder


def logits(folder: Path) -> torch.Tensor:
    with torch.inference_mode():
        return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)(IDS).logits


def test_a_delta_and_its_base_answer_as_the_model_that_they_are_made_from(run: Run, parts: Path) -> None:
    """In 16 bits a sum may be the neighbour of the number that it should be."""
    first = run("chat", "chimera-like", "Hello", "--base", parts / "base")
    assert first.exit_code == 0, first.stderr
    found, wanted = tensors(Path(all_assembled()[0].folder)), tensors(parts / "target")
    assert found.keys() == wanted.keys()
    for name, each in found.items():
        assert each.dtype == torch.float16
        torch.testing.assert_close(each, wanted[name], rtol=2**-10, atol=1e-7)
    assert torch.allclose(logits(Path(all_assembled()[0].folder)), logits(parts / "target"), atol=1e-2)
    target = run("chat", "chimera-like", "Hello", "--model-path", parts / "target")
    assert (target.exit_code, target.stdout) == (0, first.stdout)


def test_a_delta_of_more_bits_gives_exactly_the_model(run: Run, parts: Path) -> None:
    (parts / "wide").mkdir()
    make_delta(parts / "base", parts / "target", parts / "wide", Policy(new_rows="zero"), dtype="F32")
    result = run("chat", "chimera-like", "Hello", "--base", parts / "base", "--model-path", parts / "wide")
    assert result.exit_code == 0, result.stderr
    assert torch.equal(logits(Path(all_assembled()[0].folder)), logits(parts / "target"))


def test_it_is_put_together_once(run: Run, parts: Path) -> None:
    answer = run("chat", "chimera-like", "Hello", "--base", parts / "base").stdout
    folder = Path(all_assembled()[0].folder)
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    again = run("chat", "chimera-like", "Hello", "--base", parts / "base")
    shutil.rmtree(parts / "base")  # it is not needed any more, and neither is the delta
    shutil.rmtree(parts / "delta")
    without = run("chat", "chimera-like", "Hello")
    assert [again.stdout, without.stdout] == [answer, answer], without.stderr
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before
    assert run("list", "--pulled", "--json").stdout.count("chimera-like") >= 1
    assert run("verify", "chimera-like").exit_code == 0


def test_a_recorded_answer_is_asked_for_again_without_the_base(run: Run, parts: Path) -> None:
    assert run("chat", "chimera-like", "Hello", "--base", parts / "base").exit_code == 0
    shutil.rmtree(parts / "base")
    again = run("logs", "replay", "1")
    assert again.exit_code == 0, again.stderr
    assert "is the same, token by token" in again.stdout


@pytest.mark.parametrize("folder", ["delta", "target"])
def test_the_user_s_folder_may_be_the_delta_or_the_whole_model(run: Run, parts: Path, folder: str) -> None:
    base = ["--base", parts / "base"] if folder == "delta" else []
    result = run("chat", "chimera-like", "Hello", "--model-path", parts / folder, *base)
    assert result.exit_code == 0, result.stderr


def test_a_raw_delta_never_answers(run: Run, parts: Path) -> None:
    for arguments in ([], ["--model-path", parts / "delta"]):
        result = run("chat", "chimera-like", "Hello", *arguments)
        assert (result.exit_code, result.stdout) == (1, "")
        assert "published as a delta over LLaMA-7b, without which it gives gibberish" in result.stderr
        assert "--base FOLDER" in result.stderr
    text = CARD.replace("DELTA", str(parts / "delta"))
    hiding = parts / "hiding.yaml"  # a card that does not say that it is one of a delta
    hiding.write_text(text[: text.index("lineage:")] + text[text.index("context:") :])
    result = run("chat", hiding, "Hello", "--model-path", parts / "delta")
    assert (result.exit_code, result.stdout) == (1, "")
    assert f"zoo merge delta --base BASE --delta {parts / 'delta'} --target NEW" in result.stderr


def test_the_prompt_begins_with_the_token_that_llama_s_tokenizer_put_there(run: Run, parts: Path) -> None:
    told = json.loads(run("explain", "chimera-like", "Hello", "--json").stdout)
    assert told["ids"][0] == 1, told["ids_missing"]
    assert told["ids"].count(1) == 3, "of the whole prompt, and before each message"
    assert told["prompt"].endswith("\n\nHuman: <s>Hello</s>Assistant: <s>")
    assert all_assembled() == [], "nothing was put together to show a prompt"


@pytest.mark.parametrize("name", CHIMERAS)
def test_the_published_chimeras_are_deltas_over_llama(name: str) -> None:
    zoo = Zoo()
    card, _ = zoo.catalog.model(name)
    assert card.lineage is not None
    assert card.lineage.delta is not None
    size = "13b" if "13b" in name else "7b"
    assert (card.family, card.lineage.relation, card.lineage.base.id) == ("chimera", "delta", f"llama-{size}")
    assert (card.lineage.delta.new_rows, card.lineage.delta.vocab_size) == ("zero", 32001)
    assert zoo.template_of(card).add_bos
    assert zoo.offer("zoo_model_families", card.family, "model family").supports["format"] == ["safetensors"]


def test_merged_chimeras_are_whole_models() -> None:
    zoo = Zoo()
    for name, relation in {"chimera-inst-chat-13b-hf": "merge", "chimera-inst-chat-13b-gptq-4bit": "quantized"}.items():
        card, _ = zoo.catalog.model(name)
        assert card.lineage is not None
        assert (card.family, card.lineage.relation) == ("chimera", relation)


def test_the_base_can_be_loaded_too(parts: Path) -> None:
    zoo = Zoo()
    card, _ = zoo.catalog.model("llama-7b")
    family = zoo.offer("zoo_model_families", card.family, "model family").load()()
    with torch.inference_mode():
        found = family.load_model(parts / "base", Loading())(IDS).logits
    assert torch.equal(found, logits(parts / "base"))
    session = open_session(zoo, "llama-7b", weights=parts / "base", template="phoenix")
    assert "".join(session.reply("Hello")) is not None


def test_the_vocabulary_of_the_result_is_the_delta_s(run: Run, parts: Path) -> None:
    run("chat", "chimera-like", "Hello", "--base", parts / "base")
    folder = Path(all_assembled()[0].folder)
    assert json.loads((folder / "config.json").read_text())["vocab_size"] == 321
    assert AutoTokenizer.from_pretrained(folder).convert_tokens_to_ids("<pad>") == 320
