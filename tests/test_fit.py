"""What models need in memory: the arithmetic, its agreement with measured memory, the answers of `zoo fit`."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import Result
from memory import ALL, MORE, SHAPES, make, measure

from zoo_core import Zoo
from zoo_core.cards.index import Row
from zoo_core.errors import MissingDependency, UsageProblem, ZooError
from zoo_core.fit.answers import answer, answer_data, conclusion, overview
from zoo_core.fit.machine import Device, group_room, machine
from zoo_core.fit.needs import BIASED, PREFILL, attentions, best, dtypes, fits_of, fits_row, lacking, needs
from zoo_core.paths import cards_folder

GB = 1_000_000_000

#: A network of seven billion parameters.
ROW = Row(
    path="",
    id="seven",
    context=2048,
    weights_bytes=14 * GB,
    kv_bytes_per_token=2 * 32 * 4096 * 2,
    dtype="float16",
    layers=32,
    hidden_size=4096,
    intermediate_size=16384,
    vocab_size=250_880,
    heads=32,
)
CARD = """
schema: zoo.card/v1
kind: model
id: {id}
family: {family}
summary: A model of a test
format: safetensors
context: {{max: 2048}}
architecture: {{layers: 32, hidden_size: 4096, intermediate_size: 16384, vocab_size: 250880, heads: 32}}
memory: {{weights_bytes: {weights}, kv_bytes_per_token: 524288, dtype: float16}}
"""


def changed(**fields: Any) -> Row:
    return msgspec.structs.replace(ROW, **fields)


def device(free: float, name: str = "cpu") -> Device:
    return Device(name, "some memory", int(free * GB), int(free * GB))


def write_card(id: str, weights: float, *more: str, family: str = "some") -> Path:
    """A card of the user, for weights of so many GB."""
    path = cards_folder() / f"{id}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([CARD.format(id=id, weights=int(weights * GB), family=family), *more]))
    return path


# -- measured ----------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the peak is measured with Linux's /proc")
@pytest.mark.parametrize("name", [*SHAPES, *(pytest.param(each, marks=pytest.mark.slow) for each in MORE)])
def test_estimate_is_within_a_tenth_of_measured_memory(name: str, tmp_path: Path) -> None:
    shape = ALL[name]
    estimate = needs(make(shape, tmp_path), shape.context, 1, shape.dtype, attention=shape.attention)
    measured = measure(shape, tmp_path)
    assert estimate.total - estimate.program == pytest.approx(measured, rel=0.1)


def test_engine_takes_prompts_in_the_parts_that_are_counted() -> None:
    from zoo_transformers import engine

    assert engine.PREFILL == PREFILL


# -- arithmetic --------------------------------------------------------------------------------------------------------


def test_weights_and_cache_follow_dtype_context_and_batch() -> None:
    half, full = (needs(ROW, 2048, 1, dtype) for dtype in ("bfloat16", "float32"))
    assert (half.weights, half.cache) == (14 * GB, 2048 * 524288)
    assert (full.weights, full.cache) == (28 * GB, 2 * 2048 * 524288)
    many = needs(ROW, 1024, 8, "bfloat16")
    assert (many.weights, many.cache) == (14 * GB, 4 * half.cache)
    assert half.total == half.weights + half.cache + half.activations + half.program


@pytest.mark.parametrize("attention", ["", "eager", "biased"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_needs_grow_with_context_and_batch(dtype: str, attention: str) -> None:
    contexts = [
        needs(ROW, context, 1, dtype, attention=attention).total for context in (1, 256, 511, 512, 513, 2048, 8192)
    ]
    batches = [needs(ROW, 2048, batch, dtype, attention=attention).total for batch in (1, 2, 64)]
    assert contexts == sorted(set(contexts))
    assert batches == sorted(set(batches))


def test_scores_are_counted_where_the_attention_is_eager() -> None:
    plain, eager = (needs(ROW, 2048, 1, "bfloat16", attention=each).activations for each in ("", "eager"))
    scores = 32 * PREFILL * 2048
    assert eager - plain > 10 * scores  # three matrices in 16 bits and two in float32, less what the others need


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"dtype": "float32"}, ["float32", "bfloat16"]),
        ({"dtype": "bfloat16"}, ["float32", "bfloat16"]),
        ({"dtype": "float16"}, ["float32", "float16"]),
        ({"dtype": "float64"}, ["float32", "bfloat16"]),
        ({"bits": 4}, ["float16"]),
        ({"relation": "quantized"}, ["float16"]),
    ],
)
def test_dtypes_to_load(fields: dict[str, Any], expected: list[str]) -> None:
    assert dtypes(changed(**fields)) == expected


# -- what a card does not say ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("weights_bytes", None, "memory.weights_bytes"),
        ("kv_bytes_per_token", None, "memory.kv_bytes_per_token"),
        ("dtype", "", "memory.dtype"),
        ("dtype", "int3", "memory.dtype"),
        ("context", None, "context.max"),
        ("layers", None, "architecture.layers"),
        ("layers", 0, "architecture.layers"),
        ("hidden_size", None, "architecture.hidden_size"),
        ("intermediate_size", None, "architecture.intermediate_size"),
        ("vocab_size", None, "architecture.vocab_size"),
        ("heads", None, "architecture.heads"),
    ],
)
def test_field_that_is_lacking_is_named(field: str, value: Any, told: str) -> None:
    row = changed(**{field: value})
    assert lacking(row, attention="eager") == [told]
    assert fits_row(row, [device(100)], attention="eager") is None


def test_context_of_the_user_replaces_one_that_the_card_lacks() -> None:
    fit = fits_row(changed(context=None), [device(100)], context=300)
    assert fit is not None
    assert fit.context == 300


def test_heads_are_asked_for_only_where_they_count() -> None:
    assert lacking(changed(heads=None)) == []


@pytest.mark.parametrize("fields", [{"relation": "adapter"}, {"kind": "dataset"}])
def test_what_is_no_whole_model_cannot_be_told(fields: dict[str, Any]) -> None:
    assert fits_row(changed(**fields), [device(100)]) is None


# -- which one is taken ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("free", "expected"),
    [
        ({"cuda:0": 80, "cpu": 80}, ("float32", "cuda:0", True)),
        ({"cuda:0": 24, "cpu": 80}, ("float32", "cpu", True)),
        ({"cuda:0": 24, "cpu": 10}, ("float16", "cuda:0", True)),
        ({"cuda:0": 8, "cpu": 10}, ("float16", "cpu", False)),
    ],
)
def test_most_exact_fit_is_taken_and_else_the_nearest_miss(free: dict[str, float], expected: object) -> None:
    fit = fits_row(ROW, [device(size, name) for name, size in free.items()])
    assert fit is not None
    assert (fit.dtype, fit.device.device, fit.fits) == expected
    assert fit.spare == fit.device.free_bytes - fit.needs.total


def test_context_is_cut_to_the_models_own() -> None:
    assert {fit.context for fit in fits_of(ROW, [device(1)], context=100_000)} == {2048}
    assert best([]) is None


@pytest.mark.parametrize(
    ("free", "nearest", "sentence"),
    [
        (40, ("big", "float32", 2048), "'big' fits in float32 on cpu."),
        (20, ("big", "float16", 2048), "'big' fits in float16 on cpu."),
        (14.9, ("big-4bit", "float16", 2048), "'big' does not fit, but 'big-4bit' does, in float16 on cpu."),
        (4, None, "'big' does not fit, nor does a variant: even at 256 tokens 'big-4bit' in float16 lacks "),
    ],
)
def test_nearest_variant_that_fits(free: float, nearest: tuple[str, str, int] | None, sentence: str) -> None:
    write_card("big", 14)
    write_card(
        "big-4bit", 4, "lineage: {relation: quantized, base: {id: big}}", "quantization: {method: gptq, bits: 4}"
    )
    write_card("other-4bit", 1, "lineage: {relation: quantized, base: {id: other}}")
    found = answer(Zoo(), "big", [device(free)], None, 1)
    near = found.nearest
    assert (near and (near.id, near.dtype, near.context)) == nearest
    assert conclusion(found).startswith(sentence)
    assert [fit.id for fit in found.fits] == ["big", "big", "big-4bit"]


def test_shorter_context_is_advised_where_no_variant_fits() -> None:
    write_card("big", 14)
    found = answer(Zoo(), "big", [device(15.1)], None, 1)
    near = found.nearest
    assert near is not None
    assert 256 <= near.context < 2048
    row = changed(kv_bytes_per_token=524288)
    assert needs(row, near.context, 1, "float16").total <= near.device.free_bytes
    assert needs(row, near.context + 1, 1, "float16").total > near.device.free_bytes
    assert conclusion(found).endswith(
        f"but it does in float16 on cpu, in conversations of up to {near.context:,} tokens."
    )


def test_variants_that_a_card_names_are_told_and_those_that_say_nothing_are_too() -> None:
    write_card("big", 14, "runtime: {variants: [big-small, big-unknown]}")
    write_card("big-small", 2)
    path = write_card("big-unknown", 2)
    path.write_text("\n".join(line for line in path.read_text().splitlines() if not line.startswith("memory")))
    found = answer(Zoo(), "big", [device(10)], None, 1)
    assert {fit.id for fit in found.fits} == {"big", "big-small"}
    assert found.unknown == ["big-unknown"]
    assert found.nearest is not None
    assert found.nearest.id == "big-small"


def test_families_with_a_biased_attention_say_so() -> None:
    zoo = Zoo()
    assert attentions(zoo)["phoenix"] == "biased"
    write_card("plain", 14)
    write_card("biased", 14, family="phoenix")
    plain, biased = (answer(zoo, name, [device(100)], None, 1).fits[-1].needs for name in ("plain", "biased"))
    assert biased.activations > plain.activations


def test_bias_is_counted_for_the_queries_that_phoenix_takes_at_once() -> None:
    from zoo_phoenix import attention

    assert attention.BLOCK == BIASED


def test_overview_tells_every_model_that_can_be_told() -> None:
    write_card("big", 14)
    write_card("small", 1)
    fits, unknown = overview(Zoo(), [device(10)], 1024, 1)
    assert {fit.id: fit.fits for fit in fits if fit.id in {"big", "small"}} == {"big": False, "small": True}
    assert {fit.context for fit in fits if fit.id in {"big", "small"}} == {1024}
    assert set(unknown).isdisjoint(fit.id for fit in fits)


def test_answer_as_data_holds_bytes_that_add_up() -> None:
    write_card("big", 14)
    data = answer_data(answer(Zoo(), "big", [device(80, "cuda:0"), device(20)], 512, 2))
    assert (data["context"], data["batch"], len(data["fits"])) == (512, 2, 4)
    for each in [*data["fits"], data["nearest"], data["least"]]:
        parts = [each[f"{part}_bytes"] for part in ("weights", "cache", "activations", "program")]
        assert each["needed_bytes"] == sum(parts)
        assert each["spare_bytes"] == each["free_bytes"] - each["needed_bytes"]
        assert each["fits"] == (each["spare_bytes"] >= 0)


# -- the command -------------------------------------------------------------------------------------------------------


def test_command_answers_for_one_model(run: Callable[..., Result]) -> None:
    write_card("small", 0.001)
    write_card("huge", 1_000_000)
    good = run("fit", "small", "--context", "512")
    assert good.exit_code == 0
    assert good.stdout.startswith("small, context 512, batch 1\n")
    assert "'small' fits in float32 on " in good.stdout
    bad = run("fit", "huge")
    assert bad.exit_code == 0
    assert "'huge' does not fit, nor does a variant" in bad.stdout
    assert " too little" in bad.stdout


def test_command_answers_in_json(run: Callable[..., Result]) -> None:
    write_card("small", 0.001)
    data = json.loads(run("fit", "small", "--json").stdout)
    assert data["schema"] == "zoo.fit/v1"
    assert data["nearest"]["id"] == "small"
    listed = json.loads(run("fit", "--json").stdout)
    assert listed["schema"] == "zoo.fits/v1"
    assert "small" in {each["id"] for each in listed["items"]}


def test_command_lists_all_models_that_can_be_told(run: Callable[..., Result]) -> None:
    write_card("small", 0.001)
    write_card("silent", 1).write_text("schema: zoo.card/v1\nkind: model\nid: silent\nfamily: some\nsummary: Silent\n")
    result = run("fit")
    assert result.exit_code == 0
    line = next(each for each in result.stdout.splitlines() if each.startswith("small "))
    assert "fits, " in line
    assert "silent" not in result.stdout
    assert "cards do not say what their models need" in result.stderr


@pytest.mark.parametrize(
    ("card", "options", "code", "message"),
    [
        ([], ["--context", "2049"], 2, "The context of 'one' has 2,048 tokens, so --context 2,049 is too long."),
        ([], ["--context", "0"], 2, "is not in the range"),
        ([], ["--batch", "0"], 2, "is not in the range"),
        (["format: api"], [], 1, "'one' runs elsewhere"),
        (["lineage: {relation: adapter, base: {id: big}}"], [], 1, "see what that needs with: zoo fit big"),
        (["lineage: {relation: adapter, base: {name: Big}}"], [], 1, "its base is Big"),
        (["memory: {}"], [], 1, "does not say memory.weights_bytes, memory.kv_bytes_per_token, memory.dtype, so"),
        (["memory: {}"], [], 1, "zoo card lock one"),
    ],
)
def test_command_says_what_is_wrong(
    run: Callable[..., Result], card: list[str], options: list[str], code: int, message: str
) -> None:
    path = write_card("one", 1)
    fields = {line.partition(":")[0] for line in card}
    kept = [line for line in path.read_text().splitlines() if line.partition(":")[0] not in fields]
    path.write_text("\n".join([*kept, *card]))
    result = run("fit", "one", *options)
    assert result.exit_code == code
    assert message in result.stderr


def test_advice_repeats_the_reference_as_the_user_wrote_it(
    run: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text = "schema: zoo.card/v1\nkind: model\nid: silent\nfamily: some\nsummary: Silent\n"
    (tmp_path / "my x.yaml").write_text(text)
    result = run("fit", "./my x.yaml")
    assert result.exit_code == 1
    assert "complete the card with: zoo card lock './my x.yaml'" in result.stderr


def test_errors_are_usage_only_where_the_user_can_type_something_else() -> None:
    write_card("big", 14)
    with pytest.raises(UsageProblem):
        answer(Zoo(), "big", [device(1)], 4096, 1)
    with pytest.raises(ZooError, match=r"hatchling-dialogues.*is a dataset"):
        answer(Zoo(), "hatchling-dialogues", [device(1)], None, 1)


# -- the machine -------------------------------------------------------------------------------------------------------


def test_machine_tells_its_memory() -> None:
    *gpus, ram = machine()
    assert ram.device == "cpu"
    for each in (*gpus, ram):
        assert 0 <= each.free_bytes <= each.total_bytes


def test_library_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psutil", None)
    with pytest.raises(MissingDependency, match=r"psutil.*pip install 'llm-zoo\[hub\]'"):
        machine()


def test_torch_is_not_imported_where_no_gpu_can_be() -> None:
    code = "import sys\nfrom zoo_core.fit import machine\nmay = machine._gpu_may_exist()\nmachine.machine()\n"
    code += "print(may, 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    may, imported = done.stdout.split()
    assert imported == may


@pytest.mark.parametrize(
    ("own", "limits", "room"),
    [
        ("0::/", {"": "max"}, None),
        ("0::/", {"": "1000"}, 800),
        ("0::/job/step", {"job": "1000", "job/step": "max"}, 800),
        ("0::/job/step", {"job": "600", "job/step": "1000"}, 400),
        ("0::/job", {"job": "100"}, 0),
        ("4:memory:/job", {"job": "1000"}, None),
    ],
)
def test_room_in_a_control_group(tmp_path: Path, own: str, limits: dict[str, str], room: int | None) -> None:
    (tmp_path / "own").write_text(own + "\n")
    for name, limit in limits.items():
        group = tmp_path / "groups" / name
        group.mkdir(parents=True, exist_ok=True)
        (group / "memory.max").write_text(limit + "\n")
        (group / "memory.current").write_text("300\n")
        (group / "memory.stat").write_text("anon 100\ninactive_file 100\n")
    assert group_room(tmp_path / "groups", tmp_path / "own") == room


def test_room_is_unlimited_where_there_are_no_control_groups(tmp_path: Path) -> None:
    assert group_room(tmp_path, tmp_path / "nothing") is None
