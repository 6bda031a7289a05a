"""`zoo merge delta` and `zoo delta make`, from the command line: cards, resuming, and what a user may do wrong."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from click.testing import Result
from tiny_models import change, tensors, tiny_bloom

from zoo_core import parse_card, read_card
from zoo_core.cards.checking import check_card

Run = Callable[..., Result]


@pytest.fixture(scope="module")
def bloom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `base`, and a `model` with a new token and a card."""
    folder = tmp_path_factory.mktemp("bloom")
    tiny_bloom(folder / "base", dtype="float16", seed=1)
    change(folder / "model", folder / "base", seed=2, rows=1)
    card = """schema: zoo.card/v1
id: taught
family: phoenix
summary: A tiny model that was taught further.
aliases: [teached]
sources: [{hub: folder, path: .}]
template: {name: phoenix}
license: {spdx: Apache-2.0}
notes: [Of these files alone.]
"""
    (folder / "model" / "zoo.yaml").write_text(card)
    return folder


@pytest.fixture
def delta(bloom: Path, tmp_path: Path, run: Run) -> Path:
    done = run(
        *f"delta make --base {bloom / 'base'} --model {bloom / 'model'} --target {tmp_path / 'delta'} --new-rows zero".split()
    )
    assert done.exit_code == 0, done.stderr
    return tmp_path / "delta"


def same(left: Path, right: Path) -> bool:
    ours, theirs = tensors(left), tensors(right)
    return ours.keys() == theirs.keys() and all(
        torch.allclose(ours[name], each, atol=1e-4) for name, each in theirs.items()
    )


def test_delta_is_made_and_merged_again(bloom: Path, delta: Path, tmp_path: Path, run: Run) -> None:
    made = run("merge", "delta", delta, "--base", bloom / "base", "--target", tmp_path / "out", "--smoke")
    assert made.exit_code == 0, made.stderr
    assert (
        made.stdout.splitlines()[-1] == f"Made out in {tmp_path / 'out'}. Talk to it with: zoo chat {tmp_path / 'out'}"
    )
    assert len(made.stdout.splitlines()) > 1  # what the model said with --smoke
    assert same(tmp_path / "out", bloom / "model")
    assert not (tmp_path / "out.partial").exists()
    assert not (tmp_path / "out" / "journal.json").exists()
    assert run("verify", tmp_path / "out").exit_code == 0
    assert run("chat", tmp_path / "out", "Hello!", "--max-new-tokens", "3").exit_code == 0


def test_cards_tell_what_was_made_from_what(bloom: Path, delta: Path, tmp_path: Path, run: Run) -> None:
    run("merge", "delta", delta, "--base", bloom / "base", "--target", tmp_path / "out", "--name", "again")
    from zoo_core import ModelCard, Zoo

    part, whole = read_card(delta / "zoo.yaml"), read_card(tmp_path / "out" / "zoo.yaml")
    assert isinstance(part, ModelCard)
    assert isinstance(whole, ModelCard)
    assert check_card(part, Zoo().template) + check_card(whole, Zoo().template) == []
    assert part.lineage is not None
    assert part.lineage.delta is not None
    assert (part.id, part.lineage.relation, part.lineage.base.name) == ("delta", "delta", "base")
    assert (part.lineage.delta.new_rows, part.lineage.delta.vocab_size) == ("zero", 321)
    assert len(part.lineage.delta.result_digest or "") == 64
    assert whole.lineage is not None
    assert (whole.id, whole.lineage.relation) == ("again", "merge")
    assert [(base.id, base.name) for base in (whole.lineage.base, *whole.lineage.others)] == [
        (None, "base"),
        ("delta", ""),
    ]
    assert whole.template == part.template
    assert (whole.license.spdx, whole.family, whole.aliases, whole.notes) == ("Apache-2.0", "phoenix", [], [])
    assert whole.architecture.vocab_size == 321
    assert whole.extra["weights"]["result_digest"] == part.lineage.delta.result_digest
    assert {file.path for file in whole.files} == {p.name for p in (tmp_path / "out").iterdir()} - {"zoo.yaml"}


def test_spellings_of_the_original_and_json(bloom: Path, delta: Path, tmp_path: Path, run: Run) -> None:
    words = [
        "--base-model-path",
        bloom / "base",
        "--delta-path",
        delta,
        "--target-model-path",
        tmp_path / "out",
        "--json",
    ]
    done = run("merge", "delta", *words)
    told = json.loads(done.stdout)
    assert (told["schema"], told["folder"], told["smoke"]) == ("zoo.merge/v1", str(tmp_path / "out"), None)
    assert told["result_digest"] == json.loads(json.dumps(told["card"]))["extra"]["weights"]["result_digest"]
    assert done.stderr == ""


def test_raw_folders_without_cards_need_the_policy_said(bloom: Path, delta: Path, tmp_path: Path, run: Run) -> None:
    (delta / "zoo.yaml").unlink()
    words = ["merge", "delta", "--base", bloom / "base", "--delta", delta, "--target", tmp_path / "out"]
    refused = run(*words)
    assert refused.exit_code == 1
    assert "say with --new-rows" in refused.stderr
    done = run(
        *words,
        "--new-rows",
        "zero",
        "--vocab-size",
        "321",
        "--shard-size",
        "20KB",
        "--threads",
        "2",
        "--dtype",
        "float32",
    )
    assert done.exit_code == 0, done.stderr
    assert json.loads((tmp_path / "out" / "config.json").read_bytes())["dtype"] == "float32"
    assert len(list((tmp_path / "out").glob("model-*-of-*.safetensors"))) > 2
    assert read_card(tmp_path / "out" / "zoo.yaml").id == "out"


def test_base_of_the_card_is_found_in_the_catalog(bloom: Path, delta: Path, tmp_path: Path, run: Run) -> None:
    base = tmp_path / "the-base"
    shutil.copytree(bloom / "base", base)
    card = "schema: zoo.card/v1\nid: the-base\nfamily: phoenix\nsummary: A base.\nsources: [{hub: folder, path: .}]\n"
    (base / "zoo.yaml").write_text(card)
    text = (delta / "zoo.yaml").read_text().replace("name: base", "id: the-base")
    (delta / "zoo.yaml").write_text(text)
    unknown = run("merge", "delta", delta, "--target", tmp_path / "out")
    assert (unknown.exit_code, "Name the folder of the base (the-base) with --base" in unknown.stderr) == (2, True)
    done = run("--card", base / "zoo.yaml", "merge", "delta", delta, "--target", tmp_path / "out")
    assert done.exit_code == 0, done.stderr
    lineage = parse_card((tmp_path / "out" / "zoo.yaml").read_bytes(), "the card").lineage  # type: ignore[union-attr]
    assert lineage is not None
    assert lineage.base.id == "the-base"
    (base / "model.safetensors").unlink()
    gone = run("--card", base / "zoo.yaml", "merge", "delta", delta, "--target", tmp_path / "other")
    assert gone.exit_code == 1
    assert not (tmp_path / "other").exists()


def test_base_that_its_card_lists_with_other_digests_is_refused(
    bloom: Path, delta: Path, tmp_path: Path, run: Run
) -> None:
    card = f"""schema: zoo.card/v1
id: the-base
family: phoenix
summary: A base.
sources: [{{hub: huggingface, repo: owner/base}}]
files: [{{path: model.safetensors, size: {(bloom / "base" / "model.safetensors").stat().st_size}, sha256: {"a" * 64}}}]
"""
    (tmp_path / "base.yaml").write_text(card)
    (delta / "zoo.yaml").write_text((delta / "zoo.yaml").read_text().replace("name: base", "id: the-base"))
    words = [
        "--card",
        tmp_path / "base.yaml",
        "merge",
        "delta",
        delta,
        "--base",
        bloom / "base",
        "--target",
        tmp_path / "out",
    ]
    done = run(*words)
    assert done.exit_code == 1
    assert "the card of 'the-base' says aaaaaaaaaaaa…" in done.stderr
    assert not (tmp_path / "out").exists()


# -- what a user may do wrong ------------------------------------------------------------------------------------------


def test_target_that_is_not_empty_is_refused(bloom: Path, delta: Path, tmp_path: Path, run: Run) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("mine")
    (tmp_path / "file").write_text("mine")
    for target in ("full", "file"):
        done = run("merge", "delta", delta, "--base", bloom / "base", "--target", tmp_path / target)
        assert (done.exit_code, "exists already and is not empty" in done.stderr) == (2, True)
    assert (tmp_path / "full" / "mine").read_text() == "mine"
    (tmp_path / "empty").mkdir()
    assert run("merge", "delta", delta, "--base", bloom / "base", "--target", tmp_path / "empty").exit_code == 0


@pytest.mark.parametrize("target", [".", "..", "sub/.."])
def test_a_target_without_a_name_is_refused(
    bloom: Path, delta: Path, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch, target: str
) -> None:
    (tmp_path / "empty" / "sub").mkdir(parents=True)
    (tmp_path / "empty" / "sub").rmdir()
    monkeypatch.chdir(tmp_path / "empty")
    done = run("merge", "delta", delta, "--base", bloom / "base", "--target", target)
    assert (done.exit_code, "is no name of a folder to make" in done.stderr) == (2, True)
    assert list((tmp_path / "empty").iterdir()) == []


def test_a_link_is_no_target(bloom: Path, delta: Path, tmp_path: Path, run: Run) -> None:
    """It cannot be replaced by a folder, which would be told when everything is done."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "empty")
    done = run("merge", "delta", delta, "--base", bloom / "base", "--target", tmp_path / "link")
    assert (done.exit_code, "exists already" in done.stderr) == (2, True)


@pytest.mark.parametrize("command", ["merge delta", "merge adapter", "convert", "delta make"])
def test_a_folder_for_work_that_is_somebody_else_s_is_left_alone(
    bloom: Path, delta: Path, tmp_path: Path, run: Run, command: str
) -> None:
    """Such as the unfinished training of a model that was to have the same name."""
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    taught = {"peft_type": "LORA", "r": 1, "lora_alpha": 1, "target_modules": ["query_key_value"]}
    (adapter / "adapter_config.json").write_text(json.dumps(taught))
    from safetensors.torch import save_file

    module = "base_model.model.transformer.h.0.self_attention.query_key_value"
    save_file(
        {f"{module}.lora_A.weight": torch.ones(1, 32), f"{module}.lora_B.weight": torch.ones(96, 1)},
        adapter / "adapter_model.safetensors",
    )
    pickled = Path(shutil.copytree(bloom / "base", tmp_path / "pickled"))
    (pickled / "model.safetensors").unlink()
    torch.save({"a": torch.ones(1)}, pickled / "pytorch_model.bin")
    (tmp_path / "out.partial").mkdir()
    (tmp_path / "out.partial" / "precious").write_text("mine")
    words: dict[str, list[object]] = {
        "merge delta": ["--base", bloom / "base", "--delta", delta],
        "merge adapter": ["--base", bloom / "base", "--adapter", adapter],
        "convert": [pickled],
        "delta make": ["--base", bloom / "base", "--model", bloom / "model", "--new-rows", "zero"],
    }
    done = run(*command.split(), *words[command], "--target", tmp_path / "out")
    assert (done.exit_code, "holds something else" in done.stderr) == (2, True)
    assert [path.name for path in (tmp_path / "out.partial").iterdir()] == ["precious"]


@pytest.mark.parametrize("name", ["with space", "vögel 动物", "-dash"])
def test_what_is_to_be_typed_next_can_be_typed(
    bloom: Path, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(bloom / "base", name)
    target, again = f"{name} delta", f"{name} again"
    made = run(
        *("delta", "make", f"--base={name}", "--model", bloom / "model", f"--target={target}"),
        *("--new-rows", "zero", "--name", "a-delta"),
    )
    assert made.exit_code == 0, made.stderr
    typed = shlex.split(made.stdout.rpartition("zoo ")[2].replace("FOLDER", shlex.quote(f"./{again}")))
    merged = run(*typed, "--name", "again")
    assert merged.exit_code == 0, merged.stderr
    typed = shlex.split(merged.stdout.rpartition("zoo ")[2])
    assert run(*typed, "Hello", "--max-new-tokens", "1").exit_code == 0


def test_the_home_folder_is_understood_in_a_target(
    bloom: Path, delta: Path, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert run("merge", "delta", delta, "--base", bloom / "base", "--target", "~/out").exit_code == 0
    assert (tmp_path / "out" / "zoo.yaml").is_file()


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        ("merge delta --base BASE --target OUT", 2, "Name the model whose card tells of delta and base"),
        ("merge delta --base BASE --delta NOWHERE/x --target OUT", 1, "There is no folder NOWHERE/x"),
        ("merge delta --base NOWHERE/x --delta DELTA --target OUT", 1, "There is no folder NOWHERE/x"),
        ("merge delta --base NOWHERE --delta DELTA --target OUT", 1, "NOWHERE"),
        ("merge delta DELTA --target OUT", 2, "Name the folder of the base (base) with --base"),
        ("merge delta --base BASE --delta MODEL --target OUT", 2, "does not say that it is a delta"),
        ("merge delta --base DELTA --delta DELTA --target OUT", 1, "is a delta itself"),
        ("merge delta --base BASE --delta DELTA --target OUT --vocab-size 7", 1, "321 rows"),
        ("merge delta --base BASE --delta DELTA --target OUT --name No/Name", 2, "cannot be a card's id"),
        ("merge delta --base BASE --delta DELTA --target OUT --shard-size many", 2, "no size such as 5GB"),
        ("merge delta --base BASE --delta DELTA --target OUT --shard-size 0", 2, "no size such as 5GB"),
        (f"merge delta --base BASE --delta DELTA --target OUT --shard-size {'9' * 400}", 2, "no size such as 5GB"),
        ("merge delta --base BASE --delta DELTA --target OUT --keep .", 1, "are to be kept whole"),
        ("merge delta --base BASE --delta DELTA --target OUT --weight-sum 1", 1, "sum up to"),
        ("merge delta --base BASE --delta DELTA --target /proc/nowhere", 1, "cannot be made"),
        ("delta make --base BASE --model DELTA --target OUT", 1, "holds a delta and no model"),
        ("delta make --base BASE --model MODEL --target OUT", 1, "say with --new-rows"),
        ("delta make --base BASE --model NOWHERE/x --target OUT --new-rows zero", 1, "say with --model"),
        ("merge delta chimera --base BASE --target OUT", 1, "zoo pull chimera"),
        ("merge delta ziya-llama-13b-pretrain-v1 --base llama-7b --target OUT", 1, "zoo pull ziya"),
    ],
)
def test_mistake_is_one_sentence_and_leaves_nothing(
    bloom: Path, delta: Path, tmp_path: Path, run: Run, words: str, code: int, sentence: str
) -> None:
    places = {"BASE": bloom / "base", "MODEL": bloom / "model", "DELTA": delta, "OUT": tmp_path / "out"}
    done = run(*(str(places.get(word, word)) for word in words.split()))
    assert done.exit_code == code, done.stderr
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "out.partial").exists()


def test_smoke_without_a_template_is_refused_before(bloom: Path, delta: Path, tmp_path: Path, run: Run) -> None:
    (delta / "zoo.yaml").unlink()
    done = run(
        *f"merge delta --base {bloom / 'base'} --delta {delta} --target {tmp_path / 'out'} --new-rows zero --smoke".split()
    )
    assert (done.exit_code, "leave out --smoke" in done.stderr) == (2, True)
    assert not (tmp_path / "out").exists()


# -- interrupted -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with many tensors, each of which becomes a file."""
    folder = tmp_path_factory.mktemp("large")
    tiny_bloom(folder / "base", hidden=128, layers=24, seed=1)
    change(folder / "model", folder / "base", seed=2)
    (folder / "delta").mkdir()
    from zoo_weights import Policy, make_delta

    make_delta(folder / "base", folder / "model", folder / "delta", Policy())
    return folder


def words(large: Path, target: Path) -> list[str]:
    paths = ["--base", str(large / "base"), "--delta", str(large / "delta"), "--target", str(target)]
    return ["merge", "delta", *paths, "--shard-size", "1"]


@pytest.fixture
def running(large: Path, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A merge in a process of its own that has finished some shards."""
    code = "from zoo_core.cli import main; main()"
    command = [sys.executable, "-c", code, *words(large, tmp_path / "out")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        while process.poll() is None and len(list(tmp_path.glob("out.partial/model-*"))) < 3:
            time.sleep(0.005)
        yield process
        process.kill()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_interrupted_merge_goes_on(
    large: Path, tmp_path: Path, run: Run, running: subprocess.Popen[str], how: signal.Signals
) -> None:
    os.kill(running.pid, how)
    _, told = running.communicate()
    assert running.returncode == (-signal.SIGKILL if how == signal.SIGKILL else 130)
    assert "Traceback" not in told
    assert not (tmp_path / "out").exists()
    finished = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out.partial").glob("model-*")}
    journal = json.loads((tmp_path / "out.partial" / "journal.json").read_bytes())
    known = {shard["file"]["path"] for shard in journal["shards"]}
    assert len(known) >= 2
    done = run(*words(large, tmp_path / "out"))
    assert done.exit_code == 0, done.stderr
    kept = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("model-*") if path.name in known}
    assert kept == {name: when for name, when in finished.items() if name in known}
    assert same(tmp_path / "out", large / "model")
    assert run("verify", tmp_path / "out").exit_code == 0


def test_two_runs_do_not_work_on_one_target(
    large: Path, tmp_path: Path, run: Run, running: subprocess.Popen[str]
) -> None:
    os.kill(running.pid, signal.SIGSTOP)
    try:
        done = run(*words(large, tmp_path / "out"))
        assert (done.exit_code, "Another run is working in" in done.stderr) == (2, True)
    finally:
        os.kill(running.pid, signal.SIGCONT)
    running.communicate()
    assert running.returncode == 0
    assert same(tmp_path / "out", large / "model")


def test_work_that_was_begun_for_another_merge_is_not_mixed_in(
    large: Path, tmp_path: Path, run: Run, running: subprocess.Popen[str]
) -> None:
    running.kill()
    running.communicate()
    before = sorted((tmp_path / "out.partial").iterdir())
    done = run(*words(large, tmp_path / "out"), "--dtype", "bfloat16")
    assert (done.exit_code, "unfinished work of another merge" in done.stderr) == (2, True)
    assert sorted((tmp_path / "out.partial").iterdir()) == before
