"""What models need in memory, measured, beside what `zoo fit` says from their cards.

    python benchmarks/memory.py [SHAPE ...] [--as-is]

Makes models of several shapes from random numbers, writes their cards as `zoo card lock` does, and lets the engine fill their
context in a process of its own. Measured is the growth of the process's resident memory: from the moment when libraries and
tokenizer are loaded and a tiny model of the kind has answered, to its highest point while the model answers. That is the
kernel's own count (VmHWM), so it needs Linux. Pages of the weights' file count where the model computes with them; those from
which numbers were only converted do not, because they can be dropped at any time.

The C library keeps freed blocks, as many as chance will have it. In the measured process it is told to return them at once, so
that what is measured is what the model needs; `--as-is` leaves that out.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from zoo_core.cards.index import Row


class Shape(NamedTuple):
    """A model to make: its architecture, and how it is stored, loaded and filled."""

    kind: str
    config: dict[str, Any]
    stored: str
    dtype: str
    context: int
    attention: str = ""
    #: The family of the zoo that loads it; transformers itself where it is empty.
    family: str = ""


_LLAMA = {"vocab_size": 16_000, "max_position_embeddings": 16_384, "bos_token_id": None, "eos_token_id": None}
_GROUPED = _LLAMA | {
    "hidden_size": 768,
    "intermediate_size": 2048,
    "num_hidden_layers": 6,
    "num_attention_heads": 12,
    "num_key_value_heads": 4,
}
_VOCABULARY = {"vocab_size": 64_000, "hidden_size": 512, "n_layer": 6, "n_head": 8, "eos_token_id": None}
_DEEP = {"vocab_size": 8_000, "n_embd": 384, "n_layer": 24, "n_head": 6, "n_positions": 4096, "eos_token_id": None}
_WIDE = {
    "vocab_size": 8_000,
    "hidden_size": 1536,
    "intermediate_size": 6144,
    "num_hidden_layers": 3,
    "num_attention_heads": 12,
    "max_position_embeddings": 4096,
    "eos_token_id": None,
}
_LONG = _LLAMA | {"hidden_size": 512, "intermediate_size": 1408, "num_hidden_layers": 8, "num_attention_heads": 8}
_LARGE = _LLAMA | {
    "vocab_size": 32_000,
    "hidden_size": 2048,
    "intermediate_size": 5632,
    "num_hidden_layers": 22,
    "num_attention_heads": 32,
    "num_key_value_heads": 4,
}

#: The shapes that the tests measure too.
SHAPES = {
    "shared keys": Shape("Llama", _GROUPED, "float32", "float32", 2048),
    "many words, 16 bits": Shape("Bloom", _VOCABULARY, "bfloat16", "bfloat16", 2048, attention="eager"),
    "phoenix, 16 bits": Shape("Bloom", _VOCABULARY, "bfloat16", "bfloat16", 2048, attention="biased", family="phoenix"),
    "deep": Shape("GPT2", _DEEP, "float32", "float32", 1024),
    "wide, converted": Shape("GPTNeoX", _WIDE, "float32", "bfloat16", 1024),
}
#: Those that take longer.
MORE = {
    "long": Shape("Llama", _LONG, "bfloat16", "bfloat16", 6144),
    "many words": Shape("Bloom", _VOCABULARY, "float32", "float32", 1024, attention="eager"),
    "phoenix": Shape("Bloom", _VOCABULARY, "float32", "float32", 1024, attention="biased", family="phoenix"),
    "phoenix, full": Shape("Bloom", _VOCABULARY, "float32", "float32", 4096, attention="biased", family="phoenix"),
    "shared keys, 16 bits": Shape("Llama", _GROUPED, "bfloat16", "bfloat16", 8192),
    "shared keys, widened": Shape("Llama", _GROUPED, "bfloat16", "float32", 512),
    "many words, full": Shape("Bloom", _VOCABULARY, "float32", "float32", 4096, attention="eager"),
    "deep, full": Shape("GPT2", _DEEP, "float32", "float32", 4096),
    "wide, short": Shape("GPTNeoX", _WIDE, "float32", "float32", 128),
    "2.2 GB": Shape("Llama", _LARGE, "bfloat16", "bfloat16", 2048),
}
ALL = SHAPES | MORE


def make(shape: Shape, folder: Path) -> Row:
    """Write a model of a shape into `folder`, and a tiny one of its kind into `folder`/tiny; return the row of its card."""
    import torch
    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    layers = {"n_layer", "num_hidden_layers"} & set(shape.config)
    tiny = shape.config | dict.fromkeys(layers, 1) | {"vocab_size": 1000}
    for config, place in ((shape.config, folder), (tiny, folder / "tiny")):
        made = getattr(transformers, f"{shape.kind}Config")(**config)
        model = transformers.AutoModelForCausalLM.from_config(made, dtype=getattr(torch, shape.stored))
        model.save_pretrained(place)
        words = {f"w{number}": number for number in range(config["vocab_size"])}
        tokenizer = Tokenizer(models.WordLevel(words, unk_token="w0"))
        tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer).save_pretrained(place)
    return row_from(folder, shape)


def row_from(folder: Path, shape: Shape) -> Row:
    """The row of a card that says what `zoo card lock` finds in the files."""
    from zoo_core import ModelCard, RemoteFile
    from zoo_core.cards.index import row_of
    from zoo_core.cards.parts import Context
    from zoo_core.checkpoints.facts import checkpoint_facts

    def read(path: str, start: int, size: int) -> bytes:
        with (folder / path).open("rb") as file:
            file.seek(start)
            return file.read(size)

    files = [RemoteFile(path=each.name, size=each.stat().st_size) for each in folder.iterdir() if each.is_file()]
    facts = checkpoint_facts(read, files)
    card = ModelCard(
        schema="zoo.card/v1",
        id="measured",
        family="measured",
        summary="A model of random numbers",
        architecture=facts.architecture,
        memory=facts.memory,
        context=Context(max=shape.context),
    )
    return row_of(card, folder / "zoo.yaml")


def measure(shape: Shape, folder: Path, *, as_is: bool = False) -> int:
    """Bytes that a process of its own takes to fill the context of the model in `folder`."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    if not as_is:
        environment |= {"MALLOC_MMAP_THRESHOLD_": "131072"}
    command = [
        sys.executable,
        __file__,
        "--inside",
        str(folder),
        "--dtype",
        shape.dtype,
        "--context",
        str(shape.context),
        "--family",
        shape.family,
    ]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    return int(done.stdout)


class _Family:
    """Any model that transformers knows, loaded as the families of the zoo load theirs."""

    def load_tokenizer(self, folder: Path, *, remote_code: bool = False) -> Any:
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(folder, local_files_only=True)

    def load_model(self, folder: Path, loading: Any) -> Any:
        import torch
        from transformers import AutoModelForCausalLM

        model = AutoModelForCausalLM.from_pretrained(
            folder, dtype=getattr(torch, loading.dtype), local_files_only=True, use_safetensors=True
        )
        return model.to(loading.device).eval()


def _inside(folder: Path, dtype: str, context: int, name: str) -> int:
    from zoo_core import EngineRequest, ModelCard, Rendered, Sampling, Template, Zoo
    from zoo_transformers.engine import TransformersEngine

    card = ModelCard(schema="zoo.card/v1", id="measured", family="measured", summary="A model of random numbers")
    template = Template(name="plain", text="{{ messages[0].content }}")

    family = Zoo().offer("zoo_model_families", name, "model family").load()() if name else _Family()

    def engine(place: Path) -> TransformersEngine:
        wanted = {"device": "cpu", "dtype": dtype}
        return TransformersEngine(
            EngineRequest(card=card, folder=place, family=family, template=template, **wanted)  # type: ignore[arg-type]
        )

    def answer(runs: TransformersEngine, prompt: int, words: int) -> None:
        apart = size // prompt  # tokens from everywhere, so that all of the embedding is used
        text = " ".join(f"w{number * apart}" for number in range(prompt))
        list(runs.stream(Rendered(text=text), Sampling(temperature=0, max_new_tokens=words)))

    size = json.loads((folder / "tiny" / "config.json").read_bytes())["vocab_size"]
    answer(engine(folder / "tiny"), min(context, 600), 2)
    size = json.loads((folder / "config.json").read_bytes())["vocab_size"]
    runs = engine(folder)
    before = _status("VmRSS")
    answer(runs, 1, 1)  # loads the weights
    Path("/proc/self/clear_refs").write_text("5")  # from here on the peak is measured
    answer(runs, context - 4, 4)
    return _status("VmHWM") - before


def _status(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))


def main() -> None:
    """Print the table."""
    from zoo_core.fit.needs import needs
    from zoo_core.text import bytes_text

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shapes", nargs="*", metavar="SHAPE", help=f"of {', '.join(ALL)}; all if left out")
    parser.add_argument("--as-is", action="store_true", help="leave the C library its freed blocks")
    parser.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--dtype", help=argparse.SUPPRESS)
    parser.add_argument("--context", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--family", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.inside:
        print(_inside(options.inside, options.dtype, options.context, options.family))
        return
    head = ("SHAPE", "DTYPE", "CONTEXT", "WEIGHTS", "CACHE", "ACTIVATIONS", "ESTIMATED", "MEASURED", "")
    print("{:<22}{:<10}{:>8}{:>10}{:>10}{:>13}{:>11}{:>10}{:>8}".format(*head))
    for name in options.shapes or ALL:
        shape = ALL[name]
        with tempfile.TemporaryDirectory() as folder:
            row = make(shape, Path(folder))
            found = needs(row, shape.context, 1, shape.dtype, attention=shape.attention)
            measured = measure(shape, Path(folder), as_is=options.as_is)
        model = found.total - found.program
        sizes = [bytes_text(each) for each in (found.weights, found.cache, found.activations, model, measured)]
        print(
            f"{name:<22}{shape.dtype:<10}{shape.context:>8,}{sizes[0]:>10}{sizes[1]:>10}{sizes[2]:>13}{sizes[3]:>11}"
            f"{sizes[4]:>10}{model / measured - 1:>+8.1%}",
            flush=True,
        )


if __name__ == "__main__":
    main()
