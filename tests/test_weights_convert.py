"""Pickled weights become safetensors: in a process that can do nothing else, complete or not at all."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import Result
from tiny_models import tensors, tiny_bloom, tiny_llama
from transformers import AutoModelForCausalLM, AutoTokenizer

from zoo_core import ModelCard, WeightsError, ZooError, read_card, sha256_of
from zoo_weights import converting
from zoo_weights.converting import JOURNAL, convert, find_pickled, has_converted

CHILD = Path(converting.__file__).with_name("pickle_child.py")
CARD = """\
schema: zoo.card/v1
kind: model
id: old
family: phoenix
summary: A BLOOM from before safetensors
sources: [{hub: folder, path: .}]
format: pickle
license: {spdx: Apache-2.0}
lineage: {base: {name: BLOOM}, relation: finetune}
template: {name: phoenix}
context: {max: 256}
"""


def pickled(folder: Path, source: Path, *, zipped: bool = True, shards: int = 1) -> Path:
    """A checkpoint as it was saved before safetensors: the same model as in `source`."""
    model = AutoModelForCausalLM.from_pretrained(source)
    folder.mkdir()
    model.config.save_pretrained(folder)
    AutoTokenizer.from_pretrained(source).save_pretrained(folder)
    state = model.state_dict()
    if shards == 1:
        torch.save(state, folder / "pytorch_model.bin", _use_new_zipfile_serialization=zipped)
        return folder
    names = [f"pytorch_model-{number:05d}-of-{shards:05d}.bin" for number in range(1, shards + 1)]
    places = {name: names[number * shards // len(state)] for number, name in enumerate(state)}
    for path in names:
        torch.save({name: state[name].clone() for name in state if places[name] == path}, folder / path)
    index = {"metadata": {}, "weight_map": places}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    return folder


def holding(folder: Path, content: Any, name: str = "pytorch_model.bin", **options: Any) -> Path:
    """A folder with one pickled file."""
    folder.mkdir()
    torch.save(content, folder / name, **options)
    return folder


def converted(source: Path, out: Path) -> Any:
    out.mkdir()
    return convert(find_pickled(source), out)


def logits(folder: Path) -> torch.Tensor:
    model, told = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    assert not told["missing_keys"]
    assert not told["unexpected_keys"]
    with torch.no_grad():
        return model(torch.arange(3, 40)[None]).logits


# -- what comes out ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "options"),
    [
        (tiny_llama, {}),
        (tiny_llama, {"zipped": False}),
        (tiny_llama, {"shards": 3}),
        (tiny_bloom, {}),
        (tiny_bloom, {"zipped": False}),
    ],
    ids=["llama", "llama-old-format", "llama-shards", "bloom", "bloom-old-format"],
)
def test_the_result_is_the_same_model(make: Callable[..., Path], options: dict[str, Any], tmp_path: Path) -> None:
    source = make(tmp_path / "source")
    shards = converted(pickled(tmp_path / "pickled", source, **options), tmp_path / "out")
    assert torch.equal(logits(tmp_path / "out"), logits(source))
    assert len(shards) == options.get("shards", 1)
    assert tensors(tmp_path / "out").keys() == tensors(source).keys()
    assert (tmp_path / "out" / "tokenizer.json").read_bytes() == (source / "tokenizer.json").read_bytes()


def test_an_output_layer_stays_where_the_model_has_one_of_its_own(tmp_path: Path) -> None:
    shared = torch.randn(4, 5)
    state = {"transformer.word_embeddings.weight": shared, "lm_head.weight": shared}
    for tied, names in ((True, {"transformer.word_embeddings.weight"}), (False, set(state))):
        source = holding(tmp_path / f"source-{tied}", state)
        (source / "config.json").write_text(json.dumps({"model_type": "bloom", "tie_word_embeddings": tied}))
        converted(source, tmp_path / f"out-{tied}")
        assert tensors(tmp_path / f"out-{tied}").keys() == names


@pytest.mark.parametrize("zipped", [True, False])
def test_numbers_arrive_whatever_their_dtype_and_order(zipped: bool, tmp_path: Path) -> None:
    shared = torch.randn(6, 4)
    state = OrderedDict(
        half=torch.randn(3).half(),
        brain=torch.randn(3, 1).bfloat16(),
        whole=torch.arange(5),
        truth=torch.tensor([True, False]),
        single=torch.tensor(2.5, dtype=torch.float64),
        empty=torch.zeros(0, 3),
        turned=torch.randn(3, 2).t(),
        parameter=torch.nn.Parameter(torch.randn(2)),
        part=shared[2:4],
        twin=shared,
        same=shared,
    )
    converted(holding(tmp_path / "source", state, _use_new_zipfile_serialization=zipped), tmp_path / "out")
    found = tensors(tmp_path / "out")
    assert found.keys() == state.keys()
    for name, tensor in state.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor)


@pytest.mark.parametrize("key", ["state_dict", "model"])
def test_weights_inside_a_training_state_are_found(key: str, tmp_path: Path) -> None:
    whole = {key: {"a": torch.ones(2)}, "epoch": 3, "optimizer": {"state": {}, "param_groups": []}}
    (shard,) = converted(holding(tmp_path / "source", whole, "last.ckpt"), tmp_path / "out")
    assert (shard.unwrapped, shard.left_out) == (key, ["epoch", "optimizer"])
    assert torch.equal(tensors(tmp_path / "out")["a"], torch.ones(2))


def test_numbers_that_are_not_finite_are_told(tmp_path: Path) -> None:
    state = {"mask": torch.tensor([0.0, -torch.inf]), "fine": torch.ones(2), "broken": torch.tensor([torch.nan]).half()}
    (shard,) = converted(holding(tmp_path / "source", state), tmp_path / "out")
    assert sorted(shard.not_finite) == ["broken", "mask"]


def test_an_adapter_keeps_its_name(tmp_path: Path) -> None:
    source = holding(tmp_path / "source", {"base_model.model.x.lora_A.weight": torch.ones(2, 2)}, "adapter_model.bin")
    (source / "adapter_config.json").write_text("{}")
    converted(source, tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "adapter_model.safetensors",
        "adapter_config.json",
        JOURNAL,
    }


def test_code_and_training_states_stay_behind(tmp_path: Path) -> None:
    source = holding(tmp_path / "source", {"a": torch.ones(1)})
    for name in (
        "modeling_x.py",
        "training_args.bin",
        "optimizer.pt",
        "LICENSE",
        "tokenizer.model",
        "trainer_state.json",
    ):
        (source / name).write_bytes(b"x")
    found = find_pickled(source)
    assert sorted(found.copied) == ["LICENSE", "tokenizer.model"]
    assert "modeling_x.py" in find_pickled(source, code=True).copied
    assert sorted(found.left_out) == ["modeling_x.py", "optimizer.pt", "trainer_state.json", "training_args.bin"]


# -- what is refused ---------------------------------------------------------------------------------------------------


class Call:
    """Calls a function when it is unpickled."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


def huge_claim(path: Path) -> None:
    """A file of the old format whose tensor claims 17 GB."""
    torch.save({"a": torch.zeros(1234567, dtype=torch.float64)}, path, _use_new_zipfile_serialization=False)
    claim = (1234567).to_bytes(4, "little")
    content = path.read_bytes()
    assert claim in content
    path.write_bytes(content[: len(content) // 2].replace(claim, (2**31 - 1).to_bytes(4, "little")))


def cut(path: Path, zipped: bool) -> None:
    torch.save({"a": torch.zeros(1000)}, path, _use_new_zipfile_serialization=zipped)
    path.write_bytes(path.read_bytes()[:-500])


BAD: dict[str, tuple[Callable[[Path], Any], str]] = {
    "code": (
        lambda path: torch.save({"a": Call(os.system, "touch RUN")}, path),
        "it asks for posix.system, which no wei",
    ),
    "code-in-old-format": (
        lambda path: torch.save({"a": Call(os.system, "touch RUN")}, path, _use_new_zipfile_serialization=False),
        "it asks for posix.system, which no weights need and which could run code",
    ),
    "module": (lambda path: torch.save(torch.nn.Linear(2, 2), path), "it asks for torch.nn.modules.linear.Linear"),
    "program": (lambda path: torch.jit.script(torch.nn.ReLU()).save(str(path)), "it is a program"),
    "optimizer": (
        lambda path: torch.save(torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=1).state_dict(), path),
        "it holds an optimizer's state",
    ),
    "nothing": (lambda path: torch.save({"a": {"b": 1}}, path), "it holds no tensors by name"),
    "entry": (
        lambda path: torch.save({"a": torch.ones(1), "extra": "b"}, path),
        "its entry 'extra' is no tensor but a str",
    ),
    "name": (lambda path: torch.save({"a\x1b[2J": torch.ones(1)}, path), "is called 'a\\x1b[2J', as no tensor may be"),
    "sparse": (lambda path: torch.save({"a": torch.ones(2, 2).to_sparse()}, path), "its tensor 'a' is of a kind"),
    "complex": (
        lambda path: torch.save({"a": torch.ones(2, dtype=torch.complex64)}, path),
        "the dtype torch.complex64",
    ),
    "expanded": (
        lambda path: torch.save({"a": torch.ones(1).expand(10**6, 10**6)}, path),
        "its tensors claim 4,000,000,000,000 bytes, far more than the",
    ),
    "huge": (huge_claim, "it claims more memory than a file of its size may"),
    "cut": (lambda path: cut(path, True), "it cannot be read to its end"),
    "cut-in-old-format": (lambda path: cut(path, False), "it is incomplete or damaged"),
    "empty": (lambda path: path.write_bytes(b""), "it is incomplete or damaged"),
    "text": (lambda path: path.write_bytes(b"<html>not found</html>"), "it cannot be read as weights"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_file_is_refused_and_nothing_of_it_runs(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    make, reason = BAD[kind]
    (tmp_path / "source").mkdir()
    make(tmp_path / "source" / "pytorch_model.bin")
    before = sorted(tmp_path.rglob("*"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(WeightsError, match=re.escape(reason)) as caught:
        converted(tmp_path / "source", tmp_path / "out")
    assert str(caught.value).startswith(f"The file {tmp_path / 'source' / 'pytorch_model.bin'} is not converted: ")
    assert sorted(tmp_path.rglob("*")) == [*sorted([*before, tmp_path / "out", tmp_path / "out" / JOURNAL])]


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({}, "has no pickled weights (such as pytorch_model.bin)"),
        ({"training_args.bin": b"", "optimizer.pt": b""}, "has no pickled weights"),
        ({"model.safetensors": b"", "pytorch_model.bin": b""}, "has safetensors already (model.safetensors)"),
        ({"consolidated.00.pth": b"", "params.json": b"{}"}, "are in the layout of LLaMA's first release"),
        ({"pytorch_model-00001-of-00002.bin": b""}, "has 1 of 2 files of weights; get the others"),
        ({"a.bin": b"", "b.pt": b""}, "has several pickled files and no index (a.bin, b.pt)"),
        ({"pytorch_model.bin.index.json": b"{"}, "cannot be read; get the folder again"),
        (
            {"pytorch_model.bin.index.json": b'{"weight_map": {"a": "../x.bin"}}'},
            "names no pickled files of this folder",
        ),
        ({"pytorch_model.bin.index.json": b'{"weight_map": {"a": "x.bin"}}'}, "names x.bin, which is not there"),
    ],
)
def test_a_folder_that_cannot_be_converted_is_refused(files: dict[str, bytes], reason: str, tmp_path: Path) -> None:
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    with pytest.raises(WeightsError, match=re.escape(reason)):
        find_pickled(tmp_path)


@pytest.mark.parametrize(
    ("places", "reason"),
    [
        ({"a": "x.bin", "b": "x.bin", "c": "y.bin"}, "says that 'b' is in x.bin, but it is in y.bin"),
        ({"a": "x.bin", "b": "y.bin", "c": "y.bin"}, "says that 'c' is in y.bin, but it is in no file"),
    ],
)
def test_index_and_files_must_agree(places: dict[str, str], reason: str, tmp_path: Path) -> None:
    source = holding(tmp_path / "source", {"a": torch.ones(1)}, "x.bin")
    torch.save({"b": torch.ones(1)}, source / "y.bin")
    (source / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": places}))
    with pytest.raises(WeightsError, match=re.escape(reason)):
        converted(source, tmp_path / "out")


def test_a_tensor_in_two_files_is_refused(tmp_path: Path) -> None:
    source = holding(tmp_path / "source", {"a": torch.ones(1)}, "pytorch_model-00001-of-00002.bin")
    torch.save({"a": torch.zeros(1)}, source / "pytorch_model-00002-of-00002.bin")
    with pytest.raises(WeightsError, match=r"'a' is in pytorch_model-00002-of-00002\.bin and in another file"):
        converted(source, tmp_path / "out")


# -- the guards of the process -----------------------------------------------------------------------------------------


def tricked(action: str, folder: Path, prelude: str = "") -> subprocess.CompletedProcess[bytes]:
    """Run the process with a PyTorch that does `action` when it reads the file, as a weakness of it might let a file do."""
    source = holding(folder / "source", {"a": torch.ones(2)})
    code = f"""
import ctypes, os, runpy, socket, subprocess, sys, torch
{prelude}
real = torch.load
def load(file, **options):
    if not isinstance(file, str):
        return real(file, **options)
    {action}
    return real(file, **options)
torch.load = load
runpy.run_path({str(CHILD)!r}, run_name="__main__")
"""
    job = {
        "source": str(source / "pytorch_model.bin"),
        "result": str(folder / "result"),
        "libraries": [],
        "tied": False,
    }
    return subprocess.run(
        [sys.executable, "-I", "-c", code], input=json.dumps(job).encode(), capture_output=True, cwd=folder, check=False
    )


#: What a tricked library might try, as Python. `harm` must not be there afterwards, `victim` must.
HARM = [
    "os.system('touch harm')",
    "subprocess.run(['touch', 'harm'])",
    "os.posix_spawn('/bin/touch', ['touch', 'harm'], {})",
    "os.fork()",
    "open('harm', 'w')",
    "open('victim').read()",
    "os.remove('victim')",
    "os.rename('victim', 'harm')",
    "os.mkdir('harm')",
    "os.kill(os.getppid(), 9)",
    "exec('1')",
    "ctypes.CDLL(None)",
    "socket.socket()",
    "__import__('this')",
]


def test_a_tricked_pytorch_can_do_no_harm(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("precious")
    prelude = "refused = []\ndef attempt(what):\n    try:\n        what()\n    except Exception as error:\n"
    prelude += "        refused.append(type(error).__name__)\n"
    action = f"[attempt(what) for what in ({', '.join(f'lambda: {each}' for each in HARM)})]; print(*refused, file=sys.stderr)"
    done = tricked(action, tmp_path, prelude)
    assert done.stderr.decode().split() == ["Refused"] * len(HARM)
    # They were caught, and the file is refused all the same.
    assert b"something that weights do not need (os.system)" in done.stdout
    assert (tmp_path / "victim").read_text() == "precious"
    assert not (tmp_path / "harm").exists()


def test_memory_is_limited(tmp_path: Path) -> None:
    done = tricked("bytearray(8 << 30)", tmp_path)
    assert b"reading it takes more memory than a file of its size may" in done.stdout


def test_time_is_limited(tmp_path: Path) -> None:
    """A pickle of some megabytes can hold a dictionary whose keys collide, and keep a processor busy for days."""
    done = tricked("raise RuntimeError(resource.getrlimit(resource.RLIMIT_CPU))", tmp_path, "import resource\n")
    assert b"(RuntimeError: (600, 600))" in done.stdout


def test_there_is_no_network_where_the_system_allows_it(tmp_path: Path) -> None:
    here = os.readlink("/proc/self/ns/net") if sys.platform == "linux" else ""  # noqa: PTH115
    done = tricked("raise RuntimeError(os.readlink('/proc/self/ns/net'))", tmp_path)
    if subprocess.run(["unshare", "--net", "true"], capture_output=True, check=False).returncode:
        pytest.skip("this system lets nobody leave the network")
    assert b"net:[" in done.stdout
    assert here.encode() not in done.stdout


def test_the_process_sees_no_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spy = tmp_path / "python"
    spy.write_text(f'#!/bin/sh\nenv > "{tmp_path}/environment"\nexec "{sys.executable}" "$@"\n')
    spy.chmod(spy.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(sys, "executable", str(spy))
    monkeypatch.setenv("HF_TOKEN", "secret-of-mine")
    converted(holding(tmp_path / "source", {"a": torch.ones(1)}), tmp_path / "out")
    environment = (tmp_path / "environment").read_text()
    assert "secret-of-mine" not in environment
    assert "PYTHONPATH" not in environment


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("exit 3", "the process that read it ended with 3"),
        ("echo no such library >&2; exit 1", "ended with 1 (no such library)"),
        ("kill -11 $$", "was stopped by signal 11"),
        ("yes not-json", "was stopped by signal 9"),
        ("echo '{\"errno\": 99999999999999999}'", "the process that read it"),
        ("yes | tr -d '\\n'", "the process that read it"),
        (
            'echo \'{"done": {"tensors": 9, "unwrapped": "", "left_out": [], "dropped": [], "not_finite": []}}\'',
            "No such file",
        ),
    ],
)
def test_a_process_that_goes_wrong_is_one_sentence(
    script: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    false = tmp_path / "python"
    false.write_text(f"#!/bin/sh\n{script}\n")
    false.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(false))
    with pytest.raises(ZooError, match=re.escape(reason)):
        converted(holding(tmp_path / "source", {"a": torch.ones(1)}), tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == [JOURNAL]


# -- the command -------------------------------------------------------------------------------------------------------


def with_card(folder: Path, text: str = CARD) -> Path:
    (folder / "zoo.yaml").write_text(text)
    return folder


def test_a_folder_with_a_card_becomes_a_model_that_talks(run: Callable[..., Result], tmp_path: Path) -> None:
    source = with_card(pickled(tmp_path / "pickled", tiny_bloom(tmp_path / "source")))
    (source / "modeling_x.py").write_text("")
    done = run("convert", source, "--target", tmp_path / "new")
    assert done.exit_code == 0, done.stderr
    assert done.stdout.endswith(f"Talk to it with: zoo chat {tmp_path / 'new'}\n")
    assert "lm_head.weight is not written" in done.stderr
    assert "Not copied: modeling_x.py." in done.stderr
    card = read_card(tmp_path / "new" / "zoo.yaml")
    assert isinstance(card, ModelCard)
    assert (card.id, card.format, card.license.spdx) == ("new", "safetensors", "Apache-2.0")
    assert card.lineage is not None
    assert card.lineage.base.name == "BLOOM"
    assert card.extra["weights"]["pickled_sha256"] == {"pytorch_model.bin": sha256_of(source / "pytorch_model.bin")}
    assert {file.path for file in card.files} == {path.name for path in (tmp_path / "new").iterdir()} - {"zoo.yaml"}
    answer = run("chat", tmp_path / "new", "Hello", "--no-log", "--max-new-tokens", "3")
    assert answer.exit_code == 0, answer.stderr


def test_a_model_is_converted_from_what_was_pulled(run: Callable[..., Result], tmp_path: Path) -> None:
    hub = pickled(tmp_path / "hub", tiny_bloom(tmp_path / "source"), shards=2)
    card = tmp_path / "old.yaml"
    card.write_text(CARD.replace("{hub: folder, path: .}", f"{{hub: url, url: '{hub.as_uri()}/'}}"))
    with card.open("a") as file:
        file.write("files:\n")
        for path in sorted(hub.iterdir()):
            file.write(f"- {{path: {path.name}, size: {path.stat().st_size}, sha256: {sha256_of(path)}}}\n")
    absent = run("--card", card, "convert", "old", "--target", tmp_path / "new")
    assert (absent.exit_code, "zoo pull old" in absent.stderr) == (1, True)
    assert run("--card", card, "pull", "old").exit_code == 0
    done = run("--card", card, "convert", "old", "--target", tmp_path / "new", "--name", "renewed", "--json")
    assert done.exit_code == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["schema"], told["card"]["id"], len(told["files"])) == ("zoo.convert/v1", "renewed", 2)
    assert told["card"]["extra"]["weights"]["converted_from"] == "old"
    assert torch.equal(logits(tmp_path / "new"), logits(tmp_path / "source"))


@pytest.mark.parametrize(
    ("relation", "name", "following"),
    [
        ("adapter", "adapter_model.bin", "zoo merge adapter"),
        ("delta", "pytorch_model.bin", "zoo merge delta"),
        ("", "adapter_model.bin", "zoo merge adapter"),
        ("", "pytorch_model.bin", "zoo card new"),
    ],
)
def test_what_to_do_next_is_told(
    relation: str, name: str, following: str, run: Callable[..., Result], tmp_path: Path
) -> None:
    source = holding(tmp_path / "source", {"a": torch.ones(1)}, name)
    (source / ("adapter_config.json" if name.startswith("adapter") else "config.json")).write_text("{}")
    if relation:
        with_card(source, CARD.replace("relation: finetune", f"relation: {relation}"))
    done = run("convert", source, "--target", tmp_path / "new")
    assert done.exit_code == 0, done.stderr
    assert f"with: {following} {tmp_path / 'new'}" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        (["source"], 2, "Missing option '--target'"),
        (["source", "--target", "taken"], 2, "exists already and is not empty"),
        (["nowhere/at-all", "--target", "new"], 1, "nowhere/at-all"),
        (["hatchling", "--target", "new"], 1, "there is nothing to convert"),
        (["source", "--target", "new", "--name", "No Name"], 2, "cannot be a card's id"),
        (["source", "--target", "new", "--model-path", "source"], 2, "a folder to convert is named alone"),
        (["source", "--target", "new"], 1, "it asks for posix.system"),
    ],
)
def test_a_command_that_fails_leaves_nothing(
    arguments: list[str],
    code: int,
    reason: str,
    run: Callable[..., Result],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    holding(tmp_path / "source", {"a": Call(os.system, "touch RUN")})
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").touch()
    before = sorted([*tmp_path.glob("*"), *tmp_path.glob("[!z]*/*")])  # without the zoo's own folders
    done = run("convert", *arguments)
    assert (done.exit_code, reason in done.stderr, done.stderr.count("Error")) == (code, True, 1), done.stderr
    assert sorted([*tmp_path.glob("*"), *tmp_path.glob("[!z]*/*")]) == before


def test_a_disk_that_is_too_small_is_told_before(
    run: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = shutil.disk_usage(tmp_path)._replace(free=100)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: free)
    holding(tmp_path / "source", {"a": torch.ones(1)})
    done = run("convert", tmp_path / "source", "--target", tmp_path / "new")
    assert (done.exit_code, "but only 100 bytes are free" in done.stderr) == (1, True)
    assert not list(tmp_path.glob("new*"))


def test_what_was_killed_goes_on_with_the_next_file(run: Callable[..., Result], tmp_path: Path) -> None:
    source = pickled(tmp_path / "pickled", tiny_llama(tmp_path / "source"), shards=3)
    partial = tmp_path / "new.partial"
    command = [sys.executable, "-c", "from zoo_core.cli import main; main()"]
    with subprocess.Popen([*command, "convert", str(source), "--target", str(tmp_path / "new")]) as process:
        while not has_converted(partial):
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
    assert not (tmp_path / "new").exists()
    finished = {path: path.stat().st_mtime_ns for path in partial.glob("*.safetensors")}
    assert 1 <= len(finished) < 3
    done = run("convert", source, "--target", tmp_path / "new")
    assert done.exit_code == 0, done.stderr
    assert {path: (tmp_path / "new" / path.name).stat().st_mtime_ns for path in finished} == finished
    assert torch.equal(logits(tmp_path / "new"), logits(tmp_path / "source"))
    assert not partial.exists()
    assert not (tmp_path / "new" / JOURNAL).exists()


def test_unfinished_work_on_other_files_is_not_mixed_in(run: Callable[..., Result], tmp_path: Path) -> None:
    source = holding(tmp_path / "source", {"a": torch.ones(1)})
    (tmp_path / "new.partial").mkdir()
    (tmp_path / "new.partial" / JOURNAL).write_text('{"key": {"pytorch_model.bin": [1, 2]}, "shards": []}')
    done = run("convert", source, "--target", tmp_path / "new")
    assert (done.exit_code, "unfinished work on other files" in done.stderr) == (2, True)
