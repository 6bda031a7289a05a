"""Reading checkpoints and writing them piece by piece: real files, read back with the library of the format."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import tiny_llama

from zoo_core import UsageProblem, WeightsError, ZooError
from zoo_weights import Checkpoint, Planned, write_checkpoint
from zoo_weights.checkpoint import TORCH_DTYPES
from zoo_weights.writing import JOURNAL, Written, WrongResult, forget_journal, has_finished

PLAN = [
    Planned("wide", "F16", (700, 300)),
    Planned("number", "F32", ()),
    Planned("brain", "BF16", (5, 7, 2)),
    Planned("nothing", "F16", (0, 4)),
    Planned("long", "F64", (1001,)),
    Planned("whole", "I32", (3, 3)),
]


def numbers(plan: list[Planned], seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    found = {}
    for each in plan:
        dtype = TORCH_DTYPES[each.dtype]
        drawn = torch.randn(each.shape, generator=generator)
        found[each.name] = (drawn * 100).to(dtype) if not dtype.is_floating_point else drawn.to(dtype)
    return found


def maker(tensors: dict[str, torch.Tensor]) -> Callable[[str, int, int], torch.Tensor]:
    return lambda name, start, stop: tensors[name][start:stop].clone() if tensors[name].dim() else tensors[name].clone()


def read_back(folder: Path) -> dict[str, torch.Tensor]:
    return {name: each for path in folder.glob("*.safetensors") for name, each in load_file(path).items()}


def write(folder: Path, tensors: dict[str, torch.Tensor], plan: list[Planned] = PLAN, **options: object) -> Written:
    folder.mkdir(exist_ok=True)
    return write_checkpoint(folder, plan, maker(tensors), made_from={"seed": 0}, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("shard_size", [10**9, 100_000, 1])
@pytest.mark.parametrize("threads", [1, 3])
def test_what_is_written_is_read_back(tmp_path: Path, shard_size: int, threads: int) -> None:
    tensors = numbers(PLAN)
    written = write(tmp_path / "out", tensors, shard_size=shard_size, threads=threads)
    found = read_back(tmp_path / "out")
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[name], each) and found[name].dtype == each.dtype for name, each in tensors.items())
    for file in written.files:
        content = (tmp_path / "out" / file.path).read_bytes()
        assert (file.size, file.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    (tmp_path / "out" / "config.json").write_text("{}")
    with Checkpoint.open(tmp_path / "out") as checkpoint:
        assert {name: (each.dtype, each.shape) for name, each in checkpoint.tensors.items()} == {
            each.name: (each.dtype, each.shape) for each in PLAN
        }
        assert all(torch.equal(checkpoint.load(name), each) for name, each in tensors.items())
        assert torch.equal(checkpoint.load("wide", 13, 200), tensors["wide"][13:200])


def test_names_of_files_are_those_of_transformers(tmp_path: Path) -> None:
    one = write(tmp_path / "one", numbers(PLAN))
    several = write(tmp_path / "several", numbers(PLAN), shard_size=100_000)
    assert [file.path for file in one.files] == ["model.safetensors"]
    names = [file.path for file in several.files]
    assert names[0] == f"model-00001-of-{len(names) - 1:05d}.safetensors"
    assert names[-1] == "model.safetensors.index.json"
    index = json.loads((tmp_path / "several" / names[-1]).read_bytes())
    assert index["metadata"]["total_size"] == sum(each.size for each in PLAN)
    assert index["weight_map"].keys() == {each.name for each in PLAN}
    assert {path.name for path in (tmp_path / "several").iterdir()} == {*names, JOURNAL}


def test_digest_and_sum_are_those_of_the_tensors_and_not_of_the_files(tmp_path: Path) -> None:
    tensors = numbers(PLAN)
    one = write(tmp_path / "one", tensors, measure=True)
    several = write(tmp_path / "several", tensors, measure=True, shard_size=1)
    assert one.digest == several.digest
    assert one.total == pytest.approx(sum(float(each.double().sum()) for each in tensors.values()), rel=1e-12)
    lines = []
    for each in sorted(PLAN):
        raw = tensors[each.name].reshape(-1).view(torch.uint8).numpy().tobytes()
        shape = "x".join(map(str, each.shape))
        lines.append(f"{each.name} {each.dtype} {shape} {hashlib.sha256(raw).hexdigest()}\n")
    assert one.digest == hashlib.sha256("".join(lines).encode()).hexdigest()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_numbers_that_are_not_finite_are_refused_by_name(tmp_path: Path, value: float) -> None:
    tensors = numbers(PLAN)
    tensors["brain"][3, 2, 1] = value
    with pytest.raises(WrongResult, match="'brain' would hold numbers that are not finite"):
        write(tmp_path / "out", tensors)
    assert not list((tmp_path / "out").glob("*.safetensors")) + list((tmp_path / "out").glob(".*"))


def test_large_finite_numbers_are_not_taken_for_infinite_ones(tmp_path: Path) -> None:
    tensors = numbers(PLAN)
    tensors["wide"][:] = 65000.0  # whose sum is more than half precision holds
    assert write(tmp_path / "out", tensors).files


# -- going on ----------------------------------------------------------------------------------------------------------


def test_finished_shards_are_not_made_again(tmp_path: Path) -> None:
    tensors = numbers(PLAN)
    made: list[str] = []

    def failing(name: str, start: int, stop: int) -> torch.Tensor:
        made.append(name)
        if name == "long":
            raise WeightsError("the disk is broken")
        return maker(tensors)(name, start, stop)

    (tmp_path / "out").mkdir()
    with pytest.raises(WeightsError, match="broken"):
        write_checkpoint(tmp_path / "out", PLAN, failing, made_from={"seed": 0}, shard_size=1, measure=True)
    assert has_finished(tmp_path / "out")
    assert not list((tmp_path / "out").glob(".*"))
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*.safetensors")}
    assert "wide" in made
    written = write(tmp_path / "out", tensors, shard_size=1, measure=True)
    after = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*.safetensors")}
    assert after.items() >= before.items()
    assert written == write(tmp_path / "anew", tensors, shard_size=1, measure=True)
    forget_journal(tmp_path / "out")
    assert not has_finished(tmp_path / "out")


def test_shard_that_has_vanished_or_shrunk_is_made_again(tmp_path: Path) -> None:
    tensors = numbers(PLAN)
    written = write(tmp_path / "out", tensors, shard_size=1)
    (tmp_path / "out" / written.files[0].path).unlink()
    (tmp_path / "out" / written.files[1].path).write_bytes(b"short")
    assert write(tmp_path / "out", tensors, shard_size=1) == written
    assert read_back(tmp_path / "out").keys() == tensors.keys()


@pytest.mark.parametrize("journal", ["of other inputs", "of another size", "damaged"])
def test_work_of_others_is_refused(tmp_path: Path, journal: str) -> None:
    tensors = numbers(PLAN)
    write(tmp_path / "out", tensors, shard_size=1)
    if journal == "damaged":
        (tmp_path / "out" / JOURNAL).write_bytes(b"{")
    made_from = {"seed": 1 if journal == "of other inputs" else 0}
    with pytest.raises(UsageProblem, match="unfinished work of another merge"):
        write_checkpoint(
            tmp_path / "out",
            PLAN,
            maker(tensors),
            made_from=made_from,
            shard_size=2_000 if journal == "of another size" else 1,
        )


def test_disk_without_room_is_told_before(tmp_path: Path) -> None:
    plan = [Planned("huge", "F32", (2**20, 2**25))]
    with pytest.raises(ZooError, match=r"needs 141 TB in .*, but only .* are free there"):
        write(tmp_path / "out", {}, plan)
    assert list((tmp_path / "out").iterdir()) == []


def test_file_that_cannot_grow_is_one_sentence(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    code = f"""
import resource, sys
from pathlib import Path
import torch
from zoo_core import ZooError
from zoo_weights import Planned, write_checkpoint
resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, 2_000_000))
plan = [Planned("small", "F32", (1000,)), Planned("large", "F32", (5000, 1000))]
rows = lambda name, start, stop: torch.ones((stop - start, *dict((e.name, e.shape) for e in plan)[name][1:]))
try:
    write_checkpoint(Path({str(out)!r}), plan, rows, made_from={{}}, shard_size=1_000_000)
except ZooError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "There is no room for the result in" in done.stdout
    assert "goes on where it stopped" in done.stdout
    assert {path.name for path in out.iterdir()} == {JOURNAL, "model-00001-of-00002.safetensors"}


# -- checkpoints that cannot be trusted --------------------------------------------------------------------------------


def shards(folder: Path) -> list[Path]:
    return sorted(folder.glob("model-*.safetensors"))


def exchange(folder: Path) -> None:
    first, second, *_ = shards(folder)
    spare = folder / "spare"
    first.rename(spare)
    second.rename(first)
    spare.rename(second)


def cut(folder: Path) -> None:
    shards(folder)[1].write_bytes(shards(folder)[1].read_bytes()[:-10])


def twice(folder: Path) -> None:
    first, second, *_ = shards(folder)
    both = load_file(first) | load_file(second)
    save_file(both, first)


def without_index(folder: Path) -> None:
    (folder / "model.safetensors.index.json").unlink()
    shards(folder)[1].unlink()


def pickled(folder: Path) -> None:
    for path in [*shards(folder), folder / "model.safetensors.index.json"]:
        path.unlink()
    torch.save({"a": torch.ones(1)}, folder / "pytorch_model.bin")


def empty(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


DAMAGE: dict[str, tuple[Callable[[Path], None], str]] = {
    "exchanged shards": (exchange, r"shards are exchanged or of another model"),
    "cut shard": (cut, r"cannot be used: .*no safetensors file that can be trusted"),
    "tensor in two shards": (twice, r"stands in .* and in another file"),
    "missing shard": (lambda folder: shards(folder)[1].unlink(), r"is not there; get the whole folder again"),
    "missing shard, no index": (without_index, r"has \d of \d files of weights"),
    "pickled": (pickled, r"make safetensors of them first: zoo convert "),
    "no weights": (empty, r"has no safetensors"),
    "no configuration": (lambda folder: (folder / "config.json").unlink(), r"has no config.json"),
    "configuration that is none": (
        lambda folder: void((folder / "config.json").write_text("[1]")),
        r"an object was expected",
    ),
    "no header": (lambda folder: void(shards(folder)[0].write_bytes(b"x" * 100)), r"can be trusted"),
    "folder in place of a file": (lambda folder: (shutil.rmtree(folder), None)[1], r"There is no folder"),
}


def void(result: object) -> None:
    """Nothing."""


@pytest.fixture(scope="module")
def sharded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("sharded") / "model", shards=True)


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_checkpoint_is_one_sentence(tmp_path: Path, sharded: Path, damage: str) -> None:
    folder = tmp_path / "model"
    shutil.copytree(sharded, folder)
    spoil, sentence = DAMAGE[damage]
    spoil(folder)
    with pytest.raises(WeightsError, match=sentence) as caught:
        Checkpoint.open(folder)
    assert "\n" not in str(caught.value)
    assert str(tmp_path) in str(caught.value)


def test_file_that_shrinks_while_it_is_read_is_one_sentence(tmp_path: Path, sharded: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(sharded, folder)
    with Checkpoint.open(folder) as checkpoint:
        name = next(reversed(checkpoint.tensors))
        path = folder / checkpoint.tensors[name].file
        with path.open("r+b") as file:
            file.truncate(path.stat().st_size - 4)
        with pytest.raises(WeightsError, match="has become shorter while it was read"):
            checkpoint.load(name)


def test_numbers_come_from_the_files_that_were_checked(tmp_path: Path, sharded: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(sharded, folder)
    with Checkpoint.open(folder) as checkpoint:
        name = next(iter(checkpoint.tensors))
        before, identity = checkpoint.load(name), checkpoint.identity()
        for path in shards(folder):
            path.unlink()
        assert torch.equal(checkpoint.load(name), before)
        assert checkpoint.identity() == identity
    with pytest.raises(KeyError):
        checkpoint.load(name)


def test_public_names_cost_nothing_before_they_are_used() -> None:
    code = (
        "import sys, zoo_weights, zoo_weights.plugin; zoo_weights.plugin.zoo_commands(); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
