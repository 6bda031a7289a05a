"""Quantization: weights → quantizer → a folder with smaller weights and a card.

The folder appears under its name only when everything in it is complete; until then it is `NAME.partial` beside it, and an
interrupted run that is started again with the same wishes goes on from there.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from zoo_core.cards.parts import Base, Checks, Context, File, Lineage, Memory, Runtime, Source, Training
from zoo_core.catalog import CARD_FILE
from zoo_core.consent import cleared
from zoo_core.errors import UsageProblem, ZooError
from zoo_core.files import sha256_of, write_whole
from zoo_core.interfaces import QuantizationJob, QuantizationResult, Quantizer
from zoo_core.names import did_you_mean, is_name
from zoo_core.working import work_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from zoo_core.cards.schema import ModelCard
    from zoo_core.checkpoints.facts import Facts
    from zoo_core.conversation import Conversation
    from zoo_core.offers import Offer
    from zoo_core.training import Data
    from zoo_core.zoo import Zoo

_WISHES_FILE = "quantization.json"
#: Keys and values are kept in numbers of this many bytes, and this is what they are called.
_WIDE, _DTYPE = 2, "float16"


def methods(zoo: Zoo) -> dict[str, Offer]:
    """All methods of all quantizers, each with its quantizer; of two with the same method the first."""
    found: dict[str, Offer] = {}
    for _, offer in zoo.plugins.items("zoo_quantizers"):
        for method in offer.supports.get("method", []):
            found.setdefault(method, offer)
    return found


def quantize(
    zoo: Zoo,
    reference: str,
    method: str,
    out: Path,
    *,
    name: str,
    options: Mapping[str, Any] | None = None,
    weights: Path | None = None,
    base: str | None = None,
    calibration: Data | None = None,
    device: str = "auto",
    seed: int = 0,
    progress: Callable[[float, str], None] = lambda share, line: None,
) -> ModelCard:
    """Shrink a model's weights and write the folder `out` with them and a card. Raises `ZooError`; `out` is then not there.

    `weights` and `base` say where the model is, as for `open_session`. `calibration` are conversations to measure with.
    """
    if not is_name(name):
        raise UsageProblem(f"'{name}' cannot be a model's name; use lower-case letters, digits, '.', '_' and '-'.")
    if out.exists():
        raise UsageProblem(f"{out} exists already; choose another folder.")
    known = methods(zoo)
    if method not in known:
        hint = did_you_mean(method, known)
        raise UsageProblem(
            f"No installed plugin quantizes by '{method}'.{hint} See them all with: zoo quantize --methods"
        )
    card, facts, job = _job(zoo, reference, weights, base, progress)
    if name == card.id:
        raise UsageProblem(f"'{name}' is the name of the model itself; choose another with --name.")
    weights, code = cleared(card, job.weights, job.family, reference, weights)
    quantizer = known[method].load()()
    wishes = {
        "method": method,
        "options": dict(options or {}),
        "seed": seed,
        "calibration": _talks(zoo, calibration, seed),
    }
    asked = msgspec.to_builtins({**wishes, "card": card, "weights": str(job.weights.resolve())})
    folder = work_folder(out, _WISHES_FILE, asked, "quantization")
    job = msgspec.structs.replace(
        job, **wishes, weights=weights, folder=folder, device=device, remote_code=code, progress=progress
    )
    result = _run(quantizer, job)
    made = _card(card, facts, job, result, name, calibration)
    _finish(job, result, made, out)
    return made


def _job(
    zoo: Zoo, reference: str, weights: Path | None, base: str | None, progress: Callable[[float, str], None]
) -> tuple[ModelCard, Facts, QuantizationJob]:
    """The model, what its weights say of themselves, and what a quantizer needs of both."""
    from zoo_core.checkpoints.facts import checkpoint_facts
    from zoo_core.checkpoints.inspection import FolderView
    from zoo_core.requirements import require_packages
    from zoo_core.weights.assembling import model_weights

    card, path = zoo.catalog.model(reference)
    _require_wide(card)
    require_packages(card.id, card.runtime.requires)
    family = zoo.offer("zoo_model_families", card.family, "model family")
    template = zoo.template_of(card) if card.template else None
    folder = model_weights(zoo, card, path, given=weights, base=base, reference=reference, progress=progress)
    view = FolderView(folder)
    facts = checkpoint_facts(view.read, view.files)
    if facts.quantization is not None:
        raise _quantized(card)
    job = QuantizationJob(
        card=card, weights=folder, family=family.load()(), template=template, method="", folder=folder
    )
    return card, facts, job


def _talks(zoo: Zoo, data: Data | None, seed: int) -> list[Conversation]:
    """The conversations to measure with."""
    if data is None:
        return []
    builder = zoo.offer("zoo_data_builders", data.builder, "data builder").load()()
    return list(builder.build(data.options, seed=seed))


def _run(quantizer: Quantizer, job: QuantizationJob) -> QuantizationResult:
    """The quantizer's work. What it refuses to begin leaves no folder behind."""
    try:
        return quantizer.quantize(job)
    except OSError as error:
        raise ZooError(f"The folder {job.folder} cannot be written: {error.strerror or error}.") from error
    finally:
        if [path.name for path in job.folder.iterdir()] == [_WISHES_FILE]:
            (job.folder / _WISHES_FILE).unlink()
            job.folder.rmdir()


def _require_wide(card: ModelCard) -> None:
    """Raise `UsageProblem` for a model whose weights are not there, or small already."""
    relation = card.lineage.relation if card.lineage else ""
    if card.quantization is not None or relation == "quantized" or card.format == "gguf":
        raise _quantized(card)
    if card.format == "api":
        raise UsageProblem(f"'{card.id}' is behind an API and has no weights that could be quantized.")


def _quantized(card: ModelCard) -> UsageProblem:
    base = card.lineage.base.id if card.lineage and card.lineage.base.id else "the model that it was made from"
    return UsageProblem(f"'{card.id}' is quantized already; quantize {base} instead.")


def _finish(job: QuantizationJob, result: QuantizationResult, card: ModelCard, out: Path) -> None:
    """Leave only the finished files and the card in the work folder, and give it its name."""
    from zoo_core.cards.writing import card_yaml

    for path in sorted(job.folder.rglob("*")):
        if path.is_file() and path not in result.files:
            path.unlink()
    write_whole(job.folder / CARD_FILE, card_yaml(card).encode())
    os.replace(job.folder, out)  # noqa: PTH105 (Path.rename differs between systems)


def _card(
    origin: ModelCard, facts: Facts, job: QuantizationJob, result: QuantizationResult, name: str, data: Data | None
) -> ModelCard:
    """The card of what was made. What was measured on the original, and how it was run, is not taken over."""
    files = [
        File(path=path.relative_to(job.folder).as_posix(), size=path.stat().st_size, sha256=sha256_of(path))
        for path in sorted(result.files)
    ]
    found = {key: value for key, value in msgspec.structs.asdict(facts.architecture).items() if value not in (None, "")}
    details = {"method": job.method, "options": dict(job.options), "facts": dict(result.facts), "calibration": {}}
    if data is not None:
        digest = hashlib.sha256(msgspec.json.encode(list(job.calibration))).hexdigest()
        details["calibration"] = {"data": data.builder, "conversations": len(job.calibration), "sha256": digest}
    return msgspec.structs.replace(
        origin,
        id=name,
        version="1.0.0",
        aliases=[],
        status="experimental",
        replaced_by=None,
        maintainers=[],
        released=None,
        summary=f"{origin.id}, quantized by {job.method}"[:200],
        sources=[Source(hub="folder", path=".")],
        files=files,
        format=result.format,
        lineage=Lineage(base=Base(id=origin.id), relation="quantized"),
        quantization=result.quantization,
        architecture=msgspec.structs.replace(origin.architecture, **found),
        context=origin.context or (Context(max=facts.context) if facts.context else None),
        memory=_memory(facts, files),
        runtime=Runtime(),
        training=Training(),
        evals=[],
        checks=Checks(),
        extra={"quantization": {key: value for key, value in details.items() if value}},
    )


def _memory(facts: Facts, files: list[File]) -> Memory:
    """What the new weights need: they stay in memory as they are in their files, keys and values take 16 bits."""
    from zoo_core.checkpoints.facts import DTYPE_BYTES

    kv = facts.memory.kv_bytes_per_token
    return Memory(
        weights_bytes=sum(file.size for file in files if file.path.endswith((".gguf", ".safetensors"))),
        kv_bytes_per_token=kv * _WIDE // DTYPE_BYTES[facts.memory.dtype] if kv else None,
        dtype=_DTYPE,
    )
