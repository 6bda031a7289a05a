"""Start-up, measured: CPU time of short commands as ratios to `python -c pass`, and the time to the first token.

    python benchmarks/startup.py [--runs 10]

CPU time is that of the child process (user and system), so that a busy machine changes it little; commands are interleaved
and the median is taken. The public `llm` package is measured beside us where its command is installed.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

BIN = Path(sys.executable).parent

#: The least work that gives the embedded model's first token: import, load, one forward pass.
PLAIN = """
import sys, time
import torch, transformers
from transformers import AutoTokenizer, BloomForCausalLM
folder = sys.argv[1]
transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()
model = BloomForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
tokenizer = AutoTokenizer.from_pretrained(folder)
ids = tokenizer("Human: <s>What is the phoenix?</s>Assistant: <s>", add_special_tokens=False, return_tensors="pt").input_ids
with torch.inference_mode():
    token = model(input_ids=ids).logits[0, -1].argmax()
print(tokenizer.decode(token), flush=True)
"""


def cpu_milliseconds(command: list[str]) -> float:
    """User and system time of one run."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return 1000 * (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def seconds_to_first_character(command: list[str]) -> float:
    """Wall time until a command has written something on stdout."""
    start = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        process.stdout.read(1)
        seconds = time.perf_counter() - start
        process.stdout.read()
    if process.returncode:
        sys.exit(f"\nnot measured: {command[0]} failed; the first token needs the extra 'chat'")
    return seconds


def startup(runs: int) -> None:
    """Print the table of short commands."""
    commands = {
        "python -c pass": [sys.executable, "-c", "pass"],
        "zoo --version": [str(BIN / "zoo"), "--version"],
        "zoo list": [str(BIN / "zoo"), "list"],
        "zoo show (one card)": [str(BIN / "zoo"), "show", "hatchling"],
        "shell completion": [
            "env",
            "_ZOO_COMPLETE=bash_complete",
            "COMP_WORDS=zoo show ph",
            "COMP_CWORD=2",
            str(BIN / "zoo"),
        ],
    }
    budgets = {"zoo --version": "5.0", "zoo list": "8.0", "shell completion": "8.0"}
    if llm := shutil.which("llm", path=f"{BIN}{os.pathsep}{os.environ.get('PATH', '')}"):
        commands["llm --version"] = [llm, "--version"]
    times: dict[str, list[float]] = {name: [] for name in commands}
    for command in commands.values():
        cpu_milliseconds(command)  # caches and compiled modules are warm, as on every run but the first
    for _ in range(runs):
        for name, command in commands.items():
            times[name].append(cpu_milliseconds(command))
    base = statistics.median(times["python -c pass"])
    print(f"{'command':<22}{'CPU ms':>8}{'ratio':>8}{'budget':>8}")
    for name, values in times.items():
        median = statistics.median(values)
        print(f"{name:<22}{median:>8.1f}{median / base:>8.2f}{budgets.get(name, ''):>8}")


def first_token(runs: int) -> None:
    """Print the time to the first token beside plain transformers."""
    from zoo_core import Zoo
    from zoo_core.weights.store import find_weights

    card, path = Zoo().catalog.model("hatchling")
    folder = str(find_weights(card, path))
    chat = [str(BIN / "zoo"), "chat", "hatchling", "What is the phoenix?", "--no-log"]
    plain = [sys.executable, "-c", PLAIN, folder]
    times: dict[str, list[float]] = {"plain": [], "zoo": []}
    for _ in range(runs):
        times["plain"].append(seconds_to_first_character(plain))
        times["zoo"].append(seconds_to_first_character(chat))
    plain_time, zoo_time = (statistics.median(times[name]) for name in ("plain", "zoo"))
    print(f"\nfirst token: plain transformers {plain_time:.2f} s, zoo chat {zoo_time:.2f} s, ", end="")
    print(f"difference {zoo_time - plain_time:+.2f} s (budget +0.30)")


def main() -> None:
    """Measure both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10)
    runs = parser.parse_args().runs
    with tempfile.TemporaryDirectory() as folder:
        os.environ.update({f"ZOO_{name}": f"{folder}/{name}" for name in ("DATA", "CACHE", "CONFIG")})
        startup(runs)
        first_token(max(3, runs // 2))


if __name__ == "__main__":
    main()
