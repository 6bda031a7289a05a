"""`zoo quantize`: from a model to a folder with smaller weights and a card, which the zoo runs at once."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from click.testing import Result

from zoo_core import Offer, Quantization, QuantizationJob, QuantizationResult, Zoo, ZooError, read_card, sha256_of
from zoo_core.entry_points import installed_plugins
from zoo_core.plugins import Plugins
from zoo_core.quantizing import methods, quantize

Run = Callable[..., Result]


class CuttingQuantizer:
    """A quantizer of a plugin: its smaller weights are the first bytes of the old ones."""

    jobs: ClassVar[list[QuantizationJob]] = []

    def quantize(self, job: QuantizationJob) -> QuantizationResult:
        self.jobs.append(job)
        if "fail" in job.options:
            raise ZooError("It cannot be cut.")
        begun = job.folder / "begun"
        if "stop" in job.options and not begun.exists():
            begun.write_text("half")
            raise KeyboardInterrupt
        if "full" in job.options:
            raise OSError(28, "No space left on device")
        path = job.folder / "small.gguf"
        path.write_bytes((job.weights / "model.safetensors").read_bytes()[: int(job.options.get("size", 1000))])
        job.progress(1.0, "cut")
        return QuantizationResult(
            files=[path],
            format="gguf",
            quantization=Quantization(method="cut-1", bits=1),
            facts={"begun": begun.exists()},
        )


class Cutting:
    """Its hooks, as a module would have them."""

    @staticmethod
    def zoo_quantizers() -> list[Offer]:
        target = f"{__name__}:CuttingQuantizer"
        return [Offer(name="cutting", target=target, summary="cuts", supports={"method": ["cut-1", "cut-2"]})]


@pytest.fixture
def zoo() -> Zoo:
    """The zoo with a quantizer that needs no library."""
    from types import SimpleNamespace

    from zoo_core import hookimpl

    CuttingQuantizer.jobs = []
    module = SimpleNamespace(zoo_quantizers=hookimpl(Cutting.zoo_quantizers))
    return Zoo(plugins=Plugins(installed_plugins(), modules={"cutting": module}))


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """An empty folder, in which a test sees whatever is left behind."""
    folder = tmp_path / "place"
    folder.mkdir()
    return folder


def cut(zoo: Zoo, out: Path, reference: str = "hatchling", **options: Any) -> Any:
    return quantize(zoo, reference, "cut-1", out, **{"name": "small"} | options)


# -- what is made ------------------------------------------------------------------------------------------------------


def test_the_folder_has_the_quantizers_files_and_a_card(zoo: Zoo, place: Path) -> None:
    said: list[tuple[float, str]] = []
    card = cut(zoo, place / "out", options={"size": "500"}, progress=lambda *each: said.append(each))
    assert sorted(path.name for path in (place / "out").iterdir()) == ["small.gguf", "zoo.yaml"]
    assert [path.name for path in place.iterdir()] == ["out"]
    assert read_card(place / "out" / "zoo.yaml") == card
    assert said == [(1.0, "cut")]
    origin, _ = zoo.catalog.model("hatchling")
    assert (card.id, card.format, card.version, card.status) == ("small", "gguf", "1.0.0", "experimental")
    assert [(each.path, each.size) for each in card.files] == [("small.gguf", 500)]
    assert card.files[0].sha256 == sha256_of(place / "out" / "small.gguf")
    assert card.lineage is not None
    assert (card.lineage.relation, card.lineage.base.id) == ("quantized", "hatchling")
    assert card.quantization == Quantization(method="cut-1", bits=1)
    assert (card.memory.weights_bytes, card.memory.kv_bytes_per_token, card.memory.dtype) == (500, 2048, "float16")
    for kept in ("family", "template", "context", "license", "languages", "generation", "safety", "architecture"):
        assert getattr(card, kept) == getattr(origin, kept), kept
    assert (card.evals, card.training.recipe, card.maintainers) == ([], {}, [])
    assert card.extra == {"quantization": {"method": "cut-1", "options": {"size": "500"}, "facts": {"begun": False}}}


def test_the_quantizer_gets_what_it_needs(zoo: Zoo, place: Path) -> None:
    cut(zoo, place / "out", device="cpu", seed=7)
    (job,) = CuttingQuantizer.jobs
    assert (job.card.id, job.method, job.device, job.seed) == ("hatchling", "cut-1", "cpu", 7)
    assert (job.weights / "model.safetensors").is_file()
    assert job.family is not None
    assert job.template is not None
    assert (job.template.name, job.folder) == ("phoenix", place / "out.partial")


def test_what_was_interrupted_goes_on(zoo: Zoo, place: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        cut(zoo, place / "out", options={"stop": "1"})
    assert not (place / "out").exists()
    with pytest.raises(ZooError, match="unfinished work of another quantization"):
        cut(zoo, place / "out")
    card = cut(zoo, place / "out", options={"stop": "1"})
    assert card.extra["quantization"]["facts"] == {"begun": True}
    assert sorted(path.name for path in (place / "out").iterdir()) == ["small.gguf", "zoo.yaml"]


def test_the_smaller_model_is_listed_as_a_variant_and_fits(run: Run, zoo: Zoo, place: Path) -> None:
    cut(zoo, place / "out")
    card = place / "out" / "zoo.yaml"
    (own,) = json.loads(run("--card", card, "fit", "small", "--json").stdout)["fits"]
    assert (own["dtype"], own["weights_bytes"]) == ("float16", 1000)
    both = json.loads(run("--card", card, "fit", "hatchling", "--json").stdout)["fits"]
    assert {each["id"] for each in both} == {"hatchling", "small"}


# -- what is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("option", "reason"), [("fail", "It cannot be cut"), ("full", "cannot be written: No space left on device")]
)
def test_a_quantizer_that_cannot_do_it_leaves_nothing(zoo: Zoo, place: Path, option: str, reason: str) -> None:
    with pytest.raises(ZooError, match=reason):
        cut(zoo, place / "out", options={option: "1"})
    assert list(place.iterdir()) == []


CARDS = {
    "a delta": ("{lineage: {base: {name: x}, relation: delta}}", "name the folder of the base with --base FOLDER"),
    "an adapter": ("{lineage: {base: {name: x}, relation: adapter}}", "published as an adapter"),
    "a gguf": ("{format: gguf}", "quantized already"),
    "int4": ("{quantization: {method: gptq}}", "quantized already"),
    "a quantized one": ("{lineage: {base: {id: big}, relation: quantized}}", "quantize big instead"),
    "an API": ("{format: api}", "has no weights"),
    "another family": ("{family: griffin}", "No installed plugin brings the model family 'griffin'"),
    "no weights": ("{}", "names no source of weights"),
}


@pytest.mark.parametrize(("fields", "reason"), CARDS.values(), ids=CARDS)
def test_a_model_that_cannot_be_quantized_is_refused(run: Run, place: Path, fields: str, reason: str) -> None:
    import yaml

    card = {"schema": "zoo.card/v1", "kind": "model", "id": "m", "family": "phoenix", "summary": "A model"}
    (place / "m.yaml").write_text(yaml.safe_dump(card | yaml.safe_load(fields)))
    done = run("quantize", place / "m.yaml", "--method", "q8_0", "-o", place / "out")
    assert done.exit_code in (1, 2)
    assert reason in done.stderr
    assert [path.name for path in place.iterdir()] == ["m.yaml"]


def test_a_delta_is_put_together_with_its_base_and_then_shrunk(place: Path, tmp_path: Path, zoo: Zoo) -> None:
    from tiny_models import change, tensors, tiny_bloom

    from zoo_weights import Policy, make_delta

    base = tiny_bloom(tmp_path / "base")
    model = change(tmp_path / "model", base, seed=1)
    (tmp_path / "delta").mkdir()
    make_delta(base, model, tmp_path / "delta", Policy())
    (tmp_path / "m.yaml").write_text(
        "{schema: zoo.card/v1, kind: model, id: m, family: phoenix, summary: A model, template: {name: phoenix}, "
        "sources: [{hub: folder, path: delta}], lineage: {base: {name: far}, relation: delta}}"
    )
    card = cut(zoo, place / "out", str(tmp_path / "m.yaml"), base=str(base))
    assert (card.lineage.relation, card.lineage.base.id) == ("quantized", "m")
    [job] = CuttingQuantizer.jobs
    wanted = tensors(model)
    assert all(torch.allclose(each, wanted[name], atol=1e-6) for name, each in tensors(job.weights).items())


def test_weights_that_are_quantized_whatever_the_card_says_are_refused(run: Run, place: Path, zoo: Zoo) -> None:
    import shutil

    weights = Path(__file__).parents[1] / "plugins" / "zoo_hatchling" / "weights"
    folder = shutil.copytree(weights, place / "w")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"quantization_config": {"quant_method": "gptq"}}))
    (place / "m.yaml").write_text(
        "{schema: zoo.card/v1, kind: model, id: m, family: phoenix, summary: A model, template: {name: phoenix}}"
    )
    with pytest.raises(ZooError, match="'m' is quantized already"):
        cut(zoo, place / "out", str(place / "m.yaml"), weights=folder)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([], "Name a MODEL, a --method and a folder"),
        (["hatchling", "--method", "q8_0"], "Name a MODEL"),
        (["hatchling", "--method", "q8_1", "-o", "out"], "by 'q8_1'. Did you mean q8_0"),
        (["hatchling", "--method", "q8_0", "-o", "out", "--name", "A B"], "'A B' cannot be a model's name"),
        (["hatchling", "--method", "q8_0", "-o", "out", "--name", "hatchling"], "the name of the model itself"),
        (["hatchling", "--method", "q8_0", "-o", "../place"], "exists already"),
        (["hatchling", "--method", "q8_0", "-o", "out", "--option", "x"], "not of the form NAME=VALUE"),
    ],
    ids=str,
)
def test_wrong_usage_is_told(
    run: Run, place: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], reason: str
) -> None:
    monkeypatch.chdir(place)
    done = run("quantize", *arguments)
    assert (done.exit_code, done.stdout) == (2, "")
    assert reason in done.stderr
    assert list(place.iterdir()) == []


# -- the command -------------------------------------------------------------------------------------------------------


def test_methods_are_listed_with_their_quantizers(run: Run, zoo: Zoo) -> None:
    text = run("quantize", "--methods").stdout
    assert "q8_0" in text
    listed = json.loads(run("quantize", "--methods", "--json").stdout)
    assert listed["schema"] == "zoo.methods/v1"
    assert {"method": "q4_k_m", "quantizer": "gguf"} in listed["items"]
    assert {"cut-1", "cut-2", "q8_0"} <= methods(zoo).keys()


def test_a_library_that_is_missing_is_told_with_how_to_get_it(
    run: Run, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    for name in [each for each in sys.modules if each.partition(".")[0] in ("gguf", "zoo_gguf")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "gguf", None)
    done = run("quantize", "hatchling", "--method", "q8_0", "-o", place / "out")
    assert done.exit_code == 1
    assert "pip install 'llm-zoo[chat,gguf]'" in done.stderr
    assert list(place.iterdir()) == []


def test_a_method_of_llama_cpp_without_llama_cpp_is_told(
    run: Run, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    pytest.importorskip("gguf", reason="the package gguf is not installed")
    monkeypatch.setitem(sys.modules, "llama_cpp", None)
    done = run("quantize", "hatchling", "--method", "q4_k_m", "-o", place / "out")
    assert done.exit_code == 1
    assert "needs llama-cpp-python, which is compiled when it is installed" in done.stderr
    done = run("quantize", "hatchling", "--method", "q8_0", "-o", place / "out", "--json")
    assert json.loads(done.stdout)["card"]["quantization"] == {"method": "q8_0", "bits": 8, "group_size": 32}


def test_an_engine_whose_library_is_missing_is_told_with_how_to_get_it(
    run: Run, zoo: Zoo, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    cut(zoo, place / "out")
    for name in [each for each in sys.modules if each.partition(".")[0] in ("llama_cpp", "zoo_gguf")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "llama_cpp", None)
    done = run("chat", place / "out", "Hello")
    assert done.exit_code == 1
    assert "pip install 'llm-zoo[gguf]'" in done.stderr


def test_what_was_made_is_said(run: Run, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("gguf", reason="the package gguf is not installed")
    monkeypatch.chdir(place)
    done = run("quantize", "hatchling", "--method", "q8_0", "-o", "Small")
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout == "Made small in Small. Talk to it with: zoo chat ./Small\n"
    done = run("quantize", "./Small", "--method", "q8_0", "-o", "smaller")
    assert (done.exit_code, done.stdout) == (2, "")
    assert "'small' is quantized already; quantize hatchling instead." in done.stderr


def test_the_engine_refuses_a_file_that_is_none(run: Run, zoo: Zoo, place: Path) -> None:
    """The file that the quantizer of this test makes is no GGUF file, though it is called like one."""
    pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed; it has to be compiled")
    cut(zoo, place / "out")
    done = run("chat", place / "out", "Hello")
    assert (done.exit_code, done.stdout) == (1, "")
    assert "small.gguf is no GGUF file that can be trusted: it does not begin like one" in done.stderr
