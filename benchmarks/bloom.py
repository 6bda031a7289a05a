"""The BLOOM of zoo_phoenix beside that of transformers: prompts, single tokens, memory, and many conversations at once.

    python benchmarks/bloom.py [--shape 100m|560m] [--dtype float32|bfloat16] [--threads 1] [--rounds 3] [--json]

A model of random numbers is written to a temporary folder. Every cell is a process of its own that loads it and does the work
once before it is measured; the two are measured in turns, and what is printed is the median of the rounds. Prompts go
through the model in parts of 512 tokens, as in the engine of the zoo. Peak memory is the kernel's own count (VmHWM) of the
whole process from the moment when the model is loaded, so it needs Linux.

With one thread, times are CPU times, which other work on the machine changes little; with more they are those of the clock.

In the second table every stream has a prompt of 128 tokens and gets 64 new ones: ours in a `ContinuousBatch`, stock with
`generate`, one after the other. All answers are greedy; where the two do not agree, the table says so.

The third is a forward and a backward pass over packed documents of 40 to 140 tokens. Stock lets them run into each other, so
the two do not do the same: it is what a trainer that packs would get.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

SHAPES = {
    "100m": {"hidden_size": 768, "n_layer": 12, "n_head": 12, "vocab_size": 32_000},
    "560m": {"hidden_size": 1024, "n_layer": 24, "n_head": 16, "vocab_size": 250_880},
}
KINDS = ("stock", "ours")
LENGTHS = (128, 512, 2048)
BATCHES = (1, 8)
STREAMS = (1, 4, 8)
#: Tokens of a prompt that go through the model at once; single tokens that are measured after it; and those of a stream.
PART, STEPS, PROMPT, NEW = 512, 16, 128, 64
PACKED = (512, 2048)

Result = dict[str, Any]


def write(shape: str, folder: Path) -> None:
    """Write a model of random numbers."""
    import torch
    import transformers

    transformers.logging.disable_progress_bar()
    torch.manual_seed(0)
    model = transformers.BloomForCausalLM(transformers.BloomConfig(**SHAPES[shape]))
    model.to(torch.bfloat16 if shape == "560m" else torch.float32).save_pretrained(folder)


def load(kind: str, folder: Path, dtype: str) -> Any:
    """The model, ready to run."""
    import torch
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    if kind == "ours":
        from zoo_core import Loading
        from zoo_phoenix.family import PhoenixFamily

        return PhoenixFamily().load_model(folder, Loading(dtype=dtype))
    return transformers.BloomForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype)).eval()


def clock() -> Callable[[], float]:
    """What time is read from."""
    return time.process_time if os.environ["OMP_NUM_THREADS"] == "1" else time.perf_counter


def prompts(model: Any, batch: int, length: int) -> Any:
    """Token ids `[batch, length]`, the same in every process."""
    import torch

    chance = torch.Generator().manual_seed(length)
    return torch.randint(4, model.config.vocab_size, (batch, length), generator=chance)


def cell(model: Any, batch: int, length: int) -> Result:
    """Seconds for the prompts, tokens per second after them, and the tokens of the first row."""
    now = clock()
    ids = prompts(model, batch, length)
    list(answer(model, ids[:, :64], 2))
    began = now()
    steps = answer(model, ids, STEPS + 1)
    tokens = [next(steps)]
    prompted = now()
    tokens += steps
    ended = now()
    return {
        "prefill_seconds": prompted - began,
        "decode_tokens_per_second": batch * STEPS / (ended - prompted),
        "tokens": [int(each[0]) for each in tokens],
    }


def answer(model: Any, ids: Any, count: int) -> Iterator[Any]:
    """The next tokens of all rows, greedily, one after the other."""
    import torch
    from transformers import DynamicCache

    cache = DynamicCache(config=model.config)
    for _ in range(count):
        with torch.inference_mode():
            for part in ids.split(PART, dim=1):
                logits = model(part, cache=cache, use_cache=True, logits_to_keep=1).logits
            ids = logits[:, -1].argmax(dim=-1, keepdim=True)
        yield ids


def streams(model: Any, count: int, kind: str) -> Result:
    """New tokens per second of so many conversations, together or one after the other, and the tokens of the last."""
    now = clock()
    serve = together if kind == "ours" else in_turn
    ids = prompts(model, count, PROMPT)
    serve(model, ids[:1, :16], 2)
    began = now()
    tokens = serve(model, ids, NEW)
    return {"tokens_per_second": count * NEW / (now() - began), "tokens": tokens}


def packed(model: Any, size: int) -> Result:
    """Tokens per second of a training step on packed documents, without the optimizer."""
    import torch

    now = clock()
    chance = torch.Generator().manual_seed(size)
    lengths = torch.randint(40, 140, (size // 40,), generator=chance).tolist()
    places = torch.cat([torch.arange(length) for length in lengths])[None, :size]
    ids = prompts(model, 1, size)
    labels = ids.masked_fill(places == 0, -100)
    seconds = []
    for _ in range(3):
        began = now()
        model(ids, labels=labels, position_ids=places, use_cache=False).loss.backward()
        seconds.append(now() - began)
        model.zero_grad()
    return {"tokens_per_second": size / min(seconds)}


def together(model: Any, ids: Any, new: int) -> list[int]:
    """Continue all rows in one `ContinuousBatch`."""
    from zoo_phoenix.batching import ContinuousBatch

    batch = ContinuousBatch(model, slots=len(ids), context=PROMPT + NEW)
    said: dict[int, list[int]] = {batch.join(row): [] for row in ids.tolist()}
    last = list(said)[-1]
    while len(batch):
        for handle, logits in batch.step().items():
            said[handle].append(int(logits.argmax()))
            if len(said[handle]) == new:
                batch.leave(handle)
            else:
                batch.extend(handle, said[handle][-1:])
    return said[last]


def in_turn(model: Any, ids: Any, new: int) -> list[int]:
    """Continue the rows one after the other with `generate`."""
    options = {"max_new_tokens": new, "do_sample": False, "eos_token_id": None, "pad_token_id": 3}
    found = [model.generate(row[None], attention_mask=row[None] > 0, **options) for row in ids]
    return [int(each) for each in found[-1][0, ids.shape[1] :]]


def inside(options: argparse.Namespace) -> Result:
    """Measure one cell in this process."""
    model = load(options.kind, options.inside, options.dtype)
    Path("/proc/self/clear_refs").write_text("5")  # from here on the peak is measured
    if options.streams:
        return streams(model, options.streams, options.kind)
    if options.packed:
        return packed(model, options.packed)
    found = cell(model, options.batch, options.length)
    lines = Path("/proc/self/status").read_text().splitlines()
    peak = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
    return found | {"peak_bytes": peak}


def measured(options: argparse.Namespace, folder: Path, **what: int) -> Result:
    """The medians of one cell: `{kind: {…}, "same_tokens": …}`."""
    results: dict[str, list[Result]] = {kind: [] for kind in KINDS}
    for _ in range(options.rounds):
        for kind in KINDS:
            given = [str(each) for name, value in what.items() for each in (f"--{name}", value)]
            command = [
                sys.executable,
                __file__,
                "--inside",
                str(folder),
                "--kind",
                kind,
                "--dtype",
                options.dtype,
                *given,
            ]
            environment = os.environ | {"OMP_NUM_THREADS": str(options.threads)}
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
            if done.returncode:
                raise RuntimeError(done.stderr[-2000:])
            results[kind].append(json.loads(done.stdout))
    same = len({tuple(each.get("tokens", ())) for found in results.values() for each in found}) == 1
    fields = results["ours"][0].keys() - {"tokens"}
    middle = {
        kind: {field: statistics.median(each[field] for each in found) for field in fields}
        for kind, found in results.items()
    }
    return what | middle | {"same_tokens": same}


def show(cells: Iterator[Result], fields: dict[str, tuple[str, float]], names: tuple[str, ...]) -> None:
    """Print a table line by line: stock, ours and their ratio for every field."""
    heads = "".join(f"{head + each:>16}" for head, _ in fields.values() for each in (" stock", " ours", " ratio"))
    print("".join(f"{name.upper():>8}" for name in names) + heads + "  SAME TOKENS")
    for found in cells:
        line = "".join(f"{found[name]:>8,}" for name in names)
        for field, (_, unit) in fields.items():
            stock, ours = (found[kind][field] / unit for kind in KINDS)
            line += f"{stock:>16,.2f}{ours:>16,.2f}{ours / stock:>16.2f}"
        same = "-" if "packed" in names else "yes" if found["same_tokens"] else "NO"
        print(f"{line}  {same}", flush=True)


def main() -> None:
    """Print the tables, or one JSON document."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=SHAPES, default="100m")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--lengths", type=int, nargs="*", default=LENGTHS)
    parser.add_argument("--batches", type=int, nargs="*", default=BATCHES)
    parser.add_argument("--json", action="store_true", help="print one JSON document and nothing else")
    for name, kind in (
        ("inside", Path),
        ("kind", str),
        *((each, int) for each in ("batch", "length", "streams", "packed")),
    ):
        parser.add_argument(f"--{name}", type=kind, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.inside:
        print(json.dumps(inside(options)))
        return
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        write(options.shape, folder)
        single = (
            measured(options, folder, batch=batch, length=length)
            for batch in options.batches
            for length in options.lengths
        )
        many = (measured(options, folder, streams=count) for count in STREAMS)
        rows = (measured(options, folder, packed=size) for size in PACKED)
        if options.json:
            tables = {"prompts": list(single), "streams": list(many), "packed": list(rows)}
            print(json.dumps({"schema": 1} | tables, indent=2))
            return
        fields = {"prefill_seconds": ("s", 1), "decode_tokens_per_second": ("tok/s", 1), "peak_bytes": ("MB", 1e6)}
        show(single, fields, ("batch", "length"))
        show(many, {"tokens_per_second": ("tok/s", 1)}, ("streams",))
        show(rows, {"tokens_per_second": ("tok/s", 1)}, ("packed",))


if __name__ == "__main__":
    main()
