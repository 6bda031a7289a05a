"""Text for the terminal: what strangers wrote must not steer it; sizes are in words."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from zoo_core.text import bytes_text, printable

TEXTS = {
    "escape": ("a\x1b[31mb", "a[31mb"),
    "clipboard": ("\x1b]52;c;aGk=\x07", "]52;c;aGk="),
    "one-byte control sequence": ("a\x9b2Jb", "a2Jb"),
    "backspace and carriage return": ("ab\b\rc", "abc"),
    "turned writing": ("a\u202eb\u2066c\u2069", "abc"),
    "unseen line": ("a\u2028b\u2029c", "abc"),
    "lines and tabs stay": ("a\n\tb", "a\n\tb"),
    "every script stays": ("你好 مرحبا Привет 안녕 🦜", "你好 مرحبا Привет 안녕 🦜"),
}


@pytest.mark.parametrize(("text", "shown"), TEXTS.values(), ids=TEXTS)
def test_printable(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_a_card_cannot_steer_the_terminal(run: Callable[..., Result], tmp_path: Path) -> None:
    card = tmp_path / "evil.yaml"
    card.write_text(
        'schema: zoo.card/v1\nid: evil\nfamily: x\nsummary: "a\\e[2Jb"\nlanguages_note: "\\e[31m"\nnotes: ["\\e]0;t\\a x"]\n'
    )
    for arguments in (["list", "evil"], ["show", "evil"], ["search", "evil"]):
        result = run("--card", str(card), *arguments)
        assert result.exit_code == 0, result.stderr
        assert "\x1b" not in result.stdout
        assert "\x07" not in result.stdout


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1000, "1.00 KB"),
        (2_117_224, "2.12 MB"),
        (9_996_000, "10.0 MB"),
        (99_960_000, "100 MB"),
        (999_600_000, "1.00 GB"),
        (14_140_000_000, "14.1 GB"),
        (10**17, "100,000 TB"),
    ],
)
def test_sizes_in_words(count: int, text: str) -> None:
    assert bytes_text(count) == text
