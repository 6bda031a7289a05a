"""Draft the card of a model from its files: what they say is taken over, what cannot be found out is left out and told.

Nothing is guessed, no weights are downloaded, no code of the checkpoint runs.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from zoo_core.cards.locking import announced, locked_files
from zoo_core.cards.parts import (
    LANGUAGE,
    Base,
    Context,
    File,
    Generation,
    Lineage,
    Runtime,
    Source,
    TemplateChoice,
    Training,
)
from zoo_core.cards.readmes import Readme
from zoo_core.cards.schema import ModelCard
from zoo_core.checkpoints import configurations
from zoo_core.checkpoints.facts import CONFIG, checkpoint_facts
from zoo_core.checkpoints.inspection import FolderView, HubView, is_folder
from zoo_core.errors import TemplateError, UsageProblem, ZooError
from zoo_core.names import is_name
from zoo_core.paths import expanded

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from zoo_core.checkpoints.facts import Facts
    from zoo_core.checkpoints.inspection import View
    from zoo_core.zoo import Zoo

#: The short word for a hub in references, and what cards call it.
HUBS = {"hf": "huggingface"}
_REFERENCE = re.compile(r"([a-z0-9._-]+):([\w.-]+/[\w.-]+)(?:@([\w./-]+))?")
_RELATIONS = ("finetune", "adapter", "merge", "quantized")


class Wishes(NamedTuple):
    """What the user says of the card; what is empty is found out. `out` is the card's file, if it is to be one."""

    id: str = ""
    family: str = ""
    summary: str = ""
    template: str = ""
    out: Path | None = None


class Draft(NamedTuple):
    """A card, sentences on what of the files could not be taken over, and others on what only people can add."""

    card: ModelCard
    notes: list[str]
    lacks: list[str]


class Sight(NamedTuple):
    """A model that is looked at: where it is, its files, and what it is called there."""

    source: Source
    view: View
    name: str


def draft(zoo: Zoo, reference: str, wishes: Wishes, say: Callable[[str], None]) -> Draft:
    """Draft the card of the model in a folder, or at `hf:OWNER/REPO[@REVISION]`. `say` is told what takes long.

    Raises `UsageProblem` for what only the user can say, `WeightsError` and `Unreachable` where the files cannot be seen.
    """
    sight = _look(zoo, reference, wishes.out, say)
    card_id = wishes.id or id_from(sight.name)
    if not is_name(card_id):
        raise UsageProblem(
            f"'{card_id or sight.name}' cannot be the card's id; name one of a-z, 0-9, '.', '_' and '-' with --id."
        )
    facts = checkpoint_facts(sight.view.read, sight.view.files)
    family = wishes.family or family_of(zoo, facts)
    if not family:
        raise _no_family(zoo, facts, card_id)
    return drafted(zoo, sight, facts, wishes._replace(id=card_id, family=family), locked_files(sight.view, facts))


def drafted(zoo: Zoo, sight: Sight, facts: Facts, wishes: Wishes, files: list[File]) -> Draft:
    """Draft the card of a model that is looked at. `wishes` name its id and family; `files` are those that it will list."""
    view, name = sight.view, sight.name
    readme = Readme(view)
    notes = readme.notes
    if refused := configurations.refused(facts.config):
        notes.append(f"not taken over from {CONFIG}, for no network has such numbers: {', '.join(refused)}")
    card = ModelCard(
        schema="zoo.card/v1",
        id=wishes.id,
        family=wishes.family,
        summary=wishes.summary or _summary(name, facts),
        sources=[sight.source],
        files=files,
        format=facts.format,
        lineage=_lineage(zoo, facts, readme.data),
        architecture=msgspec.structs.replace(facts.architecture, size=_size(name)),
        context=Context(max=facts.context) if facts.context else None,
        license=readme.license(bool(view.repository and view.repository.gated)),
        languages=readme.words("language", LANGUAGE),
        template=_template(zoo, facts, wishes.template, wishes.id, notes),
        generation=_generation(facts.generation, notes),
        runtime=Runtime(remote_code=facts.remote_code),
        quantization=facts.quantization,
        memory=facts.memory,
        training=Training(data=readme.words("datasets", r".+")),
    )
    return Draft(_valid(card), notes, _lacks(card, facts))


def id_from(name: str) -> str:
    """An id made of a folder's or a repository's name; none where nothing of it can be in an id."""
    return re.sub(r"[^a-z0-9._-]+", "-", name.lower()).strip("-._")[:80]


def look_at_repository(zoo: Zoo, reference: str) -> Sight | None:
    """A look at the repository that a reference such as `hf:OWNER/REPO` names; None where it has no such form.

    Raises `NotFound` and `Unreachable`.
    """
    match = _REFERENCE.fullmatch(reference)
    if match is None:
        return None
    scheme, repo, revision = match.groups()
    source = Source(hub=HUBS.get(scheme, scheme), repo=repo, revision=revision or "")
    view = HubView(source, zoo.offer("zoo_weight_sources", source.hub, "weight source").load()())
    assert view.repository is not None
    source = msgspec.structs.replace(source, revision=view.repository.revision)
    return Sight(source, view, repo.rpartition("/")[2])


def _look(zoo: Zoo, reference: str, out: Path | None, say: Callable[[str], None]) -> Sight:
    """A look at what a reference names."""
    folder = expanded(reference)
    if (sight := look_at_repository(zoo, reference)) is not None:
        return sight
    if not is_folder(folder):
        raise UsageProblem(f"'{reference}' is neither a folder nor of the form hf:OWNER/REPO; name one of them.")
    folder = folder.resolve()
    beside = out.absolute().parent.resolve() if out else None
    path = folder.relative_to(beside).as_posix() if beside and folder.is_relative_to(beside) else str(folder)
    return Sight(Source(hub="folder", path=path), FolderView(folder, announced(say)), folder.name)


def family_of(zoo: Zoo, facts: Facts, general: bool = False) -> str:
    """The family whose plugin says that it loads models of this class, `*` standing for all if a `general` one will do."""
    kind, model_class = facts.config.get("model_type"), facts.architecture.model_class
    offers = [offer for _, offer in zoo.plugins.items("zoo_model_families")]
    for offer in offers:
        if offer.name == kind or model_class in offer.supports.get("model_class", []):
            return str(offer.name)
    return next((offer.name for offer in offers if general and "*" in offer.supports.get("model_class", [])), "")


def _no_family(zoo: Zoo, facts: Facts, name: str) -> UsageProblem:
    known = ", ".join(sorted(zoo.plugins.names("zoo_model_families"))) or "none"
    model_class = facts.architecture.model_class
    what = f" (model class {model_class})" if model_class else ""
    return UsageProblem(
        f"No installed family says that it loads '{name}'{what}; name one with --family. Installed: {known}."
    )


def _summary(name: str, facts: Facts) -> str:
    what = facts.architecture.model_class or "model"
    count = f" with {facts.architecture.params:,} parameters" if facts.architecture.params else ""
    return f"{name[:80]}: {what[:60]}{count}"


def _size(name: str) -> str:
    """The size that a model's publisher put into its name, such as 7B."""
    found = re.search(r"(?:^|[-_])(\d+(?:\.\d+)?[bm])(?:$|[-_])", name.lower())
    return found[1].upper() if found else ""


def _lineage(zoo: Zoo, facts: Facts, readme: Mapping[str, Any]) -> Lineage | None:
    said = readme.get("base_model") or facts.base
    repos = [each for each in (said if isinstance(said, list) else [said]) if isinstance(each, str) and each]
    if not repos:
        return None
    relation: Any = readme.get("base_model_relation")
    if relation not in _RELATIONS or (relation == "adapter" and not facts.adapter):
        relation = "adapter" if facts.adapter else "quantized" if facts.quantization else "finetune"
        relation = "merge" if len(repos) > 1 else relation
    bases = [Base(id=_card_of(zoo, repo), repo=repo) for repo in repos]
    return Lineage(base=bases[0], relation=relation, others=bases[1:])


def _card_of(zoo: Zoo, repo: str) -> str | None:
    """The id of the card that is called like a repository and names it as a source."""
    name = repo.rpartition("/")[2].lower()
    if not zoo.catalog.knows(name):
        return None
    try:
        card, _ = zoo.catalog.card(name)
    except ZooError:
        return None
    return card.id if any(source.repo == repo for source in card.sources) else None


def _template(zoo: Zoo, facts: Facts, wish: str, name: str, notes: list[str]) -> TemplateChoice | None:
    from zoo_core.cards.chat_templates import own_template, proved
    from zoo_core.cards.checking import card_template

    ends = facts.generation.get("eos_token_id", facts.config.get("eos_token_id"))
    ids = [each for each in (ends if isinstance(ends, list) else [ends]) if type(each) is int and each >= 0]
    if not wish and not facts.chat_template:
        return None
    choice = TemplateChoice(
        name=wish or None,
        text="" if wish else own_template(facts.chat_template, facts.tokenizer),
        stop_token_ids=ids,
    )
    card = ModelCard(schema="zoo.card/v1", id=name, family="x", summary="x", template=choice)
    try:
        return proved(choice, lambda _: card_template(card, zoo.template))
    except TemplateError as error:
        if wish:
            raise
        notes.append(f"no template: the tokenizer's own cannot be used ({error}); choose one with --template")
        return None


def _generation(said: Mapping[str, Any], notes: list[str]) -> Generation:
    """The defaults of a generation configuration that cards know; greedy where it says that nothing is drawn."""
    names = ("temperature", "top_p", "top_k", "repetition_penalty", "max_new_tokens")
    found = {name: said[name] for name in names if said.get(name) is not None}
    if said.get("do_sample") is False:
        found = {name: value for name, value in found.items() if name in names[3:]} | {"temperature": 0.0}
    told: dict[str, Any] = {}
    for name, value in found.items():
        try:
            msgspec.convert({name: value}, Generation)
            if not math.isfinite(value):
                raise msgspec.ValidationError
            told[name] = value
        except msgspec.ValidationError:
            notes.append(f"no generation.{name}: the checkpoint's {value!r} is outside of what cards allow")
    return Generation(**told)


def _lacks(card: ModelCard, facts: Facts) -> list[str]:
    """What only people can add."""
    notes = []
    if card.template is None and not facts.chat_template:
        notes.append("no template: the tokenizer brings none; choose one with --template")
    if not (card.license.spdx or card.license.name):
        notes.append("no license: the README names none, or several")
    if not card.languages:
        notes.append("no languages: the README names none")
    if card.context is None:
        notes.append("no context: the configuration does not say how many tokens the model takes")
    if card.runtime.remote_code:
        notes.append("the checkpoint brings code of its own, which runs only where the user allows it with zoo trust")
    if card.format == "pickle":
        notes.append("the weights are pickled, which no engine of the zoo loads; zoo convert makes safetensors of them")
    return notes


def _valid(card: ModelCard) -> ModelCard:
    """The card, read again as strictly as from a file."""
    from zoo_core.cards.reading import parse_card
    from zoo_core.cards.writing import card_yaml

    parse_card(card_yaml(card).encode(), f"the draft of '{card.id}'")
    return card
