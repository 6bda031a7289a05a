"""Recorded conversations: what is kept, how it is found again, and what happens to a history that cannot be used."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from click.testing import Result

from zoo_core import Message, ModelCard, Piece, Rendered, Sampling, Template
from zoo_core.errors import HistoryError, NotFound
from zoo_core.history import History, new_conversation, template_digest
from zoo_core.recording import Recorder
from zoo_core.session import Session

CARD = ModelCard(schema="zoo.card/v1", id="echo", family="none", summary="Says what it is told")
TEMPLATE = Template(name="plain", text="{{ system }}{% for each in messages %}{{ each.content }}|{% endfor %}")


class Echo:
    """An engine that says `says`, a token for every character."""

    name, facts, context_length, says = "echo", {"device": "none", "version": "1"}, None, "Yes."

    def encode(self, prompt: Rendered) -> list[int]:
        return [ord(sign) for sign in prompt.text]

    def stream(self, prompt: Rendered, sampling: Sampling) -> Iterator[Piece]:
        yield from (Piece(text=sign, ids=(ord(sign),)) for sign in self.says)
        yield Piece(ids=(0,), finish="stop")

    def close(self) -> None:
        pass


@pytest.fixture
def history() -> Iterator[History]:
    opened = History()
    yield opened
    opened.close()


@pytest.fixture
def path(zoo_folders: Path) -> Path:
    """Where the history is kept."""
    return zoo_folders / "data" / "history.db"


def say(text: str, answer: str = "Yes.", *, session: Session | None = None, system: str | None = None) -> Session:
    """A session that has just answered."""
    session = session or Session(CARD, TEMPLATE, Echo(), sampling={"seed": 3, "temperature": 0.5}, system=system)
    session.engine.says = answer
    "".join(session.reply(text))
    return session


def titles(history: History, search: str = "") -> list[str]:
    return [each.title for each in history.conversations(search=search)]


# -- what is kept ------------------------------------------------------------------------------------------------------


def test_a_record_holds_all_that_is_needed_to_ask_again(history: History) -> None:
    session = say("凤凰?", "火の鳥 🐦", system="Be kind.")
    number = history.add(session, "./echo", "c1")
    record = history.reply(number)
    assert session.last is not None
    assert msgspec.structs.asdict(record) == {
        "id": number,
        "conversation": "c1",
        "created": record.created,
        "reference": "./echo",
        "model": "echo",
        "card_digest": session.card_digest,
        "template": "plain",
        "template_digest": template_digest(session),
        "engine": "echo",
        "weights": "",
        "facts": {"device": "none", "version": "1"},
        "sampling": Sampling(seed=3, temperature=0.5),
        "messages": (Message("system", "Be kind."), Message("user", "凤凰?")),
        "reply": "火の鳥 🐦",
        "ids": [*map(ord, "火の鳥 🐦"), 0],
        "prompt_tokens": len("Be kind.凤凰?|"),
        "finish": "stop",
        "seconds": session.last.seconds,
    }
    assert record.created.endswith("+00:00")


def test_answers_survive_the_end_of_the_program(history: History, path: Path) -> None:
    number = history.add(say("Hello"), "echo", "c1")
    history.close()
    again = History(path)
    assert again.reply(number).reply == "Yes."
    again.close()


def test_the_last_answer_and_all_of_them(history: History) -> None:
    for text in ("one", "two", "three"):
        history.add(say(text, text.upper()), "echo", new_conversation())
    assert history.last().reply == "THREE"
    assert [each.reply for each in history.export()] == ["ONE", "TWO", "THREE"]


def test_an_empty_history(history: History) -> None:
    assert history.conversations() == []
    assert list(history.export()) == []
    with pytest.raises(NotFound, match="No conversation has been recorded yet"):
        history.last()
    with pytest.raises(NotFound, match="No answer has the number 1"):
        history.reply(1)


def test_without_an_answer_nothing_is_recorded(history: History) -> None:
    with pytest.raises(HistoryError, match="no answer to record"):
        history.add(Session(CARD, TEMPLATE, Echo()), "echo", "c1")
    assert list(history.export()) == []


def test_ids_of_conversations_are_hexadecimal_and_new() -> None:
    ids = {new_conversation() for _ in range(50)}
    assert len(ids) == 50
    assert all(len(each) == 12 and int(each, 16) >= 0 for each in ids)


def test_the_digest_of_a_template_is_of_all_that_has_a_part_in_the_prompt() -> None:
    other = [
        {"text": "x"},
        {"system": "x"},
        {"roles": {"user": "x"}},
        {"stop": ("x",)},
        {"add_bos": True},
    ]
    digests = [template_digest(Session(CARD, msgspec.structs.replace(TEMPLATE, **each), Echo())) for each in other]
    assert len({template_digest(Session(CARD, TEMPLATE, Echo())), *digests}) == 6


# -- listing -----------------------------------------------------------------------------------------------------------


def test_the_latest_conversation_comes_first_and_tells_its_length(history: History) -> None:
    first = say("  First\n question ")
    history.add(first, "echo", "c1")
    history.add(say("Second"), "echo", "c2")
    history.add(say("More", session=first), "echo", "c1")
    assert [(each.conversation, each.replies, each.title, each.model) for each in history.conversations()] == [
        ("c1", 2, "First question", "echo"),
        ("c2", 1, "Second", "echo"),
    ]


def test_a_title_is_the_first_question_shortened_and_not_the_system_prompt(history: History) -> None:
    history.add(say("x" * 200, system="Be kind."), "echo", "c1")
    assert titles(history) == ["x" * 80]


def test_a_limit_leaves_the_latest(history: History) -> None:
    for number in range(5):
        history.add(say(f"Question {number}"), "echo", f"c{number}")
    assert [each.title for each in history.conversations(limit=2)] == ["Question 4", "Question 3"]


TALKS = {
    "percent": ("Is it 100% sure?", "Yes."),
    "number": ("Is it 100 or 1000?", "Both."),
    "underscore": ("What is a snake_case name?", "One such."),
    "no underscore": ("What is a snakeXcase name?", "None."),
    "backslash": ("Where is C:\\new?", "Here."),
    "quotes": ('He said "hello" to me', "And you?"),
    "lines": ("One\nTwo", "Three\tFour"),
    "Chinese": ("凤凰是什么？", "一种模型。"),
    "Arabic": ("ما هو Phoenix؟", "نموذج"),
    "emoji": ("🐦", "A bird 🦜"),
    "answer": ("Tell me something", "The moon is far away."),
}
SEARCHES = {
    "a percent sign is a percent sign": ("100%", ["percent"]),
    "a lone percent sign": ("%", ["percent"]),
    "an underscore is an underscore": ("snake_case", ["underscore"]),
    "a lone underscore": ("_", ["underscore"]),
    "a backslash": ("C:\\new", ["backslash"]),
    "quotes": ('"hello"', ["quotes"]),
    "Chinese in the question": ("凤凰", ["Chinese"]),
    "Chinese in the answer": ("模型", ["Chinese"]),
    "Arabic": ("هو", ["Arabic"]),
    "an emoji": ("🦜", ["emoji"]),
    "in the answer": ("moon", ["answer"]),
    "part of a word": ("oo", ["answer"]),
    "whatever the case": ("MOON", ["answer"]),
    "two words in any order": ("away moon", ["answer"]),
    "one in the question, one in the answer": ("something moon", ["answer"]),
    "one word is missing": ("moon sun", []),
    "nothing": ("absent", []),
    "how messages are stored is not searched: role": ("role", []),
    "how messages are stored is not searched: content": ("content", []),
    "how messages are stored is not searched: user": ("user", []),
    "how messages are stored is not searched: escapes": ("\\n", ["backslash"]),
    "SQL is text": ("' OR 1=1 --", []),
    "only white space finds all": ("  ", list(TALKS)),
}


@pytest.mark.parametrize(("words", "found"), SEARCHES.values(), ids=SEARCHES)
def test_search_finds_the_conversations_in_which_all_words_occur(
    history: History, words: str, found: list[str]
) -> None:
    for name, (question, answer) in TALKS.items():
        history.add(say(question, answer), "echo", name)
    assert {each.conversation for each in history.conversations(search=words)} == set(found)


def test_search_tells_of_the_whole_conversation(history: History) -> None:
    session = say("Hello")
    history.add(session, "echo", "c1")
    history.add(say("And the moon?", session=session), "echo", "c1")
    (summary,) = history.conversations(search="moon")
    assert (summary.replies, summary.title) == (2, "Hello")


# -- showing -----------------------------------------------------------------------------------------------------------


def test_a_conversation_is_named_by_the_beginning_of_its_id(history: History) -> None:
    session = say("one")
    history.add(session, "echo", "abc123")
    history.add(say("two", session=session), "echo", "abc123")
    history.add(say("other"), "echo", "abd456")
    for prefix in ("abc", "abc123"):
        assert [each.messages[-1].content for each in history.conversation(prefix)] == ["one", "two"]


@pytest.mark.parametrize(
    ("prefix", "sentence"),
    [
        ("ab", "2 conversations begin with 'ab'; write more of its id. See them with: zoo logs list"),
        ("", "2 conversations begin with ''; write more of its id"),
        ("xyz", "No conversation is called 'xyz'. See them with: zoo logs list"),
        ("abc1234", "No conversation is called 'abc1234'"),
        ("%", "No conversation is called '%'"),
        ("ab_", "No conversation is called 'ab_'"),
    ],
    ids=["two begin so", "empty", "none", "too long", "a percent sign", "an underscore"],
)
def test_a_prefix_that_names_no_single_conversation_is_said(history: History, prefix: str, sentence: str) -> None:
    history.add(say("one"), "echo", "abc123")
    history.add(say("two"), "echo", "abd456")
    with pytest.raises(NotFound) as caught:
        history.conversation(prefix)
    assert sentence in str(caught.value)


# -- files -------------------------------------------------------------------------------------------------------------


def test_the_history_is_in_the_data_folder_and_readers_do_not_wait(history: History, path: Path) -> None:
    assert history.path == path
    assert history._database.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
    assert history._database.execute("PRAGMA user_version").fetchone()[0] == 1


def test_two_connections_at_once(history: History, path: Path) -> None:
    other = History(path)
    history.add(say("one"), "echo", "c1")
    other.add(say("two"), "echo", "c2")
    assert titles(history) == titles(other) == ["two", "one"]
    other.close()


def test_reading_goes_on_while_somebody_writes(history: History, path: Path) -> None:
    history.add(say("one"), "echo", "c1")
    writer = sqlite3.connect(path)
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("DELETE FROM replies")
    assert titles(history) == ["one"]
    writer.rollback()
    writer.close()


def test_many_writers_lose_nothing(path: Path) -> None:
    problems: list[BaseException] = []

    def write(name: str) -> None:
        try:
            mine = History(path)
            for number in range(20):
                mine.add(say(f"{name} {number}"), "echo", name)
            mine.close()
        except BaseException as error:
            problems.append(error)

    threads = [threading.Thread(target=write, args=(f"c{number}",)) for number in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert problems == []
    history = History(path)
    assert {each.conversation: each.replies for each in history.conversations()} == {f"c{n}": 20 for n in range(4)}
    history.close()


@pytest.mark.parametrize(
    "content",
    [b"this is no database, but quite long: " * 100, b"SQLite format 3\0" + b"\xff" * 5000],
    ids=["text", "header"],
)
def test_a_damaged_file_is_kept_aside_and_said(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    history = History()
    (kept,) = path.parent.glob("history.damaged-*.db")
    assert kept.read_bytes() == content
    assert history.notice == f"the conversation history was damaged; it is kept as {kept}, a new one begins"
    history.add(say("Hello"), "echo", "c1")
    assert titles(history) == ["Hello"]
    history.close()
    again = History()
    assert again.notice == ""
    again.close()


def test_two_damaged_files_are_both_kept(path: Path) -> None:
    for content in (b"first" * 1000, b"second" * 1000):
        path.write_bytes(content)
        for ending in ("-wal", "-shm"):
            Path(f"{path}{ending}").unlink(missing_ok=True)
        History().close()
    assert {each.read_bytes()[:5] for each in path.parent.glob("history.damaged-*.db")} == {b"first", b"secon"}


def test_an_empty_file_is_a_new_history(path: Path) -> None:
    path.touch()
    history = History()
    assert (history.notice, history.conversations()) == ("", [])
    history.close()


def test_a_history_of_a_newer_zoo_is_left_alone(history: History, path: Path) -> None:
    history.add(say("Hello"), "echo", "c1")
    history._database.execute("PRAGMA user_version = 2")
    history.close()
    with pytest.raises(HistoryError, match=r"history\.db cannot be used: it was written by a newer version of the zoo"):
        History()
    assert [each.name for each in path.parent.glob("*.db")] == ["history.db"]
    database = sqlite3.connect(path)
    assert database.execute("SELECT count(*) FROM replies").fetchone() == (1,)
    database.close()


def _a_file_for_a_folder(path: Path) -> None:
    path.parent.rmdir()
    path.parent.write_text("no folder")


UNUSABLE: dict[str, Callable[[Path], None]] = {
    "the folder is a file": _a_file_for_a_folder,
    "the file is a folder": lambda path: path.mkdir(),
}


@pytest.mark.parametrize("spoil", UNUSABLE.values(), ids=UNUSABLE)
def test_a_history_that_cannot_be_opened_is_said(path: Path, spoil: Callable[[Path], None]) -> None:
    spoil(path)
    with pytest.raises(HistoryError, match=r"The conversation history .*history\.db cannot be used: "):
        History()


@pytest.mark.parametrize(
    ("column", "value"),
    [("ids", "no JSON"), ("ids", '["a"]'), ("messages", '[{"role": "king", "content": ""}]'), ("sampling", "[]")],
    ids=["no JSON", "no numbers", "no such role", "no sampling"],
)
def test_a_damaged_answer_is_said(history: History, column: str, value: str) -> None:
    number = history.add(say("Hello"), "echo", "c1")
    with history._database:
        history._database.execute(f"UPDATE replies SET {column} = ?", (value,))
    with pytest.raises(HistoryError, match=f"Answer {number} of the conversation history is damaged"):
        history.reply(number)


def test_a_table_of_somebody_else_is_said(path: Path) -> None:
    database = sqlite3.connect(path)
    database.execute("CREATE TABLE replies (id INTEGER PRIMARY KEY, conversation TEXT)")
    database.close()
    history = History()
    with pytest.raises(HistoryError, match="The answer was not recorded in"):
        history.add(say("Hello"), "echo", "c1")
    with pytest.raises(HistoryError, match="cannot be read: no such column"):
        history.conversations()
    history.close()


# -- recording ---------------------------------------------------------------------------------------------------------


def test_a_recorder_records_until_it_is_told_to_start_anew() -> None:
    warnings: list[str] = []
    recorder = Recorder(enabled=True, warn=warnings.append)
    session = say("one")
    recorder.record(session, "echo")
    recorder.record(say("two", session=session), "echo")
    recorder.start_anew()
    recorder.record(say("three"), "echo")
    history = History()
    assert [(each.replies, each.title) for each in history.conversations()] == [(1, "three"), (2, "one")]
    assert warnings == []
    history.close()


@pytest.mark.parametrize("spoil", UNUSABLE.values(), ids=UNUSABLE)
def test_a_recorder_without_a_history_says_so_and_the_conversation_goes_on(
    path: Path, spoil: Callable[[Path], None]
) -> None:
    spoil(path)
    warnings: list[str] = []
    recorder = Recorder(enabled=True, warn=warnings.append)
    recorder.record(say("one"), "echo")
    recorder.record(say("two"), "echo")
    assert len(warnings) == 1
    assert warnings[0].endswith(" This conversation is not recorded.")
    with pytest.raises(HistoryError, match="not in use, so there is nothing to continue"):
        recorder.resume()


def test_a_recorder_tells_of_a_damaged_history(path: Path) -> None:
    path.write_bytes(b"damaged" * 1000)
    warnings: list[str] = []
    Recorder(enabled=True, warn=warnings.append).record(say("one"), "echo")
    assert len(warnings) == 1
    assert "was damaged; it is kept as" in warnings[0]


def test_a_history_that_goes_away_is_said_once(path: Path) -> None:
    warnings: list[str] = []
    recorder = Recorder(enabled=True, warn=warnings.append)
    recorder.record(say("one"), "echo")
    database = sqlite3.connect(path)
    database.execute("DROP TABLE replies")
    database.close()
    recorder.record(say("two"), "echo")
    recorder.record(say("three"), "echo")
    assert len(warnings) == 1
    assert warnings[0].endswith(" The conversation is no longer recorded.")


def test_a_recorder_that_is_switched_off_leaves_no_file(path: Path) -> None:
    Recorder(enabled=False, warn=lambda text: None).record(say("one"), "echo")
    assert not path.exists()


def test_a_recorder_goes_on_with_the_last_conversation() -> None:
    first = Recorder(enabled=True, warn=lambda text: None)
    first.record(say("one"), "echo")
    second = Recorder(enabled=True, warn=lambda text: None)
    assert second.conversation != first.conversation
    assert second.resume().reply == "Yes."
    assert second.conversation == first.conversation


# -- zoo logs ----------------------------------------------------------------------------------------------------------


def test_logs_of_nothing(run: Callable[..., Result]) -> None:
    result = run("logs", "list")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "No conversation is recorded.\n")
    assert json.loads(run("logs", "list", "--json").stdout) == {"schema": "zoo.logs/v1", "items": []}


def test_logs_list_search_show_and_export(run: Callable[..., Result], history: History) -> None:
    session = say("凤凰是什么？", "一种模型。")
    history.add(session, "echo", "abc123")
    history.add(say("And the moon?", "Far away.", session=session), "echo", "abc123")
    history.add(say("Hello"), "echo", "def456")
    listed = json.loads(run("logs", "list", "--json").stdout)["items"]
    assert [(each["conversation"], each["replies"]) for each in listed] == [("def456", 1), ("abc123", 2)]
    assert "凤凰是什么？" in run("logs", "list").stdout
    assert len(json.loads(run("logs", "list", "--limit", "1", "--json").stdout)["items"]) == 1
    assert [each["conversation"] for each in json.loads(run("logs", "search", "moon", "--json").stdout)["items"]] == [
        "abc123"
    ]
    nothing = run("logs", "search", "moon", "sun")
    assert (nothing.exit_code, nothing.stdout) == (0, "")
    assert nothing.stderr == "No conversation has all of these words.\n"
    shown = run("logs", "show", "abc").stdout
    assert "> 凤凰是什么？\n一种模型。\n" in shown
    assert "#2 " in shown
    assert [each["reply"] for each in json.loads(run("logs", "show", "abc", "--json").stdout)["items"]] == [
        "一种模型。",
        "Far away.",
    ]
    exported = [json.loads(line) for line in run("logs", "export").stdout.splitlines()]
    assert [each["id"] for each in exported] == [1, 2, 3]
    assert exported[0]["messages"] == [{"role": "user", "content": "凤凰是什么？"}]


def test_logs_show_of_an_unknown_conversation(run: Callable[..., Result]) -> None:
    result = run("logs", "show", "abc")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "Error: No conversation is called 'abc'. See them with: zoo logs list\n"


def test_logs_of_a_newer_zoo_are_an_error_without_a_traceback(run: Callable[..., Result], history: History) -> None:
    history._database.execute("PRAGMA user_version = 9")
    result = run("logs", "list")
    assert result.exit_code == 1
    assert "it was written by a newer version of the zoo" in result.stderr


def test_damage_inside_the_file_is_found_and_kept_aside(zoo_folders: Path, run: Callable[..., Result]) -> None:
    path = zoo_folders / "data" / "history.db"
    History().close()
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA journal_mode = DELETE")
        columns = [row[1] for row in database.execute("PRAGMA table_info(replies)")]
        marks = ", ".join("?" * len(columns))
        for number in range(200):
            database.execute(f"INSERT INTO replies VALUES ({marks})", [number, *["x" * 400] * (len(columns) - 1)])
    database.close()
    content = bytearray(path.read_bytes())
    middle = len(content) // 2 // 4096 * 4096
    content[middle : middle + 8192] = b"\xff" * 8192
    path.write_bytes(content)
    result = run("logs", "list")
    assert result.exit_code == 0
    assert "Warning: the conversation history was damaged; it is kept as" in result.stderr
    assert len(list(path.parent.glob("history.damaged-*.db"))) == 1
    assert run("logs", "list").stderr == "No conversation is recorded.\n"


def test_what_people_say_is_for_their_eyes_alone(tmp_path: Path) -> None:
    history = History(tmp_path / "new" / "history.db")
    history.close()
    assert (tmp_path / "new").stat().st_mode & 0o077 == 0
    assert (tmp_path / "new" / "history.db").stat().st_mode & 0o077 == 0
