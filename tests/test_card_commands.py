"""`zoo card new`, `diff` and `schema`: what is found out and what is left out, what differs, and what editors are told."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
import yaml
from click.testing import Result

from zoo_core.cards.chat_templates import own_template, proved
from zoo_core.cards.checking import card_template
from zoo_core.cards.comparing import differences
from zoo_core.cards.index import card_files
from zoo_core.cards.parts import TemplateChoice
from zoo_core.cards.reading import parse_card, read_card
from zoo_core.cards.schema import KINDS, ModelCard, json_schema
from zoo_core.cards.writing import card_data
from zoo_core.conversation import Message, Template, render
from zoo_core.errors import TemplateError

if TYPE_CHECKING:
    from hub_standin import Hub

Run = Callable[..., Result]
ROOT = Path(__file__).parent.parent
WEIGHTS = ROOT / "plugins" / "zoo_hatchling" / "weights"
FILES = {path.name: path.read_bytes() for path in sorted(WEIGHTS.iterdir())}
FIRST_PARTY = [
    Path(path) for folder in ("registry", "plugins/zoo_hatchling/cards") for path, _ in card_files(ROOT / folder)
]
README = """\
---
license: apache-2.0
language: [en, zh, multilingual]
base_model: bigscience/bloomz-560m
datasets:
- a/data
tags: [chat]
---
# A model
"""
CHATML = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def model(folder: Path, **files: Any) -> Path:
    """A copy of the embedded model's files with others; `__` in a name stands for a dot. None removes one."""
    shutil.copytree(WEIGHTS, folder)
    for name, content in files.items():
        path = folder / name.replace("__", ".")
        if content is None:
            path.unlink()
        elif isinstance(content, dict):
            path.write_text(json.dumps({**(json.loads(path.read_bytes()) if path.exists() else {}), **content}))
        else:
            path.write_text(content, encoding="utf-8")
    return folder


def drafted(result: Result) -> ModelCard:
    assert result.exit_code == 0, result.stderr
    card = parse_card(result.stdout.encode(), "stdout")
    assert isinstance(card, ModelCard)
    return card


# -- new ---------------------------------------------------------------------------------------------------------------


def test_a_folder_becomes_a_card(run: Run, tmp_path: Path) -> None:
    folder = model(
        tmp_path / "My Model 7B",
        README__md=README,
        tokenizer_config__json={"chat_template": CHATML},
        generation_config__json={"do_sample": True, "temperature": 0.6, "top_k": 20, "top_p": 5},
    )
    result = run("card", "new", folder)
    card = drafted(result)
    assert (card.id, card.family, card.format, card.status) == ("my-model-7b", "phoenix", "safetensors", "experimental")
    assert card.summary == "My Model 7B: BloomForCausalLM with 1,055,744 parameters"
    assert (card.sources[0].hub, card.sources[0].path) == ("folder", str(folder))
    assert {file.path: file.sha256 for file in card.files} == {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.iterdir()
        if path.name != "README.md"
    }
    assert (card.architecture.size, card.architecture.params, card.architecture.kv_heads) == ("", 1_055_744, 4)
    assert card.memory.kv_bytes_per_token == 2048
    assert card.context is not None
    assert card.context.max == 512
    assert (card.license.spdx, card.languages, card.training.data) == ("Apache-2.0", ["en", "zh"], ["a/data"])
    assert card.lineage is not None
    assert (card.lineage.base.repo, card.lineage.relation) == ("bigscience/bloomz-560m", "finetune")
    assert (card.generation.temperature, card.generation.top_k, card.generation.top_p) == (0.6, 20, None)
    assert "Note: no generation.top_p: the checkpoint's 5 is outside of what cards allow" in result.stderr
    assert card.template is not None
    assert card.template.stop_token_ids == [2]
    assert card.template.golden[1].text == (
        "<|im_start|>user\nHello!<|im_end|>\n<|im_start|>assistant\nGood day.<|im_end|>\n"
        "<|im_start|>user\nAnd now?<|im_end|>\n<|im_start|>assistant\n"
    )


def test_numbers_that_no_network_has_are_refused_and_told(run: Run, tmp_path: Path) -> None:
    folder = model(tmp_path / "m", config__json={"seq_length": -512, "n_head": True})
    config = (folder / "config.json").read_text().replace('"n_layer": 4', '"n_layer": 1e400')
    (folder / "config.json").write_text(config)
    result = run("card", "new", folder)
    card = drafted(result)
    assert (card.context, card.architecture.layers, card.architecture.heads) == (None, None, None)
    (told,) = [line for line in result.stderr.splitlines() if "not taken over" in line]
    assert told.startswith("Note: not taken over from config.json, for no network has such numbers: ")
    assert set(told.rpartition("numbers: ")[2].split(", ")) == {"n_layer: inf", "n_head: True", "seq_length: -512"}


def test_a_draft_passes_the_check_and_answers(run: Run, tmp_path: Path) -> None:
    folder = model(tmp_path / "m", README__md="---\nlicense: apache-2.0\nlanguage: en\n---\n")
    result = run("card", "new", folder, "--template", "phoenix", "--out", folder / "zoo.yaml")
    assert result.exit_code == 0, result.stderr
    assert "Note:" not in result.stderr
    card = read_card(folder / "zoo.yaml")
    assert (card.sources[0].path, card.id) == (".", "m")
    assert run("card", "check", folder).exit_code == 0
    assert "nothing to change" in run("card", "lock", folder).stdout
    answer = run("chat", str(folder), "What is the phoenix?", "--temperature", "0", "--no-log")
    assert answer.stdout == run("chat", "hatchling", "What is the phoenix?", "--no-log").stdout


def test_what_cannot_be_found_out_is_left_out_and_told(run: Run, tmp_path: Path) -> None:
    folder = model(tmp_path / "m", config__json={"seq_length": None})
    result = run("card", "new", folder)
    card = drafted(result)
    assert (card.template, card.context, card.languages, card.license.spdx) == (None, None, [], "")
    assert [line for line in result.stderr.splitlines() if line.startswith("Note: ")] == [
        "Note: no template: the tokenizer brings none; choose one with --template",
        "Note: no license: the README names none, or several",
        "Note: no languages: the README names none",
        "Note: no context: the configuration does not say how many tokens the model takes",
    ]


@pytest.mark.parametrize(
    ("text", "spdx", "name", "link"),
    [
        ("license: mit", "MIT", "", ""),
        ("license: cc-by-nc-4.0", "CC-BY-NC-4.0", "", ""),
        ("license: openrail", "", "openrail", ""),
        (
            "license: other\nlicense_name: my-own\nlicense_link: https://example.org/l",
            "",
            "my-own",
            "https://example.org/l",
        ),
        ("license: other\nlicense_link: LICENSE", "", "other", ""),
        ("license: [mit]", "MIT", "", ""),
        ("license: [mit, apache-2.0]", "", "", ""),
        ("license: 5", "", "", ""),
    ],
)
def test_licences_of_a_readme(text: str, spdx: str, name: str, link: str, run: Run, tmp_path: Path) -> None:
    folder = model(tmp_path / "m", README__md=f"---\n{text}\n---\n")
    said = drafted(run("card", "new", folder)).license
    assert (said.spdx, said.name, said.link) == (spdx, name, link)


LINEAGES: dict[str, tuple[str, dict[str, Any], tuple[str, list[str]] | None]] = {
    "none": ("", {}, None),
    "said": ("base_model: a/b\nbase_model_relation: quantized", {}, ("quantized", ["a/b"])),
    "unknown word": ("base_model: a/b\nbase_model_relation: cousin", {}, ("finetune", ["a/b"])),
    "several": ("base_model: [a/b, c/d]", {}, ("merge", ["a/b", "c/d"])),
    "quantized": (
        "base_model: a/b",
        {"quantization_config": {"quant_method": "gptq", "bits": 4}},
        ("quantized", ["a/b"]),
    ),
    "not text": ("base_model: {a: b}", {}, None),
}


@pytest.mark.parametrize(("text", "config", "expected"), LINEAGES.values(), ids=LINEAGES.keys())
def test_lineage_of_a_readme(
    text: str, config: dict[str, Any], expected: tuple[str, list[str]] | None, run: Run, tmp_path: Path
) -> None:
    folder = model(tmp_path / "m", README__md=f"---\n{text}\n---\n", config__json=config)
    lineage = drafted(run("card", "new", folder)).lineage
    told = (lineage.relation, [each.repo for each in (lineage.base, *lineage.others)]) if lineage else None
    assert told == expected


@pytest.mark.parametrize(
    "readme",
    [
        pytest.param("---\na: &a [x]\nb: *a\n---\n", id="anchors"),
        pytest.param("---\nlicense: !!python/object:os.system x\n---\n", id="a tag"),
        pytest.param("---\n- a\n---\n", id="a list"),
        pytest.param("---\nlicense: [\n---\n", id="broken"),
    ],
)
def test_a_readme_that_cannot_be_read_is_told(readme: str, run: Run, tmp_path: Path) -> None:
    result = run("card", "new", model(tmp_path / "m", README__md=readme))
    assert drafted(result).license.spdx == ""
    assert "Note: nothing from the README: README.md, line " in result.stderr


def test_a_readme_without_front_matter(run: Run, tmp_path: Path) -> None:
    folder = model(tmp_path / "m", README__md="# A\n---\nlicense: mit\n---\n")
    assert drafted(run("card", "new", folder)).license.spdx == ""


def test_greedy_by_default(run: Run, tmp_path: Path) -> None:
    said = {"do_sample": False, "temperature": 0.6, "max_new_tokens": 9}
    card = drafted(run("card", "new", model(tmp_path / "m", generation_config__json=said)))
    assert (card.generation.temperature, card.generation.max_new_tokens) == (0.0, 9)


def test_code_of_the_checkpoint_is_told(run: Run, tmp_path: Path) -> None:
    auto = {"auto_map": {"AutoModelForCausalLM": "modeling.Model"}}
    result = run("card", "new", model(tmp_path / "m", config__json=auto))
    assert drafted(result).runtime.remote_code
    assert "code of its own" in result.stderr


WRONG = {
    "a family that nobody brings": (
        {"config__json": {"architectures": ["XForCausalLM"], "model_type": "x"}},
        [],
        2,
        "--family",
    ),
    "an id that is none": ({}, ["--id", "../x"], 2, "cannot be the card's id"),
    "an unknown template": ({}, ["--template", "gone"], 1, "template 'gone'"),
    "a long summary": ({}, ["--summary", "x" * 201], 1, "summary"),
    "no weights": ({"model__safetensors": None}, ["--family", "phoenix"], 1, "holds no weights"),
    "broken weights": ({"model__safetensors": "x"}, [], 1, "is no safetensors file"),
    "a broken configuration": ({"config__json": ""}, [], 1, "config.json is no JSON"),
}


@pytest.mark.parametrize(("files", "options", "code", "expected"), WRONG.values(), ids=WRONG.keys())
def test_what_cannot_become_a_card(
    files: dict[str, Any], options: list[str], code: int, expected: str, run: Run, tmp_path: Path
) -> None:
    result = run("card", "new", model(tmp_path / "m", **files), *options)
    assert (result.exit_code, result.stdout) == (code, "")
    assert expected in result.stderr


@pytest.mark.parametrize("reference", ["nothing", "./nothing", "hf:", "hf:a", "hf:a/b/c", "a\0b"], ids=ascii)
def test_references_that_are_none(reference: str, run: Run) -> None:
    result = run("card", "new", reference)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "is neither a folder nor of the form hf:OWNER/REPO" in result.stderr


def test_a_family_by_name(run: Run, tmp_path: Path) -> None:
    folder = model(tmp_path / "m", config__json={"architectures": ["XForCausalLM"]})
    assert drafted(run("card", "new", folder, "--family", "other")).family == "other"


def test_a_file_is_not_written_over(run: Run, tmp_path: Path) -> None:
    folder, out = model(tmp_path / "m"), tmp_path / "card.yaml"
    out.write_text("mine")
    result = run("card", "new", folder, "--out", out)
    assert (result.exit_code, out.read_text()) == (2, "mine")
    assert "say --force" in result.stderr
    result = run("card", "new", folder, "--out", out, "--force")
    assert result.exit_code == 0
    assert f"Check it with: zoo card check {out}" in result.stdout
    assert read_card(out).sources[0].path == "m"
    assert run("card", "new", folder, "--out", tmp_path, "--force").exit_code == 2


def test_a_repository_becomes_a_card(run: Run, hub: Hub) -> None:
    commit = hub.add("Owner/My-Model-1.5B", {**FILES, "README.md": README.encode()})
    card = drafted(run("card", "new", "hf:Owner/My-Model-1.5B"))
    source = card.sources[0]
    assert (source.hub, source.repo, source.revision) == ("huggingface", "Owner/My-Model-1.5B", commit)
    assert (card.id, card.architecture.size, card.architecture.params) == ("my-model-1.5b", "1.5B", 1_055_744)
    assert (card.license.spdx, card.languages) == ("Apache-2.0", ["en", "zh"])
    assert [file.path for file in card.files] == sorted(FILES)
    whole = [each for each in hub.requests if each.path.endswith("model.safetensors") and "range" not in each.headers]
    assert [each for each in whole if each.method == "GET"] == []


def test_a_repository_at_a_revision(run: Run, hub: Hub) -> None:
    commit = hub.add("a/b", FILES)
    hub.add("a/b", {"config.json": b"{}"})
    card = drafted(run("card", "new", f"hf:a/b@{commit}"))
    assert (card.sources[0].revision, card.architecture.layers) == (commit, 4)


def test_a_repository_that_is_not_there(run: Run, hub: Hub) -> None:
    result = run("card", "new", "hf:a/gone")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "a/gone" in result.stderr


# -- templates of tokenizers -------------------------------------------------------------------------------------------

TOKENS = {"bos_token": "<s>", "eos_token": {"content": "</s>"}}
TEMPLATES = {
    "chatml": CHATML,
    "tokens": "{{ bos_token }}{% for m in messages %}[{{ m.role }}]{{ m.content }}{{ eos_token }}{% endfor %}",
    "line breaks": "\n{% for m in messages %}\n{{ m.content | trim }}\n{% endfor %}\n",
    "a default system prompt": (
        "{% if messages[0]['role'] == 'system' %}{% set text = messages[0]['content'] %}{% set messages = messages[1:] %}"
        "{% else %}{% set text = 'Be good.' %}{% endif %}{{ text }}{% for m in messages %}|{{ m['content'] }}{% endfor %}"
    ),
    "checks of the order": (
        "{% for m in messages %}{% if m.role not in ['system', 'user', 'assistant'] %}{{ raise_exception('who?') }}"
        "{% endif %}{{ '<' ~ loop.index0 ~ m.role ~ '>' ~ m.content }}{% endfor %}"
    ),
    "namespaces and macros": (
        "{% macro turn(m) %}({{ m.role }}: {{ m.content }}{{ eos_token }}){% endmacro %}"
        "{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{{ ns.n }}{{ turn(m) }}{% endfor %}"
        "{% if tools is defined and tools %}tools{% endif %}{% if add_generation_prompt %}assistant:{% endif %}"
    ),
}
TALKS = {
    "one": [Message("user", "Hello!")],
    "three": [Message("user", "Hello!"), Message("assistant", 'Good "day".'), Message("user", "龙 <s> {{ x }}")],
    "system": [Message("system", "Be brief."), Message("user", "Hello!")],
}


@pytest.mark.parametrize("talk", TALKS.values(), ids=TALKS.keys())
@pytest.mark.parametrize("text", TEMPLATES.values(), ids=TEMPLATES.keys())
def test_renderings_are_those_of_transformers(text: str, talk: list[Message]) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(WEIGHTS)
    tokenizer.chat_template = text
    turns = [{"role": each.role, "content": each.content} for each in talk]
    expected = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    assert render(Template(name="x", text=own_template(text, TOKENS)), talk).text == expected


def prove(text: str, tokens: dict[str, Any] = TOKENS) -> TemplateChoice:
    choice = TemplateChoice(text=own_template(text, tokens))
    card = ModelCard(schema="zoo.card/v1", id="x", family="x", summary="x", template=choice)
    return proved(choice, lambda _: card_template(card, lambda name: Template(name=name, text="")))


@pytest.mark.parametrize(
    "text",
    [
        "{{ strftime_now('%Y') }}{% for m in messages %}{{ m.content }}{% endfor %}",
        "{% for m in messages %}{{ m.content.__class__ }}{% endfor %}",
        "{% for",
        "{{ 'x' * 10**9 }}",
        "nothing of what the user says",
        "",
    ],
)
def test_templates_that_cannot_be_used(text: str) -> None:
    with pytest.raises(TemplateError):
        prove(text)


def test_a_template_for_one_question_alone() -> None:
    text = "{% if messages | length > 1 %}{{ raise_exception('too long') }}{% endif %}{{ messages[0].content }}"
    assert [golden.text for golden in prove(text).golden] == ["Hello!"]


def test_a_token_in_any_script() -> None:
    token = 'a"b\\c\n\U0001f409'
    choice = prove("{{ bos_token }}{{ messages[0].content }}", {"bos_token": token})
    assert choice.golden[0].text == token + "Hello!"


def test_an_unusable_template_is_left_out_and_told(run: Run, tmp_path: Path) -> None:
    folder = model(tmp_path / "m", tokenizer_config__json={"chat_template": "{{ strftime_now('%Y') }}"})
    result = run("card", "new", folder)
    assert drafted(result).template is None
    assert "Note: no template: the tokenizer's own cannot be used (" in result.stderr
    assert "--template" in result.stderr


# -- diff --------------------------------------------------------------------------------------------------------------

DIFFERENCES: dict[str, tuple[Any, Any, list[dict[str, Any]]]] = {
    "nothing": ({"a": 1, "b": [1]}, {"b": [1], "a": 1}, []),
    "a value": ({"a": 1}, {"a": 2}, [{"path": "a", "old": 1, "new": 2}]),
    "a kind of value": ({"a": 1}, {"a": True}, [{"path": "a", "old": 1, "new": True}]),
    "one more": ({}, {"a": {"b": 1}}, [{"path": "a.b", "new": 1}]),
    "one less": ({"a": {"b": 1}}, {}, [{"path": "a.b", "old": 1}]),
    "an order": ({"a": [1, 2]}, {"a": [2, 1]}, [{"path": "a", "old": [1, 2], "new": [2, 1], "order": True}]),
    "words of a list": ({"a": ["x", "y"]}, {"a": ["y", "z"]}, [{"path": "a", "old": "x"}, {"path": "a", "new": "z"}]),
    "twice": ({"a": ["x"]}, {"a": ["x", "x"]}, [{"path": "a", "old": ["x"], "new": ["x", "x"]}]),
    "an item": ({"s": [{"r": 1}]}, {"s": [{"r": 2}]}, [{"path": "s[0].r", "old": 1, "new": 2}]),
    "a longer list": ({"s": [{"r": 1}]}, {"s": [{"r": 1}, {"r": 2}]}, [{"path": "s[1].r", "new": 2}]),
    "files": (
        {"files": [{"path": "a", "size": 1}, {"path": "b", "size": 1}]},
        {"files": [{"path": "b", "size": 2}, {"path": "c", "size": 1}]},
        [
            {"path": "files[a].size", "old": 1},
            {"path": "files[b].size", "old": 1, "new": 2},
            {"path": "files[c].size", "new": 1},
        ],
    ),
    "files of one path": (
        {"files": [{"path": "a", "n": 1}, {"path": "a", "n": 2}]},
        {"files": [{"path": "a", "n": 1}]},
        [{"path": "files[1].path", "old": "a"}, {"path": "files[1].n", "old": 2}],
    ),
    "something empty": ({"a": {}}, {}, [{"path": "a", "old": {}}]),
}


@pytest.mark.parametrize(("old", "new", "expected"), DIFFERENCES.values(), ids=DIFFERENCES.keys())
def test_differences(old: Any, new: Any, expected: list[dict[str, Any]]) -> None:
    import msgspec

    assert msgspec.to_builtins(list(differences(old, new))) == expected


@pytest.mark.parametrize("path", FIRST_PARTY[::7], ids=lambda path: path.stem)
def test_cards_differ_where_their_digests_do(path: Path, run: Run) -> None:
    result = run("card", "diff", path, path.stem)
    assert (result.exit_code, result.stdout) == (0, "no difference\n")
    other = run("card", "diff", path, "hatchling" if path.stem != "hatchling" else "hatchling-dialogues")
    assert (other.exit_code, "no difference" in other.stdout) == (1, False)


def test_a_diff_in_lines(run: Run, tmp_path: Path) -> None:
    text = "schema: zoo.card/v1\nid: x\nfamily: f\nsummary: s\n"
    (tmp_path / "a.yaml").write_text(text + "languages: [de, en]\narchitecture: {layers: 30}\nnotes: ['a: b']\n")
    (tmp_path / "b.yaml").write_text(text + "languages: [en, de]\narchitecture: {layers: 32}\ncontext: {max: 5}\n")
    result = run("card", "diff", tmp_path / "a.yaml", tmp_path / "b.yaml")
    assert result.exit_code == 1
    assert sorted(result.stdout.splitlines()) == [
        "  languages: the same in another order",
        "+ architecture.layers: 32",
        "+ context.max: 5",
        "- architecture.layers: 30",
        "- notes: a: b",
    ]


def test_a_diff_in_json(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("schema: zoo.card/v1\nid: x\nfamily: f\nsummary: s\n")
    result = run("card", "diff", path, "hatchling", "--json")
    told = json.loads(result.stdout)
    assert (told["schema"], told["same"], result.exit_code) == ("zoo.diff/v1", False, 1)
    assert (told["old"]["id"], told["new"]["reference"]) == ("x", "hatchling")
    assert {"path": "family", "old": "f", "new": "phoenix"} in told["differences"]
    assert json.loads(run("card", "diff", "demo", "hatchling", "--json").stdout)["same"] is True


# -- schema, and the group ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def validators() -> dict[str | None, jsonschema.Draft202012Validator]:
    """For each kind of card, and for any, what tells whether data fits the schema."""
    return {kind: jsonschema.Draft202012Validator(json_schema(kind)) for kind in (None, *KINDS)}


@pytest.mark.parametrize("path", FIRST_PARTY, ids=lambda path: path.stem)
def test_every_card_fits_the_schema(path: Path, validators: dict[str | None, jsonschema.Draft202012Validator]) -> None:
    card = read_card(path)
    for kind in (None, str(card.__struct_config__.tag)):
        validators[kind].validate(card_data(card))


@pytest.mark.parametrize("kind", [None, *KINDS])
def test_the_schema_is_printed(kind: str | None, run: Run) -> None:
    printed = json.loads(run("card", "schema", *(["--kind", kind] if kind else [])).stdout)
    assert printed == json_schema(kind)
    jsonschema.Draft202012Validator.check_schema(printed)


@pytest.mark.parametrize(
    "wrong",
    [
        {"colour": "red"},
        {"id": "../x"},
        {"summary": ""},
        {"files": [{"path": "a"}]},
        {"context": {"max": 0}},
        {"schema": 1},
    ],
    ids=str,
)
def test_the_schema_refuses_what_reading_refuses(
    wrong: dict[str, Any], validators: dict[str | None, jsonschema.Draft202012Validator]
) -> None:
    data = {"schema": "zoo.card/v1", "kind": "model", "id": "x", "family": "f", "summary": "s"}
    validators["model"].validate(data)
    with pytest.raises(jsonschema.ValidationError):
        validators["model"].validate({**data, **wrong})


def test_kinds_of_the_schema(run: Run) -> None:
    help_text = run("card", "schema", "--help").stdout
    assert all(kind in help_text for kind in KINDS)
    assert run("card", "schema", "--kind", "other").exit_code == 2


def test_the_group_lists_its_commands(run: Run) -> None:
    told = run("card", "--help").stdout
    assert re.findall(r"^  (\w+)  ", told, re.MULTILINE) == ["new", "lock", "check", "diff", "publish", "schema"]
    result = run("card", "chek")
    assert result.exit_code == 2
    assert "There is no command 'card chek'. Did you mean check?" in result.stderr


def test_a_written_card_is_yaml_that_people_read(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "card.yaml"
    run("card", "new", model(tmp_path / "m"), "--template", "phoenix", "--out", out)
    text = out.read_text()
    assert text.startswith("schema: zoo.card/v1\nkind: model\nid: m\n")
    assert yaml.safe_load(text)["files"][0]["path"] == "config.json"


# -- bad places --------------------------------------------------------------------------------------------------------

LONG = "./" + "a" * 5000


@pytest.mark.parametrize(
    "words",
    [
        ("new", LONG),
        ("check", LONG),
        ("check", LONG + ".yaml"),
        ("lock", LONG),
        ("diff", LONG, "hatchling"),
        ("lock", "hatchling", "--weights", LONG),
        ("new", WEIGHTS, "--out", LONG),
        ("new", WEIGHTS, "--out", WEIGHTS / "config.json" / "card.yaml"),
        ("check", "../hatchling"),
        ("check", "hf:../../etc"),
        ("check", "hat\0chling"),
        ("check", "hаtchling"),  # with a letter of another script
        ("diff", "hatchling", "hatchling@9.9.9"),
    ],
    ids=lambda words: " ".join(map(str, words))[:40].replace("\0", "NUL"),
)
def test_names_and_places_that_are_none(words: tuple[Any, ...], run: Run) -> None:
    result = run("card", *words)
    assert result.exit_code in {1, 2}
    assert result.stderr.splitlines()[-1].startswith("Error: ")


def test_numbers_that_are_none_are_left_out(run: Run, tmp_path: Path) -> None:
    folder = model(tmp_path / "m")
    (folder / "generation_config.json").write_text(
        '{"temperature": NaN, "top_k": 1e400, "top_p": "x", "eos_token_id": [-1, 2]}'
    )
    result = run("card", "new", folder, "--template", "phoenix")
    card = drafted(result)
    assert (card.generation.temperature, card.generation.top_k, card.generation.top_p) == (None, None, None)
    assert result.stderr.count("is outside of what cards allow") == 3
    assert card.template is not None
    assert card.template.stop_token_ids == [2]
