"""The interactive chat: every slash command, and one conversation on a real terminal."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from zoo_core import Message, ModelCard, Piece, Rendered, Sampling, Template
from zoo_core.errors import NotFound
from zoo_core.history import History
from zoo_core.recording import Recorder
from zoo_core.repl import loop
from zoo_core.repl.chat import SLASH_COMMANDS, Chat
from zoo_core.session import Session

CARD = ModelCard(schema="zoo.card/v1", id="echo", family="none", summary="Says what it is told")
TEMPLATE = Template(name="plain", text="{{ system }}{% for m in messages %}{{ m.content }}|{% endfor %}", system="T ")


class Echo:
    """An engine that says `says`, a token for every word; it may be interrupted after some of them."""

    name, facts = "echo", {"device": "none"}

    def __init__(self, says: str = "Yes I am.", context: int | None = None) -> None:
        self.says, self.context_length, self.interrupt_after, self.is_closed = says, context, None, False

    def encode(self, prompt: Rendered) -> list[int]:
        return [ord(sign) for sign in prompt.text]

    def stream(self, prompt: Rendered, sampling: Sampling) -> Iterator[Piece]:
        for number, word in enumerate(self.says.split(" ")):
            if number == self.interrupt_after:
                raise KeyboardInterrupt
            yield Piece(text=word if number == 0 else f" {word}", ids=(number,))
        yield Piece(finish="stop")

    def close(self) -> None:
        self.is_closed = True


class Screen:
    """A chat and what it has shown."""

    def __init__(self, chat: Chat, capsys: pytest.CaptureFixture[str]) -> None:
        self.chat, self._capsys = chat, capsys

    def say(self, *lines: str) -> tuple[str, str]:
        """Say lines; what then stands on stdout and stderr."""
        self._capsys.readouterr()
        for line in lines:
            self.chat.say(line)
        return tuple(self._capsys.readouterr())

    @property
    def session(self) -> Session:
        return self.chat.session

    def contents(self) -> list[str]:
        return [each.content for each in self.session.messages]


@pytest.fixture
def screen(capsys: pytest.CaptureFixture[str]) -> Screen:
    """A chat with `echo`, whose `/model` knows `other` alone."""

    def reopen(name: str) -> Session:
        if name != "other":
            raise NotFound(f"No model is called '{name}'.")
        card = msgspec.structs.replace(CARD, id="other", summary="Another one")
        return Session(card, TEMPLATE, Echo("No."))

    recorder = Recorder(enabled=True, warn=pytest.fail)
    chat = Chat(Session(CARD, TEMPLATE, Echo()), "echo", recorder=recorder, style="simple", reopen=reopen)
    return Screen(chat, capsys)


def recorded() -> list[tuple[str, str]]:
    """Conversation and answer of every record."""
    history = History()
    records = [(each.conversation, each.reply) for each in history.export()]
    history.close()
    return records


# -- talking -----------------------------------------------------------------------------------------------------------


def test_what_is_no_command_is_said_to_the_model_and_recorded(screen: Screen) -> None:
    assert screen.say("Are you there?") == ("Yes I am.\n", "")
    assert screen.contents() == ["Are you there?", "Yes I am."]
    assert recorded() == [(screen.chat.recorder.conversation, "Yes I am.")]


@pytest.mark.parametrize("text", ["", "   ", "\t", "\n"], ids=["nothing", "spaces", "a tab", "a line"])
def test_nothing_is_not_said(screen: Screen, text: str) -> None:
    assert screen.say(text) == ("", "")
    assert screen.session.messages == []


def test_a_slash_inside_is_no_command(screen: Screen) -> None:
    screen.say(" /help")
    screen.say("1/2")
    assert screen.contents()[::2] == [" /help", "1/2"]


def test_an_error_is_shown_and_ends_nothing(screen: Screen) -> None:
    screen.session.engine.context_length = 20
    out, err = screen.say("x" * 30)
    assert out == ""
    assert err == "Error: The prompt has 33 tokens, but 'echo' takes 20 with its answer; shorten it.\n"
    assert screen.say("Hi") == ("Yes I am.\n", "")
    assert len(recorded()) == 1


def test_ctrl_c_stops_the_answer_and_keeps_what_was_said(screen: Screen) -> None:
    screen.session.engine.interrupt_after = 2
    assert screen.say("Are you there?") == ("Yes I", "\n(stopped)\n")
    assert screen.contents() == ["Are you there?", "Yes I"]
    assert screen.chat.open
    assert [reply for _, reply in recorded()] == ["Yes I"]


def test_ctrl_c_before_the_first_word_leaves_the_conversation_as_it_was(screen: Screen) -> None:
    screen.say("Hi")
    screen.session.engine.interrupt_after = 0
    assert screen.say("More") == ("", "\n(stopped)\n")
    assert screen.contents() == ["Hi", "Yes I am."]


def test_ctrl_c_while_the_prompt_is_read_records_nothing_twice(screen: Screen, monkeypatch: pytest.MonkeyPatch) -> None:
    screen.say("Hi")

    def interrupted(prompt: Rendered) -> list[int]:
        raise KeyboardInterrupt

    monkeypatch.setattr(screen.session.engine, "encode", interrupted)
    screen.say("More")
    assert len(recorded()) == 1


def test_dropped_messages_and_a_full_context_are_said(screen: Screen) -> None:
    screen.session.overflow = "drop-oldest"
    screen.session.set({"max_new_tokens": 5})
    screen.session.engine.context_length = 40
    screen.say("aaaaaaaaaa", "bbbbbb")
    out, err = screen.say("cccccccccc")
    assert out == "Yes I am.\n"
    assert err == "(2 of the oldest messages were dropped to fit the context)\n"


def test_rich_shows_markdown(screen: Screen) -> None:
    screen.chat.style = "rich"
    screen.session.engine.says = "**Yes** I _am_."
    out, _ = screen.say("Are you there?")
    assert "Yes I am." in out
    assert "**" not in out
    assert screen.contents()[1] == "**Yes** I _am_."


# -- commands ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("/hlep", "There is no command /hlep. Did you mean /help? See /help"),
        ("/", "There is no command /. See /help"),
        ("/usr/bin", "There is no command /usr/bin. See /help"),
        ("/HELP", "There is no command /HELP. Did you mean /help? See /help"),
    ],
    ids=["misspelt", "only a slash", "a path", "upper case"],
)
def test_an_unknown_command_is_said(screen: Screen, line: str, sentence: str) -> None:
    assert screen.say(line) == ("", f"Error: {sentence}\n")
    assert screen.session.messages == []


def test_help_shows_every_command_with_its_line(screen: Screen) -> None:
    out, _ = screen.say("/help")
    for word, (_, usage, summary) in SLASH_COMMANDS.items():
        assert summary
        assert any(line.startswith(f"  {word}{usage} ") and line.endswith(summary) for line in out.splitlines())
    assert '"""' in out


def test_reset_forgets_and_begins_another_record(screen: Screen) -> None:
    screen.say("Hi")
    assert screen.say("/reset") == ("(a new conversation)\n", "")
    screen.say("Hello")
    assert screen.contents() == ["Hello", "Yes I am."]
    (first, _), (second, _) = recorded()
    assert first != second


def test_regen_answers_again(screen: Screen) -> None:
    screen.say("Hi")
    screen.session.engine.says = "Never mind."
    assert screen.say("/regen") == ("Never mind.\n", "")
    assert screen.contents() == ["Hi", "Never mind."]
    assert [reply for _, reply in recorded()] == ["Yes I am.", "Never mind."]


def test_regen_without_an_answer_is_said(screen: Screen) -> None:
    assert screen.say("/regen") == ("", "Error: There is no answer yet that could be given again.\n")
    assert recorded() == []


def test_undo_takes_back_until_nothing_is_left(screen: Screen) -> None:
    screen.say("one", "two")
    assert screen.say("/undo") == ("(taken back)\n", "")
    assert screen.contents() == ["one", "Yes I am."]
    assert screen.say("/undo", "/undo") == ("(taken back)\n(there is nothing to take back)\n", "")


def test_system_shows_sets_and_brings_back(screen: Screen) -> None:
    assert screen.say("/system") == ("T \n", "")
    assert screen.say("/system Be kind.") == ("Be kind.\n", "")
    screen.say("Hi")
    assert screen.session.last is not None
    assert screen.session.last.messages[0] == Message("system", "Be kind.")
    assert screen.say("/system -") == ("T \n", "")
    assert screen.session.system is None
    screen.session.template = msgspec.structs.replace(TEMPLATE, system="")
    assert screen.say("/system") == ("(no system prompt)\n", "")


@pytest.mark.parametrize(
    ("line", "name", "value"),
    [
        ("/set temperature 0.2", "temperature", 0.2),
        ("/set  top_k   7 ", "top_k", 7),
        ("/set seed 9", "seed", 9),
        ("/set stop The End", "stop", ("The End",)),
    ],
    ids=["a number", "spaces", "seed", "stop with a space"],
)
def test_set_sets_and_minus_brings_back(screen: Screen, line: str, name: str, value: Any) -> None:
    before = getattr(screen.session.sampling, name)
    out, err = screen.say(line)
    assert err == ""
    assert getattr(screen.session.sampling, name) == value
    assert f"  {name:<20}{value}\n" in out
    screen.say(f"/set {name} -")
    if name == "seed":
        assert screen.session.seed is None
    else:
        assert getattr(screen.session.sampling, name) == before


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("/set", "Write /set NAME VALUE, for example: /set temperature 0.2"),
        ("/set temperature", "Write /set NAME VALUE"),
        ("/set temprature 1", "There is no option 'temprature'. Known: temperature, top_p"),
        ("/set temperature hot", "The sampling options cannot be used"),
        ("/set temperature 99", "The option temperature is 99.0, but must lie between 0 and 10."),
        ("/set max_new_tokens 0", "The option max_new_tokens is 0"),
        ("/set top_k 1.5", "The sampling options cannot be used"),
    ],
    ids=["nothing", "no value", "no such option", "no number", "too much", "too little", "half a token"],
)
def test_a_wrong_set_is_said_and_changes_nothing(screen: Screen, line: str, sentence: str) -> None:
    screen.session.set({"seed": 1})
    before = screen.session.sampling
    out, err = screen.say(line)
    assert out == ""
    assert err.startswith("Error: ")
    assert sentence in err
    assert screen.session.sampling == before


def test_params_shows_all_options(screen: Screen) -> None:
    out, _ = screen.say("/params")
    assert [line.split()[0] for line in out.splitlines()] == list(Sampling.__struct_fields__)
    assert "  seed                drawn anew for every answer\n" in out
    screen.say("/set seed 4")
    assert "  seed                4\n" in screen.say("/params")[0]


def test_save_and_load_bring_a_conversation_back(screen: Screen, tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "talk one.json"
    screen.say("/system Be kind.", '凤凰 "?" 🐦')
    assert screen.say(f"/save {path}") == (f"(saved to {path})\n", "")
    saved = json.loads(path.read_text(encoding="utf-8"))
    assert saved == {
        "schema": "zoo.conversation/v1",
        "model": "echo",
        "system": "Be kind.",
        "messages": [
            {"role": "user", "content": '凤凰 "?" 🐦'},
            {"role": "assistant", "content": "Yes I am."},
        ],
    }
    messages, conversation = list(screen.session.messages), screen.chat.recorder.conversation
    screen.say("/reset", "/system -", "Other", f"/load {path}")
    assert (screen.session.messages, screen.session.system) == (messages, "Be kind.")
    screen.say("Go on")
    assert screen.contents()[2:] == ["Go on", "Yes I am."]
    assert screen.chat.recorder.conversation != conversation, "what follows is a record of its own"


def test_load_tells_how_it_ended(screen: Screen, tmp_path: Path) -> None:
    screen.say("Hi", f"/save {tmp_path}/talk.json")
    assert screen.say(f"/load {tmp_path}/talk.json") == ('(2 messages; the last answer: "Yes I am.")\n', "")
    screen.say("/reset", f"/save {tmp_path}/empty.json")
    assert screen.say(f"/load {tmp_path}/empty.json") == ('(0 messages; the last answer: "")\n', "")


def test_save_knows_the_home_folder(screen: Screen, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    screen.say("Hi", "/save ~/talk.json")
    assert (tmp_path / "talk.json").exists()
    assert screen.say("/load ~/talk.json")[1] == ""


def test_save_over_an_older_file_replaces_it(screen: Screen, tmp_path: Path) -> None:
    screen.say("Hi", f"/save {tmp_path}/talk.json", "More", f"/save {tmp_path}/talk.json")
    assert len(json.loads((tmp_path / "talk.json").read_text())["messages"]) == 4
    assert [each.name for each in tmp_path.glob("*talk*")] == ["talk.json"]


def test_save_where_nothing_can_be_saved_is_said(
    screen: Screen, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("a file")
    assert screen.say("/save") == ("", "Error: Write /save FILE\n")
    for target in (tmp_path, tmp_path / "file" / "talk.json"):
        out, err = screen.say(f"/save {target}")
        assert out == ""
        assert err.startswith(f"Error: The conversation was not saved to {target}: ")
    assert (tmp_path / "file").read_text() == "a file"
    monkeypatch.chdir(tmp_path)
    screen.say("/save ~nobody-here.json")
    assert (tmp_path / "~nobody-here.json").exists(), "a name that is no user's is a file's"


GOOD = {"schema": "zoo.conversation/v1", "model": "echo", "messages": []}
USER, ASSISTANT = {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}
BAD_FILES: dict[str, bytes] = {
    "empty": b"",
    "no JSON": b"{",
    "no UTF-8": b'{"model": "\xff", "messages": []}',
    "half a character": b'{"model": "echo", "messages": [{"role": "user", "content": "\\ud800"}]}',
    "a list": b"[]",
    "no model": b'{"messages": []}',
    "an unknown field": json.dumps(GOOD | {"temperature": 1}).encode(),
    "an unknown role": json.dumps(GOOD | {"messages": [{"role": "king", "content": ""}]}).encode(),
    "no text": json.dumps(GOOD | {"messages": [{"role": "user", "content": 1}]}).encode(),
    "a question without an answer": json.dumps(GOOD | {"messages": [USER]}).encode(),
    "an answer first": json.dumps(GOOD | {"messages": [ASSISTANT, USER]}).encode(),
    "two questions": json.dumps(GOOD | {"messages": [USER, USER]}).encode(),
    "a system message": json.dumps(GOOD | {"messages": [{"role": "system", "content": "a"}, USER]}).encode(),
}


@pytest.mark.parametrize("content", BAD_FILES.values(), ids=BAD_FILES)
def test_a_file_that_is_no_conversation_is_said_and_changes_nothing(
    screen: Screen, tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "talk.json"
    path.write_bytes(content)
    screen.say("Hi")
    before, conversation = list(screen.session.messages), screen.chat.recorder.conversation
    out, err = screen.say(f"/load {path}")
    assert out == ""
    assert err.startswith(f"Error: The file {path} holds no conversation: ")
    assert err.count("\n") == 1
    assert (screen.session.messages, screen.chat.recorder.conversation) == (before, conversation)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("", "Write /load FILE"),
        ("none.json", "No such file"),
        (".", "cannot be read: "),
        ("~nobody-here", "No such file"),
    ],
    ids=["nothing", "missing", "a folder", "nobody's home"],
)
def test_a_file_that_cannot_be_read_is_said(
    screen: Screen, name: str, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    out, err = screen.say(f"/load {name}")
    assert out == ""
    assert err.startswith("Error: ")
    assert sentence in err


def test_model_shows_or_changes_the_model_and_keeps_the_conversation(screen: Screen) -> None:
    assert screen.say("/model") == ("echo: Says what it is told\n", "")
    screen.say("/system Be kind.", "Hi")
    before = screen.session.engine
    assert screen.say("/model other") == ("other: Another one\n", "")
    assert before.is_closed
    assert screen.say("And you?") == ("No.\n", "")
    assert screen.contents() == ["Hi", "Yes I am.", "And you?", "No."]
    assert screen.session.system == "Be kind."
    history = History()
    assert [(each.model, each.reference) for each in history.export()] == [("echo", "echo"), ("other", "other")]
    assert len({each.conversation for each in history.export()}) == 1
    history.close()


def test_a_model_that_is_none_leaves_the_old_one(screen: Screen) -> None:
    screen.say("Hi")
    assert screen.say("/model ohter") == ("", "Error: No model is called 'ohter'.\n")
    assert not screen.session.engine.is_closed
    assert screen.say("More")[0] == "Yes I am.\n"


def test_explain_shows_the_next_prompt_and_says_nothing(screen: Screen) -> None:
    screen.say("Hi")
    out, err = screen.say("/explain And you?")
    assert err == ""
    assert "T Hi|Yes I am.|And you?|\n" in out
    assert "drawn anew for every answer" in out
    assert "T Hi|Yes I am.|Hello!|\n" in screen.say("/explain")[0]
    assert screen.contents() == ["Hi", "Yes I am."]
    screen.session.engine.context_length = 5
    assert "Error: The prompt has " in screen.say("/explain")[1]


@pytest.mark.parametrize("line", ["/exit", "/exit now"])
def test_exit_leaves(screen: Screen, line: str) -> None:
    assert screen.chat.open
    assert screen.say(line) == ("", "")
    assert not screen.chat.open


# -- reading lines -----------------------------------------------------------------------------------------------------


def read(*lines: str) -> tuple[str, list[str]]:
    """What the lines that somebody types make, and the prompts that they saw."""
    typed, prompts = iter(lines), []

    def prompt(text: str) -> str:
        prompts.append(text)
        return next(typed)

    return loop._read(SimpleNamespace(prompt=prompt)), prompts


@pytest.mark.parametrize(
    ("lines", "text"),
    [
        (["Hello"], "Hello"),
        (['say """ to me'], 'say """ to me'),
        (['"""', "one", "", "  two", '"""'], "one\n\n  two"),
        (['"""one', 'two"""'], "one\ntwo"),
        (['"""one"""'], "one"),
        (['"""one"""  '], "one"),
        (['"""', 'say "hello"', '"""'], 'say "hello"'),
        (['"""', '"""'], ""),
        (["h\udce9llo"], "h\ufffdllo"),
        (['"""h\udce9', '"""'], "h\ufffd"),
    ],
    ids=[
        "one line",
        "quotes inside",
        "lines",
        "ends on the lines",
        "one line in quotes",
        "spaces after",
        "single quotes inside",
        "nothing",
        "Latin-1",
        "Latin-1 in lines",
    ],
)
def test_quotes_make_a_message_of_several_lines(lines: list[str], text: str) -> None:
    said, prompts = read(*lines)
    assert said == text
    assert prompts == ["> ", *[". "] * (len(lines) - 1)]


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Callable[[list[Any]], None]:
    """Type lines, and raise what is no line, where a terminal would be read."""

    def type_(lines: list[Any]) -> None:
        typed = iter(lines)

        def prompt(text: str) -> str:
            line = next(typed)
            if isinstance(line, str):
                return line
            raise line

        monkeypatch.setattr(loop, "_reader", lambda remember: SimpleNamespace(prompt=prompt))

    return type_


@pytest.mark.parametrize("end", [[EOFError()], ["/exit", "not read"]], ids=["Ctrl-D", "/exit"])
def test_the_loop_ends_with_ctrl_d_and_exit(
    screen: Screen, terminal: Callable[[list[Any]], None], end: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    terminal(["Hi", KeyboardInterrupt(), '"""', KeyboardInterrupt(), "More", *end])
    loop.run(screen.chat, remember=True)
    assert screen.contents()[::2] == ["Hi", "More"]
    out = capsys.readouterr().out
    assert out.startswith("echo: Says what it is told\n/help shows the commands, Ctrl-D leaves.\n")
    assert out.count("(Ctrl-D or /exit leaves)\n") == 2


def test_without_prompt_toolkit_its_extra_is_named(screen: Screen, monkeypatch: pytest.MonkeyPatch) -> None:
    from zoo_core.errors import MissingDependency

    monkeypatch.setitem(sys.modules, "prompt_toolkit", None)
    with pytest.raises(MissingDependency, match=r"pip install 'llm-zoo\[chat\]'"):
        loop.run(screen.chat, remember=True)


# -- on a terminal -----------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")  # pexpect forks
def test_a_conversation_on_a_real_terminal(zoo_folders: Path) -> None:
    pexpect = pytest.importorskip("pexpect")
    terminal = pexpect.spawn(
        sys.executable,
        ["-c", "from zoo_core.cli import main; main()", "chat", "hatchling"],
        env=os.environ | {"TERM": "xterm", "PROMPT_TOOLKIT_NO_CPR": "1"},
        encoding="utf-8",
        timeout=60,
        dimensions=(40, 120),
    )
    prompt, more = r"m>", r"m\."  # each after an escape sequence; the space is drawn by moving the cursor
    terminal.expect("Ctrl-D leaves")
    terminal.expect(prompt)
    terminal.send("What is the phoenix?\r")
    terminal.expect("BLOOMZ")
    terminal.expect(prompt)
    terminal.sendintr()
    terminal.expect(r"\(Ctrl-D or /exit leaves\)")
    terminal.expect(prompt)
    terminal.send('"""What is\r')
    terminal.expect(more)
    terminal.send('the phoenix?"""\r')
    terminal.expect("[a-z]{3}")
    terminal.expect(prompt)
    terminal.send("/params\r")
    terminal.expect("drawn anew for every answer")
    terminal.send("/exit\r")
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert terminal.exitstatus == 0
    history = History()
    asked = [each.messages[-1].content for each in history.export()]
    history.close()
    assert asked == ["What is the phoenix?", "What is\nthe phoenix?"]
    assert "What is the phoenix?" in (zoo_folders / "data" / "typed").read_text(encoding="utf-8")
