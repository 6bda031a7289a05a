"""The quantizer `gguf`: a checkpoint of the BLOOM or LLaMA architecture becomes one GGUF file, in as many bits as wanted.

The methods that llama.cpp has beyond what is written in Python need the compiled library; the others do not.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from gguf import GGMLQuantizationType, GGUFWriter, LlamaFileType

from zoo_core import Quantization, QuantizationJob, QuantizationResult, ZooError
from zoo_gguf.architectures import Network, network_of
from zoo_gguf.chat_templates import portable
from zoo_gguf.exporting import plan, write
from zoo_gguf.plugin import WRITTEN
from zoo_gguf.vocabulary import Vocabulary, vocabulary_of
from zoo_weights import Checkpoint

#: How llama.cpp calls the types that the methods write.
_FILE_TYPES = {
    "f32": LlamaFileType.ALL_F32,
    **{each: LlamaFileType[f"MOSTLY_{each.upper()}"] for each in WRITTEN if each != "f32"},
}
#: In what a checkpoint is written exactly, before llama.cpp quantizes it.
_EXACT = {"float32": "f32", "float16": "f16", "bfloat16": "bf16"}
#: How many numbers share a scale: the blocks of llama.cpp's plain and of its K methods.
_PLAIN_BLOCK, _K_BLOCK = 32, 256


class GgufQuantizer:
    """Writes GGUF files."""

    def quantize(self, job: QuantizationJob) -> QuantizationResult:
        """Write one file into the job's folder. A finished file of an interrupted run is taken over."""
        if job.options:
            raise ZooError(f"The method '{job.method}' has no option '{min(job.options)}'.")
        if job.family is None:
            raise ZooError(f"'{job.card.id}' is of a family that no plugin brings, so its tokenizer cannot be read.")
        if job.method not in WRITTEN:
            _require_llama_cpp(job.method)
        with Checkpoint.open(job.weights) as checkpoint:
            written = job.method if job.method in WRITTEN else _EXACT.get(checkpoint.facts.memory.dtype, "f32")
            path = job.folder / f"{job.card.id}-{written}.gguf"
            share = 1.0 if written == job.method else 0.5
            if not path.exists():
                _write(job, checkpoint, path, written, share)
            facts = {"source_dtype": checkpoint.facts.memory.dtype}
        if written != job.method:
            path = _by_llama_cpp(job, path)
        return QuantizationResult(files=[path], format="gguf", quantization=_quantization(job.method), facts=facts)


def _write(job: QuantizationJob, checkpoint: Checkpoint, path: Path, method: str, share: float) -> None:
    """Write the checkpoint in what Python can write; that is `share` of the work."""
    assert job.family is not None
    facts = checkpoint.facts
    network = network_of(job.card.id, facts.config, checkpoint.tensors, tied=facts.tied)
    context = job.card.context.max if job.card.context else facts.context
    if context is None:
        raise ZooError(f"Nobody says how many tokens '{job.card.id}' takes; add context.max to its card.")
    rows = next(
        checkpoint.tensors[name].shape[0] for name, new in network.tensors.items() if new == "token_embd.weight"
    )
    said = facts.generation.get("eos_token_id", facts.config.get("eos_token_id"))
    ends = said if isinstance(said, list) else [said]
    vocabulary = vocabulary_of(
        job.card.id, job.family.load_tokenizer(job.weights, remote_code=job.remote_code), rows, ends
    )

    def describe(writer: GGUFWriter) -> None:
        _describe(writer, job, network, vocabulary)
        writer.add_context_length(context)
        writer.add_file_type(_FILE_TYPES[method])

    tensors = plan(checkpoint, network, GGMLQuantizationType[method.upper()])
    write(path, checkpoint, network, tensors, describe, lambda done: job.progress(share * done, f"writing {path.name}"))


def _describe(writer: GGUFWriter, job: QuantizationJob, network: Network, vocabulary: Vocabulary) -> None:
    """What the file says of the model beside its numbers."""
    card = job.card
    writer.add_type("model")
    writer.add_name(card.id)
    writer.add_description(card.summary)
    writer.add_license(card.license.spdx or card.license.name)
    writer.add_languages(card.languages)
    writer.add_quantization_version(2)
    writer.add_vocab_size(len(vocabulary.tokens))
    network.describe(writer)
    vocabulary.describe(writer)
    if job.template is not None:
        writer.add_chat_template(portable(job.template))


def _by_llama_cpp(job: QuantizationJob, exact: Path) -> Path:
    """The file in fewer bits, made by llama.cpp from an exact one, which is then not needed any more."""
    from zoo_gguf import library

    target = job.folder / f"{job.card.id}-{job.method}.gguf"
    if not target.exists():
        unfinished = target.with_suffix(".unfinished")

        def watch() -> None:
            size = unfinished.stat().st_size if unfinished.exists() else 0
            share = min(1.0, size / exact.stat().st_size)
            job.progress(0.5 + share / 2, f"llama.cpp is quantizing to {job.method}")

        library.quantize(exact, unfinished, LlamaFileType[f"MOSTLY_{job.method.upper()}"], watch)
        unfinished.replace(target)
    exact.unlink(missing_ok=True)
    return target


def _require_llama_cpp(method: str) -> None:
    try:
        import llama_cpp  # noqa: F401
    except ImportError as error:
        raise ZooError(
            f"The method '{method}' is llama.cpp's own and needs llama-cpp-python, which is compiled when it is installed: "
            f"pip install 'llm-zoo[gguf]' (without it: {', '.join(WRITTEN)})."
        ) from error


def _quantization(method: str) -> Quantization:
    """How the weights were shrunk, for the card; the bits are those of a number without its share of the scales."""
    (bits,) = (int(each) for each in re.findall(r"\d+", method.split("_")[0]))
    facts: dict[str, Any] = {"method": method, "bits": bits}
    if method.startswith("q"):
        facts["group_size"] = _K_BLOCK if "_k" in method else _PLAIN_BLOCK
    return Quantization(**facts)
