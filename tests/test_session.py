"""A conversation with a model: prompts that fit, sampling, what joins the conversation, and what is refused."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from zoo_core import Message, ModelCard, Offer, Piece, Rendered, Sampling, Template, Zoo, ZooError, hookimpl
from zoo_core.errors import (
    ContextOverflow,
    MissingDependency,
    NotFound,
    TemplateError,
    UsageProblem,
    WeightsError,
)
from zoo_core.opening import open_session
from zoo_core.plugins import Plugins
from zoo_core.session import Session

TEMPLATE = Template(
    name="letters",
    text="{{ system }}{% for m in messages %}{{ m.role[0] }}:{{ m.content }};{% endfor %}"
    "{% if add_generation_prompt %}a:{% endif %}",
)


class Letters:
    """An engine whose tokens are characters, and which says what it is given."""

    name, facts = "letters", {"device": "none"}

    def __init__(self, says: Sequence[str] = ("ok",), context: int | None = None) -> None:
        self.says, self.context_length, self.asked, self.closed = says, context, [], 0

    def encode(self, prompt: Rendered) -> list[int]:
        return [ord(sign) for sign in prompt.text]

    def stream(self, prompt: Rendered, sampling: Sampling) -> Iterator[Piece]:
        self.asked.append((prompt, sampling))
        try:
            for number, text in enumerate(self.says, 1):
                if number > sampling.max_new_tokens:
                    yield Piece(finish="length")
                    return
                yield Piece(text=text, ids=(number,))
            yield Piece(ids=(0,), finish="stop")
        finally:
            self.closed += 1

    def close(self) -> None:
        pass


def card_of(**fields: Any) -> ModelCard:
    base = {"schema": "zoo.card/v1", "kind": "model", "id": "tiny", "family": "letters", "summary": "A test's model"}
    return msgspec.convert(base | fields, ModelCard)


def session_of(says: Sequence[str] = ("ok",), context: int | None = None, **options: Any) -> Session:
    card = card_of(**options.pop("card", {}))
    return Session(card, options.pop("template", TEMPLATE), Letters(says, context), **options)


def talk(session: Session, *questions: str) -> list[str]:
    return ["".join(session.reply(question)) for question in questions]


def prompts(session: Session) -> list[str]:
    return [prompt.text for prompt, _ in session.engine.asked]


# -- what joins the conversation ---------------------------------------------------------------------------------------


def test_an_answer_joins_the_conversation_and_the_next_prompt() -> None:
    session = session_of(["He", "llo"])
    assert talk(session, "Hi", "And?") == ["Hello", "Hello"]
    assert prompts(session) == ["u:Hi;a:", "u:Hi;a:Hello;u:And?;a:"]
    assert [each.role for each in session.messages] == ["user", "assistant"] * 2


@pytest.mark.parametrize("says", [[" Hello", " you "], [" ", "\n", " Hello you "], ["Hello you "]])
def test_space_before_an_answer_is_no_part_of_it(says: list[str]) -> None:
    session = session_of(says)
    assert next(pieces := session.reply("Hi"))[0] == "H"
    assert all(pieces)
    assert session.last is not None
    assert session.messages[-1].content == session.last.text == "Hello you "
    assert len(session.last.ids) == len(says) + 1, "the tokens are recorded as they came"


def test_a_reply_holds_what_is_needed_to_ask_again() -> None:
    session = session_of(["He", "llo"], sampling={"seed": 5, "temperature": 0.5}, system="S ")
    talk(session, "Hi")
    reply = session.last
    assert reply is not None
    assert reply.messages == (Message("system", "S "), Message("user", "Hi"))
    assert (reply.text, reply.ids, reply.finish, reply.dropped) == ("Hello", [1, 2, 0], "stop", 0)
    assert reply.prompt_tokens == len("S u:Hi;a:")
    assert reply.sampling == Sampling(seed=5, temperature=0.5)
    assert reply.seconds >= reply.first_token_seconds > 0


def test_pieces_come_one_by_one() -> None:
    answer = session_of(["a", "", "b"]).reply("Hi")
    assert [next(answer), next(answer)] == ["a", "b"]
    assert next(answer, None) is None


def test_nothing_happens_before_the_first_piece_is_asked_for() -> None:
    session = session_of()
    answer = session.reply("Hi")
    assert session.engine.asked == []
    answer.close()
    assert session.messages == []


def test_a_cancelled_answer_is_kept_and_the_engine_stopped() -> None:
    session = session_of(["one ", "two ", "three"])
    answer = session.reply("Count")
    assert [next(answer), next(answer)] == ["one ", "two "]
    answer.close()
    assert session.engine.closed == 1
    assert session.messages == [Message("user", "Count"), Message("assistant", "one two ")]
    assert session.last is not None
    assert (session.last.finish, session.last.ids, session.last.text) == ("cancelled", [1, 2], "one two ")
    talk(session, "Go on")
    assert prompts(session)[1] == "u:Count;a:one two ;u:Go on;a:"


def test_an_answer_that_breaks_before_its_first_token_leaves_the_conversation_as_it_was() -> None:
    session = session_of()
    talk(session, "Hi")
    before = list(session.messages)

    def broken(prompt: Rendered, sampling: Sampling) -> Iterator[Piece]:
        raise KeyboardInterrupt
        yield

    session.engine.stream = broken
    with pytest.raises(KeyboardInterrupt):
        talk(session, "More")
    assert session.messages == before


def test_an_engine_may_give_any_iterator() -> None:
    session = session_of()
    session.engine.stream = lambda prompt, sampling: iter([Piece(text="x", ids=(1,)), Piece(ids=(2,), finish="stop")])
    assert talk(session, "Hi") == ["x"]


def test_a_stream_that_ends_without_a_finish_is_cancelled() -> None:
    session = session_of()
    session.engine.stream = lambda prompt, sampling: iter([Piece(text="x", ids=(1,))])
    talk(session, "Hi")
    assert session.last is not None
    assert session.last.finish == "cancelled"


def test_what_cannot_begin_has_no_answer() -> None:
    """Else the screen and the history would take the answer before for this one."""
    session = session_of(context=30)
    talk(session, "Hi")
    with pytest.raises(ContextOverflow):
        talk(session, "x" * 40)
    assert session.last is None
    assert len(session.messages) == 2


def test_undo_takes_back_a_question_and_its_answer() -> None:
    session = session_of()
    talk(session, "one", "two")
    assert session.undo() is True
    assert session.messages == [Message("user", "one"), Message("assistant", "ok")]
    assert session.undo() is True
    assert session.undo() is False
    assert session.messages == []


def test_again_answers_the_same_question_anew() -> None:
    session = session_of()
    talk(session, "one", "two")
    session.engine.says = ["other"]
    assert "".join(session.again()) == "other"
    assert prompts(session)[1] == prompts(session)[2]
    assert session.messages[2:] == [Message("user", "two"), Message("assistant", "other")]


def test_again_draws_a_new_seed_unless_one_was_chosen() -> None:
    session = session_of()
    talk(session, "one")
    for _ in range(5):
        "".join(session.again())
    seeds = [sampling.seed for _, sampling in session.engine.asked]
    assert len(set(seeds)) == 6
    session.set({"seed": 4})
    "".join(session.again())
    "".join(session.again())
    assert [sampling.seed for _, sampling in session.engine.asked[-2:]] == [4, 4]


def test_again_without_an_answer_is_said() -> None:
    with pytest.raises(UsageProblem, match="There is no answer yet"):
        session_of().again()


def test_a_cancelled_second_answer_takes_the_place_of_the_first() -> None:
    session = session_of(["one ", "two"])
    talk(session, "Hi")
    answer = session.again()
    next(answer)
    answer.close()
    assert session.messages == [Message("user", "Hi"), Message("assistant", "one ")]


@pytest.mark.parametrize(("system", "text"), [(None, "T "), ("S ", "S "), ("", "")], ids=["template's", "own", "none"])
def test_the_system_prompt_takes_the_place_of_the_template_s(system: str | None, text: str) -> None:
    session = session_of(template=msgspec.structs.replace(TEMPLATE, system="T "), system=system)
    talk(session, "Hi")
    assert prompts(session) == [f"{text}u:Hi;a:"]


def test_replay_takes_messages_and_sampling_as_they_were() -> None:
    session = session_of(sampling={"seed": 1})
    recorded = Sampling(seed=9, temperature=0.1, max_new_tokens=1)
    "".join(session.replay([Message("system", "S "), Message("user", "Hi")], recorded))
    assert session.engine.asked[0][0].text == "S u:Hi;a:"
    assert session.engine.asked[0][1] == recorded
    "".join(session.replay([Message("user", "Hi")], recorded))
    assert session.engine.asked[1][0].text == "u:Hi;a:", "the system prompt before is forgotten"


def test_turns_out_of_order_are_said() -> None:
    with pytest.raises(TemplateError, match="Turn 2 is said by 'user'"):
        "".join(session_of().replay([Message("user", "a"), Message("user", "b")], Sampling()))


# -- stop strings ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "says",
    [["Hi END more"], ["Hi E", "ND more"], ["Hi ", "E", "N", "D", " more"], ["Hi END"]],
    ids=["in one piece", "over two pieces", "letter by letter", "at the end"],
)
def test_a_stop_string_ends_the_answer_before_it(says: list[str]) -> None:
    session = session_of(says, sampling={"stop": ["END"]})
    assert talk(session, "?") == ["Hi "]
    assert session.messages[-1].content == "Hi "
    assert session.last is not None
    assert session.last.finish == "stop"
    assert session.engine.closed == 1


def test_the_engine_is_stopped_at_a_stop_string() -> None:
    session = session_of(["a", "END", "b", "c"], sampling={"stop": ["END"]})
    talk(session, "?")
    assert session.last is not None
    assert session.last.ids == [1, 2]


@pytest.mark.parametrize("most", [1, 9], ids=["cut by length", "ended by the model"])
def test_a_part_of_a_stop_string_at_the_end_is_shown(most: int) -> None:
    session = session_of(["Hi EN"], sampling={"stop": ["END"], "max_new_tokens": most})
    assert talk(session, "?") == ["Hi EN"]


def test_the_users_stop_strings_come_to_those_of_the_template() -> None:
    template = msgspec.structs.replace(TEMPLATE, stop=("!",))
    assert talk(session_of(["a!b?c"], template=template), "?") == ["a"]
    assert talk(session_of(["a?b!c"], template=template, sampling={"stop": ["?"]}), "?") == ["a"]


# -- the context -------------------------------------------------------------------------------------------------------


def test_a_prompt_that_fits_by_one_token_is_answered_with_one() -> None:
    """`u:12;a:` has 7 tokens; one is left for the answer."""
    session = session_of(["a", "b"], context=8)
    assert talk(session, "12") == ["a"]
    assert session.last is not None
    assert session.last.finish == "length"
    assert session.engine.asked[0][1].max_new_tokens == 1


def test_a_prompt_that_fills_the_context_is_an_error() -> None:
    session = session_of(context=8)
    with pytest.raises(ContextOverflow) as caught:
        talk(session, "123")
    assert str(caught.value) == "The prompt has 8 tokens, but 'tiny' takes 8 with its answer; shorten it."
    assert session.engine.asked == []


def test_a_conversation_that_outgrows_the_context_is_an_error_with_advice() -> None:
    session = session_of(context=20)
    talk(session, "1")
    with pytest.raises(ContextOverflow) as caught:
        talk(session, "0123456789")
    sentence = (
        "The prompt has 24 tokens, but 'tiny' takes 20 with its answer; start anew, or allow --overflow drop-oldest."
    )
    assert str(caught.value) == sentence
    assert len(session.messages) == 2


def test_large_numbers_are_readable() -> None:
    with pytest.raises(ContextOverflow, match="has 12,005 tokens, but 'tiny' takes 10,000 "):
        talk(session_of(context=10_000), "x" * 12_000)


def test_an_engine_that_knows_no_context_takes_everything() -> None:
    session = session_of(context=None, overflow="drop-oldest")
    talk(session, "x" * 10_000, "y")
    assert session.last is not None
    assert session.last.dropped == 0
    assert session.engine.asked[1][1].max_new_tokens == Sampling().max_new_tokens


def test_drop_oldest_drops_whole_turns_and_says_how_many() -> None:
    session = session_of(["ok"], context=40, overflow="drop-oldest", sampling={"max_new_tokens": 5})
    talk(session, "aaaaaaaa", "bbbbbbbb")
    assert session.last is not None
    assert session.last.dropped == 0
    talk(session, "cccccccc")
    assert session.last.dropped == 2
    assert prompts(session)[-1] == "u:bbbbbbbb;a:ok;u:cccccccc;a:"
    assert [each.content for each in session.messages] == ["bbbbbbbb", "ok", "cccccccc", "ok"]
    assert session.last.messages == (
        Message("user", "bbbbbbbb"),
        Message("assistant", "ok"),
        Message("user", "cccccccc"),
    )


def test_drop_oldest_drops_as_many_as_it_takes_and_keeps_the_system_prompt() -> None:
    session = session_of(["ok"], context=60, overflow="drop-oldest", system="S ", sampling={"max_new_tokens": 5})
    talk(session, "1111", "2222", "3333", "x" * 40)
    assert session.last is not None
    assert session.last.dropped == 6
    assert prompts(session)[-1] == f"S u:{'x' * 40};a:"


def test_drop_oldest_leaves_a_quarter_of_the_context_for_the_answer() -> None:
    """17 tokens of old turns and 17 of new ones leave 6 of 40, less than the 10 that an answer is to have."""
    session = session_of(["ok"], context=40, overflow="drop-oldest", sampling={"max_new_tokens": 512})
    talk(session, "aaaaaaaaaa", "bbbbbbbbbb")
    assert session.last is not None
    assert (session.last.dropped, session.engine.asked[-1][1].max_new_tokens) == (2, 25)


def test_drop_oldest_never_drops_the_question_itself() -> None:
    session = session_of(context=20, overflow="drop-oldest")
    talk(session, "1")
    with pytest.raises(ContextOverflow, match="shorten it"):
        talk(session, "x" * 30)
    assert len(session.messages) == 2, "a question that fits nowhere drops nothing"


# -- sampling ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("card", "user", "temperature"),
    [
        ({}, {}, 0.7),
        ({"temperature": 0.3}, {}, 0.3),
        ({"temperature": 0.3}, {"temperature": 0.9}, 0.9),
        ({"temperature": 0.0}, {}, 0.0),
        ({"temperature": 0.3}, {"temperature": 0}, 0.0),
        ({"temperature": 0.3}, {"temperature": None}, 0.3),
        ({"top_k": 4}, {"temperature": "0.5"}, 0.5),
    ],
    ids=["default", "card", "user over card", "card's 0", "user's 0", "user's none", "as typed"],
)
def test_the_user_s_sampling_wins_then_the_card_s_then_the_default(
    card: dict[str, Any], user: dict[str, Any], temperature: float
) -> None:
    assert session_of(card={"generation": card}, sampling=user).sampling.temperature == temperature


def test_options_of_all_three_are_mixed_one_by_one() -> None:
    card = {"generation": {"temperature": 0.3, "top_p": 0.5, "max_new_tokens": 7}}
    session = session_of(card=card, sampling={"top_p": 0.9, "seed": 3})
    assert session.sampling == Sampling(temperature=0.3, top_p=0.9, max_new_tokens=7, seed=3)


def test_set_changes_and_none_brings_the_card_s_back() -> None:
    session = session_of(card={"generation": {"temperature": 0.3}})
    session.set({"temperature": "0.5", "seed": 4})
    session.set({"top_k": 2})
    assert (session.sampling.temperature, session.sampling.top_k, session.seed) == (0.5, 2, 4)
    session.set({"temperature": None, "seed": None})
    assert (session.sampling.temperature, session.sampling.top_k, session.seed) == (0.3, 2, None)


WRONG = {
    "unknown": ({"temprature": 1}, "There is no sampling option 'temprature'. Known: temperature, top_p"),
    "no number": ({"temperature": "hot"}, "The sampling options cannot be used"),
    "too hot": ({"temperature": 11}, "The option temperature is 11.0, but must lie between 0 and 10."),
    "too cold": ({"temperature": -0.1}, "The option temperature is -0.1, but must lie between 0 and 10."),
    "not a number": ({"temperature": "nan"}, "The option temperature is nan"),
    "infinite": ({"temperature": "inf"}, "The option temperature is inf"),
    "top_p above 1": ({"top_p": 1.1}, "The option top_p is 1.1, but must lie between 0 and 1."),
    "negative top_k": ({"top_k": -1}, "The option top_k is -1"),
    "half a token": ({"top_k": 1.5}, "The sampling options cannot be used"),
    "no token": ({"max_new_tokens": 0}, "The option max_new_tokens is 0, but must lie between 1"),
    "no penalty": ({"repetition_penalty": 0}, "The option repetition_penalty is 0.0"),
    "negative seed": ({"seed": -1}, "The option seed is -1, but must lie between 0 and 9223372036854775807."),
    "too large a seed": ({"seed": 2**63}, "seed"),
    "a stop that is no text": ({"stop": ["\udcff"]}, "A stop string holds a character that is no Unicode text."),
    "a stop that is no list": ({"stop": "END"}, "The sampling options cannot be used"),
}


@pytest.mark.parametrize(("options", "sentence"), WRONG.values(), ids=WRONG)
def test_wrong_sampling_options_are_said_and_change_nothing(options: dict[str, Any], sentence: str) -> None:
    session = session_of(sampling={"temperature": 0.5})
    with pytest.raises(UsageProblem) as caught:
        session.set(options)
    assert sentence in str(caught.value)
    assert session.sampling.temperature == 0.5
    with pytest.raises(UsageProblem):
        session_of(sampling=options)


# -- opening -----------------------------------------------------------------------------------------------------------


@hookimpl
def _families() -> list[Offer]:
    return [Offer(name="letters", target="builtins:object")]


@hookimpl
def _templates() -> list[Template]:
    return [TEMPLATE]


@pytest.fixture
def letters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Make a zoo that knows one card, whose engines come from `engines.py`; what the engine was asked is kept there."""
    (tmp_path / "engines.py").write_text(
        "requests = []\n"
        "class Engine:\n"
        "    name, facts, context_length = 'letters', {}, None\n"
        "    def __init__(self, request): requests.append(request)\n"
    )
    (tmp_path / "lacking.py").write_text("import a_library_that_nobody_has\n")
    (tmp_path / "halfway.py").write_text("from json import a_name_that_is_not_there\n")
    monkeypatch.syspath_prepend(tmp_path)

    @hookimpl
    def zoo_engines() -> list[Offer]:
        return [
            Offer(name="letters", target="engines:Engine"),
            Offer(name="lacking", target="lacking:Engine", extra="chat"),
            Offer(name="halfway", target="halfway:Engine", distribution="zoo-halfway"),
            Offer(name="nowhere", target="no_such_module:Engine"),
            Offer(name="empty", target="engines:Nothing"),
        ]

    plugin = SimpleNamespace(
        zoo_engines=zoo_engines, zoo_model_families=_families, zoo_conversation_templates=_templates
    )

    def make(**fields: Any) -> Zoo:
        path = tmp_path / "tiny.yaml"
        data = {"schema": "zoo.card/v1", "id": "tiny", "family": "letters", "summary": "A test's model"}
        data |= {"sources": [{"hub": "folder", "path": "."}], "template": {"name": "letters"}}
        data |= {"runtime": {"engine": "letters"}}
        path.write_bytes(msgspec.json.encode(data | fields))
        return Zoo(plugins=Plugins([], modules={"test": plugin}), card_files=[path])

    yield make
    for name in ("engines", "lacking", "halfway"):
        sys.modules.pop(name, None)


def test_a_session_joins_card_weights_family_template_and_engine(letters: Any, tmp_path: Path) -> None:
    session = open_session(letters(), "tiny", device="cpu", dtype="float32", system="S", overflow="drop-oldest")
    (request,) = sys.modules["engines"].requests
    assert (request.card.id, request.folder, request.device, request.dtype) == ("tiny", tmp_path, "cpu", "float32")
    assert type(request.family) is object
    assert request.template == session.template == TEMPLATE
    assert (session.system, session.overflow) == ("S", "drop-oldest")


DELTA = {"base": {"name": "LLaMA-7b"}, "relation": "delta"}
REFUSED = {
    "remote code": (
        {"runtime": {"remote_code": True, "engine": "letters"}},
        "'tiny' runs code of its own, 3 Python files in",
    ),
    "delta": ({"lineage": DELTA}, "'tiny' is published as a delta over LLaMA-7b, without which it gives gibberish"),
    "adapter": (
        {"lineage": {"base": {"repo": "a/b"}, "relation": "adapter"}},
        "'tiny' is published as an adapter over a/b, without which it gives gibberish",
    ),
    "pickle": ({"format": "pickle"}, "'tiny' is published as pickled weights, which can run code when they are read"),
    "gguf": ({"format": "gguf"}, "'tiny' has the format 'gguf', which the engine 'letters' does not load."),
    "API": ({"format": "api"}, "'tiny' has the format 'api', which the engine 'letters' does not load."),
}


@pytest.mark.parametrize(("fields", "sentence"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_or_must_not_be_run_is_refused(letters: Any, fields: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ZooError) as caught:
        open_session(letters(**fields), "tiny")
    assert sentence in str(caught.value)
    assert "engines" not in sys.modules, "no engine is imported for it"


def test_a_family_that_no_plugin_brings_is_told_before_weights_are_asked_for(letters: Any) -> None:
    sources = [{"hub": "huggingface", "repo": "a/b"}]
    with pytest.raises(NotFound, match="model family"):
        open_session(letters(family="unknown", sources=sources), "tiny")
    with pytest.raises(WeightsError, match="zoo pull tiny"):
        open_session(letters(sources=sources), "tiny")


UNKNOWN: dict[str, tuple[dict[str, Any], dict[str, Any], type[ZooError], str]] = {
    "family": (
        {"family": "leters"},
        {},
        NotFound,
        "No installed plugin brings the model family 'leters'. Did you mean",
    ),
    "card's template": (
        {"template": {"name": "leters"}},
        {},
        NotFound,
        "brings the template 'leters'. Did you mean let",
    ),
    "named template": ({}, {"template": "nope"}, NotFound, "brings the template 'nope'. Known: letters."),
    "no template": ({"template": None}, {}, NotFound, "names no conversation template. Choose one with --template"),
    "card's engine": ({"runtime": {"engine": "vllm"}}, {}, NotFound, "No installed plugin brings the engine 'vllm'."),
    "named engine": ({}, {"engine": "letter"}, NotFound, "the engine 'letter'. Did you mean letters"),
    "model": ({}, {"reference": "tinny"}, NotFound, "No model is called 'tinny'. Did you mean tiny?"),
    "version": ({}, {"reference": "tiny@2.0.0"}, NotFound, "The card of 'tiny' has version 1.0.0, not 2.0.0."),
    "weights": (
        {},
        {"weights": Path("nowhere")},
        WeightsError,
        "There is no folder nowhere with the weights of 'tiny'.",
    ),
    "source": ({"sources": []}, {}, WeightsError, "names no source of weights; name a folder with --model-path."),
    "extra": ({}, {"engine": "lacking"}, MissingDependency, "Install it with: pip install 'llm-zoo[chat]'"),
    "library": (
        {},
        {"engine": "lacking"},
        MissingDependency,
        "'lacking' needs the package 'a_library_that_nobody_has'.",
    ),
    "half a library": ({}, {"engine": "halfway"}, MissingDependency, "Install it with: pip install zoo-halfway"),
    "module": ({}, {"engine": "nowhere"}, ZooError, "points at 'no_such_module:Engine', which cannot be loaded"),
    "attribute": ({}, {"engine": "empty"}, ZooError, "points at 'engines:Nothing', which cannot be loaded"),
    "sampling": ({}, {"sampling": {"temperature": 99}}, UsageProblem, "The option temperature is 99.0"),
}


@pytest.mark.parametrize(("fields", "options", "kind", "sentence"), UNKNOWN.values(), ids=UNKNOWN)
def test_whatever_is_missing_is_named(
    letters: Any, fields: dict[str, Any], options: dict[str, Any], kind: type[ZooError], sentence: str
) -> None:
    with pytest.raises(kind) as caught:
        open_session(letters(**fields), **{"reference": "tiny"} | options)
    assert sentence in str(caught.value)


def test_a_template_that_the_user_names_wins_over_the_card_s(letters: Any) -> None:
    card = {"template": {"text": "{{ messages[0].content }}", "system": "S"}}
    assert open_session(letters(**card), "tiny").template.name == "tiny"
    assert open_session(letters(**card), "tiny", template="letters").template == TEMPLATE


def test_a_model_named_by_the_path_of_its_card(letters: Any, tmp_path: Path) -> None:
    zoo = letters()
    assert open_session(zoo, str(tmp_path / "tiny.yaml")).card.id == "tiny"
    (tmp_path / "zoo.yaml").write_bytes((tmp_path / "tiny.yaml").read_bytes())
    assert open_session(zoo, str(tmp_path)).card.id == "tiny"


def test_without_any_engine_nothing_runs(zoo_folders: Path) -> None:
    from zoo_core.engines import engine_for

    with pytest.raises(NotFound, match="No installed plugin brings an engine"):
        engine_for(Zoo(plugins=Plugins([])), card_of())


@pytest.mark.parametrize(
    ("supports", "format_", "runs"),
    [
        ({}, "safetensors", True),
        ({}, "gguf", False),
        ({"format": ["gguf"]}, "gguf", True),
        ({"format": ["gguf"]}, "safetensors", False),
        ({}, "pickle", False),
    ],
)
def test_an_engine_is_given_only_the_formats_that_it_names(
    supports: dict[str, list[str]], format_: str, runs: bool, zoo_folders: Path
) -> None:
    from zoo_core.engines import engine_for

    plugin = SimpleNamespace(
        zoo_engines=hookimpl(lambda: [Offer(name="one", target="x:y", supports=supports)], specname="zoo_engines")
    )
    zoo = Zoo(plugins=Plugins([], modules={"mine": plugin}))
    if runs:
        assert engine_for(zoo, card_of(format=format_)).name == "one"
    else:
        with pytest.raises(UsageProblem, match=r"which no installed engine loads|is published as pickled weights"):
            engine_for(zoo, card_of(format=format_))
