"""Merging a delta, measured: ours beside the algorithms of FastChat and LLM Zoo, and beside a plain copy of the same bytes.

    python benchmarks/delta.py [--shapes bloom-560m llama-1.3b] [--runs 3] [--folder FOLDER] [--json]

Base and delta are made of random numbers in half precision, with the names and shapes of the real models; the delta has one
row of tokens more. Every contestant is a process of its own. `work` leaves out what imports take, `process` and CPU time count
them; peak memory is the kernel's own count. Contestants take turns, and the shortest times and the highest peak count, for
whatever else a machine does makes times only longer. `cp` is followed by a flush to the disk, as ours is; what the others
write is not flushed.

The algorithms of the others are written down here anew, over safetensors: FastChat's `apply_delta` loads both models and adds
them; with low memory it cuts both into files of at most a gigabyte and joins these pair by pair; LLM Zoo's loads both, gives
the base a new row of zeros and looks every tensor up in a dictionary that it makes anew.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

BLOOM = {"vocab_size": 250_880, "hidden_size": 1024, "n_layer": 24, "n_head": 16}
LLAMA = {
    "vocab_size": 32_000,
    "hidden_size": 2048,
    "intermediate_size": 5504,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "tie_word_embeddings": False,
}
#: Shapes by name: the kind of model and its configuration.
SHAPES: dict[str, tuple[str, dict[str, Any]]] = {
    "bloom-560m": ("Bloom", BLOOM),
    "llama-1.3b": ("Llama", LLAMA),
    "tiny": ("Llama", LLAMA | {"hidden_size": 256, "intermediate_size": 688, "num_hidden_layers": 2}),
}
MEGABYTE = 1_000_000


class Measured(NamedTuple):
    """What one run took: seconds of work and of the whole process, CPU seconds, bytes of memory, bytes written."""

    work: float
    process: float
    cpu: float
    peak: int
    written: int


def make_checkpoint(folder: Path, shape: str, *, delta: bool) -> None:
    """Write a checkpoint of random numbers with the streaming writer; a delta has a row of tokens more, and small numbers."""
    import torch
    import transformers

    from zoo_weights import Planned
    from zoo_weights.writing import forget_journal, write_checkpoint

    kind, config = SHAPES[shape]
    wanted = config | {"vocab_size": config["vocab_size"] + int(delta)}
    described = getattr(transformers, f"{kind}Config")(**wanted, dtype="float16", architectures=[f"{kind}ForCausalLM"])
    with torch.device("meta"):
        model = getattr(transformers, f"{kind}ForCausalLM")(described)
    tensors = {name: tuple(each.shape) for name, each in model.state_dict().items()}
    if described.tie_word_embeddings:
        del tensors["lm_head.weight"]
    torch.manual_seed(int(delta))
    numbers = (torch.randn(8_000_000) * (0.002 if delta else 0.02)).half()
    plan = [Planned(name, "F16", shape) for name, shape in tensors.items()]

    def rows(name: str, start: int, stop: int) -> torch.Tensor:
        size = torch.Size((stop - start, *tensors[name][1:]))
        first = hash((name, start)) % (numbers.numel() - size.numel())
        found = numbers[first : first + size.numel()].view(size)
        return found + 1 if len(tensors[name]) == 1 and name.endswith("weight") and not delta else found.clone()

    folder.mkdir(parents=True)
    write_checkpoint(folder, plan, rows, made_from={})
    forget_journal(folder)
    described.save_pretrained(folder)


# -- the contestants, each in a process of its own ---------------------------------------------------------------------


def ours(base: Path, delta: Path, out: Path) -> Callable[[], None]:
    """The engine behind `zoo merge delta`."""
    from zoo_weights import Policy, apply_delta

    return lambda: void(apply_delta(base, delta, out, Policy(new_rows="zero")))


def fastchat(base: Path, delta: Path, out: Path) -> Callable[[], None]:
    """Both models in memory, tensor added to tensor. (FastChat's deltas have the base's rows; the row is added here too.)"""
    return lambda: whole(base, delta, out, look_up_anew=False)


def llmzoo(base: Path, delta: Path, out: Path) -> Callable[[], None]:
    """Both models in memory, a row of zeros for the new token, every tensor looked up in a dictionary made anew."""
    return lambda: whole(base, delta, out, look_up_anew=True)


def whole(base: Path, delta: Path, out: Path, *, look_up_anew: bool) -> None:
    """Load both models, add, and save."""
    import torch
    from transformers import AutoModelForCausalLM

    target = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float16)
    change = AutoModelForCausalLM.from_pretrained(delta, dtype=torch.float16)
    rows = change.config.vocab_size
    target.resize_token_embeddings(rows, mean_resizing=False)
    for layer in (target.get_input_embeddings(), target.get_output_embeddings()):
        layer.weight.data[-1:] = 0
    once = change.state_dict()
    done: set[int] = set()
    for name, parameter in target.state_dict().items():
        if parameter.data_ptr() not in done:  # an output layer that is the embedding
            parameter.data += (change.state_dict() if look_up_anew else once)[name]
            done.add(parameter.data_ptr())
    target.save_pretrained(out)


def low_memory(base: Path, delta: Path, out: Path) -> Callable[[], None]:
    """Both models cut into files of at most a gigabyte, joined pair by pair."""
    from safetensors.torch import load_file, save_file

    def work() -> None:
        with tempfile.TemporaryDirectory(dir=out) as temporary:
            bases, deltas = cut(base, Path(temporary)), cut(delta, Path(temporary))
            for number, path in enumerate(bases):
                result = load_file(path)
                for other in deltas:
                    for name, change in load_file(other).items():
                        if name in result:
                            change[: result[name].shape[0]] += result[name]
                            result[name] = change
                save_file(result, out / f"model-{number}.safetensors", {"format": "pt"})

    return work


def cut(source: Path, folder: Path) -> list[Path]:
    """Copy the tensors of a checkpoint into files that are full at a gigabyte."""
    from safetensors import safe_open
    from safetensors.torch import save_file

    held: dict[str, Any] = {}
    found: list[Path] = []
    for file in sorted(source.glob("*.safetensors")):
        with safe_open(file, "pt") as opened:
            names = list(opened.keys())
            for name in names:
                held[name] = opened.get_tensor(name).clone()
                if sum(each.nbytes for each in held.values()) >= 1000 * MEGABYTE or name == names[-1]:
                    found.append(folder / f"{source.name}-{len(found)}.safetensors")
                    save_file(held, found[-1])
                    held.clear()
    return found


def copy(base: Path, delta: Path, out: Path) -> Callable[[], None]:
    """A copy of as many bytes as the result has, flushed to the disk."""

    def work() -> None:
        for path in delta.glob("*.safetensors"):
            subprocess.run(["cp", path, out], check=True)
            subprocess.run(["sync", out / path.name], check=True)

    return work


CONTESTANTS = {"ours": ours, "FastChat": fastchat, "FastChat, low memory": low_memory, "LLM Zoo": llmzoo, "cp": copy}


def void(result: object) -> None:
    """Nothing, whatever was returned."""


def contestant(name: str, base: Path, delta: Path, out: Path) -> None:
    """Do the work of one contestant and print what it took."""
    if name != "cp":
        import torch  # noqa: F401
    if name in {"FastChat", "LLM Zoo"}:
        from transformers import BloomForCausalLM, LlamaForCausalLM  # noqa: F401
    work = CONTESTANTS[name](base, delta, out)
    started = time.perf_counter()
    work()
    seconds = time.perf_counter() - started
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    status = Path("/proc/self/status").read_text()
    peak = int(status.split("VmHWM:")[1].split()[0]) * 1024
    print(json.dumps([seconds, sum(each.ru_utime + each.ru_stime for each in used), peak]))


# -- measuring ---------------------------------------------------------------------------------------------------------


def again(*arguments: object) -> str:
    """Run this script with other arguments; what it prints."""
    command = [sys.executable, __file__, *map(str, arguments)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout


def measure(name: str, folder: Path) -> Measured:
    """One run of a contestant."""
    out = folder / "out"
    out.mkdir()
    started = time.perf_counter()
    work, cpu, peak = json.loads(again("--contestant", name, "--folder", folder).splitlines()[-1])
    process = time.perf_counter() - started
    written = sum(path.stat().st_size for path in out.glob("*.safetensors"))
    shutil.rmtree(out)
    return Measured(work, process, cpu, peak, written)


def compare(shape: str, runs: int, folder: Path) -> dict[str, Measured]:
    """What every contestant took on one shape; they take turns."""
    for side in ("base", "delta"):
        again("--make", side, "--shapes", shape, "--folder", folder)
    found: dict[str, list[Measured]] = {name: [] for name in CONTESTANTS}
    for _ in range(runs):
        for name, measured in found.items():
            measured.append(measure(name, folder))
    return {name: best(measured) for name, measured in found.items()}


def best(runs: list[Measured]) -> Measured:
    """The shortest times of several runs, and the highest peak."""
    work, process, cpu, peak, written = zip(*runs, strict=True)
    return Measured(min(work), min(process), min(cpu), max(peak), written[0])


def table(shape: str, found: dict[str, Measured]) -> None:
    """Print what was measured, and ratios to ours."""
    us = found["ours"]
    print(f"\n{shape}, {us.written / MEGABYTE:,.0f} MB")
    print(f"{'':22}{'work s':>9}{'process s':>11}{'CPU s':>8}{'peak MB':>9}{'MB/s':>8}{'time':>8}{'memory':>8}")
    for name, each in found.items():
        speed = each.written / each.work / MEGABYTE
        print(
            f"{name:22}{each.work:9.2f}{each.process:11.2f}{each.cpu:8.2f}{each.peak / MEGABYTE:9,.0f}{speed:8,.0f}"
            f"{each.work / us.work:7.2f}x{each.peak / us.peak:7.2f}x"
        )


def main() -> None:
    """Measure all contestants on all shapes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="+", choices=[*SHAPES], default=["bloom-560m", "llama-1.3b"])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="Where to write; several times the size of a model.")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--make", choices=["base", "delta"], help=argparse.SUPPRESS)
    parser.add_argument("--contestant", choices=[*CONTESTANTS], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.make:
        make_checkpoint(options.folder / options.make, options.shapes[0], delta=options.make == "delta")
        return
    if options.contestant:
        folder = options.folder
        contestant(options.contestant, folder / "base", folder / "delta", folder / "out")
        return
    results = {}
    for shape in options.shapes:
        with tempfile.TemporaryDirectory(dir=options.folder) as temporary:
            results[shape] = compare(shape, options.runs, Path(temporary))
        if not options.json:
            table(shape, results[shape])
    if options.json:
        print(json.dumps({shape: {k: v._asdict() for k, v in found.items()} for shape, found in results.items()}))


if __name__ == "__main__":
    main()
