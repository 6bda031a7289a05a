"""What the embedded model can do, measured: the table in its card comes from here.

    python benchmarks/hatchling.py [FOLDER]

Greedy answers are compared with the right answer, sign by sign. The held-out questions in tests/hatchling/heldout were
written without sight of the training questions, and no data builder reads them; those of them that training has word for
word all the same are left out.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import yaml

from zoo_core import Loading, Message, ModelFamily, Template, Zoo, render
from zoo_hatchling.dialogues import Language, read_languages

HELD_OUT = Path(__file__).parent.parent / "tests" / "hatchling" / "heldout"


class Question(NamedTuple):
    """One dialogue that ends with a question, and its right answers: one, but for wordings shared by languages."""

    language: str
    dialogue: list[Message]
    right: frozenset[str]


class Score(NamedTuple):
    """How many answers were right."""

    right: int
    of: int

    @property
    def share(self) -> float:
        """From 0 to 1."""
        return self.right / self.of


def ask(question: str) -> list[Message]:
    """A dialogue of one question."""
    return [Message("user", question)]


def trained(languages: Sequence[Language]) -> Iterator[Question]:
    """Every question that was written for training, word for word.

    A wording that stands in several languages ("LLM Zoo?") is asked once for each, and the answer of any of them is right.
    """
    asked = [(each, intent, q) for each in languages for intent in each.intents.values() for q in intent.questions]
    right: dict[str, set[str]] = {}
    for _, intent, question in asked:
        right.setdefault(question, set()).add(intent.answer)
    for each, _, question in asked:
        yield Question(each.language, ask(question), frozenset(right[question]))


def plain(question: str) -> tuple[str, ...]:
    """The words of a question, without what the builder changes anyway: case and punctuation."""
    return tuple(re.findall(r"\w+", question.casefold()))


def learned(languages: Sequence[Language]) -> set[tuple[str, ...]]:
    """Every question and phrase, in any language, that training may have shown word for word."""
    phrases: list[str] = []
    for each in languages:
        phrases += [question for intent in each.intents.values() for question in intent.questions]
        phrases += [form for forms in each.follow_ups.values() for form in forms]
        phrases += [*each.unknown.questions, *each.names.ask, *each.names.examples]
        for pattern in each.unknown.patterns:
            slot = pattern.partition("{")[2].partition("}")[0]
            phrases += [pattern.replace(f"{{{slot}}}", value) for value in each.unknown.slots[slot]]
    return {plain(phrase) for phrase in phrases}


def held_out(languages: Sequence[Language]) -> dict[str, list[Question]]:
    """The held-out questions by kind.

    Who wrote them did not see the training questions, so some wordings stand there too; those are left out. `names` are
    ordinary names, most of which training has as examples; `new names` are the others.
    """
    kinds: dict[str, list[Question]] = {"wordings": [], "unknown": [], "names": [], "new names": [], "follow-ups": []}
    known = learned(languages)

    def add(kind: str, new: str, language: str, dialogue: list[Message], right: str) -> None:
        if plain(new) not in known:
            kinds[kind].append(Question(language, dialogue, frozenset([right])))

    for each in languages:
        held = yaml.safe_load((HELD_OUT / f"{each.language}.yaml").read_text(encoding="utf-8"))
        for key, questions in held["intents"].items():
            for question in questions:
                add("wordings", question, each.language, ask(question), each.intents[key].answer)
        for question in held["unknown"]:
            add("unknown", question, each.language, ask(question), each.unknown.answer)
        for name in held["names"]:
            said = held["name_say"][0].format(name=name)
            dialogue = [*ask(said), Message("assistant", each.names.greet.format(name=name)), *ask(held["name_ask"][0])]
            recalled = each.names.recall.format(name=name)
            kinds["names"].append(Question(each.language, dialogue, frozenset([recalled])))
            add("new names", name, each.language, dialogue, recalled)
        keys = list(held["follow_ups"])
        for place, key in enumerate(keys):
            before, form = each.intents[keys[(place + 3) % len(keys)]], held["follow_ups"][key]
            dialogue = [*ask(before.questions[0]), Message("assistant", before.answer), *ask(form)]
            add("follow-ups", form, each.language, dialogue, each.intents[key].answer)
    return kinds


class Answerer:
    """Answers many dialogues at once, greedily, rendered as everywhere else."""

    def __init__(self, family: ModelFamily, template: Template, folder: Path) -> None:
        self.template = template
        self.tokenizer = family.load_tokenizer(folder)
        self.model = family.load_model(folder, Loading())

    def answers(self, questions: Sequence[Question], batch: int = 64) -> list[str]:
        """The answer to each question, in their order."""
        texts = [render(self.template, question.dialogue).text for question in questions]
        order = sorted(range(len(texts)), key=lambda place: len(texts[place]))
        found: dict[int, str] = {}
        for start in range(0, len(order), batch):
            places = order[start : start + batch]
            encoded = self.tokenizer(
                [texts[place] for place in places], add_special_tokens=False, padding=True, return_tensors="pt"
            )
            ids = self.model.generate(
                **{key: encoded[key] for key in ("input_ids", "attention_mask")},
                max_new_tokens=96,
                do_sample=False,
                pad_token_id=self.tokenizer.pad_token_id,
            )
            said = self.tokenizer.batch_decode(ids[:, encoded["input_ids"].shape[1] :], skip_special_tokens=True)
            found.update(zip(places, said, strict=True))
        return [found[place] for place in range(len(texts))]


def measure(folder: Path, *, with_trained: bool = True) -> dict[str, Score]:
    """Score a folder of weights: `unknown refused` counts a refusal in any language, `unknown` only the right one."""
    zoo = Zoo()
    answerer = Answerer(zoo.offer("zoo_model_families", "phoenix", "family").load()(), zoo.template("phoenix"), folder)
    languages = read_languages()
    questions: dict[str, list[Question]] = {"trained": [*trained(languages)]} if with_trained else {}
    questions |= held_out(languages)
    refusals = {each.unknown.answer for each in languages}
    scores = {}
    for kind, asked in questions.items():
        answers = answerer.answers(asked)
        scores[kind] = Score(sum(a in q.right for a, q in zip(answers, asked, strict=True)), len(asked))
        if kind == "unknown":
            scores["unknown refused"] = Score(sum(answer in refusals for answer in answers), len(asked))
        if kind == "wordings":
            for each in languages:
                pairs = [(a, q) for a, q in zip(answers, asked, strict=True) if q.language == each.language]
                scores[f"wordings {each.language}"] = Score(sum(a in q.right for a, q in pairs), len(pairs))
    return scores


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    shipped = Path(__file__).parent.parent / "plugins" / "zoo_hatchling" / "weights"
    parser.add_argument(
        "folder", type=Path, nargs="?", default=shipped, help="the weights; the shipped ones if left out"
    )
    for kind, score in measure(parser.parse_args().folder).items():
        print(f"{kind:<18}{score.right:>6} of {score.of:<6}{score.share:>7.1%}")


if __name__ == "__main__":
    main()
