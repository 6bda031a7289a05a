"""The embedded model: its card is true, it keeps its promises, and the same recipe makes it again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import hatchling as benchmark
import pytest
import yaml
from click.testing import Result

from zoo_core import Zoo
from zoo_core.cards.checking import check_card

ROOT = Path(__file__).parent.parent
WEIGHTS = ROOT / "plugins" / "zoo_hatchling" / "weights"


@pytest.fixture(scope="module")
def scores(tmp_path_factory: pytest.TempPathFactory) -> dict[str, benchmark.Score]:
    """What the shipped weights score."""
    return benchmark.measure(WEIGHTS)


def test_card_is_stable_and_true(zoo: Zoo) -> None:
    card, _ = zoo.catalog.model("hatchling")
    assert card.status == "stable"
    assert check_card(card, zoo.template) == []
    assert {file.path for file in card.files} == {path.name for path in WEIGHTS.iterdir()}


def test_weights_are_small(zoo: Zoo) -> None:
    assert sum(path.stat().st_size for path in WEIGHTS.glob("*.safetensors")) <= 4_000_000


def test_golden_token_ids_are_those_of_the_tokenizer(zoo: Zoo) -> None:
    import hashlib
    import json

    from zoo_core import Message
    from zoo_core.explain import explain

    card, _ = zoo.catalog.model("hatchling")
    assert card.template is not None
    golden = card.template.golden[0]
    told = explain(zoo, "hatchling", [Message(each.role, each.content) for each in golden.messages])
    assert told.prompt == golden.text
    assert hashlib.sha256(json.dumps(told.ids).encode()).hexdigest() == golden.ids_sha256


@pytest.mark.parametrize(("kind", "least"), [("trained", 0.99), ("wordings", 0.80), ("unknown refused", 0.90)])
def test_promises_are_kept(scores: dict[str, benchmark.Score], kind: str, least: float) -> None:
    assert scores[kind].share >= least, scores[kind]


def test_measured_table_in_the_card_is_what_is_measured(zoo: Zoo, scores: dict[str, benchmark.Score]) -> None:
    card, _ = zoo.catalog.model("hatchling")
    stated = {each.metric: (each.value, each.n) for each in card.evals}
    assert set(stated) == {kind for kind in scores if not kind.startswith("wordings ")}
    for kind, (value, n) in stated.items():
        assert n == scores[kind].of
        # Another processor may round differently and tip a few answers.
        assert value == pytest.approx(scores[kind].share, abs=0.02), kind


def test_held_out_questions_cover_every_intent_and_language() -> None:
    for language in benchmark.read_languages():
        held = yaml.safe_load((benchmark.HELD_OUT / f"{language.language}.yaml").read_text(encoding="utf-8"))
        assert held["intents"].keys() == language.intents.keys()
        assert len(held["unknown"]) == 12


@pytest.mark.slow
def test_recipe_in_the_card_makes_the_model_again(run: Callable[..., Result], tmp_path: Path) -> None:
    result = run("train", "--recipe", "hatchling", "--out", str(tmp_path / "again"))
    assert result.exit_code == 0, result.stderr
    scores = benchmark.measure(tmp_path / "again")
    assert scores["trained"].share >= 0.99
    assert scores["wordings"].share >= 0.75
