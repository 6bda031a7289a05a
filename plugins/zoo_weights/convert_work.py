"""What `zoo convert` does: find pickled weights, convert them, write the card, let the target appear.

The card of the result is that of the model, with the new files; weights without a card get none.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from zoo_core import File, ModelCard, UsageProblem, Zoo, card_data, checkpoint_facts, expanded, find_weights, sha256_of
from zoo_weights.converting import INDEX, JOURNAL, Progress, Shard, Source, convert, find_pickled, has_converted
from zoo_weights.delta_cards import Side, look_at, of_the_files, write_card
from zoo_weights.delta_work import card_name, side_of
from zoo_weights.target import making, require_free

#: What a card says of the pickled files, and not of the model in them.
_OF_THE_PICKLES = ("aliases", "version", "status", "replaced_by", "sources", "files", "format", "checks", "memory")


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """What was made: the card, where the weights had one, the finished files of weights, and sentences for the user.

    `kind` is `delta` or `adapter`, which are no models yet, `model`, or `folder` where there is no card.
    """

    kind: str
    card: ModelCard | None
    shards: list[Shard]
    notes: list[str]


def run(zoo: Zoo, *, source: str, weights: Path | None, target: Path, name: str, progress: Progress) -> Done:
    """Convert what is in a folder, or the weights of a card, and write the folder `target`. Raises `ZooError`.

    `weights` is a folder that the user names instead of what was pulled.
    """
    require_free(target)
    name = card_name(name, target)
    side = _side(zoo, source, weights)
    found = find_pickled(side.folder, code=side.card is not None and side.card.runtime.remote_code)
    with making(target, JOURNAL, has_converted) as folder:
        shards = convert(found, folder, progress)
        card = _write_card(folder, name, side, found, shards) if side.card else None
        (folder / JOURNAL).unlink()
    return Done(kind=_kind(card, shards), card=card, shards=shards, notes=_notes(found, shards))


def _side(zoo: Zoo, source: str, weights: Path | None) -> Side:
    """The folder of the pickled weights, with the card where there is one."""
    if expanded(source).is_dir():
        if weights is not None:
            raise UsageProblem("--model-path names the weights of a model; a folder to convert is named alone.")
        return side_of(zoo, source, "--model-path")
    card, path = zoo.catalog.model(source)
    return Side(find_weights(card, path, weights, source), card, card.id)


def _write_card(folder: Path, name: str, side: Side, source: Source, shards: list[Shard]) -> ModelCard:
    """Write the card of the result: what the model's card says, and what the new files say."""
    assert side.card is not None
    known = card_data(side.card)
    facts = checkpoint_facts(*look_at(folder))
    others = [*source.copied, *([INDEX] if len(shards) > 1 else [])]
    files = [*(shard.file for shard in shards), *(_file(folder, path) for path in sorted(others))]
    data = {key: value for key, value in known.items() if key not in _OF_THE_PICKLES}
    data |= of_the_files(facts, files, name)
    data["architecture"] = known.get("architecture", {}) | data["architecture"]
    data["context"] = known.get("context") or data.get("context")
    pickled: dict[str, Any] = {shard.origin.path: shard.origin.sha256 for shard in shards}
    extra = data.get("extra", {})
    data["extra"] = extra | {
        "weights": extra.get("weights", {}) | {"converted_from": side.id, "pickled_sha256": pickled}
    }
    return write_card(folder, data)


def _kind(card: ModelCard | None, shards: list[Shard]) -> str:
    relation = card.lineage.relation if card and card.lineage else ""
    if relation in {"delta", "adapter"}:
        return relation
    return "adapter" if shards[0].file.path.startswith("adapter") else "model" if card else "folder"


def _file(folder: Path, path: str) -> File:
    return File(path=path, size=(folder / path).stat().st_size, sha256=sha256_of(folder / path))


def _notes(source: Source, shards: list[Shard]) -> list[str]:
    """What the user should know, a sentence for each kind."""
    notes = []
    for shard in shards:
        if shard.unwrapped:
            rest = f"; left out: {', '.join(shard.left_out)}" if shard.left_out else ""
            notes.append(f"The weights in {shard.origin.path} were those under '{shard.unwrapped}'{rest}.")
        if shard.dropped:
            notes.append(f"{', '.join(shard.dropped)} is not written: the model uses its embedding in that place.")
        if shard.not_finite:
            names = ", ".join(shard.not_finite)
            notes.append(f"Warning: some numbers in {shard.origin.path} are not finite (NaN or infinity), in {names}.")
    if source.left_out:
        notes.append(f"Not copied: {', '.join(source.left_out)}.")
    return notes
