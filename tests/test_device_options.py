"""Options that say on what devices a model goes: what they mean, and a model that is spread answers as one that is not."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from click.testing import Result
from tiny_models import tiny_llama

from zoo_core import Loading, MissingDependency, UsageProblem, WeightsError, Zoo
from zoo_core.fit.machine import Device
from zoo_core.history import History
from zoo_core.opening import open_session
from zoo_core.placement import Placement, bytes_of, placement
from zoo_weights import TransformersFamily

GIB = 2**30
RAM = Device("cpu", "RAM", 64 * GIB, 64 * GIB)
TWO = [Device("cuda:0", "one", 20 * GIB, 24 * GIB), Device("cuda:1", "two", 10 * GIB, 24 * GIB), RAM]
CARD = """
schema: zoo.card/v1
kind: model
id: small
family: llama
summary: A small model
sources: [{hub: folder, path: FOLDER}]
context: {max: 256}
template: {text: "{% for m in messages %}{{ m.content }}{% endfor %}"}
generation: {temperature: 0, max_new_tokens: 8}
"""

Run = Callable[..., Result]


class Llama(TransformersFamily):
    model_class = "LlamaForCausalLM"


@pytest.fixture
def small(tmp_path: Path, zoo_folders: Path) -> Path:
    """A model of two layers, with a card."""
    folder = tiny_llama(tmp_path / "small")
    card = zoo_folders / "config" / "cards" / "small.yaml"
    card.parent.mkdir(parents=True)
    card.write_text(CARD.replace("FOLDER", str(folder)))
    return folder


@pytest.mark.parametrize(
    ("num_gpus", "max_gpu_memory", "device_map", "expected"),
    [
        (None, None, None, Placement()),
        ("1", None, None, Placement()),
        (None, None, "balanced", Placement("balanced")),
        ("auto", None, None, Placement("auto")),
        ("2", None, None, Placement("sequential", {"0": 17 * GIB, "1": 17 * GIB // 2})),
        ("2", "13GiB", None, Placement("auto", {"0": 13 * GIB, "1": 13 * GIB})),
        ("2", "13Gib", "sequential", Placement("sequential", {"0": 13 * GIB, "1": 13 * GIB})),
        ("1", "5GB", None, Placement("auto", {"0": 5_000_000_000})),
        (None, "5GB", None, Placement("auto", {"0": 5_000_000_000, "1": 5_000_000_000})),
        ("auto", "5GB", None, Placement("auto", {"0": 5_000_000_000, "1": 5_000_000_000})),
    ],
)
def test_the_options_say_where_a_model_goes(
    num_gpus: str | None, max_gpu_memory: str | None, device_map: str | None, expected: Placement
) -> None:
    assert placement(num_gpus, max_gpu_memory, device_map, lambda: TWO) == expected


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("13GiB", 13 * GIB),
        ("13Gib", 13 * GIB),
        ("1.5 gb", 1_500_000_000),
        ("500MB", 500_000_000),
        ("7", 7),
        ("2k", 2000),
    ],
)
def test_amounts_of_memory(text: str, size: int) -> None:
    assert bytes_of(text) == size


@pytest.mark.parametrize("text", ["", "GiB", "13 apples", "-1GiB", "0", "0.0001", "1e9", "13GiBB", "١GiB", "9" * 400])
def test_what_is_no_amount_of_memory_is_refused(text: str) -> None:
    with pytest.raises(UsageProblem, match="is no amount of memory; write one such as 13GiB"):
        bytes_of(text)


def test_a_machine_is_asked_for_its_gpus_only_where_they_matter() -> None:
    """It takes seconds to import PyTorch."""

    def never() -> list[Device]:
        raise AssertionError("asked")

    assert placement("1", None, "auto", never) == Placement("auto")


WRONG = {
    "both": (["--load-8bit", "--load-4bit"], "--load-8bit and --load-4bit exclude each other."),
    "no such number": (["--num-gpus", "0"], "--num-gpus is a number from 1 on, or auto, not '0'."),
    "no number": (["--num-gpus", "many"], "--num-gpus is a number from 1 on, or auto, not 'many'."),
    "no size": (["--max-gpu-memory", "much"], "'much' is no amount of memory; write one such as 13GiB."),
    "no map": (["--device-map", "everywhere"], "'everywhere' is not one of 'auto', 'balanced'"),
    "a device too": (["--device-map", "auto", "--device", "cpu"], "--device cpu puts the model on one device"),
}


@pytest.mark.parametrize(("options", "sentence"), WRONG.values(), ids=WRONG)
def test_wrong_options_are_wrong_usage(run: Run, small: Path, options: list[str], sentence: str) -> None:
    result = run("chat", "small", "Hello", *options)
    assert (result.exit_code, result.stdout) == (2, "")
    assert sentence in result.stderr


@pytest.mark.parametrize("options", [["--num-gpus", "auto"], ["--num-gpus", "64"], ["--max-gpu-memory", "13GiB"]])
def test_gpus_that_are_not_there_are_refused(run: Run, small: Path, options: list[str]) -> None:
    if torch.cuda.is_available() and options != ["--num-gpus", "64"]:
        pytest.skip("this machine has a GPU")
    result = run("chat", "small", "Hello", *options)
    assert (result.exit_code, result.stdout) == (2, "")
    assert f"{options[0]} {options[1]} asks for" in result.stderr
    assert "spread the model with --device-map auto" in result.stderr


@pytest.mark.parametrize("device_map", ["auto", "balanced", "balanced_low_0", "sequential"])
def test_a_model_that_is_spread_answers_the_same(run: Run, small: Path, device_map: str) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU, which computes otherwise")
    alone = run("chat", "small", "Hello")
    spread = run("chat", "small", "Hello", "--device-map", device_map)
    assert spread.exit_code == 0, spread.stderr
    assert spread.stdout == alone.stdout


def test_a_limit_for_the_ram_is_kept(small: Path) -> None:
    sampling = {"temperature": 0, "max_new_tokens": 4}
    fits = open_session(Zoo(), "small", device_map="auto", max_memory={"cpu": GIB}, sampling=sampling)
    assert "".join(fits.reply("Hello")) is not None
    assert fits.engine.facts["device_map"] == "auto"
    with pytest.raises(WeightsError, match="does not fit into the memory that it may take"):
        "".join(open_session(Zoo(), "small", device_map="auto", max_memory={"cpu": 40_000}).reply("Hello"))


def test_a_recorded_answer_is_asked_for_again_in_the_same_way(run: Run, small: Path) -> None:
    assert run("chat", "small", "Hello", "--device-map", "sequential").exit_code == 0
    assert History().reply(1).facts["device_map"] == "sequential"
    assert "is the same, token by token" in run("logs", "replay", "1").stdout


def test_without_accelerate_a_model_stays_on_one_device(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "accelerate", None)
    assert Llama().load_model(small, Loading()).config.num_hidden_layers == 2
    with pytest.raises(MissingDependency, match=r"needs the package 'accelerate'\. Install it with: pip install"):
        Llama().load_model(small, Loading(device_map="auto"))


@pytest.mark.skipif(torch.cuda.device_count() < 1, reason="needs a GPU")
def test_a_model_half_on_the_gpu_answers_as_one_on_the_cpu(small: Path) -> None:
    sampling = {"temperature": 0, "max_new_tokens": 8}
    limits = {"0": 60_000, "cpu": GIB}
    spread = open_session(
        Zoo(), "small", device_map="sequential", dtype="float32", max_memory=limits, sampling=sampling
    )
    alone = open_session(Zoo(), "small", device="cpu", dtype="float32", sampling=sampling)
    assert "".join(spread.reply("Hello")) == "".join(alone.reply("Hello"))
    devices = {str(each) for each in spread.engine._model.hf_device_map.values()}  # type: ignore[attr-defined]
    assert devices == {"0", "cpu"}
