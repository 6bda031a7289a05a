"""Checking cards as a whole: against each other, their files, their hub, and their model's own answer."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from click.testing import Result

if TYPE_CHECKING:
    from hub_standin import Hub

Run = Callable[..., Result]
ROOT = Path(__file__).parent.parent
WEIGHTS = ROOT / "plugins" / "zoo_hatchling" / "weights"
FILES = {path.name: path.read_bytes() for path in sorted(WEIGHTS.iterdir())}
HATCHLING = yaml.safe_load((ROOT / "plugins" / "zoo_hatchling" / "cards" / "hatchling.yaml").read_text())
LISTED = [{"path": n, "size": len(c), "sha256": hashlib.sha256(c).hexdigest()} for n, c in FILES.items()]
BASE: dict[str, Any] = {"schema": "zoo.card/v1", "kind": "model", "id": "x", "family": "phoenix", "summary": "s"}


def card(folder: Path, name: str = "x", **fields: Any) -> Path:
    """A card file with these fields; JSON is YAML too."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.yaml"
    path.write_text(json.dumps({**BASE, "id": name, **fields}), encoding="utf-8")
    return path


def check(run: Run, *arguments: Any) -> tuple[list[dict[str, Any]], Result]:
    """The items of the JSON report, and the result."""
    result = run("card", "check", *arguments, "--json")
    assert result.stdout, result.stderr
    report = json.loads(result.stdout)
    assert report["schema"] == "zoo.card-check/v1"
    failed = any(item["result"] == "failed" for item in report["items"])
    assert result.exit_code == (1 if failed else 0)
    return report["items"], result


def findings(items: list[dict[str, Any]], level: str = "error") -> list[str]:
    return [
        f"{each['field']}: {each['message']}" for item in items for each in item["findings"] if each["level"] == level
    ]


def skipped(items: list[dict[str, Any]]) -> list[str]:
    return [f"{each['check']}: {each['reason']}" for item in items for each in item["skipped"]]


# -- the report --------------------------------------------------------------------------------------------------------


def test_a_clean_card(run: Run, tmp_path: Path) -> None:
    result = run("card", "check", card(tmp_path))
    assert (result.exit_code, result.stdout) == (0, "1 checked: 1 passed, 0 failed; 0 errors, 0 warnings.\n")


def test_findings_are_lines(run: Run, tmp_path: Path) -> None:
    path = card(tmp_path, status="deprecated", sources=[{"hub": "huggingface", "repo": "a/b"}])
    result = run("card", "check", path, "--offline")
    assert result.exit_code == 1
    assert result.stdout.splitlines() == [
        "error    x  status: status is deprecated, but replaced_by does not say what to use instead",
        "skipped  x  huggingface: offline",
        "1 checked: 0 passed, 1 failed; 1 errors, 0 warnings.",
    ]


def test_a_card_that_cannot_be_read_is_one_finding_of_many(run: Run, tmp_path: Path) -> None:
    card(tmp_path, "a", colour="red")
    card(tmp_path, "b")
    (tmp_path / "c.yaml").write_text("\x00")
    items, _ = check(run, tmp_path)
    assert [(item["card"], item["result"]) for item in items] == [("", "failed"), ("b", "passed"), ("", "failed")]
    assert f"{tmp_path / 'a.yaml'}, line 1, colour: the field is unknown" in findings(items)[0]
    assert [each["check"] for item in items for each in item["findings"]] == ["schema", "schema"]


def test_collections_are_no_cards(run: Run, tmp_path: Path) -> None:
    card(tmp_path, extends="a.collection.yaml")
    (tmp_path / "a.collection.yaml").write_text("languages: [en]\n")
    assert [item["card"] for item in check(run, tmp_path)[0]] == ["x"]


def test_the_whole_zoo(run: Run) -> None:
    items, _ = check(run, "--offline")
    assert "hatchling" in {item["card"] for item in items}
    assert findings(items) == []


def test_the_whole_zoo_with_a_broken_card(run: Run, zoo_folders: Path) -> None:
    from zoo_core.paths import cards_folder

    card(cards_folder(), "broken", colour="red")
    items, _ = check(run, "--offline")
    assert [item["path"] for item in items if item["result"] == "failed"] == [str(cards_folder() / "broken.yaml")]


@pytest.mark.parametrize(("name", "code"), [("nothing-like-it", 1), ("./nothing.yaml", 1), ("--nothing", 2)])
def test_what_is_not_there(name: str, code: int, run: Run) -> None:
    assert run("card", "check", name).exit_code == code


def test_a_folder_without_cards(run: Run, tmp_path: Path) -> None:
    result = run("card", "check", tmp_path)
    assert (result.exit_code, result.stderr) == (1, f"Error: There is no card below {tmp_path}.\n")


def test_a_card_named_twice_is_checked_once(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = card(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert [item["card"] for item in check(run, path, "./x.yaml", tmp_path)[0]] == ["x"]


# -- names and references ----------------------------------------------------------------------------------------------


def test_two_cards_of_one_name(run: Run, tmp_path: Path) -> None:
    paths = card(tmp_path / "a"), card(tmp_path / "b")
    assert findings(check(run, tmp_path)[0]) == [f"id: {path} is called 'x' too" for path in reversed(paths)]


@pytest.mark.parametrize("fields", [{}, {"summary": "another one"}], ids=["like it", "another"])
def test_a_card_of_the_zoo_is_called_so(fields: dict[str, Any], run: Run, tmp_path: Path) -> None:
    path = tmp_path / "hatchling.yaml"
    path.write_text(json.dumps({**HATCHLING, **fields}, default=str))
    items, _ = check(run, path)
    expected = "the zoo has another card 'hatchling': "
    assert [each.startswith(f"id: {expected}") for each in findings(items, "warning")] == ([True] if fields else [])


ALIASES: dict[str, tuple[dict[str, Any], list[str]]] = {
    "an id of the zoo": ({"aliases": ["hatchling"]}, ["aliases: the alias 'hatchling' is claimed by 'hatchling' too"]),
    "an alias of the zoo": ({"aliases": ["demo"]}, ["aliases: the alias 'demo' is claimed by 'hatchling' too"]),
    "an id beside it": (
        {"aliases": ["y"]},
        ["aliases: the alias 'y' is claimed by 'y' too", "id: 'x' has 'y' as an alias"],
    ),
    "its own": ({"aliases": ["x", "free", "free"]}, []),
}


@pytest.mark.parametrize(("fields", "expected"), ALIASES.values(), ids=ALIASES.keys())
def test_aliases_that_others_claim(fields: dict[str, Any], expected: list[str], run: Run, tmp_path: Path) -> None:
    card(tmp_path, **fields)
    card(tmp_path, "y")
    assert findings(check(run, tmp_path)[0]) == expected


def test_an_id_that_is_an_alias_of_the_zoo(run: Run, tmp_path: Path) -> None:
    assert findings(check(run, card(tmp_path, "demo"))[0]) == ["id: 'hatchling' has 'demo' as an alias"]


NAMED: dict[str, tuple[dict[str, Any], str]] = {
    "variant": ({"runtime": {"variants": ["gone"]}}, "runtime.variants: no card is called 'gone'"),
    "its own variant": ({"runtime": {"variants": ["x"]}}, "runtime.variants: the card is its own variant"),
    "replacement": ({"replaced_by": "gone"}, "replaced_by: no card is called 'gone'"),
    "itself": ({"replaced_by": "x", "status": "deprecated"}, "replaced_by: the card is replaced by itself"),
    "engine": ({"runtime": {"engine": "gone"}}, "runtime.engine: No installed plugin brings the engine 'gone'"),
    "template": ({"template": {"name": "gone"}}, "template: No installed plugin brings the template 'gone'"),
    "base": (
        {"lineage": {"base": {"id": "gone"}, "relation": "finetune"}},
        "license: the lineage names the card 'gone', but no card is called so",
    ),
    "made from": ({"kind": "dataset", "made_from": ["gone"], "family": None}, "made_from: no card is called 'gone'"),
    "context": ({"context": {"max": 5, "default": 6}}, "context: the default context 6 is more than max, 5"),
    "delta": (
        {"lineage": {"base": {"name": "b"}, "relation": "finetune", "delta": {}}},
        "lineage.delta: it says how a delta is added, but relation is finetune",
    ),
    "smoke": ({"checks": {"smoke": {"prompt": "Hi"}}}, "checks.smoke: it says neither what the reply begins with"),
    "files twice": (
        {"files": [{"path": p, "size": 1, "sha256": "a" * 64} for p in ("a.json", "A.json")]},
        "files: the file path 'a.json' stands in the list more than once",
    ),
}


@pytest.mark.parametrize(("fields", "expected"), NAMED.values(), ids=NAMED.keys())
def test_what_a_card_names(fields: dict[str, Any], expected: str, run: Run, tmp_path: Path) -> None:
    path = card(tmp_path, **fields)
    data = {key: value for key, value in json.loads(path.read_text()).items() if value is not None}
    path.write_text(json.dumps(data))
    (finding,) = findings(check(run, path, "--offline")[0])
    assert finding.startswith(expected)


def test_cards_may_name_each_other(run: Run, tmp_path: Path) -> None:
    card(tmp_path, runtime={"variants": ["y"]})
    card(tmp_path, "y", replaced_by="x", lineage={"base": {"id": "x"}, "relation": "quantized"})
    assert findings(check(run, tmp_path)[0]) == []


def test_a_delta_with_more_rows_than_its_base(run: Run, tmp_path: Path) -> None:
    card(tmp_path, "base", architecture={"vocab_size": 10})
    delta = {"base": {"id": "base"}, "relation": "delta"}
    card(tmp_path, "a", lineage={**delta, "delta": {"vocab_size": 11}})
    card(tmp_path, "b", lineage={**delta, "delta": {"vocab_size": 11, "new_rows": "zero"}})
    card(tmp_path, "c", lineage=delta)
    card(tmp_path, "d", lineage={**delta, "delta": {"vocab_size": 11, "keeps": ["embed_tokens"]}})
    items, _ = check(run, tmp_path)
    assert findings(items) == []
    assert findings(items, "warning") == [
        "lineage.delta.new_rows: the vocabulary has 11 rows, that of 'base' 10, "
        "but new_rows does not say what they are added to",
        "lineage.delta: the card does not say how the delta is added to its base",
    ]


def test_a_licence_that_allows_more_than_its_base(run: Run, tmp_path: Path) -> None:
    card(tmp_path, "base", license={"name": "cc-by-nc-4.0"})
    card(tmp_path, license={"spdx": "MIT"}, lineage={"base": {"id": "base"}, "relation": "finetune"})
    (finding,) = findings(check(run, tmp_path)[0])
    assert finding.startswith("license: the licence MIT (permissive) allows more than that of its ancestor 'base'")


# -- files on this machine ---------------------------------------------------------------------------------------------


def hatchling(folder: Path, **fields: Any) -> Path:
    """The embedded model's card over a copy of its weights, with other fields."""
    shutil.copytree(WEIGHTS, folder / "weights", dirs_exist_ok=True)
    data = {
        **HATCHLING,
        "id": "x",
        "aliases": [],
        "status": "experimental",
        "sources": [{"hub": "folder", "path": "weights"}],
        **fields,
    }
    path = folder / "x.yaml"
    path.write_text(json.dumps(data, default=str))
    return path


def test_files_token_ids_and_answer(run: Run, tmp_path: Path) -> None:
    smoke = {"prompt": "What is the phoenix?", "expect": "Phoenix is a chat model", "max_new_tokens": 40}
    items, _ = check(run, hatchling(tmp_path, checks={"smoke": smoke}), "--smoke")
    assert (findings(items), skipped(items)) == ([], [])


def test_a_damaged_file(run: Run, tmp_path: Path) -> None:
    path = hatchling(tmp_path)
    file = tmp_path / "weights" / "tokenizer.json"
    file.write_bytes(file.read_bytes().replace(b"a", b"b", 1))
    (finding,) = findings(check(run, path)[0])
    assert finding.startswith(f"files: The file {file} has the sha256 ")


NUMBERS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "context": ({"context": {"max": 513}}, ["context: the card says 513 tokens, the configuration 512"]),
    "less context": ({"context": {"max": 100}}, []),
    "layers": ({"architecture": {"layers": 5}}, ["architecture.layers: the card says 5, the configuration 4"]),
    "heads": ({"architecture": {"heads": 8}}, ["architecture.heads: the card says 8, the configuration 4"]),
}


@pytest.mark.parametrize(("fields", "expected"), NUMBERS.values(), ids=NUMBERS.keys())
def test_numbers_against_the_configuration(
    fields: dict[str, Any], expected: list[str], run: Run, tmp_path: Path
) -> None:
    assert findings(check(run, hatchling(tmp_path, template={"name": "phoenix"}, **fields))[0]) == expected


def test_other_token_ids(run: Run, tmp_path: Path) -> None:
    first, second = HATCHLING["template"]["golden"]
    golden = [first, {**second, "ids_sha256": "a" * 64}]
    items, _ = check(run, hatchling(tmp_path, template={"name": "phoenix", "golden": golden}))
    assert findings(items) == ["template: golden rendering 2 has other token ids than ids_sha256 says"]


def test_a_tokenizer_that_cannot_be_used(run: Run, tmp_path: Path) -> None:
    broken = b'{"version": "1.0"}'
    files = [
        {"path": name, "size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        for name, content in {**FILES, "tokenizer.json": broken}.items()
    ]
    path = hatchling(tmp_path, files=files)
    (tmp_path / "weights" / "tokenizer.json").write_bytes(broken)
    items, result = check(run, path)
    (finding,) = findings(items)
    assert finding.startswith("files: the tokenizer cannot be used: ")
    assert "Traceback" not in result.output


def test_token_ids_need_the_tokenizer_only(run: Run, tmp_path: Path) -> None:
    path = hatchling(tmp_path, files=[])
    (tmp_path / "weights" / "model.safetensors").unlink()
    items, _ = check(run, path)
    assert (findings(items), "token ids" in str(skipped(items))) == ([], False)


ANSWERS: dict[str, tuple[dict[str, Any], str]] = {
    "another beginning": ({"expect": "Chimera"}, "checks.smoke: the reply begins 'Phoenix"),
    "another digest": ({"sha256": "a" * 64}, "checks.smoke: the reply has the sha256 "),
    "no such engine": ({"expect": "P", "engine": "gone"}, "checks.smoke: No installed plugin brings the engine 'gone'"),
    "no such dtype": ({"expect": "P", "dtype": "int3"}, "checks.smoke: The dtype 'int3' is unknown"),
}


@pytest.mark.parametrize(("smoke", "expected"), ANSWERS.values(), ids=ANSWERS.keys())
def test_another_answer(smoke: dict[str, Any], expected: str, run: Run, tmp_path: Path) -> None:
    checks = {"smoke": {"prompt": "What is the phoenix?", **smoke}}
    path = hatchling(tmp_path, checks=checks, template={"name": "phoenix"})
    (finding,) = findings(check(run, path, "--smoke")[0])
    assert finding.startswith(expected)


SILENCES: dict[str, tuple[dict[str, Any], tuple[str, ...], list[str]]] = {
    "no smoke": ({}, ("--smoke",), ["smoke: the card has no checks.smoke"]),
    "not asked": ({"checks": {"smoke": {"prompt": "Hi", "expect": "H"}}}, (), ["smoke: not asked for with --smoke"]),
    "no weights": (
        {"checks": {"smoke": {"prompt": "Hi", "expect": "H"}}},
        ("--smoke",),
        ["smoke: the weights are not on this machine"],
    ),
    "no tokenizer": (
        {"template": HATCHLING["template"]},
        (),
        ["token ids: the tokenizer is not on this machine"],
    ),
    "no plugin": (
        {"sources": [{"hub": "elsewhere", "repo": "a/b"}]},
        (),
        ["elsewhere: No installed plugin brings the weight source 'elsewhere'."],
    ),
    "offline": ({"sources": [{"hub": "huggingface", "repo": "a/b"}]}, ("--offline",), ["huggingface: offline"]),
    "a web address": (
        {"sources": [{"hub": "url", "url": "https://example.org/"}]},
        (),
        ["url: what lies at a web address is compared by 'zoo pull'"],
    ),
}


@pytest.mark.parametrize(("fields", "options", "expected"), SILENCES.values(), ids=SILENCES.keys())
def test_what_was_not_looked_at_is_told(
    fields: dict[str, Any], options: tuple[str, ...], expected: list[str], run: Run, tmp_path: Path
) -> None:
    items, _ = check(run, card(tmp_path, **fields), *options)
    assert findings(items) == []
    assert [told.startswith(start) for told, start in zip(skipped(items), expected, strict=True)] == [True]


def test_a_folder_that_is_not_there(run: Run, tmp_path: Path) -> None:
    items, _ = check(run, card(tmp_path, sources=[{"hub": "folder", "path": "gone"}]))
    assert findings(items, "warning") == ["sources: there is no folder gone here"]


# -- hubs --------------------------------------------------------------------------------------------------------------


def on_hub(folder: Path, revision: str, **fields: Any) -> Path:
    source = {"hub": "huggingface", "repo": "a/b", "revision": revision}
    return card(folder, **{"sources": [source], "files": LISTED, "license": {"spdx": "MIT"}, **fields})


def test_all_is_as_the_hub_says(run: Run, hub: Hub, tmp_path: Path) -> None:
    path = on_hub(tmp_path, hub.add("a/b", FILES, license="mit"), context={"max": 512})
    items, _ = check(run, path)
    assert (findings(items), findings(items, "warning"), skipped(items)) == ([], [], [])
    assert not [each for each in hub.requests if each.path.endswith("model.safetensors")]


DIFFERENCES: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "licence": ({"license": "apache-2.0"}, {}, "license: the hub says 'apache-2.0', the card 'MIT'"),
    "gate": ({"license": "mit", "gated": True}, {}, "license.acceptance: the hub asks for the licence to be accepted"),
    "no gate": (
        {"license": "mit"},
        {"license": {"spdx": "MIT", "acceptance": True}},
        "license.acceptance: the hub does not ask for the licence to be accepted",
    ),
    "size": (
        {"license": "mit"},
        {"files": [{**LISTED[2], "size": 5}]},
        "files: model.safetensors has 2,117,224 bytes, the card says 5",
    ),
    "digest": (
        {"license": "mit"},
        {"files": [{**LISTED[2], "sha256": "a" * 64}]},
        "files: model.safetensors has the sha256 d42d7fc565999beb3aa50204b8bfc436c414a86ab86bbb59f40a92e2739c0397, ",
    ),
    "digest of a small file": (
        {"license": "mit"},
        {"files": [{**LISTED[0], "sha256": "a" * 64}]},
        "files: config.json has the sha256 976e4026",
    ),
    "file": (
        {"license": "mit"},
        {"files": [{**LISTED[0], "path": "gone.json"}]},
        "sources[0]: a/b (huggingface) lacks the file gone.json",
    ),
    "context": (
        {"license": "mit"},
        {"context": {"max": 4096}},
        "context: the card says 4,096 tokens, the configuration 512",
    ),
}


@pytest.mark.parametrize(("there", "fields", "expected"), DIFFERENCES.values(), ids=DIFFERENCES.keys())
def test_the_hub_says_something_else(
    there: dict[str, Any],
    fields: dict[str, Any],
    expected: str,
    run: Run,
    hub: Hub,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    from hub_standin import TOKEN

    monkeypatch.setenv("HF_TOKEN", TOKEN)
    path = on_hub(tmp_path, hub.add("a/b", FILES, **there), **fields)
    (finding,) = findings(check(run, path)[0])
    assert finding.startswith(expected)


def test_a_revision_that_is_gone(run: Run, hub: Hub, tmp_path: Path) -> None:
    hub.add("a/b", FILES)
    (finding,) = findings(check(run, on_hub(tmp_path, "f" * 40))[0])
    assert finding.startswith("sources[0]: ")
    assert "no such revision" in finding


def test_a_repository_that_is_gone(run: Run, hub: Hub, tmp_path: Path) -> None:
    (finding,) = findings(check(run, on_hub(tmp_path, "f" * 40))[0])
    assert finding.startswith("sources[0]: ")
    assert "a/b" in finding


def test_a_branch_is_no_commit(run: Run, hub: Hub, tmp_path: Path) -> None:
    commit = hub.add("a/b", FILES, license="mit")
    items, _ = check(run, on_hub(tmp_path, "main"))
    assert findings(items, "warning") == [f"sources[0]: 'main' is no commit; now it leads to {commit}"]


def test_a_card_that_pins_nothing(run: Run, hub: Hub, tmp_path: Path) -> None:
    hub.add("a/b", FILES, license="mit")
    items, _ = check(run, on_hub(tmp_path, "", files=[]))
    assert findings(items) == []
    assert skipped(items) == ["revision: the card pins none", "digests: the card lists no files"]


def test_a_hub_that_does_not_answer(run: Run, hub: Hub, tmp_path: Path) -> None:
    path = on_hub(tmp_path, hub.add("a/b", FILES))
    hub.fault(f"/api/models/a/b/revision/{json.loads(path.read_text())['sources'][0]['revision']}", "error")
    items, _ = check(run, path)
    assert findings(items) == []
    assert [each.partition(":")[0] for each in skipped(items)] == ["huggingface"]


def test_offline_asks_nothing(run: Run, hub: Hub, tmp_path: Path) -> None:
    check(run, on_hub(tmp_path, hub.add("a/b", FILES, license="apache-2.0")), "--offline")
    assert hub.requests == []


def test_thousands_of_cards(run: Run, tmp_path: Path) -> None:
    for number in range(2000):
        card(tmp_path, f"card-{number}", aliases=[f"other-{number}"], sources=[{"hub": "huggingface", "repo": "a/b"}])
    result = run("card", "check", tmp_path, "--offline")
    assert result.stdout.splitlines() == [
        "skipped  2,000 cards  huggingface: offline",
        "2,000 checked: 2,000 passed, 0 failed; 0 errors, 0 warnings.",
    ]
