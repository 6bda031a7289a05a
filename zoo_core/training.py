"""Training from a recipe: data builder → conversations → trainer → a folder with weights and a card.

The folder appears under its name only when everything in it is complete; until then it is `NAME.partial` beside it, and an
interrupted run that is started again with the same recipe goes on from there.
"""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from zoo_core.cards.parts import (
    LANGUAGE,
    Architecture,
    Base,
    Context,
    File,
    Generation,
    License,
    Lineage,
    Memory,
    Safety,
    Source,
    TemplateChoice,
    Training,
)
from zoo_core.cards.schema import ModelCard
from zoo_core.catalog import CARD_FILE
from zoo_core.errors import CardError, UsageProblem, ZooError
from zoo_core.files import sha256_of, write_whole
from zoo_core.interfaces import TrainingJob, TrainingResult
from zoo_core.names import is_name, is_path
from zoo_core.paths import expanded
from zoo_core.working import work_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from zoo_core.conversation import Template
    from zoo_core.zoo import Zoo

_RECIPE_FILE = "recipe.json"


class Data(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the conversations come from."""

    builder: str
    options: dict[str, Any] = {}


class NewModel(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A model to be made from nothing: its family, the template it is to speak, and the family's options."""

    family: str
    template: str
    options: dict[str, Any] = {}


class Recipe(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that decides the result of a training. `base` names a model to go on from, `model` a new one."""

    data: Data
    trainer: str = "full"
    base: str | None = None
    model: NewModel | None = None
    options: dict[str, Any] = {}
    seed: int = 0


def read_recipe(zoo: Zoo, reference: str) -> Recipe:
    """A recipe from a YAML file, or from the card of a model that was made with one."""
    from zoo_core.cards.reading import parse_mapping

    if is_path(reference) and not os.path.isdir(expanded(reference)):  # noqa: PTH112 (it never raises)
        origin = str(expanded(reference))
        try:
            data, _ = parse_mapping(Path(origin).read_bytes(), origin)
        except OSError as error:
            raise ZooError(f"The recipe {origin} cannot be read: {error.strerror}.") from error
    else:
        card, _ = zoo.catalog.model(reference)
        data, origin = card.training.recipe, f"the card of '{card.id}'"
        if not data:
            raise UsageProblem(f"The card of '{card.id}' holds no training recipe.")
    try:
        return msgspec.convert(data, Recipe)
    except msgspec.ValidationError as error:
        raise CardError(f"The recipe in {origin} cannot be used: {error}.") from None


def train(
    zoo: Zoo,
    recipe: Recipe,
    out: Path,
    *,
    name: str,
    device: str = "auto",
    weights: Path | None = None,
    base: str | None = None,
    progress: Callable[[float, str], None] = lambda share, line: None,
) -> ModelCard:
    """Train by a recipe and write the folder `out` with weights and card. Raises `ZooError`; `out` is then not there.

    `weights` and `base` say where the model to go on from is, as for `open_session`.
    """
    if not is_name(name):
        raise UsageProblem(f"'{name}' cannot be a model's name; use lower-case letters, digits, '.', '_' and '-'.")
    if out.exists():
        raise UsageProblem(f"{out} exists already; choose another folder.")
    if not 0 <= recipe.seed < 2**32:
        raise UsageProblem(f"The seed is {recipe.seed}, but must lie between 0 and {2**32 - 1}.")
    if (recipe.base is None) == (recipe.model is None):
        raise UsageProblem("A recipe names either the model to go on from (base) or one to be made new (model).")
    trainer = zoo.offer("zoo_trainers", recipe.trainer, "trainer").load()()
    builder = zoo.offer("zoo_data_builders", recipe.data.builder, "data builder").load()()
    conversations = list(builder.build(recipe.data.options, seed=recipe.seed))
    _check_languages(conversations)
    job, origin = _job(zoo, recipe, device, (weights, base), progress, conversations)
    # The folder comes last, so that a mistake leaves none behind.
    wishes = {"recipe": recipe, "data_sha256": _digest(conversations)}
    folder = work_folder(out, _RECIPE_FILE, wishes, "recipe or of other data")
    job = msgspec.structs.replace(job, folder=folder)
    result: TrainingResult = trainer.train(job)
    card = _card(recipe, job, result, origin, name)
    from zoo_core.cards.writing import card_yaml

    (job.folder / _RECIPE_FILE).unlink()
    write_whole(job.folder / CARD_FILE, card_yaml(card).encode())
    os.replace(job.folder, out)  # noqa: PTH105 (Path.rename differs between systems)
    return card


def _require_marks(template: Template, model: str) -> None:
    """Raise `UsageProblem` for a template that does not say what the assistant said, as those of tokenizers often do not."""
    if not re.search(r"\{%[-+]?\s*generation\b", template.text):
        raise UsageProblem(
            f"The template '{template.name}' of '{model}' does not mark what the assistant says (with a generation tag), so "
            f"nothing can be taught through it; name another in a card: zoo card new {model} --template NAME --out FILE"
        )


def _check_languages(conversations: list[Any]) -> None:
    """Raise `ZooError` for a language that the finished model's card could not name."""
    for number, each in enumerate(conversations, 1):
        if each.language and not re.fullmatch(LANGUAGE, each.language):
            raise ZooError(
                f"Conversation {number} ({each.id}) has the language '{each.language}', which is no BCP 47 tag such as en."
            )


def _job(
    zoo: Zoo,
    recipe: Recipe,
    device: str,
    named: tuple[Path | None, str | None],
    progress: Callable[[float, str], None],
    conversations: list[Any],
) -> tuple[TrainingJob, ModelCard | None]:
    from zoo_core.consent import cleared
    from zoo_core.weights.assembling import model_weights

    if not conversations:
        raise ZooError(f"The data builder '{recipe.data.builder}' gave no conversations, so there is nothing to learn.")
    start: Path | None = None
    card: ModelCard | None = None
    model_options: Mapping[str, Any] = {}
    if recipe.base is not None:
        card, path = zoo.catalog.model(recipe.base)
        family, template = card.family, zoo.template_of(card)
        given, base = named
        start = model_weights(zoo, card, path, given=given, base=base, reference=recipe.base, progress=progress)
    else:
        assert recipe.model is not None
        family, template = recipe.model.family, zoo.template(recipe.model.template)
        model_options = recipe.model.options
    _require_marks(template, recipe.base or family)
    loader, code = zoo.offer("zoo_model_families", family, "model family").load()(), False
    if card is not None and start is not None:
        start, code = cleared(card, start, loader, recipe.base or card.id, named[0])
    job = TrainingJob(
        family=loader,
        template=template,
        conversations=conversations,
        folder=Path(),
        base=start,
        model_options=model_options,
        options=recipe.options,
        seed=recipe.seed,
        device=device,
        remote_code=code,
        progress=progress,
    )
    return job, card


def _card(recipe: Recipe, job: TrainingJob, result: TrainingResult, origin: ModelCard | None, name: str) -> ModelCard:
    """The card of what was trained: where its files are, what it descends from, and how it was made."""
    files = [
        File(path=path.relative_to(job.folder).as_posix(), size=path.stat().st_size, sha256=sha256_of(path))
        for path in result.files
    ]
    made_from = origin.id if origin else f"the data '{recipe.data.builder}'"
    family = origin.family if origin else recipe.model.family if recipe.model else ""
    template = origin.template if origin else TemplateChoice(name=job.template.name)
    weights = sum(file.size for file in files if file.path.endswith(".safetensors"))
    return ModelCard(
        schema="zoo.card/v1",
        id=name,
        family=family,
        summary=f"Trained from {made_from} with the trainer '{recipe.trainer}'",
        sources=[Source(hub="folder", path=".")],
        files=files,
        format="safetensors",
        lineage=Lineage(base=Base(id=origin.id), relation="finetune") if origin else None,
        license=origin.license if origin else License(),
        generation=origin.generation if origin else Generation(),
        safety=origin.safety if origin else Safety(),
        languages=sorted({each.language for each in job.conversations if each.language}),
        architecture=msgspec.convert({**result.architecture}, Architecture),
        context=Context(max=result.context),
        template=template,
        memory=Memory(weights_bytes=weights),
        training=Training(
            data=[recipe.data.builder],
            recipe=msgspec.to_builtins(recipe),
            duration=f"{result.facts.get('seconds', 0)} s",
        ),
        extra={"training": {**result.facts, "data_sha256": _digest(job.conversations)}},
    )


def _digest(conversations: Any) -> str:
    return hashlib.sha256(msgspec.json.encode(conversations)).hexdigest()
