"""`zoo chat` with one question: what stands on stdout, what on stderr, and the exit code."""

from __future__ import annotations

import os
import pty
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from zoo_core import Rendered, Zoo
from zoo_core.history import History, Record
from zoo_core.opening import open_session

WEIGHTS = Path(__file__).parents[1] / "plugins" / "zoo_hatchling" / "weights"
QUESTION = "What is the phoenix?"
#: A reply of this kind ends soon, whatever the model has learned.
SHORT = ("--max-new-tokens", "8")

Run = Callable[..., Result]


@pytest.fixture
def notice(zoo: Zoo) -> str:
    """What the embedded model's card wants to be said, as it stands on stderr."""
    text = zoo.catalog.model("hatchling")[0].safety.notice
    return f"{text}\n" if text else ""


@pytest.fixture
def database(zoo_folders: Path) -> Path:
    return zoo_folders / "data" / "history.db"


def recorded() -> list[Record]:
    history = History()
    records = list(history.export())
    history.close()
    return records


def asked(record: Record) -> str:
    return record.messages[-1].content


# -- the answer --------------------------------------------------------------------------------------------------------


def test_the_answer_stands_alone_on_stdout_and_the_notice_on_stderr(run: Run, notice: str) -> None:
    result = run("chat", QUESTION)
    assert result.exit_code == 0
    assert "BLOOMZ" in result.stdout
    assert (result.stdout.count("\n"), result.stdout[-1]) == (1, "\n")
    assert result.stderr == notice
    (record,) = recorded()
    assert (asked(record), record.reply, record.reference) == (QUESTION, result.stdout.rstrip("\n"), "hatchling")


@pytest.mark.parametrize(
    ("arguments", "input"),
    [
        (["hatchling", QUESTION], None),
        (["demo", QUESTION], None),
        (["hatchling@1.0.0", QUESTION], None),
        (["-m", "hatchling", QUESTION], None),
        (["-m", "hatchling", "What is", "the phoenix?"], None),
        ([QUESTION, "-m", "hatchling"], None),
        ([], QUESTION),
        (["hatchling"], QUESTION),
        (["-"], QUESTION),
        (["hatchling", "-"], QUESTION),
        (["-m", "hatchling"], QUESTION),
        (["-m", "hatchling", "-"], QUESTION),
        (["--no-log", "--", QUESTION], None),
    ],
    ids=lambda value: " ".join(value) or "nothing" if isinstance(value, list) else "" if value is None else "stdin",
)
def test_all_ways_to_ask_give_the_same_answer(run: Run, arguments: list[str], input: str | None) -> None:
    result = run("chat", *arguments, input=input)
    assert result.exit_code == 0, result.stderr
    assert "BLOOMZ" in result.stdout


def test_a_prompt_of_many_lines_and_scripts_reaches_the_model_whole(run: Run) -> None:
    text = "第一行\r\nsecond line\n\tثالث 🐦\n"
    assert run("chat", *SHORT, input=text.encode()).exit_code == 0
    assert asked(recorded()[0]) == text


@pytest.mark.parametrize("argument", ["", "   ", "\n\t"], ids=["empty", "spaces", "lines"])
@pytest.mark.parametrize("way", ["argument", "stdin", "dash"])
def test_an_empty_prompt_is_a_usage_error(run: Run, argument: str, way: str, database: Path) -> None:
    arguments = {"argument": ["hatchling", argument], "stdin": ["hatchling"], "dash": ["-"]}[way]
    result = run("chat", *arguments, input=argument)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.endswith("Error: The prompt is empty.\n")
    assert not database.exists()


@pytest.mark.parametrize(
    ("content", "prompt"),
    [(b"\xff\xfeHello", "\ufffd\ufffdHello"), ("héllo".encode("latin-1"), "h\ufffdllo"), (b"a\xe4\xb8", "a\ufffd")],
    ids=["UTF-16", "Latin-1", "cut"],
)
def test_input_that_is_no_utf_8_is_answered(run: Run, content: bytes, prompt: str) -> None:
    assert run("chat", "hatchling", *SHORT, input=content).exit_code == 0
    assert asked(recorded()[0]) == prompt


def test_an_argument_that_is_no_utf_8_is_answered(run: Run) -> None:
    assert run("chat", "hatchling", "h\udce9llo", *SHORT).exit_code == 0
    assert asked(recorded()[0]) == "h\ufffdllo"


@pytest.mark.parametrize(("option", "code"), [("--system", 1), ("--stop", 2)])
def test_an_option_that_is_no_utf_8_is_said(run: Run, option: str, code: int) -> None:
    result = run("chat", "hatchling", "Hello", option, "\udcff")
    assert (result.exit_code, result.stdout) == (code, "")
    assert "no Unicode text" in result.stderr


def test_rich_shows_the_whole_answer(run: Run) -> None:
    result = run("chat", QUESTION, "--style", "rich")
    assert result.exit_code == 0
    assert "BLOOMZ" in result.stdout


# -- which model -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["hatchlin", "Hi"], "No model is called 'hatchlin'. Did you mean hatchling"),
        (["-m", "hatchlin", "Hi"], "No model is called 'hatchlin'. Did you mean hatchling"),
        (["hatchling@9.9.9", "Hi"], "The card of 'hatchling' has version 1.0.0, not 9.9.9."),
        (["zzzzzz", "Hi"], "No model is called 'zzzzzz'. See all of them with: zoo list"),
        (
            ["hatchlin"],
            " See all of them with: zoo list; or say it to the default model: zoo chat -m hatchling hatchlin\n",
        ),
        (["hello"], "No model is called 'hello'."),
        (["hello"], "or say it to the default model: zoo chat -m hatchling hello"),
        (
            ["./nothing"],
            "There is no card at nothing; or say it to the default model: zoo chat -m hatchling ./nothing\n",
        ),
        (["./nothing", "Hi"], "/nothing.\n"),
        (["~nobody-here/model", "Hi"], "/~nobody-here/model.\n"),
        (["nothing.yaml", "Hi"], "/nothing.yaml.\n"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_model_that_is_none_is_said(run: Run, arguments: list[str], sentence: str) -> None:
    result = run("chat", *arguments)
    assert (result.exit_code, result.stdout) == (1, "")
    assert sentence in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("word", ["Hello", "hello!", "Hello there", "你好", "مرحبا", "2+2", "¿Qué?"])
def test_a_lone_word_that_cannot_name_a_model_is_said_to_the_default_model(run: Run, word: str) -> None:
    assert run("chat", word, *SHORT).exit_code == 0
    assert asked(recorded()[0]) == word


def test_zoo_model_names_the_default_model(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZOO_MODEL", "no-such-model")
    assert "No model is called 'no-such-model'." in run("chat", "Hello there").stderr
    monkeypatch.setenv("ZOO_MODEL", "demo")
    assert run("chat", "Hello there", *SHORT).exit_code == 0
    assert recorded()[0].reference == "demo"


def test_a_card_of_this_run(run: Run, tmp_path: Path, zoo: Zoo) -> None:
    text = zoo.catalog.model("hatchling")[1].read_text(encoding="utf-8")
    card = tmp_path / "mine.yaml"
    card.write_text(text.replace("id: hatchling", "id: mine").replace("aliases: [demo]\n", ""), encoding="utf-8")
    assert "BLOOMZ" in run("--card", card, "chat", "mine", QUESTION).stdout
    assert "BLOOMZ" in run("chat", "mine", QUESTION, "--card", card).stdout
    assert run("chat", "mine", QUESTION).exit_code == 1


@pytest.mark.parametrize(
    ("model", "code", "sentence"),
    [
        ("chimera", 1, "is published as a delta over"),
        ("huatuogpt-7b", 2, "is published as pickled weights, which can run code when they are read"),
        ("chatgpt", 1, "There is no key called 'openai'; store it with: zoo keys set openai"),
        ("phoenix", 1, "are not on this machine. Get them with: zoo pull phoenix"),
    ],
    ids=["a delta", "pickled weights", "an API without a key", "no weights"],
)
def test_models_of_the_registry_that_cannot_run_here_are_refused(
    run: Run, model: str, code: int, sentence: str
) -> None:
    result = run("chat", model, "Hello")
    assert (result.exit_code, result.stdout) == (code, "")
    assert sentence in result.stderr


# -- options -----------------------------------------------------------------------------------------------------------


def test_a_seed_makes_the_answer_repeatable(run: Run) -> None:
    def answer(seed: int) -> str:
        result = run("chat", "hatchling", "Tell me", "--temperature", "3", "--max-new-tokens", "24", "--seed", seed)
        assert result.exit_code == 0
        return result.stdout

    first = [answer(seed) for seed in range(3)]
    assert first == [answer(seed) for seed in range(3)]
    assert len(set(first)) == 3
    assert [each.sampling.seed for each in recorded()] == [0, 1, 2] * 2


def test_without_a_seed_every_answer_draws_one(run: Run) -> None:
    for _ in range(3):
        run("chat", "hatchling", "Hello", *SHORT)
    assert len({each.sampling.seed for each in recorded()}) == 3


def test_options_reach_the_sampling(run: Run) -> None:
    options = {"temperature": 0.5, "top_p": 0.9, "top_k": 7, "repetition_penalty": 1.1, "max_new_tokens": 3, "seed": 5}
    words = [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", value)]
    assert run("chat", "hatchling", "Hello", *words, "--stop", "END", "--stop", "FIN").exit_code == 0
    sampling = recorded()[0].sampling
    assert {name: getattr(sampling, name) for name in options} == options
    assert sampling.stop[-2:] == ("END", "FIN")


def test_a_stop_string_cuts_the_answer(run: Run) -> None:
    whole = run("chat", QUESTION).stdout
    result = run("chat", QUESTION, "--stop", "BLOOMZ")
    assert result.stdout == whole[: whole.index("BLOOMZ")] + "\n"
    assert recorded()[1].finish == "stop"


def test_an_answer_that_is_cut_is_said(run: Run, notice: str) -> None:
    result = run("chat", QUESTION, "--max-new-tokens", "3")
    assert result.exit_code == 0
    assert result.stderr == f"{notice}(the answer is cut after 3 tokens: max_new_tokens is reached)\n"


WRONG = {
    "temperature": (["--temperature", "99"], 2, "The option temperature is 99.0, but must lie between 0 and 10."),
    "no number": (["--temperature", "hot"], 2, "'hot' is not a valid float"),
    "nan": (["--temperature", "nan"], 2, "The option temperature is nan"),
    "seed": (["--seed", "-1"], 2, "The option seed is -1"),
    "device": (["--device", "tpu"], 1, "There is no device 'tpu' here. Available: cpu"),
    "dtype": (["--dtype", "int8"], 1, "The dtype 'int8' is unknown."),
    "template": (["--template", "phenix"], 1, "brings the template 'phenix'. Did you mean phoenix"),
    "engine": (["--engine", "transformer"], 1, "brings the engine 'transformer'. Did you mean transformers?"),
    "overflow": (["--overflow", "ignore"], 2, "'ignore' is not one of 'error', 'drop-oldest'"),
    "unknown": (["--temprature", "1"], 2, "No such option"),
}


@pytest.mark.parametrize(("options", "code", "sentence"), WRONG.values(), ids=WRONG)
def test_wrong_options_are_said(run: Run, options: list[str], code: int, sentence: str) -> None:
    result = run("chat", "hatchling", "Hello", *options)
    assert (result.exit_code, result.stdout) == (code, "")
    assert sentence in result.stderr


def test_a_third_word_is_a_usage_error(run: Run) -> None:
    assert run("chat", "hatchling", "What is", "the phoenix?").exit_code == 2


# -- the context -------------------------------------------------------------------------------------------------------


def words_of(zoo: Zoo, tokens: int) -> str:
    """A text of about so many tokens."""
    engine = open_session(zoo, "hatchling").engine
    return " a" * (100 * tokens // len(engine.encode(Rendered(text=" a" * 100))))


def test_a_prompt_that_does_not_fit_is_an_error(run: Run, zoo: Zoo) -> None:
    result = run("chat", "hatchling", words_of(zoo, 600))
    assert (result.exit_code, result.stdout) == (1, "")
    assert " tokens, but 'hatchling' takes 512 with its answer; shorten it." in result.stderr
    assert recorded() == []
    assert run("chat", "hatchling", words_of(zoo, 600), "--overflow", "drop-oldest").exit_code == 1


def test_a_conversation_that_does_not_fit_is_an_error_unless_the_oldest_may_go(run: Run, zoo: Zoo) -> None:
    long = words_of(zoo, 260)
    assert run("chat", "hatchling", long, *SHORT).exit_code == 0
    refused = run("chat", "hatchling", long, *SHORT, "--continue")
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "start anew, or allow --overflow drop-oldest." in refused.stderr
    allowed = run("chat", "hatchling", long, *SHORT, "--continue", "--overflow", "drop-oldest")
    assert allowed.exit_code == 0
    assert "(2 of the oldest messages were dropped to fit the context)\n" in allowed.stderr


def test_a_full_context_is_said(run: Run, zoo: Zoo) -> None:
    """What is left after the prompt is less than the answer may have."""
    result = run(
        "chat", "hatchling", words_of(zoo, 430), "--temperature", "10", "--seed", "1", "--max-new-tokens", "500"
    )
    assert result.exit_code == 0
    assert "the context of 512 tokens is full)\n" in result.stderr


# -- the record --------------------------------------------------------------------------------------------------------


def test_continue_goes_on_with_the_last_conversation(run: Run) -> None:
    first = run("chat", "hatchling", "Hello!", "--system", "Be kind.", *SHORT)
    assert run("chat", "And you?", "--continue", *SHORT).exit_code == 0
    one, two = recorded()
    assert one.conversation == two.conversation
    assert [(each.role, each.content) for each in two.messages] == [
        ("system", "Be kind."),
        ("user", "Hello!"),
        ("assistant", first.stdout.rstrip("\n")),
        ("user", "And you?"),
    ]
    run("chat", "hatchling", "New", *SHORT)
    assert recorded()[2].conversation != one.conversation


def test_continue_with_another_system_prompt(run: Run) -> None:
    run("chat", "hatchling", "Hello!", "--system", "Be kind.", *SHORT)
    run("chat", "hatchling", "And you?", "--continue", "--system", "Be brief.", *SHORT)
    assert recorded()[1].messages[0].content == "Be brief."


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ([], "No conversation has been recorded yet, so there is none to continue."),
        (["--no-log"], "The conversation history is not in use, so there is nothing to continue."),
    ],
    ids=["nothing recorded", "not recording"],
)
def test_continue_without_a_conversation_is_said(run: Run, options: list[str], sentence: str) -> None:
    result = run("chat", "hatchling", "Hello!", "--continue", *options)
    assert (result.exit_code, result.stdout, result.stderr) == (1, "", f"Error: {sentence}\n")


def test_no_log_leaves_no_history(run: Run, database: Path) -> None:
    assert run("chat", "hatchling", "Hello!", "--no-log", *SHORT).exit_code == 0
    assert not database.exists()


def test_a_history_that_cannot_be_written_does_not_stop_the_answer(run: Run, zoo_folders: Path, notice: str) -> None:
    (zoo_folders / "data").rmdir()
    (zoo_folders / "data").write_text("no folder")
    result = run("chat", QUESTION)
    assert result.exit_code == 0
    assert "BLOOMZ" in result.stdout
    warning, *rest = result.stderr.splitlines(keepends=True)
    assert warning.startswith("Warning: The conversation history ")
    assert warning.endswith(" This conversation is not recorded.\n")
    assert "".join(rest) == notice


def test_a_damaged_history_does_not_stop_the_answer(run: Run, database: Path) -> None:
    database.write_bytes(b"damaged" * 1000)
    result = run("chat", "hatchling", "Hello!", *SHORT)
    assert result.exit_code == 0
    assert "Warning: the conversation history was damaged; it is kept as " in result.stderr
    assert len(recorded()) == 1


# -- weights -----------------------------------------------------------------------------------------------------------


def test_weights_of_another_folder(run: Run, tmp_path: Path) -> None:
    folder = shutil.copytree(WEIGHTS, tmp_path / "copy")
    assert "BLOOMZ" in run("chat", "hatchling", QUESTION, "--model-path", folder).stdout
    assert run("logs", "replay", "1").exit_code == 0
    assert "BLOOMZ" in run("chat", QUESTION, "--continue").stdout
    shutil.rmtree(folder)
    assert f"There is no folder {folder}" in run("chat", QUESTION, "--continue").stderr


def _lacks(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def _is_cut(name: str) -> Callable[[Path], None]:
    def cut(folder: Path) -> None:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: len(content) // 2])

    return cut


FOLDERS: dict[str, Callable[[Path], None]] = {
    "missing": shutil.rmtree,
    "empty": lambda folder: [each.unlink() for each in folder.iterdir()] and None,
    "without weights": _lacks("model.safetensors"),
    "without a tokenizer": _lacks("tokenizer.json"),
    "weights cut": _is_cut("model.safetensors"),
    "tokenizer cut": _is_cut("tokenizer.json"),
    "configuration cut": _is_cut("config.json"),
}


@pytest.mark.parametrize("spoil", FOLDERS.values(), ids=FOLDERS)
def test_a_wrong_folder_is_one_sentence(run: Run, tmp_path: Path, spoil: Callable[[Path], None], notice: str) -> None:
    folder = shutil.copytree(WEIGHTS, tmp_path / "copy")
    spoil(folder)
    result = run("chat", "hatchling", "Hello!", "--model-path", folder)
    assert (result.exit_code, result.stdout.strip()) == (1, "")
    error = result.stderr.removeprefix(notice)
    assert error.startswith("Error: ")
    assert error.count("\n") == 1
    assert str(folder) in error


def test_a_model_path_that_is_a_file_is_said(run: Run, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").touch()
    result = run("chat", "hatchling", "Hello!", "--model-path", tmp_path / "model.safetensors")
    assert result.exit_code == 1
    assert "There is no folder " in result.stderr


# -- as a process ------------------------------------------------------------------------------------------------------

ENDLESS = """
import sys
from pathlib import Path
from types import SimpleNamespace

from zoo_core import Offer, Piece, Zoo, hookimpl
from zoo_core.cli import cli
from zoo_core.plugins import Plugins


class Endless:
    name, facts, context_length = "endless", {}, None
    def __init__(self, request): pass
    def encode(self, prompt): return [1]
    def close(self): pass
    def stream(self, prompt, sampling):
        while True:
            yield Piece(text="x", ids=(1,))


@hookimpl
def zoo_engines(): return [Offer(name="endless", target="__main__:Endless")]
@hookimpl
def zoo_model_families(): return [Offer(name="none", target="builtins:object")]

plugin = SimpleNamespace(zoo_engines=zoo_engines, zoo_model_families=zoo_model_families)
card = Path(__file__).with_name("endless.yaml")
cli(["chat", "endless", "Go"], prog_name="zoo", obj=Zoo(plugins=Plugins([], modules={"test": plugin}), card_files=[card]))
"""
CARD = """
schema: zoo.card/v1
id: endless
family: none
summary: Never ends
sources: [{hub: folder, path: .}]
template: {text: "{{ messages[-1].content }}"}
runtime: {engine: endless}
"""


@pytest.fixture
def endless(tmp_path: Path) -> subprocess.Popen[bytes]:
    """`zoo chat` with a model that never ends, after its first letters."""
    (tmp_path / "endless.py").write_text(ENDLESS)
    (tmp_path / "endless.yaml").write_text(CARD)
    process = subprocess.Popen(
        [sys.executable, str(tmp_path / "endless.py")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # Whoever runs the tests in the background has the signal ignored, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stdout is not None
    assert process.stdout.read(3) == b"xxx"
    return process


def test_ctrl_c_stops_the_answer_and_keeps_what_was_said(endless: subprocess.Popen[bytes]) -> None:
    endless.send_signal(signal.SIGINT)
    out, err = endless.communicate()
    assert endless.returncode == 130
    assert set(out) <= set(b"x\n")
    assert err == b"\n(stopped)\n"
    (record,) = recorded()
    assert record.finish == "cancelled"
    assert set(record.reply) == {"x"}
    assert len(record.ids) - len(record.reply) in (0, 1), "the last token may not have become text yet"


def test_a_closed_pipe_ends_the_program_quietly(endless: subprocess.Popen[bytes]) -> None:
    """As in: zoo chat ... | head -c 3"""
    assert endless.stdout is not None
    assert endless.stderr is not None
    endless.stdout.close()
    err = endless.stderr.read()
    assert endless.wait() == 1
    endless.stderr.close()
    assert err == b""
    (record,) = recorded()
    assert set(record.reply) == {"x"}, "what was said until then is not lost"


def test_ctrl_c_outside_of_an_answer_ends_with_130_too() -> None:
    code = """
import signal, sys
from zoo_core import catalog
from zoo_core.cli import main
catalog.Catalog.rows = lambda *_: signal.raise_signal(signal.SIGINT)
sys.argv = ["zoo", "list"]
main()
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "\n(stopped)\n")


def test_the_installed_program_says_nothing_but_the_answer_and_the_notice(notice: str) -> None:
    """Libraries write past Python's streams, which only a process shows."""
    done = subprocess.run(
        [sys.executable, "-c", "from zoo_core.cli import main; main()", "chat", QUESTION],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
    )
    assert done.returncode == 0
    assert "BLOOMZ" in done.stdout
    assert done.stdout.count("\n") == 1
    assert done.stderr == notice


def test_without_a_prompt_and_with_the_output_elsewhere_one_is_asked_for() -> None:
    """`zoo chat > file` on a terminal: reading would wait for ever, and nobody would see why."""
    terminal, ours = pty.openpty()
    done = subprocess.run(
        [sys.executable, "-c", "from zoo_core.cli import main; main()", "chat", "hatchling"],
        stdin=ours,
        capture_output=True,
        encoding="utf-8",
    )
    os.close(terminal)
    os.close(ours)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.endswith("Error: Write a prompt, or run zoo chat on a terminal.\n")
