"""HuatuoGPT and HuatuoGPT-II: what their cards say, and that medical questions go through their templates and tokenizers.

The questions do not belong to the project; tests of them are skipped where they do not lie in `shared/data` beside it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import Result
from tiny_models import bloom_tokenizer, llama_tokenizer, tiny_llama

from zoo_core import Conversation, Message, ModelCard, Template, Zoo, render
from zoo_core.cards.checking import card_template
from zoo_core.cards.parts import Architecture, Source
from zoo_core.cards.writing import card_yaml

QUESTIONS = Path(__file__).parent.parent.parent / "shared" / "data" / "huatuogpt"
needs_questions = pytest.mark.skipif(not QUESTIONS.is_dir(), reason="the medical questions are not beside the project")
FIRST = ("huatuogpt-7b", "huatuogpt-13b")
SECOND = ("huatuogpt2-7b", "huatuogpt2-13b", "huatuogpt2-34b")
QUANTIZED = ("huatuogpt2-7b-4bits", "huatuogpt2-7b-8bits", "huatuogpt2-34b-4bits", "huatuogpt2-34b-8bits")


@pytest.fixture
def zoo() -> Zoo:
    return Zoo()


def card(zoo: Zoo, name: str) -> ModelCard:
    return zoo.catalog.model(name)[0]


def template(zoo: Zoo, name: str) -> Template:
    return card_template(card(zoo, name), zoo.template)


# -- the cards ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "context", "expected"),
    [
        (FIRST, 2048, {"temperature": 0.5, "max_new_tokens": 512}),
        (
            (*SECOND[:2], *QUANTIZED[:2]),
            4096,
            {"temperature": 0.3, "top_p": 0.7, "repetition_penalty": 1.1, "max_new_tokens": 1024},
        ),
        (
            (*SECOND[2:], *QUANTIZED[2:]),
            4096,
            {"temperature": 0.3, "top_p": 0.85, "top_k": 5, "repetition_penalty": 1.1, "max_new_tokens": 2048},
        ),
    ],
)
def test_sampling_is_that_of_the_authors(
    names: tuple[str, ...], context: int, expected: dict[str, float], zoo: Zoo
) -> None:
    for name in names:
        found = card(zoo, name)
        assert found.context is not None
        assert found.context.max == context
        assert {key: getattr(found.generation, key) for key in found.generation.__struct_fields__} == {
            **dict.fromkeys(found.generation.__struct_fields__),
            **expected,
        }


@pytest.mark.parametrize("name", [*FIRST, *SECOND, *QUANTIZED])
def test_generations_speak_their_own_template(name: str, zoo: Zoo) -> None:
    found = card(zoo, name)
    assert found.template is not None
    assert found.template.name == found.family == ("huatuogpt" if name in FIRST else "huatuogpt2")
    assert found.runtime.remote_code == (name != "huatuogpt-13b")
    assert "is no doctor" in found.safety.notice


@pytest.mark.parametrize("said", [("Guten Tag",), ()], ids=["one answer", "a conversation"])
def test_the_disclaimer_is_shown_once(
    said: tuple[str, ...], zoo: Zoo, tmp_path: Path, run: Callable[..., Result]
) -> None:
    weights = tiny_llama(tmp_path / "weights", max_position_embeddings=2048)
    merged = msgspec.structs.replace(
        card(zoo, "huatuogpt-13b"),
        id="merged",
        lineage=None,
        architecture=Architecture(),
        sources=[Source(hub="folder", path=str(weights))],
    )
    path = tmp_path / "merged.yaml"
    path.write_text(card_yaml(merged), encoding="utf-8")
    options = ("--max-new-tokens", "3", "--temperature", "0", "--device", "cpu")
    result = run("chat", str(path), *said, *options, input=None if said else "头痛\n还是痛\n")
    assert result.exit_code == 0
    assert result.stderr.count("is no doctor") == 1
    assert "is no doctor" not in result.stdout


# -- medical questions -------------------------------------------------------------------------------------------------


def records(name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((QUESTIONS / name).read_text(encoding="utf-8"))
    assert len(found) == 100
    return found


@needs_questions
@pytest.mark.parametrize("name", [FIRST[1], SECOND[0], SECOND[2]])
def test_questions_render_and_tokenise(name: str, zoo: Zoo) -> None:
    """Nothing of a question is lost on the way to the tokens and back."""
    chosen = template(zoo, name)
    asked = [each["query"] for each in records("KUAKE-QIC_100.json")]
    asked += [each["medical_case"] for each in records("Med-dialog_100.json")]
    for tokenizer in (llama_tokenizer(400), bloom_tokenizer(400)):
        for question in asked:
            text = render(chosen, [Message("user", question)]).text
            assert f"{chosen.roles['user']}：{question}" in text
            assert text.endswith(f"{chosen.roles['assistant']}：")
            ids = tokenizer(text, add_special_tokens=False)["input_ids"]
            assert tokenizer.unk_token_id not in ids
            assert tokenizer.decode(ids, skip_special_tokens=False).strip() == text.strip()


@needs_questions
@pytest.mark.parametrize("name", [FIRST[1], SECOND[0]])
def test_of_consultations_only_the_diagnosis_is_learned(name: str, zoo: Zoo) -> None:
    from zoo_sft.rows import IGNORED, make_rows

    consultations = [
        Conversation(messages=(Message("user", each["medical_case"]), Message("assistant", each["doctor_diagnosis"])))
        for each in records("Med-dialog_100.json")
    ]
    tokenizer = llama_tokenizer(400)
    rows, _ = make_rows(consultations, template(zoo, name), tokenizer, max_length=8192, too_long="error")
    for consultation, row in zip(consultations, rows, strict=True):
        learned = tokenizer.decode([label for label in row["labels"] if label != IGNORED], skip_special_tokens=False)
        answer = consultation.messages[1].content.strip()
        assert learned.strip() == (f"{answer} </s>" if name in FIRST else f"{answer}</s>")
        assert row["input_ids"][0] == tokenizer.bos_token_id or name not in FIRST
