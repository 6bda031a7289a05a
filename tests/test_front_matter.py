"""A README's front matter: our keys change, every other byte stays."""

from __future__ import annotations

import pytest

from zoo_core import ZooError
from zoo_hub.front_matter import front_matter, merged

OURS = {"license": "mit", "language": ["en", "zh"], "tags": ["chat", "zoo-card"]}

CASES = {
    "no README": ("", "---\nlicense: mit\nlanguage:\n- en\n- zh\ntags:\n- chat\n- zoo-card\n---\n"),
    "no front matter": (
        "# Title\n\n---\na: rule\n---\n",
        "---\nlicense: mit\nlanguage:\n- en\n- zh\ntags:\n- chat\n- zoo-card\n---\n\n# Title\n\n---\na: rule\n---\n",
    ),
    "empty front matter": (
        "---\n---\nText\n",
        "---\nlicense: mit\nlanguage:\n- en\n- zh\ntags:\n- chat\n- zoo-card\n---\nText\n",
    ),
    "value on the same line": (
        "---\nfoo: 1\nlicense: apache-2.0  # ours to change\nbar: 2\nlanguage: [en, zh]\ntags: [chat, zoo-card]\n---\nText",
        "---\nfoo: 1\nlicense: mit\nbar: 2\nlanguage: [en, zh]\ntags: [chat, zoo-card]\n---\nText",
    ),
    "value on several lines, comments between": (
        "---\ntags:\n- old\n# about bar\nbar: {a: 1}\n\nlanguage:\n  - en\n\n# the end\n---\nText\n---\nmore\n",
        "---\ntags:\n- chat\n- zoo-card\n# about bar\nbar: {a: 1}\n\nlanguage:\n- en\n- zh\n\n# the end\nlicense: mit\n---\n"
        "Text\n---\nmore\n",
    ),
    "Windows lines": (
        "---\r\nlicense: other\r\nx: y\r\nlanguage: [en, zh]\r\ntags: [chat, zoo-card]\r\n---\r\nText\r\n",
        "---\r\nlicense: mit\r\nx: y\r\nlanguage: [en, zh]\r\ntags: [chat, zoo-card]\r\n---\r\nText\r\n",
    ),
    "byte order mark": (
        "\ufeff---\nlicense: mit\nlanguage: [en, zh]\n---\nText\n",
        "\ufeff---\nlicense: mit\nlanguage: [en, zh]\ntags:\n- chat\n- zoo-card\n---\nText\n",
    ),
    "byte order mark without front matter": (
        "\ufeffText\n",
        "\ufeff---\nlicense: mit\nlanguage:\n- en\n- zh\ntags:\n- chat\n- zoo-card\n---\n\nText\n",
    ),
    "block text of others": (
        "---\nprompt: |\n  license: none\n\n  # no comment\nlicense: x\nlanguage: [en, zh]\ntags: [chat, zoo-card]\n---\n",
        "---\nprompt: |\n  license: none\n\n  # no comment\nlicense: mit\nlanguage: [en, zh]\ntags: [chat, zoo-card]\n---\n",
    ),
    "anchors of others": (
        "---\na: &x [1]\nb: *x\nlicense: mit\nlanguage: [en, zh]\n---\n",
        "---\na: &x [1]\nb: *x\nlicense: mit\nlanguage: [en, zh]\ntags:\n- chat\n- zoo-card\n---\n",
    ),
    "quoted key": (
        '---\n"license": x\nlanguage: [en, zh]\ntags: [chat, zoo-card]\n---\n',
        "---\nlicense: mit\nlanguage: [en, zh]\ntags: [chat, zoo-card]\n---\n",
    ),
}


@pytest.mark.parametrize(("readme", "expected"), CASES.values(), ids=CASES)
def test_only_our_keys_change(readme: str, expected: str) -> None:
    after = merged(readme, OURS)
    assert after == expected
    assert {key: front_matter(after)[key] for key in OURS} == OURS
    assert merged(after, OURS) == after  # a second time there is nothing to do


@pytest.mark.parametrize(
    "readme",
    [
        "---\nlicense: [no\n---\nText",
        "---\n- a\n- list\n---\nText",
        "---\n{license: x, foo: 1}\n---\nText",
        "---\nlicense: &l x\nother: *l\n---\nText",
        "---\na: &a [x]\n" + "".join(f"b{n}: &b{n} [*a, *a]\n" for n in range(21)) + "---\nText",
        '---\n? license\n: x\nfoo: "a\n---\nText',
    ],
)
def test_what_cannot_be_changed_alone_is_refused(readme: str) -> None:
    with pytest.raises(ZooError, match="The README's front matter"):
        merged(readme, OURS)
