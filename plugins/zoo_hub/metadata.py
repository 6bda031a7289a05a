"""What a card says in the hub's own words: the README's front matter and the evaluation results.

The keys are those of the hub's model cards, the results those of `.eval_results/*.yaml`, both as huggingface_hub knows them.
Facts that the hub has no words for are left out and told. Reaches no network.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml

from zoo_core import AnyCard, BenchmarkCard, DatasetCard, ModelCard, yaml_text

#: Relations to a base model that the hub knows.
_RELATIONS = {"finetune", "adapter", "merge", "quantized"}

#: The licences that the hub has identifiers for; all others are `other` with a name and a link.
_LICENSES = frozenset(Path(__file__).with_name("licenses.txt").read_text(encoding="utf-8").split())
_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")


def readme_keys(card: AnyCard, before: Mapping[str, Any]) -> dict[str, Any]:
    """The front matter that a card stands for. `before` is what is there: its tags stay, foreign keys are not looked at."""
    keys: dict[str, Any] = _license(card)
    if card.languages:
        keys["language"] = card.languages
    if isinstance(card, ModelCard):
        keys |= _model_keys(card)
    tags = before.get("tags") or []
    tags = [tags] if isinstance(tags, str) else list(tags)
    return keys | {"tags": [*tags, *(tag for tag in ("zoo-card",) if tag not in tags)]}


def _license(card: AnyCard) -> dict[str, Any]:
    told = card.license.weights or card.license.spdx or card.license.name
    if not told:
        return {}
    identifier = re.sub(r"-(only|or-later)$", "", told.lower())
    if identifier in _LICENSES:
        return {"license": identifier}
    keys = {"license": "other", "license_name": re.sub(r"[^a-z0-9.]+", "-", told.lower()).strip("-")}
    return keys | ({"license_link": card.license.link} if card.license.link else {})


def _model_keys(card: ModelCard) -> dict[str, Any]:
    keys: dict[str, Any] = {}
    if card.lineage is not None:
        bases = [base.repo for base in (card.lineage.base, *card.lineage.others) if base.repo]
        if bases:
            keys["base_model"] = bases[0] if len(bases) == 1 else bases
            if card.lineage.relation in _RELATIONS:
                keys["base_model_relation"] = card.lineage.relation
    if card.format == "safetensors":
        keys["library_name"] = "peft" if card.lineage and card.lineage.relation == "adapter" else "transformers"
    if {"chat", "complete"} & set(card.capabilities):
        keys["pipeline_tag"] = "text-generation"
    return keys


def evaluation_results(card: AnyCard) -> str:
    """The text of `.eval_results/zoo.yaml`; empty when no measurement can be said in the hub's form."""
    if not isinstance(card, ModelCard):
        return ""
    entries = [
        EvalResultEntry(
            dataset_id=each.dataset.id,
            task_id=each.dataset.task or "default",
            value=each.value,
            dataset_revision=each.dataset.revision or None,
            date=each.date.isoformat() if each.date else None,
            source_url=each.source or None,
            notes=_notes(each.metric, each.n, each.notes),
        )
        for each in card.evals
        if _REPOSITORY.fullmatch(each.dataset.id)
    ]
    return yaml_text(eval_result_entries_to_yaml(entries)) if entries else ""


def left_out(card: AnyCard) -> list[str]:
    """What the hub has no words for, a sentence each."""
    if isinstance(card, DatasetCard | BenchmarkCard):
        return []
    told = []
    if card.lineage is not None and card.lineage.relation not in _RELATIONS:
        told.append(f"The hub knows no relation '{card.lineage.relation}' to a base model; only zoo.yaml says it.")
    names = sorted({each.dataset.id for each in card.evals if not _REPOSITORY.fullmatch(each.dataset.id)})
    if names:
        told.append(
            f"Evaluations on {', '.join(names)} stay in zoo.yaml alone: the hub's results need a dataset 'owner/name'."
        )
    return told


def _notes(metric: str, questions: int | None, notes: str) -> str:
    """The metric, for which the hub's form has no field, and what else the card says of the measurement."""
    return "; ".join(filter(None, [metric, f"{questions} questions" if questions else "", notes]))
