"""The model cards of the registry: all that were promised, readable, true to their collections, and related to each other."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from click.testing import Result

import zoo_registry
from zoo_core.cards.checking import check_card
from zoo_core.cards.parts import Base, Delta
from zoo_core.cards.reading import read_card, read_extended
from zoo_core.cards.schema import AnyCard, ModelCard
from zoo_core.lineage.licenses import allowance
from zoo_core.lineage.terms import license_problems, terms_of, with_ancestors
from zoo_core.zoo import Zoo

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "registry" / "models"
PATHS = sorted(path for path in FOLDER.rglob("*.yaml") if not path.name.endswith(".collection.yaml"))
COLLECTIONS = sorted(FOLDER.rglob("*.collection.yaml"))

#: The overview of LLM Zoo, its own models and their relatives, by what they are to it.
PROMISED = {
    "overview": "chatgpt wenxin chatglm-6b alpaca-7b dolly-v1-6b belle-7b-2m guanaco-7b chinese-alpaca-7b"
    " chinese-alpaca-13b luotuo-7b vicuna-7b vicuna-13b vicuna-7b-v1.1 vicuna-13b-v1.1 koala-13b baize-7b baize-13b"
    " baize-30b moss-moon-003-sft",
    "phoenix": "phoenix-chat-7b phoenix-inst-chat-7b phoenix-inst-chat-7b-int4 phoenix-multiple-langs-v1",
    "chimera": "chimera-chat-7b chimera-chat-13b chimera-inst-chat-7b chimera-inst-chat-13b chimera-inst-chat-13b-hf"
    " chimera-inst-chat-13b-gptq-4bit",
    "medical": "huatuogpt-7b huatuogpt-13b huatuogpt-reward-7b huatuogpt2-7b huatuogpt2-13b huatuogpt2-34b"
    " huatuogpt2-7b-4bits huatuogpt2-7b-8bits huatuogpt2-34b-4bits huatuogpt2-34b-8bits chatdoctor doctorglm"
    " huatuo-llama-med-chinese visual-med-alpaca",
    "bases": "llama-7b llama-13b llama-30b bloom-7b1 bloomz-7b1-mt gpt-j-6b baichuan-7b baichuan2-7b-base"
    " baichuan2-13b-base yi-34b ziya-llama-13b-pretrain-v1",
}

#: The models of LLM Zoo's medical branch that chat.
CAMEL = (
    "huatuogpt-7b huatuogpt-13b huatuogpt2-7b huatuogpt2-13b huatuogpt2-34b"
    " huatuogpt2-7b-4bits huatuogpt2-7b-8bits huatuogpt2-34b-4bits huatuogpt2-34b-8bits"
)
#: Tensors that the deltas of Ziya and HuatuoGPT-13B hold whole.
KEPT = ["embed_tokens", "lm_head.weight", "self_attn.rotary_emb.inv_freq"]


@cache
def cards() -> dict[str, ModelCard]:
    """All model cards of the registry by their file's name."""
    found = {}
    for path in PATHS:
        card = read_card(path)
        assert isinstance(card, ModelCard), path
        found[path.stem] = card
    return found


def find(name: str) -> AnyCard | None:
    return cards().get(name)


@pytest.fixture
def zoo() -> Zoo:
    return Zoo()


# -- all together ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("group", PROMISED)
def test_everything_promised_has_a_card(group: str) -> None:
    assert set(PROMISED[group].split()) <= set(cards())


def test_no_card_is_without_a_promise() -> None:
    assert set(cards()) == {name for names in PROMISED.values() for name in names.split()}


def test_names_and_aliases_are_claimed_once(zoo: Zoo) -> None:
    assert zoo.catalog.warnings == []
    assert {zoo.catalog.owner(name) for name in cards()} == {"plugin registry"}
    claims = [name for card in cards().values() for name in (card.id, *card.aliases)]
    assert sorted(claims) == sorted(set(claims))


def test_the_folders_of_the_registry_are_all_that_are_there() -> None:
    folders = zoo_registry.zoo_card_folders()
    kinds = {path for path in (ROOT / "registry").iterdir() if path.is_dir() and not path.name.startswith("_")}
    assert {Path(folder).resolve() for folder in folders} == {path.resolve() for path in kinds}


def test_every_collection_is_extended() -> None:
    used = {parent.resolve() for path in PATHS for parent in read_extended(path)[1]}
    assert {path.resolve() for path in COLLECTIONS} == used


# -- each card ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [path.stem for path in PATHS])
def test_a_card_is_sound(name: str, zoo: Zoo) -> None:
    card = cards()[name]
    assert card.id == name
    assert check_card(card, zoo.template) == []
    assert license_problems(card, find) == []
    assert card.notes or card.format == "api"


@pytest.mark.parametrize("name", [path.stem for path in PATHS])
def test_what_a_card_names_exists(name: str, zoo: Zoo) -> None:
    card = cards()[name]
    bases = [card.lineage.base, *card.lineage.others] if card.lineage else []
    assert [base.id for base in bases if base.id and base.id not in cards()] == []
    assert [base for base in bases if base == Base()] == []
    for variant in card.runtime.variants:
        other = cards()[variant].lineage
        assert other is not None
        assert other.relation in {"quantized", "merge"}
    known = set(zoo.catalog.names())
    assert [data for data in card.training.data if "/" not in data and data not in known] == []


@pytest.mark.parametrize("name", [path.stem for path in PATHS])
def test_nothing_is_pinned_that_nobody_has_verified(name: str) -> None:
    card = cards()[name]
    assert card.status == "experimental"
    assert not card.files
    assert not any(source.revision for source in card.sources)
    assert card.lineage is None or not card.lineage.base.revision
    assert card.memory == type(card.memory)()


@pytest.mark.parametrize("name", [path.stem for path in PATHS])
def test_measures_of_a_network_fit_each_other(name: str) -> None:
    card, network = cards()[name], cards()[name].architecture
    if network.layers is None:
        assert network.heads is None
        assert network.intermediate_size is None
        return
    assert None not in {network.hidden_size, network.heads, network.head_size, network.intermediate_size}
    assert (network.heads or 0) * (network.head_size or 0) == network.hidden_size
    assert network.heads
    assert network.heads % (network.kv_heads or network.heads) == 0
    if card.lineage and card.lineage.base.id:  # what is made from a model has its shape
        base = cards()[card.lineage.base.id].architecture
        for field in ("layers", "hidden_size", "heads", "intermediate_size"):
            assert getattr(base, field) in {None, getattr(network, field)}, field


def test_parameters_follow_from_the_measures() -> None:
    """Of the two architectures whose parameters can be counted from the card alone."""
    counted = 0
    for card in cards().values():
        if card.architecture.params is None or card.family not in {"llama", "bloomz"}:
            continue
        network = card.architecture
        hidden, wide, layers = network.hidden_size or 0, network.intermediate_size or 0, network.layers or 0
        vocabulary = (network.vocab_size or 0) * hidden
        if card.family == "llama":
            layer = 4 * hidden**2 + 3 * hidden * wide + 2 * hidden
            assert network.params == 2 * vocabulary + layers * layer + hidden, card.id
        else:
            layer = (4 * hidden**2 + 4 * hidden) + (2 * hidden * wide + wide + hidden) + 4 * hidden
            assert network.params == vocabulary + 2 * hidden + layers * layer + 2 * hidden, card.id
        counted += 1
    assert counted == 5


# -- licences ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "kind", "commercial"),
    [
        ("phoenix-inst-chat-7b", "restricted", "restricted"),
        ("phoenix-inst-chat-7b-int4", "restricted", "restricted"),
        ("phoenix-multiple-langs-v1", "restricted", "restricted"),
        ("chimera-inst-chat-7b", "non-commercial", "no"),
        ("chimera-inst-chat-13b-gptq-4bit", "non-commercial", "no"),
        ("huatuogpt-13b", "non-commercial", "no"),
        ("huatuogpt2-7b-4bits", "restricted", "restricted"),
        ("huatuogpt2-34b", "permissive", "yes"),
        ("dolly-v1-6b", "non-commercial", "no"),
        ("gpt-j-6b", "permissive", "yes"),
        ("huatuogpt-reward-7b", "unknown", "unknown"),
    ],
)
def test_terms_are_those_of_the_strictest_ancestor(name: str, kind: str, commercial: str) -> None:
    terms = terms_of(cards()[name], find)
    assert (terms.kind, terms.commercial) == (kind, commercial)


def test_what_descends_from_llama_says_so() -> None:
    """LLaMA's licence forbids commercial use, whatever the hub's tag of a delta, an adapter or a merge says."""
    made = {
        name for name, card in cards().items() if any(each.startswith("llama-") for each in with_ancestors(card, find))
    }
    assert {"vicuna-7b", "koala-13b", "chimera-inst-chat-13b-gptq-4bit", "huatuogpt-13b", "baize-30b"} <= made
    for name in made:
        licence = cards()[name].license
        assert "llama" in {licence.weights, licence.name}, name
        assert licence.commercial == "no", name


def test_identifiers_of_licences_are_known() -> None:
    """A misspelled identifier would count as an unknown licence, and so pass every check."""
    for card in cards().values():
        assert not card.license.spdx or allowance(card.license.spdx).kind != "unknown", card.id
        if card.license.weights[:1].islower():
            assert allowance(card.license.weights).kind != "unknown", card.id


# -- kinds of models ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PROMISED["medical"].split())
def test_a_medical_model_is_no_doctor(name: str) -> None:
    safety = cards()[name].safety
    assert safety.limits
    assert "is no doctor" in safety.notice
    assert "不是医生" in safety.notice


@pytest.mark.parametrize("name", [path.stem for path in PATHS])
def test_relations_come_with_what_they_need(name: str) -> None:
    card = cards()[name]
    relation = card.lineage.relation if card.lineage else ""
    assert (relation == "quantized") == (card.quantization is not None)
    assert relation != "delta" or (card.lineage and card.lineage.delta)
    assert relation != "merge" or (card.lineage and card.lineage.others)
    assert "reward" not in card.capabilities or card.template is None
    if not card.sources:
        assert card.format == "api" or "names no source" in " ".join(card.notes)


def test_the_models_of_the_house_speak_the_template_of_phoenix() -> None:
    for name in (PROMISED["phoenix"] + " " + PROMISED["chimera"]).split():
        template = cards()[name].template
        assert template is not None
        assert template.name == "phoenix"
        assert template.golden, name


@pytest.mark.parametrize("name", sorted({*PROMISED["overview"].split(), *CAMEL.split()} - {"chatgpt", "wenxin"}))
def test_a_model_with_weights_has_family_and_template(name: str, zoo: Zoo) -> None:
    """The golden renderings show one question, and a second one after an answer."""
    card = cards()[name]
    assert card.template is not None
    turns = {tuple(each.role for each in golden.messages) for golden in card.template.golden}
    assert {("user",), ("user", "assistant", "user")} <= turns
    assert "safetensors" in zoo.offer("zoo_model_families", card.family, "model family").supports["format"]


@pytest.mark.parametrize(
    "name", ["gpt-j-6b", "baichuan-7b", "baichuan2-7b-base", "yi-34b", "ziya-llama-13b-pretrain-v1"]
)
def test_the_base_of_a_model_has_a_family(name: str, zoo: Zoo) -> None:
    assert zoo.offer("zoo_model_families", cards()[name].family, "model family")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("alpaca-7b", Delta(new_rows="mean", vocab_size=32001, weight_sum=50637.1836)),
        ("vicuna-7b", Delta(new_rows="zero", vocab_size=32001)),
        ("vicuna-13b-v1.1", Delta(vocab_size=32000)),
        ("koala-13b", Delta(vocab_size=32000)),
        ("ziya-llama-13b-pretrain-v1", Delta(vocab_size=39424, keeps=KEPT)),
        ("huatuogpt-13b", Delta(keeps=KEPT)),
    ],
)
def test_how_a_delta_is_added(name: str, expected: Delta) -> None:
    lineage = cards()[name].lineage
    assert lineage is not None
    assert (lineage.relation, lineage.delta) == ("delta", expected)


def test_disagreements_between_sources_are_told() -> None:
    told = {
        "huatuogpt-13b": "disagrees with itself",
        "phoenix-inst-chat-7b": "BigScience RAIL",
        "belle-7b-2m": "2M",
        "vicuna-13b": "2023-03-30",
        "chimera-inst-chat-13b": "2023-04-12",
        "chatglm-6b": "2023-03-13",
        "luotuo-7b": "2023-03-23",
        "moss-moon-003-sft": "evaluation",
        "huatuo-llama-med-chinese": "nothing to do with each other",
    }
    for name, words in told.items():
        assert words in " ".join(cards()[name].notes), name


# -- the command line --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["phoenix", "chimera-inst-chat-13b-gptq-4bit", "huatuogpt-reward-7b", "llama-30b"])
def test_a_card_is_shown_without_problems(name: str, run: Callable[..., Result]) -> None:
    result = run("show", name)
    assert (result.exit_code, result.stderr) == (0, "")
