"""The templates of the overview: what their models were taught, byte for byte, what is learned, and where a reply ends.

The expected texts are written down here from the programs of the models' authors; `test_fastchat_templates.py` compares
with FastChat's.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from zoo_core import Message, Template, Zoo, render
from zoo_core.cards.checking import card_template
from zoo_core.cards.reading import read_card
from zoo_core.cards.schema import ModelCard
from zoo_core.stopping import StopFilter

MODELS = Path(__file__).parent.parent / "registry" / "models"
TASK = "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n"
VICUNA_V0 = (
    "A chat between a curious human and an artificial intelligence assistant. The assistant gives helpful, detailed, "
    "and polite answers to the human's questions."
)
VICUNA = (
    "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, detailed, "
    "and polite answers to the user's questions."
)
HUATUO = (
    "一位用户和智能医疗大模型HuatuoGPT之间的对话。对于用户的医疗问诊，HuatuoGPT给出准确的、详细的、温暖的指导建议。"
    "对于用户的指令问题，HuatuoGPT给出有益的、详细的、有礼貌的回答。"
)

#: Of each template: the prompt after one question, what is learned of the answer to it, and the prompt after a second one.
#: `{0}` stands for the template's own introduction, which Baize and MOSS have a long one of.
EXPECTED = {
    "alpaca": (
        TASK + "### Instruction:\nQ\n\n### Response:",
        "A</s>",
        TASK + "### Instruction:\nQ\n\n### Response:A</s>### Instruction:\nR\n\n### Response:",
    ),
    "chinese-alpaca": (
        TASK + "### Instruction:\nQ\n\n### Response: ",
        "A</s>",
        TASK + "### Instruction:\nQ\n\n### Response: A</s>\n\n### Instruction:\nR\n\n### Response: ",
    ),
    "dolly": (
        TASK + "### Instruction:\nQ\n\n### Response:\n",
        "A\n\n### End",
        TASK + "### Instruction:\nQ\n\n### Response:\nA\n\n### End\n\n### Instruction:\nR\n\n### Response:\n",
    ),
    "guanaco": (
        "### Instruction:\nQ\n\n### Response:\n",
        "A</s>",
        "### Instruction:\nQ\n\n### Response:\nA</s>\n\n### Instruction:\nR\n\n### Response:\n",
    ),
    "vicuna-v0": (
        VICUNA_V0 + "\n### Human: Q\n### Assistant:",
        " A\n###",
        VICUNA_V0 + "\n### Human: Q\n### Assistant: A\n### Human: R\n### Assistant:",
    ),
    "vicuna-v1.1": (
        VICUNA + " USER: Q ASSISTANT:",
        " A</s>",
        VICUNA + " USER: Q ASSISTANT: A</s>USER: R ASSISTANT:",
    ),
    "koala": (
        "BEGINNING OF CONVERSATION: USER: Q GPT:",
        " A</s>",
        "BEGINNING OF CONVERSATION: USER: Q GPT: A</s>USER: R GPT:",
    ),
    "baize": (
        "{0}\n[|Human|]Hello!\n[|AI|]Hi!\n[|Human|]Q\n[|AI|]",
        "A\n[|Human|]",
        "{0}\n[|Human|]Hello!\n[|AI|]Hi!\n[|Human|]Q\n[|AI|]A\n[|Human|]R\n[|AI|]",
    ),
    "belle": (
        "Human: Q\n\nAssistant:",
        "A</s>",
        "Human: Q\n\nAssistant:A</s>Human: R\n\nAssistant:",
    ),
    "chatglm": (
        "Q[gMASK]<sop>",
        "A<eop>",
        "[Round 0]\n问：Q\n答：A\n[Round 1]\n问：R\n答：[gMASK]<sop>",
    ),
    "moss": (
        "{0}\n<|Human|>: Q<eoh>\n<|MOSS|>:",
        " A<eom>",
        "{0}\n<|Human|>: Q<eoh>\n<|MOSS|>: A<eom>\n<|Human|>: R<eoh>\n<|MOSS|>:",
    ),
    "huatuogpt": (
        HUATUO + "<病人>：Q <HuatuoGPT>：",
        "A </s>",
        HUATUO + "<病人>：Q <HuatuoGPT>：A </s><病人>：R <HuatuoGPT>：",
    ),
    "huatuogpt2": (
        "<问>：Q\n<答>：",
        "A</s>",
        "<问>：Q\n<答>：A\n<问>：R\n<答>：",
    ),
}
NAMES = sorted(EXPECTED)
#: Templates of models whose tokenizer put its beginning-of-text token in front when they were taught.
WITH_BEGINNING = {"alpaca", "baize", "chinese-alpaca", "guanaco", "huatuogpt", "koala", "vicuna-v0", "vicuna-v1.1"}
ANSWERS = {
    "word": "Kamele.",
    "lines": "1. Kamel\n2. Lama\n\n```python\nx = {}\n```",
    "scripts": "骆驼。الجمل 😀 e\u0301",
    "signs": "{{ 7 }} {% x %} <b>&amp;</b> %s",
}


def talk(*texts: str) -> list[Message]:
    return [Message("assistant" if number % 2 else "user", text) for number, text in enumerate(texts)]


@pytest.fixture(scope="module")
def templates() -> dict[str, Template]:
    zoo = Zoo()
    return {name: zoo.template(name) for name in NAMES}


def test_every_template_of_the_plugins_is_here() -> None:
    brought = {
        template.name: owner.name
        for owner, template in Zoo().plugins.items("zoo_conversation_templates")
        if owner.name in {"camel", "classics"}
    }
    assert sorted(brought) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_the_prompt_is_what_the_model_was_taught(name: str, templates: dict[str, Template]) -> None:
    template, (first, _, second) = templates[name], EXPECTED[name]
    assert render(template, talk("Q")).text == first.replace("{0}", template.system)
    assert render(template, talk("Q", "A", "R")).text == second.replace("{0}", template.system)
    assert template.add_bos == (name in WITH_BEGINNING)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_learned_follows_the_prompt_and_ends_with_the_end_sign(
    name: str, templates: dict[str, Template]
) -> None:
    template, learned = templates[name], EXPECTED[name][1]
    prompt, taught = render(template, talk("Q")), render(template, talk("Q", "A"), reply=False)
    ((start, end),) = taught.spans
    assert (taught.text[:start], taught.text[start:end]) == (prompt.text, learned)
    assert taught.text[end:].strip() == ""


@pytest.mark.parametrize("name", NAMES)
def test_every_answer_is_learned(name: str, templates: dict[str, Template]) -> None:
    taught = render(templates[name], talk("Q", "AAA", "R", "BBB", "S", "CCC"), reply=False)
    learned = [taught.text[start:end] for start, end in taught.spans]
    assert [each.strip()[:3] for each in learned] == ["AAA", "BBB", "CCC"]
    assert not any(sign in "".join(learned) for sign in "QRS")
    if name in {"chatglm", "huatuogpt2"}:  # between turns they have a line break; the end sign ends a conversation
        assert learned[:2] == ["AAA", "BBB"]
    else:
        assert len({each.replace("AAA", "").replace("BBB", "").replace("CCC", "") for each in learned}) == 1


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
def test_stop_strings_end_a_reply_where_the_model_ends_it(
    name: str, answer: str, templates: dict[str, Template]
) -> None:
    """What the model was taught to say is cut back to the answer, however its tokens divide it."""
    template = templates[name]
    begun = render(template, talk("Q")).text
    continued = render(template, talk("Q", answer), reply=False).text.removeprefix(begun)
    for size in (1, 3, len(continued)):
        stops = StopFilter(template.stop)
        shown = "".join(stops.feed(continued[place : place + size]) for place in range(0, len(continued), size))
        assert (shown.strip(), stops.stopped) == (answer, True)


@pytest.mark.parametrize("name", NAMES)
def test_space_around_a_reply_is_not_carried_into_the_next_prompt(name: str, templates: dict[str, Template]) -> None:
    """Tokenizers like LLaMA's put a space before the first word; it must not be there twice in the next prompt."""
    template = templates[name]
    assert render(template, talk("Q", " A\n", "R")).text == render(template, talk("Q", "A", "R")).text


@pytest.mark.parametrize("name", NAMES)
def test_another_introduction_and_none(name: str, templates: dict[str, Template]) -> None:
    template = templates[name]
    own = render(template, talk("Q")).text
    other = render(template, [Message("system", "Be a camel."), *talk("Q")]).text
    none = render(template, [Message("system", ""), *talk("Q")]).text
    if template.system:
        assert other == own.replace(template.system, "Be a camel.")
        assert none == own.replace(template.system, "").lstrip("\n ")
    else:
        assert none == own
        assert other.removeprefix("Be a camel.").lstrip("\n") == own


def test_alpaca_with_an_input_gets_the_second_prompt(templates: dict[str, Template]) -> None:
    asked = talk("Translate.\n\n### Input:\nGuten Tag")
    assert render(templates["alpaca"], asked).text == (
        "Below is an instruction that describes a task, paired with an input that provides further context. "
        "Write a response that appropriately completes the request.\n\n"
        "### Instruction:\nTranslate.\n\n### Input:\nGuten Tag\n\n### Response:"
    )
    own = render(templates["alpaca"], [Message("system", "Be brief."), *asked]).text
    assert own.startswith("Be brief.\n\n### Instruction:\nTranslate.\n\n### Input:\n")


def test_the_end_sign_of_huatuogpt2_is_that_of_the_tokenizer() -> None:
    card = read_card(MODELS / "huatuogpt2" / "huatuogpt2-34b.yaml")
    assert isinstance(card, ModelCard)
    template = card_template(card, Zoo().template)
    assert render(template, talk("Q", "A"), reply=False).text == "<问>：Q\n<答>：A<|endoftext|>"
    assert template.stop == ("<|endoftext|>",)
