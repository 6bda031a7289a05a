"""Many cards, measured: the first index, later listings, search and resolving, at 100, 1,000 and 10,000 cards.

    python benchmarks/registry.py [--runs 5] [--sizes 100 1000 10000] [--digest-megabytes 1024]

Times are CPU times of whole commands beside `python -c pass`, interleaved, medians. A plain YAML parse of all cards is
measured beside the first index. The same cards are then served as a static registry from a disk. At the end the zoo's digests
are measured against the program `sha256sum` on one file, with the memory that they take.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from startup import BIN, cpu_milliseconds

ZOO = str(BIN / "zoo")

CARD = """schema: zoo.card/v1
kind: model
id: model-{number:05d}
aliases: [alias-{number:05d}]
family: family-{family}
summary: Model number {number} of a long list, taught to chat about everything
sources:
- {{hub: huggingface, repo: owner/model-{number:05d}, revision: a{number:039x}}}
files:
- {{path: model.safetensors, size: 14000000000, sha256: a{number:063x}}}
- {{path: config.json, size: 700, sha256: b{number:063x}}}
format: safetensors
architecture: {{backbone: Base, size: 7B, params: 7000000000, layers: 32, hidden_size: 4096, heads: 32, vocab_size: 32000}}
memory: {{weights_bytes: 14000000000, kv_bytes_per_token: 524288, dtype: bfloat16}}
license: {{spdx: Apache-2.0}}
languages: [en, zh]
context: {{max: 2048}}
template: {{name: phoenix}}
released: 2023-04-08
"""

PARSE_ALL = """
import sys, yaml
from pathlib import Path
for path in Path(sys.argv[1]).rglob("*.yaml"):
    yaml.load(path.read_bytes(), Loader=yaml.CSafeLoader)
"""

DIGEST = """
import resource, sys, time
from pathlib import Path
from zoo_core.files import sha256_of
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
start = time.perf_counter()
sha256_of(Path(sys.argv[1]))
seconds = time.perf_counter() - start
print(seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def write_cards(folder: Path, count: int) -> None:
    """Write `count` different cards, a thousand in a folder."""
    for number in range(count):
        path = folder / f"{number // 1000:03d}" / f"model-{number:05d}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(CARD.format(number=number, family=number % 50))


def measure(count: int, runs: int, folder: Path) -> list[tuple[str, int, float, float]]:
    """Name, number of cards, CPU milliseconds and ratio to `python -c pass` of every command."""
    os.environ.update({f"ZOO_{name}": str(folder / name.lower()) for name in ("DATA", "CACHE", "CONFIG")})
    cards = folder / "config" / "cards"
    write_cards(cards, count)
    some = f"model-{count // 2:05d}"
    parse = cpu_milliseconds([sys.executable, "-c", PARSE_ALL, str(cards)])
    first = cpu_milliseconds([ZOO, "list"])
    later = timed(
        {
            "zoo list": [ZOO, "list"],
            "zoo list --json": [ZOO, "list", "--json"],
            "zoo search": [ZOO, "search", "family-7", "everything"],
            "zoo show (resolve)": [ZOO, "show", some],
        },
        runs,
    )
    shutil.move(cards, folder / "cards")
    static = folder / "static"
    build = cpu_milliseconds([ZOO, "registry", "build", str(static), "--from", str(folder / "cards")])
    add = cpu_milliseconds([ZOO, "registry", "add", "bench", static.as_uri()])
    registry = timed({"zoo list": [ZOO, "list"], "zoo show (resolve)": [ZOO, "show", f"bench:{some}"]}, runs)
    base = later.pop("python -c pass")
    rows = {"plain YAML parse of all": parse, "first zoo list": first, **later}
    rows |= {"zoo registry build": build, "zoo registry add": add}
    rows |= {f"{name}, registry": value for name, value in registry.items() if name != "python -c pass"}
    return [(name, count, value, value / base) for name, value in rows.items()]


def timed(commands: dict[str, list[str]], runs: int) -> dict[str, float]:
    """Median CPU milliseconds of each command and of an empty interpreter, interleaved."""
    commands = {"python -c pass": [sys.executable, "-c", "pass"], **commands}
    times: dict[str, list[float]] = {name: [] for name in commands}
    for command in commands.values():
        cpu_milliseconds(command)
    for _ in range(runs):
        for name, command in commands.items():
            times[name].append(cpu_milliseconds(command))
    return {name: statistics.median(values) for name, values in times.items()}


def digests(megabytes: int, runs: int, folder: Path) -> None:
    """Print the speed of the zoo's digests as a share of sha256sum's, and the memory that they take."""
    path = folder / "weights"
    with path.open("wb") as file:
        for _ in range(megabytes):
            file.write(os.urandom(1_000_000))
    ours, theirs, memory = [], [], []
    for _ in range(runs):
        start = time.perf_counter()
        subprocess.run(["sha256sum", str(path)], check=True, stdout=subprocess.DEVNULL)
        theirs.append(time.perf_counter() - start)
        out = subprocess.run([sys.executable, "-c", DIGEST, str(path)], check=True, capture_output=True, text=True)
        seconds, kilobytes = out.stdout.split()
        ours.append(float(seconds))
        memory.append(int(kilobytes))
    zoo, program = statistics.median(ours), statistics.median(theirs)
    print(
        f"\nsha256 of {megabytes} MB: zoo {megabytes / zoo:.0f} MB/s, sha256sum {megabytes / program:.0f} MB/s, "
        f"{program / zoo:.0%} of its speed (budget 80%), memory +{max(memory) / 1000:.1f} MB"
    )


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--sizes", type=int, nargs="+", default=[100, 1000, 10_000])
    parser.add_argument("--digest-megabytes", type=int, default=1024)
    wanted = parser.parse_args()
    print(f"{'command':<30}{'cards':>8}{'CPU ms':>10}{'ratio':>9}   (zoo list at 10,000 cards: budget 20)")
    for count in wanted.sizes:
        with tempfile.TemporaryDirectory() as folder:
            for name, cards, milliseconds, ratio in measure(count, wanted.runs, Path(folder)):
                print(f"{name:<30}{cards:>8}{milliseconds:>10.1f}{ratio:>9.2f}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        digests(wanted.digest_megabytes, wanted.runs, Path(folder))


if __name__ == "__main__":
    main()
