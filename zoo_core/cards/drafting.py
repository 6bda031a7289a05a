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
    Generation,
    License,
    Lineage,
    Runtime,
    Source,
    TemplateChoice,
    Training,
)
from zoo_core.cards.schema import ModelCard
from zoo_core.checkpoints import configurations
from zoo_core.checkpoints.facts import CONFIG, checkpoint_facts
from zoo_core.checkpoints.inspection import FolderView, HubView, is_folder
from zoo_core.errors import CardError, TemplateError, UsageProblem, ZooError
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
#: SPDX identifiers that hubs write in small letters.
_SPDX = (
    *("Apache-2.0", "MIT", "BSD-2-Clause", "BSD-3-Clause", "CC0-1.0", "CC-BY-4.0", "CC-BY-SA-4.0", "CC-BY-NC-4.0"),
    *("CC-BY-NC-SA-4.0", "GPL-3.0", "AGPL-3.0", "LGPL-3.0", "MPL-2.0", "ISC", "Unlicense"),
)
_RELATIONS = ("finetune", "adapter", "merge", "quantized")
#: The longest README that is looked at, in bytes.
_MAX_README = 1_000_000


class Wishes(NamedTuple):
    """What the user says of the card; what is empty is found out. `out` is the card's file, if it is to be one."""

    id: str = ""
    family: str = ""
    summary: str = ""
    template: str = ""
    out: Path | None = None


class Draft(NamedTuple):
    """A card, and sentences on what it lacks."""

    card: ModelCard
    notes: list[str]


def draft(zoo: Zoo, reference: str, wishes: Wishes, say: Callable[[str], None]) -> Draft:
    """Draft the card of the model in a folder, or at `hf:OWNER/REPO[@REVISION]`. `say` is told what takes long.

    Raises `UsageProblem` for what only the user can say, `WeightsError` and `Unreachable` where the files cannot be seen.
    """
    source, view, name = _look(zoo, reference, wishes.out, say)
    card_id = wishes.id or re.sub(r"[^a-z0-9._-]+", "-", name.lower()).strip("-._")[:80]
    if not is_name(card_id):
        raise UsageProblem(
            f"'{card_id or name}' cannot be the card's id; name one of a-z, 0-9, '.', '_' and '-' with --id."
        )
    facts = checkpoint_facts(view.read, view.files)
    readme = _Readme(view)
    notes = readme.notes
    if refused := configurations.refused(facts.config):
        notes.append(f"not taken over from {CONFIG}, for no network has such numbers: {', '.join(refused)}")
    card = ModelCard(
        schema="zoo.card/v1",
        id=card_id,
        family=_family(zoo, facts, wishes.family, card_id),
        summary=wishes.summary or _summary(name, facts),
        sources=[source],
        files=locked_files(view, facts),
        format=facts.format,
        lineage=_lineage(zoo, facts, readme.data),
        architecture=msgspec.structs.replace(facts.architecture, size=_size(name)),
        context=Context(max=facts.context) if facts.context else None,
        license=readme.license(bool(view.repository and view.repository.gated)),
        languages=readme.words("language", LANGUAGE),
        template=_template(zoo, facts, wishes.template, card_id, notes),
        generation=_generation(facts.generation, notes),
        runtime=Runtime(remote_code=facts.remote_code),
        quantization=facts.quantization,
        memory=facts.memory,
        training=Training(data=readme.words("datasets", r".+")),
    )
    return Draft(_valid(card), notes + _lacks(card))


def _look(zoo: Zoo, reference: str, out: Path | None, say: Callable[[str], None]) -> tuple[Source, View, str]:
    """The source that a reference names, a look at it, and its name."""
    folder = expanded(reference)
    if match := _REFERENCE.fullmatch(reference):
        scheme, repo, revision = match.groups()
        source = Source(hub=HUBS.get(scheme, scheme), repo=repo, revision=revision or "")
        view = HubView(source, zoo.offer("zoo_weight_sources", source.hub, "weight source").load()())
        assert view.repository is not None
        return msgspec.structs.replace(source, revision=view.repository.revision), view, repo.rpartition("/")[2]
    if not is_folder(folder):
        raise UsageProblem(f"'{reference}' is neither a folder nor of the form hf:OWNER/REPO; name one of them.")
    folder = folder.resolve()
    beside = out.absolute().parent.resolve() if out else None
    path = folder.relative_to(beside).as_posix() if beside and folder.is_relative_to(beside) else str(folder)
    return Source(hub="folder", path=path), FolderView(folder, announced(say)), folder.name


def _family(zoo: Zoo, facts: Facts, wish: str, name: str) -> str:
    """The family that the user names, or else the one whose plugin says that it loads models of this class."""
    if wish:
        return wish
    kind, model_class = facts.config.get("model_type"), facts.architecture.model_class
    offers = [offer for _, offer in zoo.plugins.items("zoo_model_families")]
    for offer in offers:
        if offer.name == kind or model_class in offer.supports.get("model_class", []):
            return str(offer.name)
    known = ", ".join(sorted(offer.name for offer in offers)) or "none"
    what = f" (model class {model_class})" if model_class else ""
    raise UsageProblem(
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
    if relation not in _RELATIONS:
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
        notes.append("no template: the tokenizer brings none; choose one with --template")
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


class _Readme:
    """The front matter of a model's README: that of its folder, or as its hub tells it."""

    def __init__(self, view: View) -> None:
        self.notes: list[str] = []
        if view.repository is not None:
            hub = view.repository
            self.data: Mapping[str, Any] = hub.metadata | ({"license": hub.license} if hub.license else {})
            return
        self.data = {}
        if any(file.path == "README.md" for file in view.files):
            text = view.read("README.md", 0, _MAX_README).decode("utf-8", errors="replace")
            head = re.match(r"\ufeff?---[ \t]*\r?\n(.*?\n)---[ \t]*(?:\r?\n|\Z)", text, re.DOTALL)
            self.data = self._parsed(head[1]) if head else {}

    def _parsed(self, text: str) -> dict[str, Any]:
        from zoo_core.cards.reading import parse_mapping

        try:
            return parse_mapping(text.encode(), "README.md")[0]
        except CardError as error:
            self.notes.append(f"nothing from the README: {error}")
            return {}

    def words(self, key: str, pattern: str) -> list[str]:
        """The texts under a key, which may be one or a list, that follow a pattern."""
        said = self.data.get(key)
        texts = said if isinstance(said, list) else [said]
        return list(dict.fromkeys(each for each in texts if isinstance(each, str) and re.fullmatch(pattern, each)))

    def license(self, gated: bool) -> License:
        """The licence that the README claims."""
        several = self.words("license", ".+")
        said = several[0] if len(several) == 1 else ""
        if said == "other":
            said = next(iter(self.words("license_name", ".+")), said)
        spdx = {each.lower(): each for each in _SPDX}.get(said.lower(), "")
        link = next(iter(self.words("license_link", r"https?://\S+")), "")
        return License(spdx=spdx, name="" if spdx else said, link=link, acceptance=gated)


def _lacks(card: ModelCard) -> list[str]:
    """What only people can add."""
    notes = []
    if not (card.license.spdx or card.license.name):
        notes.append("no license: the README names none, or several")
    if not card.languages:
        notes.append("no languages: the README names none")
    if card.context is None:
        notes.append("no context: the configuration does not say how many tokens the model takes")
    if card.runtime.remote_code:
        notes.append("the checkpoint brings code of its own, which the zoo never runs (runtime.remote_code)")
    if card.format == "pickle":
        notes.append("the weights are pickled, which no engine of the zoo loads")
    return notes


def _valid(card: ModelCard) -> ModelCard:
    """The card, read again as strictly as from a file."""
    from zoo_core.cards.reading import parse_card
    from zoo_core.cards.writing import card_yaml

    parse_card(card_yaml(card).encode(), f"the draft of '{card.id}'")
    return card
