"""The checks of a card that need more than the card: its files on this machine, its hub, its model's own answer.

Each yields findings, and says what it could not look at. Nothing is downloaded but configurations.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from zoo_core.cards.findings import Finding, Skipped, error, warning
from zoo_core.cards.schema import ModelCard
from zoo_core.checkpoints import configurations
from zoo_core.checkpoints.facts import CONFIG, read_json
from zoo_core.checkpoints.inspection import FolderView, HubView
from zoo_core.conversation import Message, render
from zoo_core.errors import Unreachable, WeightsError, ZooError
from zoo_core.weights.pulled import pulled_folder
from zoo_core.weights.store import LOCAL, local_folder, verify

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from zoo_core.cards.findings import Subject
    from zoo_core.cards.parts import Golden, Smoke, Source
    from zoo_core.checkpoints.inspection import View
    from zoo_core.conversation import Template
    from zoo_core.sources import Repository

    Told = Iterator[Finding | Skipped]

#: Numbers of the network that the configuration says in so many words.
_NUMBERS = ("layers", "hidden_size", "heads", "kv_heads")
#: Formats whose tokenizer only the engine can reach.
_ENGINES_OWN = ("gguf", "api")


def files_at_hand(subject: Subject) -> Told:
    """The files on this machine are those that the card lists, and say what it says."""
    card = subject.card
    if not isinstance(card, ModelCard):
        return
    for source in card.sources:
        if source.hub in LOCAL and local_folder(source, subject.path) is None:
            yield warning("files", "sources", f"there is no {source.hub} {source.repo or source.path} here")
    folder = _folder(subject)
    if folder is None:
        return
    try:
        verify(card, folder)
    except WeightsError as wrong:
        yield error("files", "files", str(wrong))
        return
    yield from _configuration(card, FolderView(folder))


def token_ids(subject: Subject) -> Told:
    """The tokenizer turns every golden rendering into the ids that the card digests."""
    card = subject.card
    goldens = card.template.golden if isinstance(card, ModelCard) and card.template else []
    if not any(golden.ids_sha256 for golden in goldens):
        return
    folder = _folder(subject)
    assert isinstance(card, ModelCard)
    if folder is None:
        yield Skipped("token ids", "the tokenizer is not on this machine")
        return
    if card.runtime.remote_code or card.format in _ENGINES_OWN:
        yield Skipped("token ids", "the tokenizer is in code or in weights, which are not loaded")
        return
    from zoo_core.requirements import require_packages

    try:
        verify(card, folder)
        require_packages(card.id, card.runtime.requires)
        template = subject.zoo.template_of(card, None)
        family = subject.zoo.offer("zoo_model_families", card.family, "model family").load()()
        wrong = _other_ids(goldens, template, family.load_tokenizer(folder))
    except ZooError as reason:
        yield Skipped("token ids", str(reason))
        return
    except Exception as failure:  # the libraries raise many kinds for a damaged tokenizer
        what = " ".join(str(failure).split())[:300]
        yield error("token ids", "files", f"the tokenizer cannot be used: {type(failure).__name__}: {what}")
        return
    for number in wrong:
        yield error("token ids", "template", f"golden rendering {number} has other token ids than ids_sha256 says")


def hubs(subject: Subject) -> Told:
    """What the hubs have is what the card says: the revision, the files, the licence."""
    card = subject.card
    for number, source in enumerate(card.sources):
        if source.hub in LOCAL:
            continue
        if subject.offline:
            yield Skipped(source.hub, "offline")
        elif source.hub == "url":
            yield Skipped("url", "what lies at a web address is compared by 'zoo pull'")
        elif not isinstance(card, ModelCard):
            yield Skipped(source.hub, "only the sources of models are looked at")
        else:
            yield from _hub(subject, card, source, f"sources[{number}]")


def smoke(subject: Subject) -> Told:
    """The model answers as the card says."""
    wish = subject.card.checks.smoke
    if wish is None:
        if subject.smoke:
            yield Skipped("smoke", "the card has no checks.smoke")
        return
    if not subject.smoke:
        yield Skipped("smoke", "not asked for with --smoke")
    elif _folder(subject) is None:
        yield Skipped("smoke", "the weights are not on this machine")
    else:
        try:
            reply = _answer(subject, wish)
        except ZooError as reason:
            yield error("smoke", "checks.smoke", str(reason))
            return
        if not reply.startswith(wish.expect):
            begin = reply[: max(len(wish.expect), 40)]
            yield error("smoke", "checks.smoke", f"the reply begins {begin!r}, but expect says {wish.expect!r}")
        if wish.sha256 and (digest := hashlib.sha256(reply.encode()).hexdigest()) != wish.sha256:
            yield error("smoke", "checks.smoke", f"the reply has the sha256 {digest}, but the card says {wish.sha256}")


#: The checks in their order; the dearest comes last.
PROOFS: tuple[Callable[[Subject], Told], ...] = (files_at_hand, hubs, token_ids, smoke)


def _folder(subject: Subject) -> Path | None:
    """The folder with the model's files on this machine."""
    here = (local_folder(source, subject.path) for source in subject.card.sources)
    return next((folder for folder in here if folder is not None), None) or pulled_folder(subject.card)


def _other_ids(goldens: Sequence[Golden], template: Template, tokenizer: Any) -> list[int]:
    """The numbers of the golden renderings whose token ids have another digest. Encodes as engines do."""
    wrong = []
    for number, golden in enumerate(goldens, 1):
        messages = [Message(each.role, each.content) for each in golden.messages]
        prompt = render(template, messages, reply=golden.reply)
        ids = tokenizer(prompt.text, add_special_tokens=False)["input_ids"]
        ids = [tokenizer.bos_token_id, *ids] if prompt.add_bos else ids
        if golden.ids_sha256 and hashlib.sha256(json.dumps(ids).encode()).hexdigest() != golden.ids_sha256:
            wrong.append(number)
    return wrong


def _answer(subject: Subject, wish: Smoke) -> str:
    from zoo_core.opening import open_session

    sampling = {"temperature": 0.0, "seed": wish.seed, "max_new_tokens": wish.max_new_tokens}
    session = open_session(
        subject.zoo,
        str(subject.path.absolute()),
        engine=wish.engine,
        dtype=wish.dtype or "auto",
        sampling=sampling,
    )
    try:
        return "".join(session.reply(wish.prompt))
    finally:
        session.engine.close()


def _hub(subject: Subject, card: ModelCard, source: Source, field: str) -> Told:
    try:
        hub = subject.zoo.offer("zoo_weight_sources", source.hub, "weight source").load()()
    except ZooError as missing:
        yield Skipped(source.hub, str(missing))
        return
    try:
        view = HubView(source, hub)
        assert view.repository is not None
        if not source.revision:
            yield Skipped("revision", "the card pins none")
        elif view.repository.revision != source.revision:
            yield warning("hub", field, f"'{source.revision}' is no commit; now it leads to {view.repository.revision}")
        yield from _license(card, view.repository)
        yield from _digests(card, view, field)
        yield from _configuration(card, view)
    except Unreachable as reason:
        yield Skipped(source.hub, str(reason))
    except ZooError as wrong:
        yield error("hub", field, str(wrong))


def _license(card: ModelCard, repository: Repository) -> Told:
    from zoo_core.lineage.licenses import same_license

    said = card.license.spdx or card.license.name
    if repository.license and not said:
        yield warning("hub", "license", f"the hub says '{repository.license}', the card says nothing")
    elif repository.license and not same_license(card.license, repository.license):
        yield error("hub", "license", f"the hub says '{repository.license}', the card '{said}'")
    if repository.gated != card.license.acceptance:
        answer = "asks" if repository.gated else "does not ask"
        yield error(
            "hub", "license.acceptance", f"the hub {answer} for the licence to be accepted; the card says otherwise"
        )


def _digests(card: ModelCard, view: View, field: str) -> Told:
    if not card.files:
        yield Skipped("digests", "the card lists no files")
    there = {file.path: file for file in view.files}
    for file in card.files:
        if file.path not in there:
            yield error("hub", field, f"{view.name} lacks the file {file.path}")
        elif there[file.path].size != file.size:
            sizes = f"{there[file.path].size:,} bytes, the card says {file.size:,}"
            yield error("hub", "files", f"{file.path} has {sizes} ({view.name})")
        elif (found := view.locked(there[file.path])).sha256 != file.sha256:
            yield error(
                "hub", "files", f"{file.path} has the sha256 {found.sha256}, the card says {file.sha256} ({view.name})"
            )


def _configuration(card: ModelCard, view: View) -> Told:
    """The card's numbers against the checkpoint's own configuration."""
    try:
        config = configurations.flat(read_json(view.read, CONFIG, {file.path: file.size for file in view.files}))
    except WeightsError as wrong:
        yield error("config", "files", str(wrong))
        return
    limit = configurations.context(config)
    if limit is not None and card.context is not None and card.context.max > limit:
        yield error("config", "context", f"the card says {card.context.max:,} tokens, the configuration {limit:,}")
    network = configurations.architecture(config)
    for name in _NUMBERS:
        said, found = getattr(card.architecture, name), getattr(network, name)
        if said is not None and found is not None and said != found:
            yield error("config", f"architecture.{name}", f"the card says {said:,}, the configuration {found:,}")
