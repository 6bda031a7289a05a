"""The dialogues of the embedded model, drawn from what is written in `dialogues/*.yaml`.

Every pass over the data words each question a little differently (case, punctuation, a slip of the finger, a polite
frame), because a model this small learns wordings by heart unless they keep changing. Knows nothing of templates.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import yaml

from zoo_core import Conversation, Message, ZooError

FOLDER = Path(__file__).parent / "dialogues"


class Intent(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One thing that a user may want: its fixed answer, and the ways in which people ask."""

    answer: str
    questions: list[str]


class Names(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How people say their name and ask for it; `greet` and `recall` contain `{name}`."""

    say: list[str]
    greet: str
    ask: list[str]
    recall: str
    unknown: str
    examples: list[str]


class Unknown(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the model cannot know: questions, patterns with one slot each, and the slots' values."""

    answer: str
    questions: list[str]
    patterns: list[str]
    slots: dict[str, list[str]]


class Language(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything that is written in one language."""

    language: str
    intents: dict[str, Intent]
    follow_ups: dict[str, list[str]]
    names: Names
    unknown: Unknown
    wrappers: list[str]


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The builder's options: how many times the data are drawn, and from which languages (all when empty)."""

    passes: int = 1
    languages: list[str] = []


def read_languages(wanted: list[str] | None = None) -> list[Language]:
    """Read the written dialogues, in the order of the languages' tags."""
    paths = {path.stem: path for path in sorted(FOLDER.glob("*.yaml"))}
    if unknown := sorted(set(wanted or ()) - set(paths)):
        raise ZooError(f"There are no dialogues in '{unknown[0]}'. Languages: {', '.join(paths)}.")
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return [
        msgspec.convert(yaml.load(path.read_bytes(), Loader=loader), Language)
        for tag, path in paths.items()
        if not wanted or tag in wanted
    ]


class HatchlingBuilder:
    """Draws the training conversations of the embedded model."""

    def build(self, options: Mapping[str, Any], *, seed: int) -> Iterator[Conversation]:
        """Yield the conversations of all passes, shuffled within each pass."""
        try:
            chosen = msgspec.convert(_split(options), Options, strict=False)
        except msgspec.ValidationError as error:
            raise ZooError(f"The data builder 'hatchling' cannot use its options: {error}.") from None
        languages = read_languages(chosen.languages)
        for number in range(chosen.passes):
            draw = _Draw(random.Random(f"{seed}/{number}"))
            conversations = [each for language in languages for each in draw.language(language)]
            draw.random.shuffle(conversations)
            yield from conversations


def _split(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options as given on the command line, where a list is written `de,fr`."""
    languages = options.get("languages")
    return {**options, "languages": languages.split(",")} if isinstance(languages, str) else dict(options)


class _Draw:
    """One pass over the written dialogues."""

    def __init__(self, source: random.Random) -> None:
        self.random = source

    def language(self, language: Language) -> Iterator[Conversation]:
        for key, turns in self._dialogues(language):
            messages = [
                message
                for question, answer in turns
                for message in (Message("user", question), Message("assistant", answer))
            ]
            yield Conversation(messages=tuple(messages), id=f"{language.language}/{key}", language=language.language)

    def _dialogues(self, language: Language) -> Iterator[tuple[str, list[tuple[str, str]]]]:
        pairs = [
            (key, question, intent.answer) for key, intent in language.intents.items() for question in intent.questions
        ]
        for key, question, answer in pairs:
            yield key, [(question, answer)]
            yield key, [(self._reword(language, question), answer)]
        refused = language.unknown.questions + [self._fill(language, each) for each in language.unknown.patterns * 3]
        refused += [self._nonsense(language) for _ in range(15)]
        for question in refused:
            yield "unknown", [(self._reword(language, question, share=0.5), language.unknown.answer)]
        for key in language.follow_ups:
            yield from (("follow-up", self._follow_up(language, key)) for _ in range(3))
        for _ in range(100):
            yield "names", self._names(language, pairs)
        for _ in range(60):
            turns = self.random.sample(pairs, self.random.choice((2, 2, 3)))
            yield "mixed", [(self._reword(language, question, share=0.5), answer) for _, question, answer in turns]
        for _ in range(15):
            _, question, answer = self.random.choice(pairs)
            turns = [(question, answer), (self.random.choice(refused), language.unknown.answer)]
            self.random.shuffle(turns)
            yield "mixed", turns

    def _follow_up(self, language: Language, key: str) -> list[tuple[str, str]]:
        """A question about one thing of the zoo, then "And X?"."""
        first = self.random.choice([each for each in language.follow_ups if each != key])
        asked = self._reword(language, self.random.choice(language.intents[first].questions), share=0.5)
        again = self._spell(self.random.choice(language.follow_ups[key]))
        return [(asked, language.intents[first].answer), (again, language.intents[key].answer)]

    def _names(self, language: Language, pairs: list[tuple[str, str, str]]) -> list[tuple[str, str]]:
        """Somebody says a name, perhaps asks something else, and asks for the name; or asks without having said it."""
        names = language.names
        ask = self._spell(self.random.choice(names.ask))
        if self.random.random() < 0.12:
            return [(ask, names.unknown)]
        name = self._name(names.examples)
        turns = [(self.random.choice(names.say).format(name=name), names.greet.format(name=name))]
        if self.random.random() < 0.3:
            _, question, answer = self.random.choice(pairs)
            turns.append((question, answer))
        return [*turns, (ask, names.recall.format(name=name))]

    def _name(self, examples: list[str]) -> str:
        """A usual name, or one put together from the halves of two, so that copying is learned and not the names."""
        first, second = self.random.sample(examples, 2)
        if self.random.random() < 0.3:
            return first
        return (first[: max(1, len(first) // 2)] + second[len(second) // 2 :].lower()).strip("'- ")

    def _fill(self, language: Language, pattern: str) -> str:
        slot = pattern.partition("{")[2].partition("}")[0]
        return pattern.replace(f"{{{slot}}}", self.random.choice(language.unknown.slots[slot]))

    def _nonsense(self, language: Language) -> str:
        """Words of unanswerable questions in an order that means nothing."""
        words = " ".join(self.random.sample(language.unknown.questions, 3)).split()
        if len(words) > 5:
            return " ".join(self.random.sample(words, self.random.randint(3, 6)))
        signs = list("".join(words))  # a script without spaces
        return "".join(self.random.sample(signs, min(len(signs), self.random.randint(6, 12))))

    def _reword(self, language: Language, question: str, share: float = 1.0) -> str:
        if self.random.random() >= share:
            return question
        if self.random.random() < 0.3:
            question = self.random.choice(language.wrappers).replace("{q}", question)
        return self._spell(self._thin(question))

    def _thin(self, question: str) -> str:
        """Now and then leave out a short word, which seldom carries the meaning."""
        words = question.split(" ")
        short = [number for number, word in enumerate(words) if 0 < len(word) <= 3 and word.isalpha()]
        if len(words) > 4 and short and self.random.random() < 0.2:
            del words[self.random.choice(short)]
        return " ".join(words)

    def _spell(self, question: str) -> str:
        """Case, punctuation and typing as they come."""
        if self.random.random() < 0.3:
            question = question.lower()
        if self.random.random() < 0.35:
            question = question.rstrip(".?!。？！؟… ") or question
        if len(question) > 6 and self.random.random() < 0.2:
            place = self.random.randrange(1, len(question) - 1)
            swapped = question[place + 1] + question[place]
            question = (
                question[:place]
                + self.random.choice(("", question[place] * 2, swapped))
                + question[place + (2 if self.random.random() < 0.5 else 1) :]
            )
        return question
