"""Folders from strangers that are made to harm whoever merges or converts them: one sentence, soon, and nothing is left."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from click.testing import Result
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from tiny_models import change, tiny_llama
from transformers import LlamaForCausalLM

from zoo_core import WeightsError
from zoo_weights import Policy, copy_small_files, make_delta
from zoo_weights.delta_vocabulary import tokens_of
from zoo_weights.small_files import json_of, small_files

Run = Callable[..., Result]

#: peft asks transformers for a property that has another name now.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")


class Parts(NamedTuple):
    """A base, a delta and an adapter over it, pickled weights, and a file that is the user's alone."""

    base: Path
    delta: Path
    adapter: Path
    pickled: Path
    secret: Path


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pristine")
    base = tiny_llama(folder / "base")
    target = change(folder / "target", base, seed=1)
    (folder / "delta").mkdir()
    make_delta(base, target, folder / "delta", Policy())
    torch.manual_seed(1)
    whole = LlamaForCausalLM.from_pretrained(base)
    shutil.copytree(base, folder / "pickled", ignore=shutil.ignore_patterns("*.safetensors"))
    torch.save(whole.state_dict(), folder / "pickled" / "pytorch_model.bin")
    get_peft_model(whole, LoraConfig(r=2, target_modules=["q_proj"])).save_pretrained(folder / "adapter")
    (folder / "secret").write_text('{"password": "12345"}')
    return folder


@pytest.fixture
def parts(pristine: Path, tmp_path: Path) -> Parts:
    shutil.copytree(pristine, tmp_path, dirs_exist_ok=True)
    return Parts(*(tmp_path / name for name in Parts._fields))


def commands(parts: Parts) -> dict[str, list[Any]]:
    return {
        "delta": ["merge", "delta", "--base", parts.base, "--delta", parts.delta],
        "adapter": ["merge", "adapter", "--base", parts.base, "--adapter", parts.adapter],
        "convert": ["convert", parts.pickled],
        "make": ["delta", "make", "--base", parts.base, "--model", parts.base],
    }


def set_json(path: Path, **fields: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def linked(path: Path, place: Path) -> None:
    path.unlink(missing_ok=True)
    path.symlink_to(place)


def fifo(path: Path) -> None:
    path.unlink(missing_ok=True)
    os.mkfifo(path)


def named(folder: Path, name: str) -> None:
    """A tensor of a base or a delta has another name."""
    path = folder / "model.safetensors"
    found = load_file(path)
    found[name] = found.pop("model.norm.weight")
    save_file(found, path, {"format": "pt"})


def pattern(parts: Parts, field: str, value: Any) -> None:
    set_json(parts.adapter / "adapter_config.json", **{field: value})


def long_name(parts: Parts) -> None:
    """The base has a module whose name is as long as a pattern needs it."""
    path = parts.base / "model.safetensors"
    found = load_file(path) | {"x" * 3_000 + ".weight": torch.ones(2, 2)}
    save_file(found, path, {"format": "pt"})


SLOW = r".*q_proj|(.*)(.*)(.*)(.*)(.*)(.*)(.*)(.*)(.*)(.*)(.*)\1\2\3!"

BAD: dict[str, tuple[str, Callable[[Parts], Any], str]] = {
    "a link to a secret, in a delta": ("delta", lambda p: linked(p.delta / "vocab.json", p.secret), "is a link to"),
    "a link to a secret, in a model": ("make", lambda p: linked(p.base / "vocab.json", p.secret), "is a link to"),
    "a link to a secret, in a base": ("adapter", lambda p: linked(p.base / "vocab.json", p.secret), "is a link to"),
    "a link to a secret, in an adapter": (
        "adapter",
        lambda p: linked(p.adapter / "added_tokens.json", p.secret),
        "is a link to",
    ),
    "a link to a secret, beside a pickle": ("convert", lambda p: linked(p.pickled / "LICENSE", p.secret), "is a link"),
    "settings without end": (
        "adapter",
        lambda p: linked(p.adapter / "adapter_config.json", Path("/dev/zero")),
        "has no adapter_config.json, or an empty one",
    ),
    "settings that never come": ("adapter", lambda p: fifo(p.adapter / "adapter_config.json"), "has no adapter_config"),
    "weights that never come": ("delta", lambda p: fifo(p.delta / "model.safetensors"), "has no safetensors"),
    "a tokenizer that never comes": ("delta", lambda p: fifo(p.delta / "tokenizer.json"), ""),
    "a pattern that takes for ever": (
        "adapter",
        lambda p: (pattern(p, "target_modules", SLOW), long_name(p)),
        "takes too long to compare",
    ),
    "a pattern that no computer holds": (
        "adapter",
        lambda p: pattern(p, "target_modules", "(((a{9999}){9999}){9999})"),
        "counts too many repetitions",
    ),
    "a pattern that no memory counts": (
        "adapter",
        lambda p: pattern(p, "rank_pattern", {"q{1000}{1000}": 2}),
        "counts too many repetitions",
    ),
    "a pattern nested deeply": ("adapter", lambda p: pattern(p, "exclude_modules", "(" * 9_000), "is none ("),
    "a pattern that is one only alone": ("adapter", lambda p: pattern(p, "rank_pattern", {"(?i)q": 2}), "is none ("),
    "a pattern with a name twice": (
        "adapter",
        lambda p: pattern(p, "layers_pattern", "(?P<layer>x)"),
        "is none (redefinition of group name",
    ),
    "more patterns than modules": (
        "adapter",
        lambda p: pattern(p, "rank_pattern", {f"a{n}": 2 for n in range(20_000)}),
        "has 20,000 patterns",
    ),
    "an architecture that is no text": ("delta", lambda p: set_json(p.base / "config.json", model_type=[]), "[]"),
    "a name that clears the screen": ("delta", lambda p: named(p.delta, "\x1b[2Jx"), "do not have the same tensors"),
    "all is kept": ("delta", lambda p: None, "so that nothing of the base would be used"),
}


@pytest.mark.parametrize("kind", BAD)
def test_it_is_one_sentence_and_nothing_is_left(kind: str, parts: Parts, run: Run, tmp_path: Path) -> None:
    command, spoil, sentence = BAD[kind]
    spoil(parts)
    more = ["--keep", "."] if kind == "all is kept" else []
    done = run(*commands(parts)[command], "--target", tmp_path / "out", *more)
    assert not list(tmp_path.glob("out*")) or sentence == ""
    assert done.exit_code == (1 if sentence else 0), done.output
    assert sentence in done.stderr
    assert "\x1b" not in done.output
    assert "12345" not in "".join(path.read_text(errors="ignore") for path in tmp_path.glob("out*/*"))


@pytest.mark.parametrize("architectures", [5, "LlamaForCausalLM", [1], {"a": 1}])
def test_a_configuration_that_names_no_class_is_read_by_its_type(
    architectures: Any, parts: Parts, run: Run, tmp_path: Path
) -> None:
    set_json(parts.base / "config.json", architectures=architectures)
    (tmp_path / "zoo.yaml").write_text(
        "{schema: zoo.card/v1, kind: model, id: m, family: llama, summary: A model, template: {name: alpaca}, "
        "context: {max: 200}, sources: [{hub: folder, path: base}]}"
    )
    done = run("chat", tmp_path / "zoo.yaml", "hi", "--max-new-tokens", "1")
    assert done.exit_code == int(architectures == [1])
    assert "Traceback" not in done.output


TOKENIZERS = {
    "a number without end": ("tokenizer.model", b"\xff" * 3_000_000),
    "a number that is none": ("tokenizer.json", b'{"model": {"vocab": {"a": 1e999}}}'),
    "nesting": ("tokenizer.json", b"[" * 200_000),
}


@pytest.mark.parametrize(("name", "content"), TOKENIZERS.values(), ids=TOKENIZERS)
def test_a_tokenizer_that_is_none_is_refused(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(WeightsError, match="cannot be read; get its files again"):
        tokens_of(tmp_path, added=True)


def test_a_piece_without_text_is_an_empty_one(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.model").write_bytes(b"\x0a\x03\x0a\x01a" + b"\x0a\x05\x15\x00\x00\x80\x3f")
    assert tokens_of(tmp_path, added=True) == {0: "a", 1: ""}


# -- small files -------------------------------------------------------------------------------------------------------


def test_links_of_a_hub_s_cache_and_within_a_folder_are_followed(tmp_path: Path) -> None:
    blobs, folder = tmp_path / "models--a--b" / "blobs", tmp_path / "models--a--b" / "snapshots" / "1234"
    blobs.mkdir(parents=True)
    folder.mkdir(parents=True)
    (blobs / "5678").write_text("{}")
    (folder / "tokenizer.json").symlink_to("../../blobs/5678")
    (folder / "vocab.json").symlink_to("tokenizer.json")
    (tmp_path / "here").symlink_to(folder)
    (tmp_path / "out").mkdir()
    files = copy_small_files(tmp_path / "here", tmp_path / "out", {"model_type": "llama"})
    assert [file.path for file in files] == ["config.json", "tokenizer.json", "vocab.json"]
    assert not any(path.is_symlink() for path in (tmp_path / "out").iterdir())


def test_files_that_nobody_sees_or_can_name_stay_behind(tmp_path: Path) -> None:
    for name in ("._tokenizer.json", ".hidden.json", "a\x1b[2J.json", "b\n.json", "tokenizer.json"):
        (tmp_path / name).write_text("{}")
    os.mkfifo(tmp_path / "vocab.json")
    assert [path.name for path in small_files(tmp_path)] == ["tokenizer.json"]


def test_a_hidden_index_is_not_that_of_the_weights(parts: Parts, run: Run, tmp_path: Path) -> None:
    """Such as macOS puts beside every file on disks of other systems."""
    (parts.delta / "model.safetensors").rename(parts.delta / "model-00001-of-00001.safetensors")
    (parts.delta / "._model.safetensors.index.json").write_bytes(b"\x00\x05\x16\x07")
    done = run(*commands(parts)["delta"], "--target", tmp_path / "out")
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff", b"[" * 200_000, b"1" * 5_000], ids=range(5))
def test_json_that_is_no_object_is_one_sentence(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(WeightsError, match="is no JSON that can be read"):
        json_of(tmp_path / "a.json")
    assert json_of(tmp_path / "b.json") == {}


# -- folders that may not be read --------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["delta", "adapter", "convert", "make"])
def test_a_folder_that_may_not_be_read_is_one_sentence(command: str, parts: Parts, tmp_path: Path) -> None:
    drop: list[str] = []
    if os.geteuid() == 0:  # who may read everything, unless that right is given up
        if shutil.which("setpriv") is None:
            pytest.skip("a superuser without setpriv may read every folder")
        drop = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]
    words = [*map(str, commands(parts)[command]), "--target", str(tmp_path / "out")]
    folder = parts.pickled if command == "convert" else parts.base
    folder.chmod(0o600)
    main = [sys.executable, "-c", "from zoo_core.cli import main; main()"]
    done = subprocess.run([*drop, *main, *words], capture_output=True, text=True, check=False)
    folder.chmod(0o700)
    assert (done.returncode, done.stderr) == (1, f"Error: The folder {folder} cannot be read: Permission denied.\n")
    assert not list(tmp_path.glob("out*"))
