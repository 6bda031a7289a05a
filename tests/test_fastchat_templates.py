"""The templates against FastChat's, byte for byte, for every model that both know.

FastChat is installed without its dependencies into an environment of its own, and renders the same conversations there.
Where it differs on purpose or by its own making, the table says how and why; the rest of the text is still compared.
"""

from __future__ import annotations

import json
import subprocess
import sys
import venv
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from zoo_core import Message, Zoo, render

pytestmark = pytest.mark.slow

#: What is run with FastChat's Python: conversations as JSON on stdin, prompts as JSON on stdout.
PROGRAM = """
import json, sys
from fastchat.conversation import get_conv_template

prompts = []
for name, system, turns in json.load(sys.stdin):
    talk = get_conv_template(name)
    if system is not None:
        talk.set_system_message(system)
    for number, turn in enumerate([*turns, None]):
        talk.append_message(talk.roles[number % 2], turn)
    prompts.append(talk.get_prompt())
json.dump(prompts, sys.stdout)
"""

TALKS = {
    "one turn": ("What is a camel?",),
    "two turns": ("What is a camel?", "An animal.", "Where does it live?"),
    "three turns": ("Hello", "Hello!\nWhat can I do?", "Count.", "1 2 3", "On!"),
    "scripts": ("龙凤 Ünïcödé اللغة 😀", "早上好！", "e\u0301 \u2028 ñ"),
    "signs": ("{a} %s \\1 <b>&amp;</b>", "```python\nx = {}\n```", "{{ 7 * 7 }} {% raw %}"),
}
SYSTEMS = {"own system": None, "other system": "Du bist ein Kamel.\nSei kurz."}


def same(ours: str) -> str:
    """Nothing differs."""
    return ours


def alpaca(ours: str) -> str:
    """FastChat puts instruction and answer behind a space; Alpaca was taught a line break, and no space before the answer."""
    return (
        ours.replace("### Instruction:\n", "### Instruction: ").replace("### Response:", "### Response: ").rstrip(" ")
    )


def dolly(ours: str) -> str:
    """FastChat leaves out the blank line before '### End' that Dolly was taught."""
    return ours.replace("\n\n### End", "### End")


def chatglm(ours: str) -> str:
    """FastChat leaves the special tokens behind the prompt to ChatGLM's tokenizer."""
    return ours.removesuffix("[gMASK]<sop>")


class Pair(NamedTuple):
    """One template of ours and FastChat's, what FastChat's system prompt ends with, and how its text differs from ours."""

    ours: str
    theirs: str
    system_end: str = ""
    quirk: Callable[[str], str] = same
    not_compared: tuple[str, ...] = ()


PAIRS = [
    Pair("phoenix", "phoenix", "\n\n"),
    Pair("alpaca", "alpaca", quirk=alpaca),
    Pair("vicuna-v0", "zero_shot"),  # "one_shot" is this one with an example of FastChat's own in front
    Pair("vicuna-v1.1", "vicuna_v1.1"),
    Pair("koala", "koala_v1"),
    Pair("baize", "baize", "\n"),
    Pair("dolly", "dolly_v2", "\n\n", dolly),
    # The checkpoint's own code sends a single question as it is; FastChat counts a round.
    Pair("chatglm", "chatglm", quirk=chatglm, not_compared=("one turn",)),
]


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment that holds FastChat and nothing else."""
    folder = tmp_path_factory.mktemp("fastchat")
    venv.create(folder, with_pip=True)
    python = folder / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    subprocess.run([python, "-m", "pip", "install", "-q", "--no-deps", "fschat==0.2.36"], check=True)
    return python


@pytest.mark.parametrize("pair", PAIRS, ids=[pair.ours for pair in PAIRS])
def test_template_gives_what_fastchat_gives(pair: Pair, python: Path) -> None:
    template = Zoo().template(pair.ours)
    asked, expected, names = [], [], []
    for system_name, system in SYSTEMS.items():
        for talk_name, talk in TALKS.items():
            if talk_name in pair.not_compared:
                continue
            messages = [Message("assistant" if number % 2 else "user", text) for number, text in enumerate(talk)]
            head = [] if system is None else [Message("system", system)]
            asked.append((pair.theirs, None if system is None else system + pair.system_end, talk))
            expected.append(pair.quirk(render(template, [*head, *messages]).text))
            names.append(f"{talk_name}, {system_name}")
    told = subprocess.run([python, "-c", PROGRAM], input=json.dumps(asked), capture_output=True, text=True, check=True)
    assert dict(zip(names, json.loads(told.stdout), strict=True)) == dict(zip(names, expected, strict=True))


def test_every_quirk_changes_something() -> None:
    """A quirk that no longer differs from FastChat must leave the table."""
    for pair in PAIRS:
        text = render(
            Zoo().template(pair.ours), [Message("user", "a"), Message("assistant", "b"), Message("user", "c")]
        ).text
        assert (pair.quirk(text) == text) == (pair.quirk is same), pair.ours
