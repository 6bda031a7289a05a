"""Where conversations come from: files of three forms, the embedded model's dialogues, and `zoo data`."""

from __future__ import annotations

import itertools
import json
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import Result

from zoo_core import Conversation, Message, ZooError
from zoo_data.file import FileBuilder
from zoo_hatchling.dialogues import FOLDER, HatchlingBuilder, Language, read_languages

HELD_OUT = Path(__file__).parent / "hatchling" / "heldout"
LANGUAGES = ["ar", "de", "en", "es", "fr", "ja", "ko", "pt", "ru", "zh"]
INTENTS = [
    *("greeting", "how_are_you", "thanks", "goodbye", "joke", "who_are_you", "who_made_you", "size"),
    *("abilities", "languages", "zoo", "phoenix", "chimera", "huatuogpt", "card", "plugin"),
    *("template", "list_models", "show_model", "real_model", "train", "add_model", "license", "history"),
    "exit",
]
in_all_languages = pytest.mark.parametrize("tag", LANGUAGES)

Run = Callable[..., Result]


def build(path: Path, **options: Any) -> list[Conversation]:
    return list(FileBuilder().build({"path": str(path), **options}, seed=0))


def file(tmp_path: Path, content: str | bytes, name: str = "talks.jsonl") -> Path:
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


HI = (Message("user", "Hi"), Message("assistant", "Hello!"))
MESSAGES = '{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello!"}]}'
FORMS: dict[str, tuple[str, tuple[Message, ...]]] = {
    "messages": (MESSAGES, HI),
    "messages with a system prompt": (
        '{"messages": [{"role": "system", "content": "S"}, {"role": "user", "content": "Hi"},'
        ' {"role": "assistant", "content": "Hello!"}]}',
        (Message("system", "S"), *HI),
    ),
    "ShareGPT": ('{"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello!"}]}', HI),
    "ShareGPT with other names": (
        '{"conversations": [{"from": "system", "value": "S"}, {"from": "user", "value": "Hi"},'
        ' {"from": "assistant", "value": "Hello!"}]}',
        (Message("system", "S"), *HI),
    ),
    "Alpaca": ('{"instruction": "Hi", "input": "", "output": "Hello!"}', HI),
    "Alpaca without input": ('{"instruction": "Hi", "output": "Hello!"}', HI),
    "Alpaca with no input": ('{"instruction": "Hi", "input": null, "output": "Hello!"}', HI),
    "Alpaca with input": (
        '{"instruction": "Add", "input": "1 and 2", "output": "3"}',
        (Message("user", "Add\n1 and 2"), Message("assistant", "3")),
    ),
    "fields of somebody else": (MESSAGES[:-1] + ', "score": 5, "source": {"a": [1]}}', HI),
    "no turns": ('{"messages": []}', ()),
}


# -- files -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("record", "messages"), FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("ending", ["jsonl", "json"])
def test_the_usual_forms_are_read(tmp_path: Path, record: str, messages: tuple[Message, ...], ending: str) -> None:
    content = f"{record}\n" if ending == "jsonl" else f"[{record}]"
    (conversation,) = build(file(tmp_path, content, f"talks.{ending}"))
    assert conversation.messages == messages


def test_forms_may_be_mixed_and_stay_in_order(tmp_path: Path) -> None:
    path = file(tmp_path, "\n".join(record for record, _ in FORMS.values()))
    assert [each.messages for each in build(path)] == [messages for _, messages in FORMS.values()]


def test_ids_and_languages(tmp_path: Path) -> None:
    lines = [MESSAGES[:-1] + each for each in (', "id": "a", "language": "zh-Hans"}', ', "id": 7}', "}")]
    one, two, three = build(file(tmp_path, "\n".join(lines)))
    assert (one.id, one.language) == ("a", "zh-Hans")
    assert (two.id, two.language) == ("7", "")
    assert three.id == "talks.jsonl, line 3"
    assert build(file(tmp_path, f"[{MESSAGES}, {MESSAGES}]", "talks.json"))[1].id == "talks.json, record 2"


@pytest.mark.parametrize(
    "content",
    [f"\n\n{MESSAGES}\n  \n", f"{MESSAGES}\r\n", f"{MESSAGES}", f"  {MESSAGES}  "],
    ids=["empty lines", "Windows", "no last line end", "spaces"],
)
def test_white_space_between_records_is_no_record(tmp_path: Path, content: str) -> None:
    assert [each.messages for each in build(file(tmp_path, content))] == [HI]


@pytest.mark.parametrize("sign", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c"], ids=ascii)
def test_a_text_may_hold_what_only_python_takes_for_a_line_end(tmp_path: Path, sign: str) -> None:
    """JSON allows the first three unescaped, and so do the files that `zoo data preview --json` makes."""
    written = json.dumps({"instruction": f"a{sign}b", "output": f"c{sign}"}, ensure_ascii=False)
    (conversation,) = build(file(tmp_path, written))
    assert [each.content for each in conversation.messages] == [f"a{sign}b", f"c{sign}"]


def test_texts_are_kept_as_they_are(tmp_path: Path) -> None:
    text = "  凤凰\t🐦\r\n\\n é \u0000 "
    (conversation,) = build(file(tmp_path, json.dumps({"instruction": text, "output": text})))
    assert [each.content for each in conversation.messages] == [text, text]


def test_an_empty_file_holds_no_conversation(tmp_path: Path) -> None:
    assert build(file(tmp_path, "")) == []
    assert build(file(tmp_path, "[]", "talks.json")) == []


DEEP = "[" * 100_000 + "]" * 100_000
BAD: dict[str, tuple[str | bytes, str, str]] = {
    "no JSON": (MESSAGES + "\n{", "jsonl", "talks.jsonl, line 2: this is no JSON: "),
    "JSON of several lines": ("{\n}", "jsonl", "talks.jsonl, line 1: this is no JSON: "),
    "text": ("Hello", "jsonl", "talks.jsonl, line 1: this is no JSON: Expecting value (line 1, column 1)."),
    "no JSON in a list": (
        "[\n{},\n{]\n",
        "json",
        "this is no JSON: Expecting property name enclosed",
    ),
    "an empty .json": ("", "json", "talks.json: this is no JSON: "),
    "an object for a list": (MESSAGES, "json", "talks.json: a list of conversations was expected."),
    "lines for a list": (f"{MESSAGES}\n{MESSAGES}", "json", "talks.json: this is no JSON: Extra data (line 2"),
    "nested too deeply": (DEEP, "json", "talks.json: "),
    "a number of too many digits": ('{"id": ' + "1" * 5000 + "}", "jsonl", "line 1: the JSON cannot be read: "),
    "no UTF-8": (b'{"instruction": "\xff", "output": "b"}', "jsonl", "talks.jsonl is not UTF-8 text (byte 17)."),
    "UTF-16": (MESSAGES.encode("utf-16"), "jsonl", "talks.jsonl is not UTF-8 text (byte 0)."),
    "half a character": (
        '{"instruction": "\\ud800", "output": "b"}',
        "jsonl",
        "line 1: the text holds a character that is no",
    ),
    "half a character as id": (
        MESSAGES[:-1] + ', "id": "\\ud800"}',
        "jsonl",
        "line 1: the text holds a character that",
    ),
    "no object": ("5", "jsonl", "line 1: an object was expected, but here is a int."),
    "a list": ("[]", "jsonl", "line 1: an object was expected, but here is a list."),
    "null in a list": (f"[{MESSAGES}, null]", "json", "record 2: an object was expected, but here is a NoneType."),
    "another form": (
        '{"question": "a", "answer": "b"}',
        "jsonl",
        "line 1: this has none of the keys messages, conversations, or instruction and output; it has: answer, question.",
    ),
    "nothing": ("{}", "jsonl", "it has: none."),
    "an instruction alone": ('{"instruction": "a"}', "jsonl", "it has: instruction."),
    "messages that are no list": ('{"messages": "Hi"}', "jsonl", "it has: messages."),
    "an output that is no text": ('{"instruction": "a", "output": 5}', "jsonl", "it has: instruction, output."),
    "an input that is no text": (
        '{"instruction": "a", "input": 5, "output": "b"}',
        "jsonl",
        "line 1: 'input' must be text.",
    ),
    "an input that is a list": (
        '{"instruction": "a", "input": ["x"], "output": "b"}',
        "jsonl",
        "'input' must be text.",
    ),
    "a turn that is no object": (
        '{"messages": ["Hi"]}',
        "jsonl",
        "line 1: every turn needs 'role' and the text 'content'.",
    ),
    "a turn without text": (
        '{"messages": [{"role": "user"}]}',
        "jsonl",
        "every turn needs 'role' and the text 'content'.",
    ),
    "a turn with a number": (
        '{"conversations": [{"from": "human", "value": 5}]}',
        "jsonl",
        "needs 'from' and the text 'value'.",
    ),
    "the keys of another form": (
        '{"messages": [{"from": "human", "value": "a"}]}',
        "jsonl",
        "every turn needs 'role' and",
    ),
    "an unknown role": (
        '{"messages": [{"role": "tool", "content": "a"}]}',
        "jsonl",
        "line 1: the speaker 'tool' is unknown. Known: human, user, gpt, assistant, system.",
    ),
    "no role": ('{"messages": [{"content": "a"}]}', "jsonl", "the speaker 'None' is unknown."),
    "a role that is a list": ('{"messages": [{"role": [], "content": "a"}]}', "jsonl", "the speaker '[]' is unknown."),
}


@pytest.mark.parametrize(("content", "ending", "sentence"), BAD.values(), ids=BAD)
def test_a_record_that_cannot_be_read_is_named(
    tmp_path: Path, content: str | bytes, ending: str, sentence: str
) -> None:
    path = file(tmp_path, content, f"talks.{ending}")
    with pytest.raises(ZooError) as caught:
        build(path)
    assert sentence in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_stands_before_a_bad_record_is_given(tmp_path: Path) -> None:
    """The builder reads as it goes, and the error comes where the record stands."""
    conversations = FileBuilder().build({"path": str(file(tmp_path, f"{MESSAGES}\n{{"))}, seed=0)
    assert next(conversations).messages == HI
    with pytest.raises(ZooError, match="line 2"):
        next(conversations)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({}, "The data builder 'file' needs the option path, such as: path=talks.jsonl"),
        ({"path": "x.jsonl", "shuffle": "yes"}, "The data builder 'file' has no option 'shuffle'. Known: path."),
        ({"path": "none.jsonl"}, "The file none.jsonl cannot be read: No such file or directory."),
        ({"path": "."}, "The file . cannot be read: Is a directory."),
    ],
    ids=["no path", "an unknown option", "a missing file", "a folder"],
)
def test_wrong_options_of_the_file_builder_are_said(options: dict[str, str], sentence: str) -> None:
    with pytest.raises(ZooError) as caught:
        list(FileBuilder().build(options, seed=0))
    assert str(caught.value) == sentence


# -- zoo data ----------------------------------------------------------------------------------------------------------


def test_builders_lists_all_with_a_line(run: Run) -> None:
    lines = run("data", "builders").stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["file", "hatchling"]
    told = json.loads(run("data", "builders", "--json").stdout)
    assert told["schema"] == "zoo.builders/v1"
    assert [each["name"] for each in told["items"]] == ["file", "hatchling"]
    assert all(each["summary"] for each in told["items"])


def test_preview_of_a_file(run: Run, tmp_path: Path) -> None:
    path = file(tmp_path, "\n".join([MESSAGES[:-1] + ', "id": "first"}', *[MESSAGES] * 4]))
    shown = run("data", "preview", path)
    assert shown.exit_code == 0
    assert shown.stdout.startswith("first\n     user  Hi\nassistant  Hello!\n\n")
    assert shown.stdout.count("assistant  Hello!") == 3
    assert run("data", "preview", "file", "-o", f"path={path}").stdout == shown.stdout
    assert run("data", "preview", path, "--count", "1").stdout.count("Hello!") == 1
    assert run("data", "preview", path, "--count", "0").stdout.count("Hello!") == 5


def test_preview_with_a_template_shows_what_would_be_learned(run: Run, tmp_path: Path) -> None:
    turns = [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello!"}]
    path = file(tmp_path, json.dumps([{"conversations": turns * 2}]), "talks.json")
    shown = run("data", "preview", path, "--template", "phoenix").stdout
    assert "Human: <s>Hi</s>Assistant: <s>⟦Hello!</s>⟧Human: <s>Hi</s>Assistant: <s>⟦Hello!</s>⟧\n" in shown
    assert shown.count("⟦") == shown.count("⟧") == 2


def test_preview_as_json_is_read_again_as_it_was(run: Run, tmp_path: Path) -> None:
    shown = run("data", "preview", "hatchling", "--count", "40", "--json")
    path = file(tmp_path, shown.stdout)
    assert build(path) == list(itertools.islice(HatchlingBuilder().build({}, seed=0), 40))
    assert run("data", "preview", path, "--count", "0", "--json").stdout == shown.stdout


def test_preview_draws_by_seed(run: Run) -> None:
    first, again, other = (run("data", "preview", "hatchling", "--seed", seed).stdout for seed in (1, 1, 2))
    assert first == again != other


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (
            ["hatchlin"],
            1,
            "No installed plugin brings the data builder 'hatchlin'. Did you mean hatchling? Known: file, ",
        ),
        (["none.jsonl"], 1, "The file none.jsonl cannot be read"),
        (["none.json"], 1, "The file none.json cannot be read"),
        (["file"], 1, "needs the option path"),
        (["hatchling", "-o", "passes"], 1, "'passes' is not of the form NAME=VALUE."),
        (["hatchling", "-o", "=1"], 1, "'=1' is not of the form NAME=VALUE."),
        (["hatchling", "-o", "passes=many"], 1, "The data builder 'hatchling' cannot use its options"),
        (["hatchling", "--template", "phenix"], 1, "brings the template 'phenix'. Did you mean phoenix?"),
        (["hatchling", "--count", "-1"], 2, "-1 is not in the range x>=0"),
        (["hatchling", "--count", "all"], 2, "'all' is not a valid int"),
    ],
    ids=[
        "unknown",
        "missing .jsonl",
        "missing .json",
        "no path",
        "no value",
        "no name",
        "no number",
        "template",
        "negative count",
        "count in words",
    ],
)
def test_a_wrong_preview_is_said(run: Run, arguments: list[str], code: int, sentence: str) -> None:
    result = run("data", "preview", *arguments)
    assert (result.exit_code, result.stdout) == (code, "")
    assert sentence in result.stderr


def test_a_conversation_that_a_template_cannot_take_is_said(run: Run, tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]
    path = file(tmp_path, json.dumps({"messages": turns}))
    assert run("data", "preview", path).exit_code == 0
    result = run("data", "preview", path, "--template", "phoenix")
    assert result.exit_code == 1
    assert "Turn 2 is said by 'user'" in result.stderr


# -- the dialogues of the embedded model -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def written() -> dict[str, Language]:
    return {each.language: each for each in read_languages()}


@pytest.fixture(scope="module")
def one_pass() -> list[Conversation]:
    return list(HatchlingBuilder().build({}, seed=0))


def test_the_seed_decides_what_is_drawn(one_pass: list[Conversation]) -> None:
    assert list(HatchlingBuilder().build({}, seed=0)) == one_pass
    assert list(HatchlingBuilder().build({}, seed=1)) != one_pass


def test_every_pass_is_worded_differently_and_of_one_size(one_pass: list[Conversation]) -> None:
    two = list(HatchlingBuilder().build({"passes": 2}, seed=0))
    assert two[: len(one_pass)] == one_pass, "more passes go on where fewer end"
    second = two[len(one_pass) :]
    assert len(second) == len(one_pass)
    assert second != one_pass
    reworded = {each.messages for each in second} - {each.messages for each in one_pass}
    assert len(reworded) > len(one_pass) / 4


def test_a_pass_holds_all_ten_languages_shuffled(one_pass: list[Conversation]) -> None:
    counts = Counter(each.language for each in one_pass)
    assert sorted(counts) == LANGUAGES
    assert min(counts.values()) > 500
    assert len({each.language for each in one_pass[:50]}) > 5
    assert all(each.id.startswith(f"{each.language}/") for each in one_pass)


def test_every_conversation_can_be_learned(one_pass: list[Conversation]) -> None:
    for each in one_pass:
        assert [turn.role for turn in each.messages] == ["user", "assistant"] * (len(each.messages) // 2)
        assert all(turn.content.strip() for turn in each.messages)
        assert not re.search(r"\{\w*\}", "".join(turn.content for turn in each.messages)), "a slot was left open"


def test_every_answer_is_one_that_is_written(one_pass: list[Conversation], written: dict[str, Language]) -> None:
    for each in one_pass:
        language = written[each.language]
        fixed = {intent.answer for intent in language.intents.values()}
        fixed |= {language.unknown.answer, language.names.unknown}
        patterns = [
            re.compile(re.escape(text).replace(r"\{name\}", "(.+)"))
            for text in (language.names.greet, language.names.recall)
        ]
        for turn in each.messages[1::2]:
            assert turn.content in fixed or any(pattern.fullmatch(turn.content) for pattern in patterns), turn


def test_every_question_is_asked_as_it_is_written_in_every_pass(
    one_pass: list[Conversation], written: dict[str, Language]
) -> None:
    pairs = {(each.language, each.messages[0].content, each.messages[1].content) for each in one_pass}
    for tag, language in written.items():
        for intent in language.intents.values():
            assert {(tag, question, intent.answer) for question in intent.questions} <= pairs


def test_languages_can_be_chosen() -> None:
    chosen = list(HatchlingBuilder().build({"languages": ["fr", "zh"]}, seed=0))
    assert {each.language for each in chosen} == {"fr", "zh"}
    assert len(chosen) < len(list(HatchlingBuilder().build({}, seed=0)))


def test_options_may_be_text_as_the_command_line_gives_them() -> None:
    typed = list(HatchlingBuilder().build({"passes": "2", "languages": "de,fr"}, seed=0))
    assert typed == list(HatchlingBuilder().build({"passes": 2, "languages": ["de", "fr"]}, seed=0))
    assert {each.language for each in typed} == {"de", "fr"}


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"pass": 1}, "The data builder 'hatchling' cannot use its options: Object contains unknown field `pass`."),
        ({"passes": "many"}, "cannot use its options: Expected `int`"),
        ({"passes": 1.5}, "cannot use its options: Expected `int`"),
        ({"languages": 5}, "cannot use its options: Expected `array`"),
        ({"languages": ["xx"]}, "There are no dialogues in 'xx'. Languages: ar, de, en, es, fr, ja, ko, pt, ru, zh."),
        ({"languages": ["en", "../en"]}, "There are no dialogues in '../en'."),
    ],
    ids=["unknown", "words for a number", "half a pass", "a number for a list", "unknown language", "a path"],
)
def test_wrong_options_of_the_dialogues_are_said(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ZooError) as caught:
        list(HatchlingBuilder().build(options, seed=0))
    assert sentence in str(caught.value)


def test_there_is_a_file_for_each_of_the_ten_languages(written: dict[str, Language]) -> None:
    assert sorted(path.stem for path in FOLDER.glob("*.yaml")) == LANGUAGES == sorted(written)
    assert sorted(path.stem for path in HELD_OUT.glob("*.yaml")) == LANGUAGES


@in_all_languages
def test_a_language_has_every_intent_in_at_least_eight_wordings(written: dict[str, Language], tag: str) -> None:
    language = written[tag]
    assert list(language.intents) == INTENTS
    for name, intent in language.intents.items():
        assert len(set(intent.questions)) == len(intent.questions) >= 8, name
        assert all(each.strip() == each != "" for each in (intent.answer, *intent.questions)), name
    assert len({intent.answer for intent in language.intents.values()}) == len(INTENTS), "every intent its own answer"


@in_all_languages
def test_no_question_of_a_language_has_two_answers(written: dict[str, Language], tag: str) -> None:
    language = written[tag]
    asked = [question for intent in language.intents.values() for question in intent.questions]
    asked += language.unknown.questions + language.names.ask
    assert [question for question, count in Counter(map(str.casefold, asked)).items() if count > 1] == []


@in_all_languages
def test_names_patterns_and_wrappers_have_their_slots(written: dict[str, Language], tag: str) -> None:
    language = written[tag]
    names, unknown = language.names, language.unknown
    assert all(each.count("{name}") == 1 for each in (*names.say, names.greet, names.recall))
    assert "{name}" not in names.unknown + "".join(names.ask)
    assert len(set(names.examples)) == len(names.examples) >= 20
    for pattern in unknown.patterns:
        (slot,) = re.findall(r"\{(\w+)\}", pattern)
        assert len(unknown.slots[slot]) >= 8, slot
    assert all(each.count("{q}") == 1 for each in language.wrappers)
    assert set(language.follow_ups) <= set(language.intents)
    assert all(language.follow_ups.values())


# -- what the embedded model is tested with ----------------------------------------------------------------------------


@in_all_languages
def test_the_held_out_questions_are_whole(tag: str) -> None:
    held = yaml.safe_load((HELD_OUT / f"{tag}.yaml").read_text(encoding="utf-8"))
    assert held["language"] == tag
    assert list(held["intents"]) == INTENTS
    assert all(len(set(questions)) == 2 for questions in held["intents"].values())
    assert len(set(held["unknown"])) == 12
    assert all(each.count("{name}") == 1 for each in held["name_say"])


def test_no_question_that_counts_as_held_out_stands_in_the_written_dialogues(written: dict[str, Language]) -> None:
    """A question that was learned word for word tells nothing of questions that were not."""
    import hatchling as benchmark

    held = benchmark.held_out(list(written.values()))
    trained = {benchmark.plain(each.dialogue[-1].content) for each in benchmark.trained(list(written.values()))}
    for kind in ("wordings", "unknown", "follow-ups"):
        asked = [question.dialogue[-1].content for question in held[kind]]
        assert [question for question in asked if benchmark.plain(question) in trained] == []
    assert len(held["wordings"]) > 300
    assert len(held["unknown"]) >= 100
