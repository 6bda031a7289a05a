"""What a card says in the hub's own words: front matter and evaluation results."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
import yaml
from huggingface_hub import parse_eval_result_entries

from zoo_core import AnyCard, parse_card
from zoo_hub.metadata import evaluation_results, left_out, readme_keys

REPOSITORY = {"hub": "huggingface", "repo": "me/mine"}


def card(**fields: Any) -> AnyCard:
    data = {"schema": "zoo.card/v1", "id": "mine", "summary": "s"} | fields
    if data.get("kind", "model") == "model":
        data.setdefault("family", "f")
    return parse_card(msgspec.json.encode(data), "card.yaml")


LICENSES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "SPDX": ({"spdx": "Apache-2.0"}, {"license": "apache-2.0"}),
    "SPDX with a suffix": ({"spdx": "GPL-3.0-or-later"}, {"license": "gpl-3.0"}),
    "inherited": ({"spdx": "Apache-2.0", "weights": "llama2"}, {"license": "llama2"}),
    "name that the hub lacks": (
        {"name": "Our License v1", "link": "https://x.org/l"},
        {"license": "other", "license_name": "our-license-v1", "license_link": "https://x.org/l"},
    ),
    "none": ({}, {}),
}


@pytest.mark.parametrize(("said", "keys"), LICENSES.values(), ids=LICENSES)
def test_license(said: dict[str, Any], keys: dict[str, Any]) -> None:
    found = readme_keys(card(license=said), {})
    assert {key: value for key, value in found.items() if key.startswith("license")} == keys


KEYS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "chat model": ({"format": "safetensors"}, {"library_name": "transformers", "pipeline_tag": "text-generation"}),
    "languages": ({"languages": ["en", "no"]}, {"language": ["en", "no"], "pipeline_tag": "text-generation"}),
    "reward model": ({"capabilities": ["reward"]}, {}),
    "other format": ({"format": "gguf"}, {"pipeline_tag": "text-generation"}),
    "finetune": (
        {"lineage": {"base": {"repo": "you/base"}, "relation": "finetune"}, "capabilities": []},
        {"base_model": "you/base", "base_model_relation": "finetune"},
    ),
    "adapter": (
        {"lineage": {"base": {"repo": "you/base"}, "relation": "adapter"}, "format": "safetensors", "capabilities": []},
        {"base_model": "you/base", "base_model_relation": "adapter", "library_name": "peft"},
    ),
    "merge": (
        {
            "lineage": {"base": {"repo": "a/a"}, "others": [{"repo": "b/b"}, {"name": "c"}], "relation": "merge"},
            "capabilities": [],
        },
        {"base_model": ["a/a", "b/b"], "base_model_relation": "merge"},
    ),
    "delta, which the hub does not know": (
        {"lineage": {"base": {"repo": "you/base"}, "relation": "delta"}, "capabilities": []},
        {"base_model": "you/base"},
    ),
    "base without a repository": (
        {"lineage": {"base": {"name": "Base"}, "relation": "finetune"}, "capabilities": []},
        {},
    ),
    "dataset": ({"kind": "dataset", "languages": ["de"]}, {"language": ["de"]}),
}


@pytest.mark.parametrize(("fields", "keys"), KEYS.values(), ids=KEYS)
def test_keys_of_the_readme(fields: dict[str, Any], keys: dict[str, Any]) -> None:
    assert readme_keys(card(**fields), {}) == keys | {"tags": ["zoo-card"]}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({}, ["zoo-card"]),
        ({"tags": ["b", "a"]}, ["b", "a", "zoo-card"]),
        ({"tags": ["zoo-card", "a"]}, ["zoo-card", "a"]),
        ({"tags": "alone"}, ["alone", "zoo-card"]),
        ({"tags": None}, ["zoo-card"]),
    ],
)
def test_tags_of_others_stay(before: dict[str, Any], after: list[str]) -> None:
    assert readme_keys(card(), before)["tags"] == after


MEASURED = {
    "dataset": {"id": "them/bench", "task": "hard", "revision": "a" * 40},
    "metric": "accuracy",
    "value": 0.25,
    "n": 80,
    "date": "2026-11-24",
    "source": "https://x.org/run",
    "notes": "greedy",
}
LOCAL = {"dataset": {"id": "our-questions"}, "metric": "rank", "value": 1.5}


def test_evaluation_results_are_read_back_by_the_hubs_own_library() -> None:
    (entry,) = parse_eval_result_entries(yaml.safe_load(evaluation_results(card(evals=[MEASURED, LOCAL]))))
    assert (entry.dataset_id, entry.task_id, entry.dataset_revision) == ("them/bench", "hard", "a" * 40)
    assert (entry.value, entry.source_url, str(entry.date)) == (0.25, "https://x.org/run", "2026-11-24")
    assert entry.notes == "accuracy; 80 questions; greedy"


@pytest.mark.parametrize("evals", [[], [LOCAL]])
def test_no_result_that_the_hub_can_say_gives_no_file(evals: list[dict[str, Any]]) -> None:
    assert evaluation_results(card(evals=evals)) == ""


def test_what_the_hub_has_no_words_for_is_told() -> None:
    told = left_out(card(evals=[MEASURED, LOCAL], lineage={"base": {"repo": "a/b"}, "relation": "delta"}))
    assert [("delta" in each, "our-questions" in each) for each in told] == [(True, False), (False, True)]
    assert left_out(card(evals=[MEASURED])) == left_out(card(kind="dataset")) == []
