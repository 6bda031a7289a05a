"""Reading cards: strict, with errors that name file, line and field; and writing them so that they read the same."""

from __future__ import annotations

import datetime
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from zoo_core.cards.index import COLLECTION
from zoo_core.cards.reading import MAX_BYTES, parse_card, parse_mapping, read_card
from zoo_core.cards.schema import Card, DatasetCard, ModelCard, json_schema
from zoo_core.cards.writing import card_data, card_digest, card_yaml, yaml_text
from zoo_core.errors import CardError

HEAD = "schema: zoo.card/v1\nid: x\nfamily: f\nsummary: s\n"  # four lines; what follows begins on line 5
ROOT = Path(__file__).parent.parent
FIRST_PARTY = sorted([*(ROOT / "registry").rglob("*.yaml"), *(ROOT / "plugins").rglob("cards/*.yaml")])
FIRST_PARTY = [path for path in FIRST_PARTY if not path.name.endswith(COLLECTION)]


def read(text: str | bytes) -> Card:
    return parse_card(text.encode() if isinstance(text, str) else text, "card.yaml")


def problem(text: str | bytes) -> str:
    with pytest.raises(CardError) as caught:
        read(text)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# -- what can be read --------------------------------------------------------------------------------------------------


def test_the_shortest_card() -> None:
    card = read(HEAD)
    assert card == ModelCard(schema="zoo.card/v1", id="x", family="f", summary="s")
    assert (card.version, card.status, card.capabilities) == ("1.0.0", "experimental", ["chat"])  # type: ignore[attr-defined]


def test_a_dataset() -> None:
    card = read("schema: zoo.card/v1\nkind: dataset\nid: x\nsummary: s\nsize: 52K\nrows: 3\n")
    assert card == DatasetCard(schema="zoo.card/v1", id="x", summary="s", size="52K", rows=3)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(HEAD.replace("\n", "\r\n").encode(), id="Windows line ends"),
        pytest.param(b"\xef\xbb\xbf" + HEAD.encode(), id="byte order mark"),
        pytest.param(HEAD.encode("utf-16"), id="UTF-16 with its mark"),
        pytest.param(b"# comment\n---\n" + HEAD.encode() + b"...\n", id="comment and document marks"),
        pytest.param(b"{schema: zoo.card/v1, id: x, family: f, summary: s}", id="one line"),
        pytest.param(b'{"schema": "zoo.card/v1", "id": "x", "family": "f", "summary": "s"}', id="JSON"),
        pytest.param(HEAD.replace("id: x", "id: !!str x").encode(), id="plain tag"),
    ],
)
def test_ways_to_write_the_same_card(content: bytes) -> None:
    assert read(content) == read(HEAD)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("released: 2023-04-08", datetime.date(2023, 4, 8)),
        ('released: "2023-04-08"', datetime.date(2023, 4, 8)),
        ("released: null", None),
        ("released:", None),
        ("released: ~", None),
    ],
)
def test_dates(line: str, expected: datetime.date | None) -> None:
    assert read(HEAD + line).released == expected


def test_every_script_is_read() -> None:
    assert read(HEAD + "notes: [凤凰, 'طائر الفينيق', \"\\u1F426 é\"]").notes == ["凤凰", "طائر الفينيق", "\u1f426 é"]


def test_extra_holds_what_a_plugin_likes() -> None:
    card = read(HEAD + "extra: {my-plugin: {a: [1, 2.5, true, null, x], b: {c: 12345678901234567890123}}}")
    assert card.extra == {"my-plugin": {"a": [1, 2.5, True, None, "x"], "b": {"c": 12345678901234567890123}}}


# -- what is wrong, where, and what may have been meant ----------------------------------------------------------------

PLUGIN_ADVICE = " Fields of a plugin's own belong under 'extra'."
A_NAME = "expected 1 to 80 of a-z, 0-9, '.', '_' and '-', the first a letter or a digit"
A_VERSION = "expected three numbers with points between them, such as 1.0.0"
WRONG = {
    "unknown field": ("colour: red", ", line 5, colour: the field is unknown." + PLUGIN_ADVICE),
    "misspelt field": ("licence: {}", ", line 5, licence: the field is unknown. Did you mean 'license'?"),
    "misspelt field further in": (
        "sources:\n  - hub: huggingface\n  - hub: huggingface\n    rep: a",
        ", line 8, sources[1].rep: the field is unknown. Did you mean 'repo'?",
    ),
    "misspelt field deep inside": (
        "template:\n  golden:\n    - messages:\n        - role: user\n          contents: a\n      text: a",
        ", line 9, template.golden[0].messages[0].contents: the field is unknown. Did you mean 'content'?",
    ),
    "unknown field with dots": ('"a.b[0]": 1', ", line 5, a.b[0]: the field is unknown." + PLUGIN_ADVICE),
    "unknown value": (
        "format: onnx",
        ", line 5, format: invalid enum value 'onnx'. Allowed: api, gguf, pickle, safetensors.",
    ),
    "unknown value in a list": (
        "capabilities:\n  - chat\n  - fly",
        ", line 7, capabilities[1]: invalid enum value 'fly'. "
        "Allowed: chat, complete, embed, json_schema, reasoning, reward, tools, vision.",
    ),
    "unknown value further in": (
        "evals: [{dataset: {id: x}, metric: m, value: 1, reported_by: nobody}]",
        ", line 5, evals[0].reported_by: invalid enum value 'nobody'. Allowed: author, third-party, zoo.",
    ),
    "unknown value where none is needed": (
        "license: {commercial: maybe}",
        ", line 5, license.commercial: invalid enum value 'maybe'. Allowed: no, restricted, yes.",
    ),
    "wrong status": (
        "status: done",
        ", line 5, status: invalid enum value 'done'. Allowed: deprecated, experimental, stable.",
    ),
    "number for text": ("version: 1.0", ", line 5, version: expected 'str', got 'float'."),
    "text for a list": ("notes: a", ", line 5, notes: expected 'array', got 'str'."),
    "text for a mapping": ("license: MIT", ", line 5, license: expected 'object', got 'str'."),
    "list for a mapping": ("context: [1]", ", line 5, context: expected 'object | null', got 'array'."),
    "text for a number": ("context: {max: 2k}", ", line 5, context.max: expected 'int', got 'str'."),
    "number too small": ("context: {max: 0}", ", line 5, context.max: expected 'int' >= 1."),
    "number too great": ("generation: {top_p: 1.5}", ", line 5, generation.top_p: expected 'float' <= 1"),
    "infinite number": ("generation: {temperature: .inf}", ", line 5, generation.temperature: expected 'float' <= 10"),
    "negative size": (
        f"files: [{{path: a, size: -1, sha256: {'a' * 64}}}]",
        ", line 5, files[0].size: expected 'int' >= 0.",
    ),
    "size beyond 64 bits": (
        f"files: [{{path: a, size: {2**63}, sha256: {'a' * 64}}}]",
        ", line 5, files[0].size: expected 'int' <= 9223372036854775807.",
    ),
    "context beyond 64 bits": (
        "context: {max: 99999999999999999999}",
        ", line 5, context.max: expected 'int' <= 9223372036854775807.",
    ),
    "short digest": (
        "files: [{path: a, size: 1, sha256: abc}]",
        ", line 5, files[0].sha256: expected 64 of 0-9 and a-f, got 'abc'.",
    ),
    "missing field further in": (
        "files:\n  - path: a\n    size: 1",
        ", line 6, files[0]: the field 'sha256' is missing.",
    ),
    "language": (
        "languages: [english]",
        ", line 5, languages[0]: expected a BCP 47 tag such as en or zh-Hant, got 'english'.",
    ),
    "alias that is no name": (
        "aliases: ['../x']",
        f", line 5, aliases[0]: {A_NAME}, got '../x', whose character 3 is '/'.",
    ),
    "name with a look-alike": (
        "aliases: [cаt]",
        f", line 5, aliases[0]: {A_NAME}, got 'cаt', whose character 2 is 'а' (CYRILLIC SMALL LETTER A).",
    ),
    "version": ("version: '1.0'", f", line 5, version: {A_VERSION}, got '1.0'."),
    "version with a line end": (
        'version: "1.0.0\\n"',
        f", line 5, version: {A_VERSION}, got '1.0.0\\n', whose character 6 is '\\n'.",
    ),
    "version in other digits": (
        "version: '１.0.0'",
        f", line 5, version: {A_VERSION}, got '１.0.0', whose character 1 is '１' (FULLWIDTH DIGIT ONE).",
    ),
    "version of many digits": (f"version: '1.0.{'9' * 5000}'", f", line 5, version: {A_VERSION}, got '1.0.999"),
    "extra of no plugin": ("extra: {a: 1}", ", line 5, extra: expected 'object', got 'int'."),
    "kind": ("kind: modle", ", line 5, kind: invalid value 'modle'. Allowed: model, dataset, benchmark."),
    "kind that is a list": (
        "kind: [model]",
        ", line 5, kind: expected 'str', got 'list'. Allowed: model, dataset, benchmark.",
    ),
    "field of another kind": ("kind: dataset", ", line 3, family: the field is unknown." + PLUGIN_ADVICE),
    "field twice": ("notes: []\nid: y", ", line 6: the field 'id' stands here twice."),
    "field twice further in": ("license:\n  spdx: MIT\n  spdx: MIT", ", line 7: the field 'spdx' stands here twice."),
    "date that is none": (
        "released: 2023-13-45",
        ", line 5: the value '2023-13-45' cannot be read (month must be in 1..12).",
    ),
    "date with a time": (
        "released: 2023-04-08 10:00:00",
        ", line 5, released: expected 'date | null', got 'datetime'.",
    ),
    "date as a word": ("released: soon", ", line 5, released: "),
    "date of impossible zone": (
        "released: 2023-01-01T00:00:00+99:99",
        ", line 5: the value '2023-01-01T00:00:00+99:99'",
    ),
}


@pytest.mark.parametrize(("lines", "expected"), WRONG.values(), ids=WRONG.keys())
def test_errors_name_file_line_and_field(lines: str, expected: str) -> None:
    assert problem(HEAD + lines + "\n").startswith("card.yaml" + expected)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("schema: zoo.card/v1\n", "", "card.yaml, line 1: a card begins with the line 'schema: zoo.card/v1'."),
        (
            "zoo.card/v1",
            "zoo.card/v2",
            "card.yaml, line 1, schema: invalid enum value 'zoo.card/v2'. Allowed: zoo.card/v1.",
        ),
        ("zoo.card/v1", "[a]", "card.yaml, line 1, schema: expected 'str', got 'array'. Allowed: zoo.card/v1."),
        ("id: x\n", "", "card.yaml, line 1: the field 'id' is missing."),
        ("id: x", "id: ../../etc", f"card.yaml, line 2, id: {A_NAME}, got '../../etc', whose character 3 is '/'."),
        ("id: x", "id: X", f"card.yaml, line 2, id: {A_NAME}, got 'X', whose character 1 is 'X'."),
        ("id: x", "id: 7", "card.yaml, line 2, id: expected 'str', got 'int'."),
        ("id: x", "id: ", "card.yaml, line 2, id: expected 'str', got 'null'."),
        ("id: x", 'id: "x\\n"', f"card.yaml, line 2, id: {A_NAME}, got 'x\\n', whose character 2 is '\\n'."),
        ("id: x", "id: " + "x" * 81, f"card.yaml, line 2, id: {A_NAME}, got '{'x' * 81}'."),
        ("summary: s", "summary: ''", "card.yaml, line 4, summary: expected 'str' of length >= 1."),
        ("summary: s", "summary: " + "s" * 201, "card.yaml, line 4, summary: expected 'str' of length <= 200."),
    ],
    ids=lambda each: each[:30],
)
def test_errors_in_the_head(old: str, new: str, expected: str) -> None:
    assert problem(HEAD.replace(old, new)).startswith(expected)


# -- hostile YAML ------------------------------------------------------------------------------------------------------

NO_ANCHORS = "anchors and aliases are not allowed in a card; write the value out."
HOSTILE: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", ", line 1: a mapping of fields to values was expected."),
    "only a comment": (b"# card\n", ", line 1: a mapping of fields to values was expected."),
    "a list": (b"- a\n", ", line 1: a mapping of fields to values was expected."),
    "a word": (b"card", ", line 1: a mapping of fields to values was expected."),
    "two documents": (HEAD.encode() + b"---\n" + HEAD.encode(), ", line 5, column 1: the YAML cannot be read: "),
    "tab": (HEAD.encode() + b"notes:\n\t- x\n", ", line 6, column 1: the YAML cannot be read: "),
    "open quote": (HEAD.encode() + b"notes: ['a\n", ", line "),
    "zero byte": (HEAD.encode() + b"\0", ": the YAML cannot be read: control characters are not allowed."),
    "binary": (bytes(range(256)), ": the YAML cannot be read: "),
    "Latin-1": (HEAD.encode() + b"notes: [\xe9]\n", ": the YAML cannot be read: invalid"),
    "UTF-16 cut": (HEAD.encode("utf-16")[:-1], ": the YAML cannot be read: "),
    "lone surrogate": (HEAD.encode() + b'notes: ["\\ud800"]\n', ", line 5, column 12: the YAML cannot be read: "),
    "encoded surrogate": (HEAD.encode() + b"notes: [\xed\xa0\x80]\n", ": the YAML cannot be read: "),
    "anchor": (HEAD.encode() + b"notes: [&a x]\n", ", line 5: " + NO_ANCHORS),
    "alias": (HEAD.encode() + b"notes: [&a x, *a]\n", ", line 5: " + NO_ANCHORS),
    "alias of nothing": (HEAD.encode() + b"notes: [*a]\n", ", line 5: " + NO_ANCHORS),
    "alias of itself": (b"&a [*a]\n", ", line 1: " + NO_ANCHORS),
    "bomb": (
        b"a: &a [x, x, x, x]\n"
        + b"".join(b"%c: &%c [*%c, *%c, *%c]\n" % (c, c, c - 1, c - 1, c - 1) for c in range(98, 123)),
        ", line 1: " + NO_ANCHORS,
    ),
    "merge key": (HEAD.encode() + b"<<: {notes: []}\n", ", line 5: a field's name must be plain text."),
    "list as key": (HEAD.encode() + b"? [a]\n: b\n", ", line 5: a field's name must be plain text."),
    "mapping as key": (HEAD.encode() + b"? {a: 1}\n: b\n", ", line 5: a field's name must be plain text."),
    "tagged key": (HEAD.encode() + b"!x a: b\n", ", line 5: a field's name must be plain text."),
    "number as key": (HEAD.encode() + b"1: b\n", ", line 5, 1: the field is unknown."),
    "key with a line end": (HEAD.encode() + b'"a\\nb": 1\n', ", line 5: a field's name must be plain text."),
    "key with a terminal's code": (HEAD.encode() + b'"\\e[2Ja": 1\n', ", line 5: a field's name must be plain text."),
    "python object": (
        HEAD.encode() + b"notes: !!python/object/apply:os.system [echo]\n",
        ", line 5: the tag 'python/object/apply:os.system' is not allowed here in a card.",
    ),
    "own tag": (HEAD.encode() + b"notes: !x y\n", ", line 5: the tag '!x' is not allowed here in a card."),
    "binary tag": (HEAD.encode() + b"notes: !!binary aGk=\n", ", line 5: the tag 'binary' is not allowed here"),
    "set tag": (HEAD.encode() + b"notes: !!set {a, b}\n", ", line 5: the tag 'set' is not allowed here"),
    "ordered map tag": (HEAD.encode() + b"notes: !!omap [a: 1]\n", ", line 5: the tag 'omap' is not allowed here"),
    "sign of equality": (HEAD.encode() + b"notes: [=]\n", ", line 5: the tag 'value' is not allowed here"),
    "text tag on a mapping": (HEAD.encode() + b"notes: !!str {a: 1}\n", ", line 5: the tag 'str' is not allowed here"),
    "number tag on a list": (HEAD.encode() + b"notes: !!int [1]\n", ", line 5: the tag 'int' is not allowed here"),
    "map tag on a list": (HEAD.encode() + b"notes: !!map [1]\n", ", line 5: the tag 'map' is not allowed here"),
    "truth that is none": (
        HEAD.encode() + b"notes: !!bool maybe\n",
        ", line 5: the value 'maybe' does not fit its tag 'bool'.",
    ),
    "time that is none": (
        HEAD.encode() + b"notes: !!timestamp x\n",
        ", line 5: the value 'x' does not fit its tag 'timestamp'.",
    ),
    "empty number": (HEAD.encode() + b"notes: !!int ''\n", ", line 5: the value '' does not fit its tag 'int'."),
    "number that is none": (HEAD.encode() + b"notes: !!float x\n", ", line 5: the value 'x' cannot be read (could not"),
    "number of many digits": (
        HEAD.encode() + b"notes: " + b"9" * 9999,
        ", line 5: the number '" + "9" * 40 + "…' is too long.",
    ),
    "hexadecimal number": (HEAD.encode() + b"extra: {a: {b: 0x" + b"F" * 9999 + b"}}", ", line 5: the number '0xFFF"),
    "number of base 60": (HEAD.encode() + b"notes: 1" + b":1" * 400_000, ", line 5: the number '1:1:1"),
    "51 lists": (HEAD.encode() + b"notes: " + b"[" * 51 + b"]" * 51, ", line 5: the YAML is nested too deeply."),
    "deep lists": (b"[" * 900_000, ", line 1: the YAML is nested too deeply."),
    "deep mappings": (b"{a: " * 200_000, ", line 1: the YAML is nested too deeply."),
    "deep dashes": (b"- " * 400_000, ", line 1: the YAML is nested too deeply."),
    "deep keys": (b"? " * 400_000, ", line 1: the YAML is nested too deeply."),
    "deep lines": (b"".join(b" " * n + b"a:\n" for n in range(1300)), ", line 51: the YAML is nested too deeply."),
    "too large": (HEAD.encode() + b"#" * MAX_BYTES, ": the file is larger than 1,000,000 bytes."),
}


@pytest.mark.parametrize(("content", "expected"), HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_files_are_refused(content: bytes, expected: str) -> None:
    message = problem(content)
    assert message.startswith("card.yaml" + expected)
    assert len(message) < 400


def test_deep_nesting_does_not_end_the_interpreter() -> None:
    """The C library makes nodes by recursion; at depth 100,000 that is the end of the process."""
    code = (
        "from zoo_core.cards.reading import parse_card\nfrom zoo_core.errors import CardError\n"
        "try:\n    parse_card(b'[' * 900_000, 'card.yaml')\nexcept CardError as error:\n    print(error)\n"
    )
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert process.stdout == "card.yaml, line 1: the YAML is nested too deeply.\n"


def test_50_levels_are_not_too_deep() -> None:
    depth = 50 - 3  # the card, `extra` and the plugin's own mapping
    card = read(HEAD + "extra: {a: {b: " + "[" * depth + "]" * depth + "}}")
    assert str(card.extra["a"]["b"]).count("[") == depth


def test_the_largest_file_that_is_read() -> None:
    card = read(HEAD + "#" * (MAX_BYTES - len(HEAD)))
    assert card.id == "x"


@pytest.mark.parametrize("kind", ["nothing", "folder", "below a file"])
def test_a_file_that_cannot_be_read(tmp_path: Path, kind: str) -> None:
    path = {"nothing": tmp_path / "x.yaml", "folder": tmp_path, "below a file": tmp_path / "file" / "x.yaml"}[kind]
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(CardError, match=r"^The card .* cannot be read: "):
        read_card(path)


def test_a_card_file_is_named_in_its_errors(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(HEAD + "a: 1\n")
    with pytest.raises(CardError, match=f"^{path}, line 5, a: "):
        read_card(path)


def test_a_mapping_tells_the_lines_of_its_fields() -> None:
    data, lines = parse_mapping(b"a:\n  - b: 1\n    c: [2,\n 3]\n", "o")
    assert data == {"a": [{"b": 1, "c": [2, 3]}]}
    assert lines[("a",)] == 1
    assert lines["a", 0, "b"] == 2
    assert (lines["a", 0, "c"], lines["a", 0, "c", 1]) == (3, 4)


# -- writing -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", FIRST_PARTY, ids=lambda path: path.stem)
def test_first_party_cards_read_the_same_when_written(path: Path) -> None:
    card = read_card(path)
    again = parse_card(card_yaml(card).encode(), "again")
    assert again == card
    assert card_digest(again) == card_digest(card)
    assert card_data(again) == card_data(card)


def test_there_are_first_party_cards() -> None:
    assert len(FIRST_PARTY) >= 25


TEXTS = [
    *("", " ", "\n", "\n\n", "a\n", "\na", " a\nb", "a \nb", "\ta\nb", "a\n ", "a\n\t", "a\n\n\nb\n\n", "  a\n\nb"),
    *("a\r\nb", "a\rb\nc", "a\x85b\nc", "\x85", "\u2028a\nb", "a\u2029b", "\ufeffa", "\x07a\nb", "\x7f", "\xa0"),
    *(
        "yes",
        "no",
        "null",
        "~",
        "1",
        "1.0",
        "1e5",
        "0x1f",
        "1_000",
        "1:30",
        ".nan",
        "2023-01-01",
        "<<",
        "=",
        "!a",
        "&a",
    ),
    *(
        "*a",
        "'",
        '"',
        "a: b",
        "a #b",
        "# a\nb",
        "- a\n- b",
        "{}",
        "[",
        "---",
        "---\na",
        "...",
        "%a\nb",
        "|",
        ">",
        "@",
        "`",
    ),
    *("龙\n凤", "😀", "e" * 300, "word " * 60, "a\n" + "word " * 60, "\ud7ff", "\U0010ffff"),
]


@pytest.mark.parametrize("text", TEXTS, ids=ascii)
def test_any_text_reads_the_same_when_written(text: str) -> None:
    data = {"a": text, "b": [text, {"c": text, "d": [text]}], "e": {"f": {"g": text}}}
    assert parse_mapping(yaml_text(data).encode(), "o")[0] == data


@pytest.mark.parametrize("value", [0, -1, 10**30, 0.1, 1e-9, 1e300, True, False, None, [], {}, [[]], [{}]], ids=repr)
def test_any_value_reads_the_same_when_written(value: object) -> None:
    assert parse_mapping(yaml_text({"a": value, "b": [value]}).encode(), "o")[0] == {"a": value, "b": [value]}


def test_written_yaml_is_for_people() -> None:
    shared = ["é", "龙"]
    text = yaml_text({"z": "one\ntwo", "a": shared, "b": shared})
    assert text == "z: |-\n  one\n  two\na:\n- é\n- 龙\nb:\n- é\n- 龙\n"


def test_the_fields_that_people_look_for_come_first() -> None:
    card = read(HEAD + "notes: [a]\nstatus: stable\naliases: [y]\nversion: 1.2.3\n")
    head = ["schema", "kind", "id", "version", "aliases", "family", "summary", "status"]
    assert list(card_data(card)) == [*head, "notes", "capabilities"]


def test_the_digest_is_of_what_a_card_says_and_not_of_how_it_is_written() -> None:
    text = HEAD + "notes: [é]\nreleased: 2023-04-08\n"
    other = 'released: "2023-04-08"\nversion: 1.0.0\nstatus: experimental\n# comment\nnotes: ["\\xe9"]\n'
    other += HEAD + "capabilities: [chat]\nlicense: {spdx: ''}\naliases: []\nreplaced_by: null\n"
    assert card_digest(read(text)) == card_digest(read(other))
    assert card_digest(read(text)) != card_digest(read(text.replace("é", "e")))
    assert len(card_digest(read(text))) == 64


def test_cards_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        read(HEAD).id = "y"  # type: ignore[misc]


# -- the JSON Schema ---------------------------------------------------------------------------------------------------


def test_the_json_schema_tells_the_rules() -> None:
    schema = json_schema()
    text = msgspec.json.encode(schema).decode()
    model = schema["$defs"]["ModelCard"]
    assert set(schema["$defs"]) >= {"ModelCard", "DatasetCard"}
    assert model["additionalProperties"] is False
    assert set(model["required"]) == {"kind", "schema", "id", "summary", "family"}
    assert model["properties"]["id"]["pattern"] == "^[a-z0-9][a-z0-9._-]{0,79}$"
    assert r"\Z" not in text
    assert os.linesep not in text
