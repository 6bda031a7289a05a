"""What the engine keeps small in memory: the pass over a prompt, and the kernels compiled on the way."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from zoo_core import EngineRequest, ModelCard, Rendered, Sampling, Template
from zoo_phoenix.family import PhoenixFamily
from zoo_transformers.engine import TransformersEngine

WEIGHTS = Path(__file__).parents[1] / "plugins" / "zoo_hatchling" / "weights"

#: Prints the anonymous memory, in MB, that 400 tokens in bfloat16 leave behind.
GROWTH = r"""
import re, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_engine_memory import Rendered, Sampling, TransformersEngine, embedded

TransformersEngine._ends = frozenset()
engine = embedded("bfloat16")

def after(tokens):
    list(engine.stream(Rendered(text="Hello"), Sampling(temperature=0, max_new_tokens=tokens)))
    return int(re.search(r"RssAnon:\s+(\d+)", Path("/proc/self/status").read_text())[1]) // 1000

before = after(20)
print(after(400) - before)
"""


def embedded(dtype: str) -> TransformersEngine:
    """The engine of the embedded model on the CPU."""
    card = ModelCard(schema="zoo.card/v1", id="embedded", family="phoenix", summary="A model of a test")
    template = Template(name="plain", text="{{ messages[0].content }}")
    return TransformersEngine(
        EngineRequest(card=card, folder=WEIGHTS, family=PhoenixFamily(), template=template, device="cpu", dtype=dtype)
    )


@pytest.mark.parametrize(
    "text", ["Human: <s>What is the phoenix?</s>Assistant: <s>", "Human: <s>凤凰是什么？</s>Assistant: <s>"]
)
@pytest.mark.parametrize("part", [1, 5, 7, 512])
def test_prompts_go_through_the_model_in_parts_and_give_the_same_answer(
    text: str, part: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = embedded("float32")
    prompt, sampling = Rendered(text=text), Sampling(temperature=0, max_new_tokens=24)
    whole = [each.ids for each in engine.stream(prompt, sampling)]
    sizes: list[int] = []
    engine._model.register_forward_pre_hook(
        lambda model, arguments, named: sizes.append(named["input_ids"].shape[1]), with_kwargs=True
    )
    monkeypatch.setattr("zoo_transformers.engine.PREFILL", part)
    assert [each.ids for each in engine.stream(prompt, sampling)] == whole
    tokens = len(engine.encode(prompt))
    parts = [part] * (tokens // part) + [tokens % part] * (tokens % part > 0)
    assert sizes[: len(parts)] == parts
    assert set(sizes[len(parts) :]) == {1}


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from Linux's /proc")
def test_kernels_compiled_for_every_length_are_not_kept() -> None:
    command = [sys.executable, "-c", GROWTH, str(Path(__file__).parent)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(done.stdout) < 250  # with the libraries' own limits more than 500, where the processor has bfloat16
