"""The rules of a card beyond its types: what `stable` promises, and that its golden renderings are true.

Checks read only the card and the templates; nothing is downloaded and no weights are opened.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from zoo_core.cards.schema import ModelCard
from zoo_core.conversation import Message, Template, render
from zoo_core.errors import NotFound, TemplateError

if TYPE_CHECKING:
    from collections.abc import Callable

    from zoo_core.cards.schema import AnyCard

_COMMIT = re.compile(r"[0-9a-f]{40}")


def check_card(card: AnyCard, find_template: Callable[[str], Template]) -> list[str]:
    """What is wrong with a card, one sentence each; an empty list when nothing is."""
    return [problem for _, problem in rule_problems(card, find_template)]


def rule_problems(card: AnyCard, find_template: Callable[[str], Template]) -> list[tuple[str, str]]:
    """What is wrong with a card: for each problem the field that it is in, and a sentence."""
    problems = [("files", problem) for problem in _paths(card)]
    if card.status == "deprecated" and not card.replaced_by:
        problems.append(("status", "status is deprecated, but replaced_by does not say what to use instead"))
    if card.replaced_by == card.id:
        problems.append(("replaced_by", "the card is replaced by itself"))
    if isinstance(card, ModelCard):
        problems += [("template", problem) for problem in _goldens(card, find_template)]
        problems += _contradictions(card)
        if card.status == "stable":
            problems += [("status", f"status is stable, but {lack}") for lack in _stable_lacks(card)]
    return problems


def card_template(card: ModelCard, find_template: Callable[[str], Template]) -> Template:
    """The template that a card chooses, with what the card overrides in it.

    Raises `NotFound` when the card chooses none, or one that no plugin brings.
    """
    choice = card.template
    if choice is None or (choice.name is None and not choice.text):
        raise NotFound(
            f"The card of '{card.id}' names no conversation template. Choose one with --template, or add it to the card."
        )
    base = find_template(choice.name) if choice.name else Template(name=card.id, text=choice.text)
    return Template(
        name=base.name,
        text=choice.text or base.text,
        system=base.system if choice.system is None else choice.system,
        roles=base.roles | choice.roles,
        stop=tuple(choice.stop) or base.stop,
        add_bos=base.add_bos if choice.add_bos is None else choice.add_bos,
        summary=base.summary,
    )


def _paths(card: AnyCard) -> list[str]:
    """File names must stay inside the folder of weights, on every system."""
    bad = [
        file.path
        for file in card.files
        if file.path.startswith(("/", "~"))
        or any(part in {"", ".", ".."} for part in file.path.split("/"))
        or any(sign in file.path for sign in '\\:\0*?"<>|')
    ]
    problems = [f"the file path '{path}' leaves the folder of weights or is not portable" for path in bad]
    names = {file.path: _folded(file.path) for file in card.files}
    folders = {str(folder): path for path, name in names.items() for folder in PurePosixPath(name).parents}
    problems += [
        f"the file path '{path}' is also the folder of '{folders[name]}'"
        for path, name in names.items()
        if name in folders
    ]
    times = Counter(_folded(file.path) for file in card.files)
    problems += [
        f"the file path '{path}' stands in the list more than once" for path, count in times.items() if count > 1
    ]
    return problems


def _folded(path: str) -> str:
    """A path as file systems see it that tell neither capitals from small letters nor composed signs from others."""
    return unicodedata.normalize("NFC", path).casefold()


def _contradictions(card: ModelCard) -> list[tuple[str, str]]:
    """Facts of one card that cannot both be true."""
    problems = []
    if card.context is not None and (card.context.default or 0) > card.context.max:
        problems.append(
            ("context", f"the default context {card.context.default:,} is more than max, {card.context.max:,}")
        )
    if card.lineage is not None and card.lineage.delta is not None and card.lineage.relation != "delta":
        problems.append(("lineage.delta", f"it says how a delta is added, but relation is {card.lineage.relation}"))
    if card.id in card.runtime.variants:
        problems.append(("runtime.variants", "the card is its own variant"))
    smoke = card.checks.smoke
    if smoke is not None and not smoke.expect and not smoke.sha256:
        problems.append(("checks.smoke", "it says neither what the reply begins with (expect) nor its sha256"))
    return problems


def _stable_lacks(card: ModelCard) -> list[str]:
    lacks = []
    if not card.sources:
        lacks.append("it has no source")
    for source in card.sources[:1]:
        if source.hub in {"huggingface", "modelscope"} and not _COMMIT.fullmatch(source.revision):
            lacks.append("the revision of its first source is not a commit of 40 hexadecimal digits")
    if not card.files:
        lacks.append("it lists no files with their sha256")
    if not card.format:
        lacks.append("it does not say its format")
    if not (card.license.spdx or card.license.name):
        lacks.append("it does not say its license")
    if card.context is None:
        lacks.append("it does not say its context")
    if card.template is None or not card.template.golden:
        lacks.append("its template has no golden rendering")
    return lacks


def _goldens(card: ModelCard, find_template: Callable[[str], Template]) -> list[str]:
    if card.template is None:
        return []
    try:
        template = card_template(card, find_template)
    except NotFound as error:
        return [str(error)]
    problems = []
    for number, golden in enumerate(card.template.golden, 1):
        messages = [Message(each.role, each.content) for each in golden.messages]
        try:
            text = render(template, messages, reply=golden.reply).text
        except TemplateError as error:
            problems.append(f"golden rendering {number}: {error}")
            continue
        if text != golden.text:
            place = next(
                (index for index, (a, b) in enumerate(zip(text, golden.text, strict=False)) if a != b),
                min(len(text), len(golden.text)),
            )
            problems.append(
                f"golden rendering {number} differs at character {place}: the template gives "
                f"{text[place : place + 30]!r}, the card says {golden.text[place : place + 30]!r}"
            )
    return problems
