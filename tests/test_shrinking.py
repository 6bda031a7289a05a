"""Models that shrink while they are loaded, and folders with quantized weights: from the command line to the answer."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import gptq_reference
import pytest
from click.testing import Result

import zoo_hatchling
from zoo_core.history import History
from zoo_core.shrinking import quantized_by

Run = Callable[..., Result]

QUESTION = "What is the phoenix?"
ANSWER = "Phoenix is a chat model for many languages, with 7 billion parameters, built on BLOOMZ.\n"
WEIGHTS = Path(zoo_hatchling.__file__).parent / "weights"
ONCE = ("--temperature", "0", "--no-log")


@pytest.fixture
def four_bits() -> None:
    pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed")


@pytest.mark.parametrize(
    "options",
    [["--load-8bit"], ["--quantize", "int8"], ["--quantize", "original-int8"], ["--load-4bit"], ["--quantize", "fp4"]],
    ids=" ".join,
)
@pytest.mark.usefixtures("four_bits")
def test_a_model_that_shrinks_while_it_is_loaded_answers(run: Run, options: list[str]) -> None:
    result = run("chat", "hatchling", QUESTION, *ONCE, *options)
    assert (result.exit_code, result.stdout) == (0, ANSWER), result.stderr


def test_how_it_shrank_is_recorded_and_replayed(run: Run) -> None:
    assert run("chat", "hatchling", QUESTION, "--temperature", "0", "--load-8bit").exit_code == 0
    record = History().last()
    assert record.facts["quantize"] == "int8"
    replayed = run("logs", "replay", "1")
    assert replayed.exit_code == 0, replayed.stdout
    assert "is the same, token by token" in replayed.stdout


@pytest.mark.parametrize("method", ["int8", "nf4", "original-int8"])
@pytest.mark.usefixtures("four_bits")
def test_what_was_written_runs_without_the_original(run: Run, tmp_path: Path, method: str) -> None:
    out = tmp_path / "small"
    made = run("quantize", "hatchling", "--method", method, "-o", str(out))
    assert made.exit_code == 0, made.stderr
    assert quantized_by(out)
    result = run("chat", str(out), QUESTION, *ONCE)
    assert (result.exit_code, result.stdout) == (0, ANSWER), result.stderr
    for again in (
        ["quantize", str(out), "--method", method, "-o", str(tmp_path / "smaller")],
        ["chat", str(out), "Hi", "--load-8bit"],
    ):
        refused = run(*again)
        assert refused.exit_code == 2
        assert "quantized already" in refused.stderr
    assert not (tmp_path / "smaller").exists()


def test_a_folder_of_gptq_weights_without_a_card_answers(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "packed"
    gptq_reference.checkpoint(WEIGHTS, folder)
    (folder / "quantize_config.json").write_text('{"bits": 4, "group_size": 32, "desc_act": false}')
    assert quantized_by(folder) == "gptq"
    result = run("chat", str(folder), "Hi", "--template", "phoenix", "--max-new-tokens", "4", *ONCE)
    assert result.exit_code == 0, result.stderr
    assert result.stdout.strip(), "random weights say something, if nothing sensible"


WRONG = {
    "unknown method": (["--quantize", "int9"], "by 'int9' while it is loaded. Did you mean int8?"),
    "two flags": (["--load-8bit", "--load-4bit"], "--load-8bit and --load-4bit exclude each other."),
    "flag and method": (["--load-8bit", "--quantize", "nf4"], "--quantize nf4 and --load-8bit exclude each other."),
}


@pytest.mark.parametrize(("options", "sentence"), WRONG.values(), ids=WRONG)
def test_wishes_that_cannot_be_are_said(run: Run, options: list[str], sentence: str) -> None:
    result = run("chat", "hatchling", QUESTION, *options)
    assert (result.exit_code, result.stdout) == (2, "")
    assert sentence in result.stderr


def test_a_model_that_shrinks_is_not_spread(run: Run) -> None:
    result = run("chat", "hatchling", QUESTION, "--load-8bit", "--device-map", "auto")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "goes on one device" in result.stderr


def test_an_engine_without_weights_shrinks_nothing(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    result = run("chat", "chatgpt", QUESTION, "--load-8bit")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "is run by an engine that does not shrink models" in result.stderr


CONFIGURATIONS = {
    "nothing said": ({}, ""),
    "named": ({"quantization_config": {"quant_method": "gptq", "bits": 4}}, "gptq"),
    "before methods had names": ({"quantization_config": {"load_in_8bit": True}}, "bitsandbytes"),
    "no name at all": ({"quantization_config": {}}, "unknown"),
    "of another kind": ({"quantization_config": 4}, ""),
    "no object": ([], ""),
}


@pytest.mark.parametrize(("config", "method"), CONFIGURATIONS.values(), ids=CONFIGURATIONS)
def test_the_configuration_says_how_weights_are_quantized(tmp_path: Path, config: object, method: str) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert quantized_by(tmp_path) == method
    (tmp_path / "quantize_config.json").write_text("{}")
    assert quantized_by(tmp_path) == (method or "gptq")


def test_calibration_without_measuring_and_measuring_without_calibration(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = run("quantize", "hatchling", "--method", "gptq", "-o", str(out))
    assert result.exit_code in {1, 2}
    assert "--calibration" in result.stderr or "gptqmodel" in result.stderr
    result = run("quantize", "hatchling", "--method", "gptq", "--calibration", "no-such-builder", "-o", str(out))
    assert result.exit_code == 1
    assert "'no-such-builder'" in result.stderr
    assert not list(tmp_path.glob("out*"))
