"""Stop strings in a stream: nothing of one is ever shown, however the text arrives."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable, Iterator

import pytest

from zoo_core.stopping import StopFilter

CASES = {
    "one stop": ("Hello</s>World", ("</s>",)),
    "none found": ("Hello World", ("</s>",)),
    "no stops": ("Hello </s>", ()),
    "an empty stop is none": ("Hello", ("", "!")),
    "stop first": ("</s>Hello", ("</s>",)),
    "stop last": ("Hello</s>", ("</s>",)),
    "only a stop": ("</s>", ("</s>",)),
    "twice": ("a</s>b</s>c", ("</s>",)),
    "ends with a part of one": ("Hello</", ("</s>",)),
    "a false start before it": ("a<</s>b", ("</s>",)),
    "a stop that repeats itself": ("aaabaaaab!", ("aaaab",)),
    "a false start inside itself": ("ababac rest", ("abac",)),
    "several, the later one comes first": ("one STOP two END", ("END", "STOP")),
    "one is the beginning of another": ("say ababab now", ("abab", "ab")),
    "one is inside another": ("xx abcd yy", ("abcd", "bc")),
    "overlapping": ("12xyz34", ("xy", "yz")),
    "one ends where another begins": ("ab\n\nHuman: hi", ("\n\nHuman:", "\nHuman")),
    "several scripts": ("你好。再见🐦结束 مرحبا", ("🐦结束",)),
    "one sign": ("a,b", (",",)),
}
cases = pytest.mark.parametrize(("text", "stops"), CASES.values(), ids=CASES)


def expected(text: str, stops: Iterable[str]) -> str:
    """What may be shown of a whole text: everything before the stop string that is complete first."""
    stops = [stop for stop in stops if stop]
    for end in range(len(text) + 1):
        begins = [end - len(stop) for stop in stops if text[:end].endswith(stop)]
        if begins:
            return text[: min(begins)]
    return text


def splits(text: str, most: int) -> Iterator[list[str]]:
    """Every way to cut a text at up to `most` places."""
    for count in range(most + 1):
        for places in itertools.combinations(range(1, len(text)), count):
            yield [text[a:b] for a, b in itertools.pairwise((0, *places, len(text)))]


def show(pieces: Iterable[str], stops: Iterable[str]) -> tuple[str, bool]:
    """What a filter shows of a stream, and whether it stopped."""
    stop_filter = StopFilter(stops)
    shown = [stop_filter.feed(piece) for piece in pieces]
    return "".join([*shown, stop_filter.end()]), stop_filter.stopped


@cases
def test_however_the_text_is_cut_the_same_is_shown(text: str, stops: tuple[str, ...]) -> None:
    stopped = any(stop and stop in text for stop in stops)
    for pieces in (list(text), *splits(text, 2)):
        assert show(pieces, stops) == (expected(text, stops), stopped), pieces


@cases
def test_no_part_of_the_stop_is_ever_on_the_screen(text: str, stops: tuple[str, ...]) -> None:
    """What a screen has shown cannot be taken back: at no time may it be more than the final text."""
    final = expected(text, stops)
    for pieces in (list(text), *splits(text, 2)):
        stop_filter, screen = StopFilter(stops), ""
        for piece in pieces:
            screen += stop_filter.feed(piece)
            assert final.startswith(screen), pieces


@cases
def test_what_cannot_become_a_stop_is_shown_at_once(text: str, stops: tuple[str, ...]) -> None:
    stop_filter, screen, seen = StopFilter(stops), "", ""
    for sign in text:
        seen += sign
        screen += stop_filter.feed(sign)
        if not stop_filter.stopped:
            held = seen[len(screen) :]
            assert held == "" or any(stop.startswith(held) for stop in stops)


def test_random_texts_over_few_letters() -> None:
    """Two letters make as many overlaps and false starts as there can be."""
    source = random.Random(0)
    for _ in range(3000):
        text = "".join(source.choices("ab", k=source.randint(1, 14)))
        stops = ["".join(source.choices("ab", k=source.randint(1, 5))) for _ in range(source.randint(1, 3))]
        cuts = sorted({0, len(text), *source.choices(range(len(text)), k=3)})
        pieces = [text[a:b] for a, b in itertools.pairwise(cuts)]
        stopped = any(stop in text for stop in stops)
        assert show(pieces, stops) == (expected(text, stops), stopped), (pieces, stops)


def test_after_a_stop_nothing_is_shown() -> None:
    stop_filter = StopFilter(["."])
    assert stop_filter.feed("One. Two") == "One"
    assert stop_filter.stopped
    assert [stop_filter.feed(" Three"), stop_filter.end()] == ["", ""]


def test_an_end_shows_what_was_held_back_once() -> None:
    stop_filter = StopFilter(["</s>"])
    assert stop_filter.feed("a</") == "a"
    assert [stop_filter.end(), stop_filter.end()] == ["</", ""]
    assert not stop_filter.stopped


@pytest.mark.parametrize(
    ("text", "stops", "shown"),
    [
        ("one STOP two END", ["END", "STOP"], "one "),
        ("xx abcd yy", ["abcd", "bc"], "xx a"),
        ("xx abc yy", ["bc", "abc"], "xx "),
        ("say abab", ["abab", "ab"], "say "),
    ],
    ids=["first in the text", "complete first", "complete together: the longer", "one begins the other"],
)
def test_of_several_stops_the_one_that_is_complete_first_counts(text: str, stops: list[str], shown: str) -> None:
    assert show([text], stops) == (shown, True)


def test_empty_pieces_change_nothing() -> None:
    assert show(["", "Hel", "", "lo<", "", "/s>", ""], ["</s>"])[0] == "Hello"
