"""Asking for a recorded answer again: the same, or where it differs and what has changed since."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from click.testing import Result

from zoo_core import EngineRequest, Offer, Piece, Rendered, Sampling, Template, Zoo, hookimpl
from zoo_core.errors import HistoryError, NotFound, WeightsError
from zoo_core.history import History
from zoo_core.opening import open_session
from zoo_core.plugins import Plugins
from zoo_core.recording import Recorder
from zoo_core.replay import replay
from zoo_core.session import Session

PLAIN = Template(name="plain", text="{{ system }}{% for m in messages %}{{ m.content }}|{% endfor %}")
OTHER = Template(name="other", text="other: {{ messages[0].content }}")


class Spell:
    """An engine that spells its prompt backwards, each letter moved by the seed; a token for every letter."""

    name, context_length, facts = "spell", None, {"device": "none", "library": "1"}
    extra: tuple[int, ...] = ()

    def __init__(self, request: EngineRequest) -> None:
        pass

    def encode(self, prompt: Rendered) -> list[int]:
        return [ord(sign) for sign in prompt.text]

    def stream(self, prompt: Rendered, sampling: Sampling) -> Iterator[Piece]:
        ids = [*(ord(sign) + sampling.seed % 7 for sign in reversed(prompt.text)), *self.extra]
        yield from (Piece(text=chr(each), ids=(each,)) for each in ids)
        yield Piece(ids=(0,), finish="stop")

    def close(self) -> None:
        pass


@hookimpl
def _engines() -> list[Offer]:
    return [Offer(name="spell", target=f"{__name__}:Spell")]


@hookimpl
def _families() -> list[Offer]:
    return [Offer(name="none", target="builtins:object")]


@hookimpl
def _templates() -> list[Template]:
    return [PLAIN, OTHER]


PLUGIN = SimpleNamespace(zoo_engines=_engines, zoo_model_families=_families, zoo_conversation_templates=_templates)


@pytest.fixture
def zoo_with(tmp_path: Path) -> Callable[..., Zoo]:
    """Make a zoo with the card of `speller`, its fields changed as given."""

    def make(**fields: Any) -> Zoo:
        data = {
            "schema": "zoo.card/v1",
            "id": "speller",
            "family": "none",
            "summary": "Spells",
            "runtime": {"engine": "spell"},
        }
        data |= {"sources": [{"hub": "folder", "path": "."}], "template": {"name": "plain"}} | fields
        path = tmp_path / "speller.yaml"
        path.write_bytes(msgspec.json.encode(data))
        return Zoo(plugins=Plugins([], modules={"test": PLUGIN}), card_files=[path])

    return make


def record(zoo: Zoo, *questions: str, pieces: int | None = None, **options: Any) -> Session:
    """Have a conversation recorded; with `pieces` each answer is stopped after so many."""
    recorder = Recorder(enabled=True, warn=pytest.fail)
    session = open_session(zoo, "speller", **options)
    for question in questions:
        answer = session.reply(question)
        for number, _ in enumerate(answer, 1):
            if number == pieces:
                break
        answer.close()
        recorder.record(session, "speller")
    return session


def edit(path: Path, **columns: Any) -> None:
    """Change the recorded answers."""
    database = sqlite3.connect(path)
    with database:
        for name, value in columns.items():
            database.execute(f"UPDATE replies SET {name} = ?", (json.dumps(value),))
    database.close()


@pytest.fixture
def path(zoo_folders: Path) -> Path:
    return zoo_folders / "data" / "history.db"


def test_the_same_answer(zoo_with: Callable[..., Zoo]) -> None:
    zoo = zoo_with()
    record(zoo, "Hello", "凤凰?")
    for number in (1, 2):
        outcome = replay(zoo, number)
        assert outcome.same
        assert outcome.sentence == f"Answer {number} is the same, token by token."
        assert (outcome.changes, outcome.differs_at) == ([], None)
        assert outcome.recorded == outcome.replayed != ""


def test_a_drawn_seed_is_replayed_too(zoo_with: Callable[..., Zoo]) -> None:
    zoo = zoo_with()
    for _ in range(5):
        record(zoo, "Hello")
    assert all(replay(zoo, number).same for number in range(1, 6))
    history = History()
    assert len({each.sampling.seed for each in history.export()}) == 5
    history.close()


@pytest.mark.parametrize(
    "options",
    [
        {"system": "Be kind. "},
        {"system": ""},
        {"template": "other"},
        {"sampling": {"stop": ["e"], "max_new_tokens": 5}},
        {"engine": "spell"},
    ],
    ids=["system prompt", "empty system prompt", "template", "stop string", "engine"],
)
def test_what_the_user_chose_is_chosen_again(zoo_with: Callable[..., Zoo], options: dict[str, Any]) -> None:
    zoo = zoo_with(template={"name": "plain", "system": "The card's own. "})
    record(zoo, "Hello there", **options)
    assert replay(zoo, 1).same


@pytest.mark.parametrize(
    "template",
    [
        {"text": "mine: {{ messages[0].content }}"},
        {"name": "plain", "system": "Mine. "},
        {"name": "plain", "stop": ["l"]},
    ],
    ids=["a text of its own", "a system prompt of its own", "a stop string of its own"],
)
def test_the_card_s_own_template_is_used_again(zoo_with: Callable[..., Zoo], template: dict[str, Any]) -> None:
    """It may be called like a plugin's template without being equal to it."""
    zoo = zoo_with(template=template)
    record(zoo, "Hello")
    outcome = replay(zoo, 1)
    assert (outcome.same, outcome.changes) == (True, [])


def test_the_weights_that_the_user_named_are_used_again(zoo_with: Callable[..., Zoo], tmp_path: Path) -> None:
    zoo = zoo_with(sources=[])
    folder = tmp_path / "weights"
    folder.mkdir()
    record(zoo, "Hello", weights=folder)
    assert replay(zoo, 1).same
    folder.rmdir()
    with pytest.raises(WeightsError, match=f"There is no folder {folder}"):
        replay(zoo, 1)


def test_a_card_without_a_template_is_replayed_with_the_one_that_was_named(zoo_with: Callable[..., Zoo]) -> None:
    zoo = zoo_with(template=None)
    record(zoo, "Hello", template="other")
    assert replay(zoo, 1).same


@pytest.mark.parametrize("place", [0, 1, 3, 6])
def test_the_first_token_that_differs_is_named(zoo_with: Callable[..., Zoo], path: Path, place: int) -> None:
    zoo = zoo_with()
    session = record(zoo, "Hello", sampling={"seed": 0})
    assert session.last is not None
    ids = list(session.last.ids)
    ids[place] += 1
    edit(path, ids=ids)
    outcome = replay(zoo, 1)
    assert (outcome.same, outcome.differs_at, outcome.changes) == (False, place, [])
    assert outcome.sentence == (
        f"Answer 1 differs from token {place} on. "
        "Nothing that is recorded has changed, so the machine computes differently."
    )


@pytest.mark.parametrize(
    ("change", "place"),
    [(lambda ids: ids[:-2], 5), (lambda ids: [*ids, 9], 7), (lambda ids: [], 0)],
    ids=["the recorded one ends before", "the recorded one is longer", "nothing was recorded"],
)
def test_answers_of_other_lengths_differ_where_the_shorter_ends(
    zoo_with: Callable[..., Zoo], path: Path, change: Callable[[list[int]], list[int]], place: int
) -> None:
    zoo = zoo_with()
    session = record(zoo, "Hello", sampling={"seed": 0})
    assert session.last is not None
    assert len(session.last.ids) == 7
    edit(path, ids=change(session.last.ids))
    outcome = replay(zoo, 1)
    assert (outcome.same, outcome.differs_at) == (False, place)


def test_an_answer_that_was_stopped_is_compared_as_far_as_it_went(zoo_with: Callable[..., Zoo], path: Path) -> None:
    zoo = zoo_with()
    session = record(zoo, "Hello", pieces=3)
    assert session.last is not None
    assert session.last.finish == "cancelled"
    assert replay(zoo, 1).same
    edit(path, ids=[*session.last.ids[:2], 1])
    assert replay(zoo, 1).differs_at == 2


def test_a_changed_card_is_named(zoo_with: Callable[..., Zoo]) -> None:
    session = record(zoo_with(), "Hello")
    changed = zoo_with(summary="Spells better", template={"name": "plain", "system": "New. "})
    outcome = replay(changed, 1)
    digest = open_session(changed, "speller").card_digest
    assert not outcome.same
    assert outcome.sentence == "Answer 1 differs from token 6 on."
    assert f"card was {session.card_digest[:12]}, is {digest[:12]}" in outcome.changes
    assert any(each.startswith("template was ") for each in outcome.changes)
    assert len(outcome.changes) == 2


def test_a_changed_library_is_named(zoo_with: Callable[..., Zoo], monkeypatch: pytest.MonkeyPatch) -> None:
    zoo = zoo_with()
    record(zoo, "Hello")
    monkeypatch.setattr(Spell, "extra", (65,))
    monkeypatch.setattr(Spell, "facts", {"device": "none", "library": "2", "driver": "7"})
    outcome = replay(zoo, 1)
    assert outcome.changes == ["driver was -, is 7", "library was 1, is 2"]
    assert outcome.differs_at == 6


def test_a_change_that_changes_no_token_is_no_difference(
    zoo_with: Callable[..., Zoo], monkeypatch: pytest.MonkeyPatch
) -> None:
    record(zoo_with(), "Hello")
    monkeypatch.setattr(Spell, "facts", {"device": "none", "library": "2"})
    assert replay(zoo_with(summary="Spells better"), 1).same


def test_replaying_records_nothing(zoo_with: Callable[..., Zoo]) -> None:
    zoo = zoo_with()
    record(zoo, "Hello")
    replay(zoo, 1)
    history = History()
    assert len(list(history.export())) == 1
    history.close()


def test_what_is_gone_is_named(zoo_with: Callable[..., Zoo], path: Path) -> None:
    zoo = zoo_with()
    with pytest.raises(NotFound, match="No answer has the number 1"):
        replay(zoo, 1)
    record(zoo, "Hello")
    with pytest.raises(NotFound, match="No model is called 'speller'"):
        replay(Zoo(plugins=Plugins([], modules={"test": PLUGIN})), 1)
    edit(path, ids="damaged")
    with pytest.raises(HistoryError, match="Answer 1 of the conversation history is damaged"):
        replay(zoo, 1)


# -- with the embedded model -------------------------------------------------------------------------------------------


def test_zoo_logs_replay(run: Callable[..., Result], path: Path) -> None:
    answer = run("chat", "hatchling", "What is the phoenix?", "--temperature", "1.5", "--max-new-tokens", "12")
    assert answer.exit_code == 0
    same = run("logs", "replay", "1")
    assert (same.exit_code, same.stdout) == (0, "Answer 1 is the same, token by token.\n")
    history = History()
    ids = history.reply(1).ids
    history.close()
    edit(path, ids=[*ids[:2], ids[2] + 1, *ids[3:]], card_digest="an older card")
    other = run("logs", "replay", "1")
    assert other.exit_code == 1
    first, second = other.stdout.splitlines()
    assert first == "Answer 1 differs from token 2 on."
    assert second.startswith("  changed: card was ")
    told = json.loads(run("logs", "replay", "1", "--json").stdout)
    assert (told["schema"], told["same"], told["differs_at"]) == ("zoo.replay/v1", False, 2)
    assert told["recorded"] == told["replayed"] == answer.stdout.removesuffix("\n")


def test_zoo_logs_replay_of_a_number_that_is_none(run: Callable[..., Result]) -> None:
    assert run("logs", "replay", "7").stderr == (
        "Error: No answer has the number 7. See them with: zoo logs list, zoo logs show\n"
    )
    assert run("logs", "replay", "seven").exit_code == 2
