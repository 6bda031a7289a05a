"""The cards of datasets and benchmarks: all read and hold together, and what they say is what their sources say.

The lists and question files that they were written from do not belong to the project. Tests that compare with them are
skipped where they do not lie in `shared/data` beside it.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import pytest

from zoo_core import AnyCard, BenchmarkCard, DatasetCard, Zoo, read_card, sha256_of
from zoo_core.cards.checking import check_card
from zoo_core.cards.index import card_files
from zoo_core.catalog import Catalog, Place

ROOT = Path(__file__).parent.parent
REGISTRY = ROOT / "registry"
SHARED = ROOT.parent / "shared" / "data"
needs_shared = pytest.mark.skipif(
    not SHARED.is_dir(), reason="the lists and question files that the cards describe are not beside the project"
)


def paths(folder: str) -> list[Path]:
    return [Path(path) for path, _ in card_files(REGISTRY / folder)]


ALL = paths("datasets") + paths("benchmarks")


@cache
def card(name: str) -> AnyCard:
    return read_card(next(path for path in ALL if path.stem == name))


def stem(path: Path) -> str:
    return path.stem


@pytest.mark.parametrize("path", ALL, ids=stem)
def test_card_reads_and_has_no_problem(path: Path) -> None:
    found = read_card(path)
    kind = DatasetCard if "datasets" in path.parts else BenchmarkCard
    assert isinstance(found, kind)
    assert check_card(found, Zoo().template) == []
    assert found.id == path.stem
    assert found.status == "experimental"
    assert found.summary.endswith(".")


@pytest.mark.parametrize("path", ALL, ids=stem)
def test_card_is_pinned_exactly_where_its_files_were_seen(path: Path) -> None:
    found = read_card(path)
    addresses = [source.url for source in found.sources if source.hub == "url"]
    assert bool(found.files) == bool(addresses)
    assert all(re.search(r"/[0-9a-f]{40}/.*/\Z", address) for address in addresses)
    assert not any(source.revision for source in found.sources)
    repos = [source.repo for source in found.sources if source.hub == "huggingface"]
    assert all(re.fullmatch(r"datasets/[\w.-]+/[\w.-]+", repo) for repo in repos)


def test_names_are_unique_among_all_cards_of_the_zoo() -> None:
    folders = [Place("registry", REGISTRY, 0), Place("plugins", ROOT / "plugins", 0)]
    catalog = Catalog(folders)
    ids = {path.stem for path in ALL}
    assert [warning for warning in catalog.warnings if any(f"'{name}'" in warning for name in ids)] == []
    assert ids <= set(catalog.names())
    assert len(ids) == len(ALL)


def test_what_datasets_were_made_from_is_there_and_leads_nowhere_round() -> None:
    made_from = {path.stem: set(read_card(path).made_from) for path in paths("datasets")}
    assert set().union(*made_from.values()) <= set(made_from)
    order = list(TopologicalSorter(made_from).static_order())
    assert order.index("self-instruct-seed-tasks") < order.index("alpaca-52k") < order.index("phoenix-sft-data-v1")


def test_conversations_and_instructions_of_the_zoos_own_models_are_there() -> None:
    own = {path.stem: read_card(path) for path in (REGISTRY / "datasets").glob("*.yaml")}
    rows = {name: (found.size.split()[0], found.rows) for name, found in own.items()}
    assert rows == {
        "phoenix-sft-data-v1": ("465K", None),
        "huatuogpt-sft-data-v1": ("226,042", None),
        "huatuogpt2-sft-gpt4-140k": ("142,248", 142248),
        "huatuogpt2-pretraining-instruction": ("5,286,308", 5286308),
        "self-instruct-seed-tasks": ("175", 175),
    }


@pytest.mark.parametrize("name", ["huatuogpt-sft-data-v1", "coig"])
def test_parts_that_a_card_counts_add_up_to_its_size(name: str) -> None:
    found = card(name)
    notes = next(note for note in found.notes if "61,400" in note or "67,798" in note)
    parts = [int(number.replace(",", "")) for number in re.findall(r"\d+,\d+", notes)]
    assert f"{sum(parts):,}" == found.size.split()[0]


@pytest.mark.parametrize("series", ["alpaca-gpt4", "evol-instruct", "sharegpt"])
def test_multilingual_series_has_eleven_languages(series: str) -> None:
    languages = {
        "chinese": "zh",
        "japanese": "ja",
        "korean": "ko",
        "deutsch": "de",
        "french": "fr",
        "italian": "it",
        "arabic": "ar",
        "portuguese": "pt",
        "spanish": "es",
        "hindi": "hi",
        "indonesian": "id",
    }
    cards = {path.stem: read_card(path) for path in (REGISTRY / "datasets/multilingualsift").glob(f"{series}-*.yaml")}
    assert {name: found.languages for name, found in cards.items()} == {
        f"{series}-{language}": [tag] for language, tag in languages.items()
    }
    for name, found in cards.items():
        assert found.sources[0].repo == f"datasets/FreedomIntelligence/{name}"
        assert found.generation_method  # from the collection that the cards extend


# Question files: cards, the folder below shared/data that holds the files, and the key of a question's category.
QUESTIONS = [
    ("llmzoo-questions-en", "llmzoo-eval/questions", "category"),
    ("llmzoo-questions-zh", "llmzoo-eval/questions", "category"),
    ("llmzoo-multilingual-100", "llmzoo-eval/questions/multilingual", "label"),
    ("vicuna-bench", "fastchat/llm_judge/vicuna_bench", "category"),
    ("mt-bench", "fastchat/llm_judge/mt_bench", "category"),
    ("kuake-qic-100", "huatuogpt", "label"),
    ("med-dialog-100", "huatuogpt", "Department"),
    ("self-instruct-user-oriented", "self-instruct", ""),
    ("self-instruct-seed-tasks", "self-instruct", ""),
]


def records(path: Path) -> list[dict[str, Any]]:
    """The records of a JSON list, or of a file with one JSON object per line."""
    text = path.read_text(encoding="utf-8")
    if text.startswith("["):
        return json.loads(text)
    return [json.loads(line) for line in text.splitlines() if line.strip()]


@needs_shared
@pytest.mark.parametrize(("name", "folder", "key"), QUESTIONS, ids=[name for name, _, _ in QUESTIONS])
def test_question_files_are_what_the_card_says(name: str, folder: str, key: str) -> None:
    found = card(name)
    for file in found.files:
        path = SHARED / folder / file.path
        assert (path.stat().st_size, sha256_of(path)) == (file.size, file.sha256)
    questions = [records(SHARED / folder / file.path) for file in found.files if "reference" not in file.path]
    count = found.questions if isinstance(found, BenchmarkCard) else found.rows
    assert {len(each) for each in questions} == {count}
    for each in questions:
        assert set(re.findall(r"\w+", found.format)) >= set(each[0])
        if key:
            assert set(found.categories) == {question[key] for question in each}


@needs_shared
def test_notes_about_the_llmzoo_questions_are_true() -> None:
    folder = SHARED / "llmzoo-eval" / "questions"
    english, chinese = (records(folder / f"questions-{language}.jsonl") for language in ("en", "zh"))
    assert [question["question_id"] for question in english + chinese] == list(range(1, 141))
    many = {path.name[:2]: records(path) for path in (folder / "multilingual").glob("*.jsonl")}
    assert set(many) == set(card("llmzoo-multilingual-100").languages)
    assert len({tuple((each["id"], each["label"]) for each in questions) for questions in many.values()}) == 1
    counts = Counter(question["label"] for question in many["en"])
    assert {label: count for label, count in counts.items() if count != 10} == {"coding": 7, "math": 3}
    pairs = {"zh": chinese, "en": english}
    same = {
        language: sum(a["query"] == b["text"] for a, b in zip(many[language], old, strict=False))
        for language, old in pairs.items()
    }
    assert same == {"zh": 70, "en": 6}
    vicuna = {each["turns"][0] for each in records(SHARED / "fastchat/llm_judge/vicuna_bench/question.jsonl")}
    assert {question["text"] for question in english} < vicuna


# InstructionZoo: the headings of its list, in their order, and our cards. Two headings may be one dataset.
INSTRUCTION_ZOO = [
    ("tatsu-lab/Alpaca", "alpaca-52k"),
    ("gururise/Cleaned Alpaca", "alpaca-cleaned"),
    ("PhoebusSi/Alpaca-COT", "alpaca-cot"),
    ("QingyiSi/Alpaca-CoT", "alpaca-cot"),
    ("orhonovich/unnatural-instructions", "unnatural-instructions"),
    ("bigscience/PromptSource", "promptsource"),
    ("bigscience/P3", "p3"),
    ("allenai/natural-instructions", "natural-instructions"),
    ("allenai/super-natural-instructions", "super-natural-instructions"),
    ("google-research/FLAN 2021", "flan-2021"),
    ("google-research/FLAN 2022 Collection", "flan-2022"),
    ("tasksource-instruct", "tasksource-instruct"),
    ("LianjiaTech/BELLE 1.5M", "belle-1.5m"),
    ("LianjiaTech/BELLE 10M", "belle-10m"),
    ("XueFuzhao/InstructionWild", "instructionwild"),
    ("ExMix", "exmix"),
    ("UnifiedSKG", "unifiedskg"),
    ("MetaICL", "metaicl"),
    ("openai/InstructionGPT", "instructgpt-data"),
    ("facebookresearch/metasqe/OPT-IML", "opt-iml-bench"),
    ("THUDM/GLM-130B", "glm-130b-instructions"),
    ("laion/OIG", "oig"),
    ("baize/baize-chatbot", "baize-chatbot"),
    ("lightaime/camel", "camel-role-play"),
    ("thunlp/UltraChat", "ultrachat"),
    ("databrickslabs/doll", "databricks-dolly-15k"),
    ("Instruction-Tuning-with-GPT-4/GPT-4-LLM", "gpt-4-llm"),
    ("ShareGPT", "sharegpt"),
    ("stanfordnlp/SHP", "shp"),
    ("Anthropic/hh-rlhf", "hh-rlhf"),
    ("HuggingFaceH4/stack-exchange-preferences", "stack-exchange-preferences"),
    ("Hellp-SimpleAI/HC3", "hc3"),
    ("f/awesome-chatgpt-prompts", "awesome-chatgpt-prompts"),
    ("FlagOpen/FlagInstruct", "coig"),
    ("CLUEbenchmark/pCLUE", "pclue"),
    ("ydli-ai/CSL", "csl"),
    ("YeungNLP/Firefly", "firefly-train-1.1m"),
    ("TsinghuaAI/CUGE", "cuge"),
    ("ydli-ai/Chinese-ChatLLaMA", "chinese-chatllama-data"),
    ("ZeroPrompt", "zeroprompt"),
    ("PlexPt/awesome-chatgpt-prompts-zh", "awesome-chatgpt-prompts-zh"),
    ("carbonz0/alpaca-chinese-dataset", "alpaca-zh-carbonz0"),
    ("hikariming/alpaca_chinese_dataset", "alpaca-zh-hikariming"),
    ("ymcui/Chinese-LLaMA-Alpaca", "alpaca-zh-ymcui"),
    ("LC1332/Chinese-alpaca-lora", "alpaca-zh-lc1332"),
    ("A-baoYang/alpaca-7b-chinese", "alpaca-zh-hant-a-baoyang"),
    ("A-baoYang/alpaca-7b-chinese", "alpaca-en-zh-hant-a-baoyang"),
    ("ntunlplab/traditional-chinese-alpaca", "alpaca-zh-hant-ntunlplab"),
    ("ntunlplab/traditional-chinese-alpaca", "alpaca-zh-hant-ntunlplab-both"),
    ("bigscience/xP3", "xp3"),
    ("JosephusCheung/GuanacoDataset", "guanaco-dataset"),
    ("JosephusCheung/GuanacoDataset QA", "guanaco-dataset-qa"),
    ("sahil280114/codealpaca", "codealpaca"),
]
#: How the list calls languages.
LANGUAGES = {"EN": "en", "CH": "zh", "TC": "zh-Hant", "DE": "de", "JA": "ja"}
#: The list links another entry's repository here.
WRONG_LINKS = {"glm-130b-instructions"}
#: What the list leaves empty, or says less of than the project's own README, from which the card was written.
FROM_ELSEWHERE = {"gpt-4-llm", "awesome-chatgpt-prompts", "awesome-chatgpt-prompts-zh"}


def entries() -> Iterator[tuple[str, str]]:
    """The heading and the text of every dataset that the list has, in its order."""
    text = (SHARED / "instructionzoo" / "README.md").read_text(encoding="utf-8")
    for part in re.split(r"^#{1,3} ", text[text.index("# The English Instruction Datasets") :], flags=re.M)[1:]:
        heading, _, body = part.partition("\n")
        if "Instruction Datasets" not in heading and heading.strip() != "Chinese Alpaca":
            yield heading.strip(), body


def fields(body: str) -> dict[str, str]:
    """What an entry says under Size, Language and so on, each with the lines below it."""
    parts = re.split(r"^\* ([A-Za-z ]+):", body, flags=re.M)
    return {
        key.strip().replace("Generateion", "Generation"): value
        for key, value in zip(parts[1::2], parts[2::2], strict=True)
    }


@cache
def listed() -> list[tuple[str, str, str]]:
    """Card id, heading and text of every entry."""
    names = [name for _, name in INSTRUCTION_ZOO]
    return [(name, *entry) for name, entry in zip(names, entries(), strict=True)]


def figures(text: str) -> set[str]:
    """The numbers in a text, however they are written, such as 52,002 or 4.7M."""
    return set(re.findall(r"(?<![\w.])\d+(?:\.\d+)?[KM]?\b", text.replace(",", "").upper()))


def texts(found: AnyCard) -> str:
    assert isinstance(found, DatasetCard)
    return " ".join([found.summary, found.size, found.generation_method, *found.notes])


def test_every_card_of_the_list_is_in_the_table() -> None:
    folder = REGISTRY / "datasets" / "instructionzoo"
    assert {path.stem for path in folder.glob("*.yaml")} == {name for _, name in INSTRUCTION_ZOO}
    assert all(any("InstructionZoo" in note for note in read_card(path).notes) for path in folder.glob("*.yaml"))


@needs_shared
def test_every_entry_of_the_list_has_its_card() -> None:
    headings = [re.sub(r"\[(.*)\]\(.*\)", r"\1", heading) for heading, _ in entries()]
    assert headings == [heading for heading, _ in INSTRUCTION_ZOO]


@needs_shared
def test_figures_are_those_of_the_list() -> None:
    for name, _, body in listed():
        found = card(name)
        if name not in FROM_ELSEWHERE:
            assert figures(found.size) <= figures(body), name
        assert figures(fields(body).get("Size", "")) <= figures(texts(found)), name
        assert found.rows is None or f"{found.rows}" in figures(fields(body)["Size"]), name


@needs_shared
def test_languages_papers_and_licences_are_those_of_the_list() -> None:
    for name, _, body in listed():
        found, said = card(name), fields(body)
        tags = [LANGUAGES[word] for word in re.findall(r"\b[A-Z]{2}\b", said.get("Language", ""))]
        if name not in FROM_ELSEWHERE:
            assert set(tags) <= set(found.languages), name
            assert name == "alpaca-cot" or len(tags) == len(found.languages), name
        assert ("Multilingual" in said.get("Language", "")) == found.languages_note.startswith("multi"), name
        papers = re.findall(r"arxiv\.org/(?:abs|pdf)/([\d.]+\d)", said.get("Paper", ""))
        assert all(paper in f"{found.links.paper} {found.notes}" for paper in papers), name
        assert bool(found.links.paper) == bool(said.get("Paper", "").strip()), name
        licence = found.license.spdx or found.license.name or found.license.link
        assert (
            name in FROM_ELSEWHERE or bool(licence) == bool(said.get("License", "").strip()) or name == "alpaca-cot"
        ), name


@needs_shared
def test_links_are_those_of_the_list() -> None:
    for name, heading, body in listed():
        found = card(name)
        ours = " ".join([found.links.code, found.links.homepage, *found.notes, *(each.repo for each in found.sources)])
        places = [*re.findall(r"\((https?://(?:github|huggingface)\S+)\)", heading)] if name not in WRONG_LINKS else []
        places += re.findall(r"https://huggingface\.co/datasets/[\w.-]+/[\w.-]+", body)
        for place in places:
            where = re.sub(r"https://(github\.com/|huggingface\.co/)|/tree/main$", "", place)
            parts = where.removeprefix("datasets/BelleGroup/")  # whose four parts a note names together
            assert parts.lower() in ours.lower(), (name, place)
        assert bool(found.links.code) or not re.search(r"\(https://github", heading) or name in WRONG_LINKS, name


@needs_shared
def test_no_sentence_is_taken_from_the_list() -> None:
    def runs(text: str) -> set[tuple[str, ...]]:
        words = re.findall(r"\w+", text.lower())
        return {tuple(words[start : start + 6]) for start in range(len(words) - 5)}

    copied = {}
    for name, _, body in listed():
        said = fields(body)
        theirs = runs(said.get("Summary", "")) | runs(said.get("Generation Method", ""))
        if shared := runs(texts(card(name))) & theirs:
            copied[name] = shared
    assert copied == {}
