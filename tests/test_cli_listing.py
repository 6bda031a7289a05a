"""The commands that tell what there is: list, search, show, explain, completion; and the exit codes of all commands."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import msgspec
import pytest
from click.shell_completion import BashComplete
from click.testing import Result

from zoo_core import __version__
from zoo_core.cli import COMMANDS, cli
from zoo_core.cli.table import print_table, width

Run = Callable[..., Result]


def write(path: Path, **fields: Any) -> Path:
    """Write a card that is called like its file."""
    data = {"schema": "zoo.card/v1", "id": path.stem, "summary": "s"} | fields
    if fields.get("kind", "model") == "model":
        data.setdefault("family", "f")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.encode(data))
    return path


CARDS: dict[str, dict[str, Any]] = {
    "bird-7b": {
        "family": "birds",
        "summary": "A bird that Sings",
        "aliases": ["tit"],
        "languages": ["zh-Hant", "en"],
        "license": {"spdx": "MIT"},
        "released": "2023-04-08",
        "format": "safetensors",
        "architecture": {"backbone": "BLOOMZ", "size": "7B"},
        "openness": {"weights": True, "data": False},
        "training": {"instruction": "52K, en", "conversation": "70K"},
        "lineage": {"base": {"id": "egg-560m"}, "relation": "finetune"},
        "context": {"max": 2048},
        "template": {"name": "phoenix"},
        "generation": {"temperature": 0.5, "max_new_tokens": 64},
        "sources": [{"hub": "huggingface", "repo": "a/bird"}],
    },
    "egg-560m": {
        "family": "birds",
        "architecture": {"size": "560M"},
        "lineage": {"base": {"repo": "a/shell"}, "relation": "distill"},
    },
    "wolf-13b": {
        "family": "wolves",
        "status": "deprecated",
        "languages_note": "multi (Latin)",
        "license": {"name": "My Licence"},
        "released": "2022-12-01",
        "format": "pickle",
        "architecture": {"size": "13B"},
    },
    "moe": {"family": "mixtures", "status": "stable", "architecture": {"size": "8x7B"}, "languages": ["zh"]},
    "odd": {"family": "mixtures", "architecture": {"size": "6.7B, 1.3B"}},
    "unsized": {"family": "mixtures", "architecture": {"size": "²"}},
    "talks": {"kind": "dataset", "summary": "Talks of BIRDS", "size": "70K", "languages": ["en"]},
    "quiz": {"kind": "benchmark", "summary": "Questions", "questions": 80, "license": {"spdx": "MIT"}},
}


@pytest.fixture
def cards(monkeypatch: pytest.MonkeyPatch) -> Path:
    """A zoo with these cards only; their folder."""
    monkeypatch.setenv("ZOO_DISABLE_PLUGINS", "registry,hatchling")
    folder = Path(os.environ["ZOO_CONFIG"]) / "cards"
    for name, fields in CARDS.items():
        write(folder / f"{name}.yaml", **fields)
    return folder


def names(result: Result) -> list[str]:
    """The first column of a table without its head; also checks that nothing went wrong."""
    assert (result.exit_code, result.stderr) == (0, "")
    return [line.split()[0] for line in result.stdout.splitlines()[1:]]


# -- zoo list ----------------------------------------------------------------------------------------------------------

ALL = ["bird-7b", "egg-560m", "moe", "odd", "unsized", "wolf-13b"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("", ALL),
        ("*7b", ["bird-7b"]),
        ("bird* wolf*", ["bird-7b", "wolf-13b"]),
        ("tit", ["bird-7b"]),
        ("--family birds", ["bird-7b", "egg-560m"]),
        ("--family birds *7b", ["bird-7b"]),
        ("--language zh", ["bird-7b", "moe"]),
        ("--language zh-Hant", ["bird-7b"]),
        ("--language en", ["bird-7b"]),
        ("--language en --kind all", ["bird-7b", "talks"]),
        ("--license mit", ["bird-7b"]),
        ("--license MIT", ["bird-7b"]),
        ("--kind all", sorted([*ALL, "quiz", "talks"])),
        ("--kind all t*", ["bird-7b", "talks"]),
        ("--kind dataset", ["talks"]),
        ("--kind benchmark", ["quiz"]),
        ("--kind benchmark --license permissive --commercial", ["quiz"]),
        ("--kind model --family mixtures", ["moe", "odd", "unsized"]),
        ("--status deprecated", ["wolf-13b"]),
        ("--status stable", ["moe"]),
        ("--format pickle", ["wolf-13b"]),
        ("--format safetensors --language en --license MIT --family birds --kind model", ["bird-7b"]),
        ("--sort name", ALL),
        ("--sort family", ["bird-7b", "egg-560m", "moe", "odd", "unsized", "wolf-13b"]),
        ("--sort released", ["egg-560m", "moe", "odd", "unsized", "wolf-13b", "bird-7b"]),
        ("--sort size", ["unsized", "egg-560m", "odd", "bird-7b", "moe", "wolf-13b"]),
        ("--sort status", ["wolf-13b", "bird-7b", "egg-560m", "odd", "unsized", "moe"]),
    ],
)
def test_list(cards: Path, run: Run, arguments: str, expected: list[str]) -> None:
    assert names(run("list", *arguments.split())) == expected
    document = json.loads(run("list", *arguments.split(), "--json").stdout)
    assert [each["id"] for each in document["items"]] == expected


NO_MODEL = "No model matches. Cards of every kind are listed with: zoo list --kind all"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("nothing*", NO_MODEL),
        ("talks", NO_MODEL),
        ("--family none", NO_MODEL),
        ("--language fr", NO_MODEL),
        ("--license GPL-3.0-only", NO_MODEL),
        ("--license copyleft", NO_MODEL),
        ("--format gguf", NO_MODEL),
        ("BIRD*", NO_MODEL),
        ("--kind dataset --license MIT", "No dataset matches."),
        ("--kind all nothing*", "No card matches."),
    ],
)
def test_list_of_nothing(cards: Path, run: Run, arguments: str, message: str) -> None:
    result = run("list", *arguments.split())
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", f"{message}\n")
    result = run("list", *arguments.split(), "--json")
    assert (result.exit_code, json.loads(result.stdout), result.stderr) == (
        0,
        {"schema": "zoo.list/v1", "items": []},
        "",
    )


def test_list_is_a_table(cards: Path, run: Run) -> None:
    assert run("list", "--kind", "all", "bird-7b", "quiz", "talks", "wolf-13b").stdout == (
        "NAME      FAMILY     BACKBONE  SIZE          LANGUAGES      LICENSE     RELEASED    STATUS\n"
        "bird-7b   birds      BLOOMZ    7B            zh-Hant en     MIT         2023-04-08  experimental\n"
        "quiz      benchmark            80 questions                 MIT                     experimental\n"
        "talks     dataset              70K           en                                     experimental\n"
        "wolf-13b  wolves               13B           multi (Latin)  My Licence  2022-12-01  deprecated\n"
    )


def test_list_wide(cards: Path, run: Run) -> None:
    head, bird, egg = run("list", "--wide", "--family", "birds").stdout.splitlines()
    assert re.split("  +", head)[5:9] == ["WEIGHTS", "DATA", "INSTRUCTION", "CONVERSATION"]
    assert re.split("  +", bird)[5:9] == ["open", "closed", "52K, en", "70K"]
    assert re.split("  +", egg) == ["egg-560m", "birds", "560M", "experimental"]


def test_list_as_json_leaves_out_what_is_not_known(cards: Path, run: Run) -> None:
    document = json.loads(run("list", "--json", "--sort", "name", "--kind", "all").stdout)
    assert document["schema"] == "zoo.list/v1"
    items = {each["id"]: each for each in document["items"]}
    assert items["bird-7b"] == {
        "path": str(cards / "bird-7b.yaml"),
        "id": "bird-7b",
        "kind": "model",
        "version": "1.0.0",
        "aliases": ["tit"],
        "family": "birds",
        "summary": "A bird that Sings",
        "status": "experimental",
        "license": "MIT",
        "languages": ["zh-Hant", "en"],
        "format": "safetensors",
        "backbone": "BLOOMZ",
        "size": "7B",
        "released": "2023-04-08",
        "open_weights": True,
        "open_data": False,
        "instruction": "52K, en",
        "conversation": "70K",
        "package": False,
        "digest": items["bird-7b"]["digest"],
        "base": "egg-560m",
        "relation": "finetune",
        "bases": ["egg-560m"],
        "context": 2048,
    }
    told = {"path", "id", "kind", "version", "summary", "status", "languages", "size", "package", "digest"}
    assert set(items["talks"]) == told


def test_the_installed_zoo_lists_without_a_warning(run: Run) -> None:
    listed = names(run("list"))
    assert {"phoenix-inst-chat-7b", "vicuna-7b", "chatglm-6b"} <= set(listed)
    assert listed == sorted(listed)


def test_a_broken_card_of_the_user_is_one_warning_on_stderr(cards: Path, run: Run) -> None:
    (cards / "broken.yaml").write_text("schema: zoo.card/v1\nlicence: MIT\n")
    for _ in range(2):  # read, and remembered
        result = run("list")
        assert result.exit_code == 0
        assert [line.split()[0] for line in result.stdout.splitlines()[1:]] == ALL
        assert result.stderr.startswith(f"Warning: card left out: {cards / 'broken.yaml'}, line ")
        assert result.stderr.count("\n") == 1


# -- tables ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "columns"),
    [("", 0), ("abc", 3), ("é", 1), ("e\u0301", 1), ("龙", 2), ("ａ", 2), ("한국", 4), ("ﾊ", 1)],
    ids=ascii,
)
def test_columns_of_a_text(text: str, columns: int) -> None:
    assert width(text) == columns


def test_a_table_lines_up_in_every_script(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(["A", "B"], [["龙凤", "x"], ["abc", "y"], ["", "z"]])
    assert capsys.readouterr().out == "A     B\n龙凤  x\nabc   y\n      z\n"


def test_a_cell_cannot_make_a_row(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(["A", "B"], [["MIT\nfaked  row", "x\ty"]])
    assert capsys.readouterr().out == "A              B\nMIT faked row  x y\n"


def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the captured stdout be a terminal of 30 columns."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "30")


ROWS = [["a" * 12, "b" * 30, "c"], ["龙凤", "龙" * 20, "d"]]


def test_nothing_is_cut_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(["A", "B", "C"], ROWS, spare=["B"])
    assert "b" * 30 in capsys.readouterr().out


def test_a_table_is_cut_to_the_terminal_but_for_its_first_column(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    narrow(monkeypatch)
    print_table(["A", "B", "C"], ROWS)
    lines = click.unstyle(capsys.readouterr().out).splitlines()
    assert all(width(line) <= 30 for line in lines)
    assert lines[1] == "a" * 12 + "  " + "b" * 12 + "…  c"
    assert lines[2] == "龙凤" + " " * 10 + "龙" * 6 + "…  d"


def test_the_first_column_is_cut_where_nothing_else_is_left(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    narrow(monkeypatch)
    print_table(["A", "B"], [["a" * 40, "b" * 40]])
    assert click.unstyle(capsys.readouterr().out).splitlines()[1] == "a" * 21 + "…  " + "b" * 5 + "…"


def test_a_narrow_terminal_does_without_some_columns_and_is_told(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    narrow(monkeypatch)
    print_table(["A", "B", "C"], ROWS, spare=["not there", "B", "C"])
    captured = capsys.readouterr()
    assert click.unstyle(captured.out) == "A             C\naaaaaaaaaaaa  c\n龙凤          d\n"
    assert captured.err == "(Left out, as the terminal is narrow: B.)\n"


# -- zoo search ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["sings"], ["bird-7b"]),
        (["SINGS"], ["bird-7b"]),
        (["bird"], ["bird-7b", "egg-560m", "talks"]),
        (["bird", "sings"], ["bird-7b"]),
        (["bird sings"], ["bird-7b"]),
        (["sings bird"], ["bird-7b"]),
        (["tit"], ["bird-7b"]),
        (["bloomz"], ["bird-7b"]),
        (["mit", "52k"], ["bird-7b"]),
        (["dataset"], ["talks"]),
        (["latin"], ["wolf-13b"]),
        (["pickle", "wolves"], ["wolf-13b"]),
        (["zh"], ["bird-7b", "moe"]),
    ],
    ids=str,
)
def test_search(cards: Path, run: Run, words: list[str], expected: list[str]) -> None:
    assert names(run("search", *words)) == expected
    document = json.loads(run("search", *words, "--json").stdout)
    assert (document["schema"], [each["id"] for each in document["items"]]) == ("zoo.list/v1", expected)


def test_search_shows_summaries(cards: Path, run: Run) -> None:
    assert run("search", "sings").stdout == "NAME     SUMMARY\nbird-7b  A bird that Sings\n"


def test_search_of_nothing(cards: Path, run: Run) -> None:
    result = run("search", "bird", "zebra")
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == "No card has all of these words. See all cards with: zoo list\n"
    assert json.loads(run("search", "zebra", "--json").stdout)["items"] == []


# -- zoo show ------------------------------------------------------------------------------------------------------------


def test_show(cards: Path, run: Run) -> None:
    result = run("show", "tit")
    assert (result.exit_code, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert lines[0] == "bird-7b  A bird that Sings"
    text = result.stdout
    for expected in (
        "family ",
        "birds",
        "zh-Hant, en",
        "2023-04-08",
        "BLOOMZ",
        "2048",
        "0.5",
        str(cards / "bird-7b.yaml"),
    ):
        assert expected in text
    digest = re.search(r"^digest  ([0-9a-f]{64})$", text, re.MULTILINE)
    assert digest
    assert json.loads(run("show", "tit", "--json").stdout)["digest"] == digest[1]


def test_show_as_json(cards: Path, run: Run) -> None:
    document = json.loads(run("show", "bird-7b", "--json").stdout)
    assert set(document) == {"schema", "card", "digest", "path", "lineage", "terms", "problems"}
    expected = {"schema": "zoo.card/v1", "kind": "model", "id": "bird-7b", "version": "1.0.0", "status": "experimental"}
    assert document["card"] == CARDS["bird-7b"] | expected | {"capabilities": ["chat"]}
    assert document["schema"] == "zoo.show/v1"
    assert document["path"] == str(cards / "bird-7b.yaml")
    assert document["lineage"] == ["a/shell", "egg-560m (distill)", "bird-7b (finetune)"]
    assert document["terms"] == {
        "kind": "unknown",
        "commercial": "unknown",
        "license": "",
        "source": "egg-560m",
        "link": "",
    }
    assert document["problems"] == []


@pytest.mark.parametrize(
    ("bases", "expected"),
    [
        pytest.param({}, ["a"], id="none"),
        pytest.param({"a": {"name": "LLaMA"}}, ["LLaMA", "a (merge)"], id="a name"),
        pytest.param({"a": {"name": "LLaMA", "repo": "m/llama"}}, ["m/llama", "a (merge)"], id="a repository"),
        pytest.param(
            {"a": {"id": "b"}, "b": {"id": "c"}, "c": {}}, ["c (merge)", "b (merge)", "a (merge)"], id="cards"
        ),
        pytest.param({"a": {"id": "nothing"}}, ["nothing", "a (merge)"], id="a card that is not there"),
        pytest.param({"a": {"id": "a"}}, ["a (merge)"], id="itself"),
        pytest.param({"a": {"id": "b"}, "b": {"id": "a"}}, ["b (merge)", "a (merge)"], id="round"),
    ],
)
def test_lineage(cards: Path, run: Run, bases: dict[str, dict[str, str]], expected: list[str]) -> None:
    write(cards / "a.yaml")
    for name, base in bases.items():
        write(cards / f"{name}.yaml", lineage={"base": base, "relation": "merge"})
    assert json.loads(run("show", "a", "--json").stdout)["lineage"] == expected
    drawn = [f"  {'   ' * (depth - 1)}{'└─ ' if depth else ''}{name}" for depth, name in enumerate(expected)]
    tree = "".join(f"{line}\n" for line in ["", "lineage", *drawn, "", "card    "])
    shown = run("show", "a").stdout
    assert (tree.rstrip() in shown) == (len(expected) > 1)


def test_show_tells_what_is_wrong_with_a_card(cards: Path, run: Run) -> None:
    write(cards / "x.yaml", status="stable")
    result = run("show", "x")
    assert result.exit_code == 0
    assert result.stderr.splitlines()[0] == "Problem: status is stable, but it has no source"
    assert len(result.stderr.splitlines()) == 6
    assert len(json.loads(run("show", "x", "--json").stdout)["problems"]) == 6


def test_show_a_dataset(cards: Path, run: Run) -> None:
    assert run("show", "talks").stdout.startswith("talks  Talks of BIRDS\n")
    assert json.loads(run("show", "talks", "--json").stdout)["lineage"] == ["talks"]


def test_show_by_path(cards: Path, run: Run, tmp_path: Path) -> None:
    write(tmp_path / "weights" / "zoo.yaml")
    for reference in (str(tmp_path / "weights"), str(tmp_path / "weights" / "zoo.yaml")):
        assert json.loads(run("show", reference, "--json").stdout)["card"]["id"] == "zoo"


# -- zoo explain ---------------------------------------------------------------------------------------------------------

SYSTEM = (
    "A chat between a curious human and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the human's questions.\n\n"
)


@pytest.mark.parametrize(
    ("arguments", "prompt"),
    [
        pytest.param(["Hi"], f"{SYSTEM}Human: <s>Hi</s>Assistant: <s>", id="prompt"),
        pytest.param([], f"{SYSTEM}Human: <s>Hello!</s>Assistant: <s>", id="no prompt"),
        pytest.param(["Hi", "--system", "S"], "S\n\nHuman: <s>Hi</s>Assistant: <s>", id="system"),
        pytest.param(["Hi", "--system", ""], "Human: <s>Hi</s>Assistant: <s>", id="empty system"),
        pytest.param(["{{ 1 }}"], f"{SYSTEM}Human: <s>{{{{ 1 }}}}</s>Assistant: <s>", id="like a template"),
    ],
)
def test_explain_without_weights(cards: Path, run: Run, arguments: list[str], prompt: str) -> None:
    result = run("explain", "bird-7b", *arguments, "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    document = json.loads(result.stdout)
    digest = json.loads(run("show", "bird-7b", "--json").stdout)["digest"]
    assert document == {
        "schema": "zoo.explain/v1",
        "model": "bird-7b",
        "card_digest": digest,
        "template": "phoenix",
        "prompt": prompt,
        "ids": None,
        "ids_missing": document["ids_missing"],
        "stop": ["</s>"],
        "sampling": document["sampling"],
        "seed_is_drawn": True,
        "context": 2048,
        "engine": "",
    }
    assert {"temperature": 0.5, "max_new_tokens": 64, "stop": ["</s>"]}.items() <= document["sampling"].items()
    assert document["ids_missing"]


def test_explain_for_people(cards: Path, run: Run) -> None:
    write(cards / "bird.yaml", **{**CARDS["bird-7b"], "family": "phoenix", "aliases": []})
    result = run("explain", "bird", "Hi")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.startswith(
        f"prompt\n{SYSTEM}Human: <s>Hi</s>Assistant: <s>\n\ntoken ids\nnot known: The weights of"
    )
    assert "zoo pull bird" in result.stdout
    lines = dict(re.split("  +", line, maxsplit=1) for line in result.stdout.splitlines()[-5:])
    assert lines["model"].startswith("bird (card ")
    del lines["model"]
    assert lines == {
        "template": "phoenix",
        "context": "2048 tokens",
        "stop": "'</s>'",
        "sampling": "temperature 0.5, max_new_tokens 64, seed drawn anew for every answer",
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["wolf-13b"], "The card of 'wolf-13b' names no conversation template. Choose one with --template"),
        (
            ["wolf-13b", "--template", "phenix"],
            "No installed plugin brings the template 'phenix'. Did you mean phoenix?",
        ),
        (["wolf"], "No model is called 'wolf'. Did you mean wolf-13b?"),
        (["talks"], "'talks' is a dataset, not a model."),
    ],
    ids=" ".join,
)
def test_explain_what_cannot_be(cards: Path, run: Run, arguments: list[str], message: str) -> None:
    result = run("explain", *arguments)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith(f"Error: {message}")


def test_explain_with_another_template(cards: Path, run: Run) -> None:
    document = json.loads(run("explain", "wolf-13b", "Hi", "--template", "phoenix", "--json").stdout)
    assert document["prompt"] == f"{SYSTEM}Human: <s>Hi</s>Assistant: <s>"
    assert document["context"] is None


# -- completion ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(run: Run, shell: str) -> None:
    result = run("completion", shell)
    assert (result.exit_code, result.stderr) == (0, "")
    assert f"_ZOO_COMPLETE={shell}_complete" in result.stdout


@pytest.mark.parametrize(
    ("words", "incomplete", "expected"),
    [
        (["show"], "b", ["bird-7b"]),
        (["show"], "t", ["talks", "tit"]),
        (["show"], "zebra", []),
        (["list"], "o", ["odd"]),
        (["list", "odd"], "o", ["odd"]),
        (["explain"], "wolf", ["wolf-13b"]),
        (["chat"], "wolf", ["wolf-13b"]),
        (["chat", "-m"], "wolf", ["wolf-13b"]),
        (["train"], "wolf", ["wolf-13b"]),
        ([], "sh", ["show"]),
        ([], "da", ["data"]),
        (["plugins"], "", ["check", "doctor", "list"]),
        (["list", "--so"], "--so", ["--sort"]),
        (["list", "--sort"], "s", ["size", "status"]),
    ],
    ids=str,
)
def test_completion_of_commands_options_and_model_names(
    cards: Path, words: list[str], incomplete: str, expected: list[str]
) -> None:
    given = [word for word in words if word != incomplete]
    found = BashComplete(cli, {}, "zoo", "_ZOO_COMPLETE").get_completions(given, incomplete)
    assert sorted(each.value for each in found) == expected


def test_completion_names_each_model_once(cards: Path) -> None:
    found = BashComplete(cli, {}, "zoo", "_ZOO_COMPLETE").get_completions(["show"], "")
    assert [each.value for each in found] == sorted([*CARDS, "tit"])


# -- --card --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("before", [True, False], ids=["zoo --card", "after the command"])
def test_a_card_for_one_run(cards: Path, run: Run, tmp_path: Path, before: bool) -> None:
    option = ["--card", str(write(tmp_path / "new.yaml")), "--card", str(write(tmp_path / "newer.yaml"))]
    arguments = [*option, "list", "new*"] if before else ["list", "new*", *option]
    assert names(run(*arguments)) == ["new", "newer"]
    assert run("list", "new*").stdout == ""


def test_a_card_of_the_command_line_wins_and_says_so(cards: Path, run: Run, tmp_path: Path) -> None:
    path = write(tmp_path / "moe.yaml", summary="mine")
    result = run("show", "moe", "--card", str(path))
    assert result.stdout.startswith("moe  mine\n")
    assert result.stderr == (
        f"Warning: two cards are called 'moe': {path} (command line) is used, {cards / 'moe.yaml'} (your cards) is not\n"
    )


@pytest.mark.parametrize(
    "command", [["list"], ["search", "x"], ["show", "x"], ["explain", "x"], ["plugins", "list"]], ids=str
)
def test_a_card_of_the_command_line_that_is_not_there(cards: Path, run: Run, command: list[str]) -> None:
    result = run("--card", "nothing.yaml", *command)
    if command[0] == "plugins":  # it needs no card
        assert result.exit_code == 0
        return
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "Error: There is no card at nothing.yaml.\n"


# -- exit codes and the rest -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["lst"], 2, "There is no command 'lst'. Did you mean list?"),
        (["Chat"], 2, "There is no command 'Chat'. Did you mean chat?"),
        (["zebra"], 2, "There is no command 'zebra'."),
        (["list", "--no-such-option"], 2, "--no-such-option"),
        (["list", "--sort", "colour"], 2, "'colour'"),
        (["list", "--kind", "film"], 2, "'film'"),
        (["show"], 2, "MODEL"),
        (["search"], 2, "WORDS"),
        (["completion", "tcsh"], 2, "'tcsh'"),
        (["plugins", "lst"], 2, "'lst'"),
        (["show", "zebra"], 1, "No model is called 'zebra'. See all of them with: zoo list"),
        (["show", "moe@9.9.9"], 1, "The card of 'moe' has version 1.0.0, not 9.9.9."),
        (["show", "./nothing"], 1, "There is no card at nothing."),
        (["show", "./" + "x" * 300], 1, "There is no card at xxx"),
        (["show", "~no-such-user/x"], 1, "There is no card at ~no-such-user/x."),
        (["show", ""], 1, "No model is called ''."),
        (["--card", "/dev/null", "list"], 1, "/dev/null is neither a card file nor a folder."),
        (["plugins", "check", "zebra"], 1, "No installed plugin is called 'zebra'."),
    ],
    ids=lambda each: " ".join(each)[:30] if isinstance(each, list) else "",
)
def test_mistakes_have_a_message_and_an_exit_code(
    cards: Path, run: Run, arguments: list[str], code: int, message: str
) -> None:
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (code, "")
    lines = result.stderr.splitlines()
    assert lines[-1].startswith("Error: ")
    assert message in lines[-1]
    assert code == 2 or len(lines) == 1


def test_version(run: Run) -> None:
    result = run("--version")
    assert (result.exit_code, result.stdout, result.stderr) == (0, f"{__version__}\n", "")


@pytest.mark.parametrize("arguments", [["--version"], ["list", "--help"], ["chat", "-h"]], ids=" ".join)
def test_what_needs_no_plugin_loads_none(arguments: list[str]) -> None:
    code = (
        "import sys\nfrom zoo_core.cli import cli\n"
        f"cli({arguments!r}, prog_name='zoo', standalone_mode=False)\n"
        "print(*sorted({'zoo_core.zoo', 'zoo_core.plugins', 'pluggy', 'yaml', 'jinja2'} & sys.modules.keys()), file=sys.stderr)"
    )
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert process.stderr == "\n"


@pytest.mark.parametrize("option", ["--help", "-h"])
def test_help_tells_every_command(run: Run, option: str) -> None:
    result = run(option)
    assert (result.exit_code, result.stderr) == (0, "")
    for name, what in (COMMANDS | {"data": "Look at training data"}).items():
        assert re.search(rf"^  {name} +{re.escape(what[:40])}", result.stdout, re.MULTILINE), name


@pytest.mark.parametrize("name", [*COMMANDS, "data"])
def test_every_command_has_help(run: Run, name: str) -> None:
    result = run(name, "--help")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.startswith(f"Usage: zoo {name} ")


def test_no_command_at_all_shows_the_help(run: Run) -> None:
    result = run()
    assert result.exit_code == 2
    assert "Usage: zoo" in result.output


def test_the_module_of_each_command_is_there() -> None:
    for name in COMMANDS:
        command = cli.get_command(click.Context(cli), name)
        assert isinstance(command, click.Command)
        assert command.name == name
