"""What was made from what: terms that are inherited, claims that allow too much, and the tree that `zoo show` draws."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import Result

from zoo_core.cards.index import row_of
from zoo_core.cards.reading import parse_card
from zoo_core.cards.schema import AnyCard
from zoo_core.lineage.descent import family, tree_lines
from zoo_core.lineage.terms import license_problems, terms_of, terms_of_rows, with_ancestors

Run = Callable[..., Result]


def card(name: str, license_: Any = None, *bases: Any, relation: str = "finetune", **fields: Any) -> AnyCard:
    """A card with a licence (an SPDX identifier or a whole one) and bases (an id or a whole base)."""
    data = {"schema": "zoo.card/v1", "kind": "model", "id": name, "summary": "s"} | fields
    if data["kind"] == "model":
        data["family"] = "f"
    if license_:
        data["license"] = license_ if isinstance(license_, dict) else {"spdx": license_}
    if bases:
        first, *others = [each if isinstance(each, dict) else {"id": each} for each in bases]
        data["lineage"] = {"base": first, "others": others, "relation": "merge" if others else relation}
    return msgspec.convert(data, AnyCard)  # type: ignore[no-any-return]


def catalog(*cards: AnyCard) -> dict[str, AnyCard]:
    return {each.id: each for each in cards}


def both_terms(name: str, cards: dict[str, AnyCard]) -> tuple[str, str, str, str]:
    """The terms of a card, which must be the same from the cards and from the rows of the catalog."""
    by_card = terms_of(cards[name], cards.get)
    by_row = terms_of_rows(row_of(each, Path("x")) for each in cards.values())[name]
    assert (by_card.kind, by_card.commercial, by_card.license) == (by_row.kind, by_row.commercial, by_row.license)
    assert by_card.source == by_row.source or by_row.source == "a base without card"
    return by_card.kind, by_card.commercial, by_card.license, by_card.source


# -- terms -------------------------------------------------------------------------------------------------------------

RAIL = "bigscience-bloom-rail-1.0"


@pytest.mark.parametrize(
    ("cards", "expected"),
    [
        pytest.param([card("a", "MIT")], ("permissive", "yes", "MIT", "a"), id="own"),
        pytest.param([card("a")], ("unknown", "unknown", "", "a"), id="nothing said"),
        pytest.param(
            [card("a", {"spdx": "MIT", "weights": "gemma"})], ("restricted", "restricted", "gemma", "a"), id="weights"
        ),
        pytest.param([card("a", "MIT", "b"), card("b", "MIT")], ("permissive", "yes", "MIT", "a"), id="the same"),
        pytest.param([card("a", "GPL-3.0", "b"), card("b", "MIT")], ("copyleft", "yes", "GPL-3.0", "a"), id="stricter"),
        pytest.param(
            [card("a", "MIT", "b"), card("b", RAIL)], ("restricted", "restricted", RAIL, "b"), id="of the base"
        ),
        pytest.param(
            [card("a", "MIT", "b"), card("b", "MIT", "c"), card("c", "llama")],
            ("non-commercial", "no", "llama", "c"),
            id="of the base of the base",
        ),
        pytest.param(
            [card("a", "MIT", "b", "c"), card("b", "MIT"), card("c", "gemma")],
            ("restricted", "restricted", "gemma", "c"),
            id="of another parent",
        ),
        pytest.param([card("a", "MIT", "b"), card("b")], ("unknown", "unknown", "", "b"), id="base says nothing"),
        pytest.param([card("a", "MIT", "b")], ("unknown", "unknown", "", "b"), id="base not there"),
        pytest.param([card("a", "MIT", {"repo": "x/y"})], ("unknown", "unknown", "", "x/y"), id="base is a repository"),
        pytest.param(
            [card("a", "MIT", "b", {"name": "X"}), card("b", "MIT")],
            ("unknown", "unknown", "", "X"),
            id="a parent without",
        ),
        pytest.param(
            [card("a", RAIL, {"name": "X"})], ("restricted", "restricted", RAIL, "a"), id="at least restricted"
        ),
        pytest.param(
            [card("a", {"name": "Mine", "commercial": "yes"}, "b"), card("b", {"name": "Its", "commercial": "no"})],
            ("non-commercial", "no", "Its", "b"),
            id="words",
        ),
        pytest.param(
            [card("a", {"name": "Mine", "commercial": "yes"}, "b"), card("b", "CC-BY-ND-4.0")],
            ("restricted", "yes", "CC-BY-ND-4.0", "b"),
            id="a word and a licence",
        ),
        pytest.param(
            [card("a", {"spdx": "CC-BY-ND-4.0"}, "b"), card("b", {"name": "Its"})],
            ("restricted", "unknown", "CC-BY-ND-4.0", "a"),
            id="kind and use from two cards",
        ),
        pytest.param(
            [card("a", "MIT", kind="dataset", made_from=["b"]), card("b", "CC-BY-NC-4.0", kind="dataset")],
            ("non-commercial", "no", "CC-BY-NC-4.0", "b"),
            id="a dataset",
        ),
        pytest.param([card("a", "MIT", kind="benchmark")], ("permissive", "yes", "MIT", "a"), id="a benchmark"),
        pytest.param(
            [card("a", {"spdx": "CC-BY-NC-4.0", "weights": "MIT"})],
            ("non-commercial", "no", "CC-BY-NC-4.0", "a"),
            id="weights do not loosen",
        ),
        pytest.param([card("a", "MIT", "a")], ("unknown", "unknown", "", "a"), id="its own base"),
        pytest.param(
            [card("a", "MIT", "b"), card("b", "MIT", "c"), card("c", "MIT", "b")],
            ("unknown", "unknown", "", "b"),
            id="below a circle",
        ),
        pytest.param(
            [card("b", "llama", "a"), card("a", "MIT", "b")], ("non-commercial", "no", "llama", "b"), id="in a circle"
        ),
    ],
)
def test_terms(cards: list[AnyCard], expected: tuple[str, str, str, str]) -> None:
    assert both_terms("a", catalog(*cards)) == expected
    assert both_terms("a", catalog(*cards[::-1])) == expected


def test_an_alias_is_no_base() -> None:
    mine, base = card("a", "MIT", "tit"), card("bird", "MIT", aliases=["tit"])
    assert list(with_ancestors(mine, {"tit": base}.get)) == ["a"]
    assert "no card is called so" in license_problems(mine, {"tit": base}.get)[0]


@pytest.mark.parametrize("circle", [False, True])
def test_a_line_of_ten_thousand(circle: bool) -> None:
    cards = catalog(*[card(f"m{number}", "MIT", f"m{number + 1}") for number in range(10_000)])
    cards["m10000"] = card("m10000", "llama", *["m0"] * circle)
    assert both_terms("m0", cards)[0] == ("unknown" if circle else "non-commercial")
    assert len(license_problems(cards["m0"], cards.get)) == 2 - (not circle)
    lines = [text for text, _ in tree_lines(family(cards["m9990"], cards.get, []))]
    assert len(lines) == (10_002 if circle else 11)


# -- problems ----------------------------------------------------------------------------------------------------------

BASES = [
    card("rail", RAIL),
    card("research", "llama"),
    card("free", "Apache-2.0"),
    card("share", "GPL-3.0"),
    card("silent"),
    card("stern", {"commercial": "no"}),
    card("named", {"name": "Community", "commercial": "restricted"}),
    card("washed", "MIT", "rail"),
    card("split", {"spdx": "Apache-2.0", "weights": RAIL}, "rail"),
    card("round", "MIT", "trip"),
    card("trip", "MIT", "round"),
]


def over(claim: str, kind: str, name: str, license_: str, limit: str) -> str:
    return (
        f"the licence {claim} ({kind}) allows more than that of its ancestor '{name}', {license_} ({limit}); "
        "say in license.weights which licence the weights are really under"
    )


@pytest.mark.parametrize(
    ("mine", "expected"),
    [
        pytest.param(card("a", "MIT"), [], id="no base"),
        pytest.param(card("a", "MIT", "free"), [], id="as free"),
        pytest.param(card("a", None, "rail"), [], id="no claim"),
        pytest.param(card("a", "CC-BY-NC-4.0", "rail"), [], id="stricter"),
        pytest.param(card("a", RAIL, "rail"), [], id="the same"),
        pytest.param(card("a", "llama2", "rail"), [], id="another of its kind"),
        pytest.param(card("a", {"name": "Mine"}, "research"), [], id="a claim that is not known"),
        pytest.param(card("a", "MIT", "silent"), [], id="a base that says nothing"),
        pytest.param(card("a", "MIT", {"repo": "x/y"}), [], id="a base without card"),
        pytest.param(
            card("a", {"spdx": "Apache-2.0", "weights": RAIL, "commercial": "restricted"}, "rail"), [], id="weights"
        ),
        pytest.param(
            card("a", "MIT", "rail"),
            [over("MIT", "permissive", "rail", RAIL, "restricted") + f", such as {RAIL}"],
            id="permissive over restricted",
        ),
        pytest.param(
            card("a", "MIT", "share"),
            [over("MIT", "permissive", "share", "GPL-3.0", "copyleft") + ", such as GPL-3.0"],
            id="permissive over copyleft",
        ),
        pytest.param(
            card("a", {"spdx": "MIT", "weights": RAIL}, "research"),
            [over(RAIL, "restricted", "research", "llama", "non-commercial") + ", such as llama"],
            id="weights too free",
        ),
        pytest.param(
            card("a", "MIT", "washed"),
            [over("MIT", "permissive", "rail", RAIL, "restricted") + f", such as {RAIL}"],
            id="behind a base that claims too much",
        ),
        pytest.param(
            card("a", "MIT", "split"),
            [over("MIT", "permissive", "split", RAIL, "restricted") + f", such as {RAIL}"],
            id="the base's weights",
        ),
        pytest.param(
            card("a", "MIT", "free", "research"),
            [over("MIT", "permissive", "research", "llama", "non-commercial") + ", such as llama"],
            id="a merge",
        ),
        pytest.param(
            card("a", "MIT", "stern"),
            [over("MIT", "permissive", "stern", "which has no name", "non-commercial")],
            id="a base without a name",
        ),
        pytest.param(
            card("a", "GPL-3.0", "named"),
            [over("GPL-3.0", "copyleft", "named", "Community", "restricted") + ", such as Community"],
            id="a base's word",
        ),
        pytest.param(
            card("a", {"name": "Mine", "commercial": "yes"}, "rail"),
            [
                f"license.commercial is 'yes', but the licence of its ancestor 'rail', {RAIL}, restricts commercial use; "
                'write commercial: "restricted"'
            ],
            id="commercial over restricted",
        ),
        pytest.param(
            card("a", {"name": "Mine", "commercial": "restricted"}, "stern"),
            [
                "license.commercial is 'restricted', but the licence of its ancestor 'stern' forbids commercial use; "
                'write commercial: "no"'
            ],
            id="restricted over no",
        ),
        pytest.param(
            card("a", {"name": "Mine", "commercial": "yes"}, "silent"), [], id="commercial over nothing known"
        ),
        pytest.param(card("a", {"name": "Mine", "commercial": "no"}, "free"), [], id="not commercial over free"),
        pytest.param(card("a", {"spdx": "MIT", "commercial": "restricted"}), [], id="a word that is stricter"),
        pytest.param(
            card("a", {"spdx": "CC-BY-NC-4.0", "commercial": "yes"}),
            [
                "license.commercial is 'yes', but its licence, CC-BY-NC-4.0, forbids commercial use; "
                'write commercial: "no"'
            ],
            id="against its own licence",
        ),
        pytest.param(
            card("a", "MIT", "nothing", {"name": "X"}, "nowhere"),
            [
                f"the lineage names the card '{name}', but no card is called so; name the repository under base.repo "
                "instead, or add its card"
                for name in ("nothing", "nowhere")
            ],
            id="bases that are not there",
        ),
        pytest.param(
            card("a", "MIT", "a"), ["the lineage leads round in a circle: a is made from a"], id="its own base"
        ),
        pytest.param(
            card("a", {"spdx": "CC-BY-NC-4.0", "weights": "MIT"}),
            [
                "license.weights is MIT (permissive), which allows more than the publisher's CC-BY-NC-4.0 (non-commercial); "
                "the stricter counts, so leave license.weights out"
            ],
            id="looser weights",
        ),
        pytest.param(
            card("a", {"acceptance": True}),
            ["license.acceptance says that a licence has to be accepted, but license does not name it"],
            id="accept what",
        ),
        pytest.param(card("a", {"name": "Mine", "acceptance": True}), [], id="accept this"),
        pytest.param(
            card("a", {"spdx": "CC-BY-NC-4.0", "commercial": "yes"}, kind="dataset"),
            [
                "license.commercial is 'yes', but its licence, CC-BY-NC-4.0, forbids commercial use; "
                'write commercial: "no"'
            ],
            id="a dataset",
        ),
    ],
)
def test_problems(mine: AnyCard, expected: list[str]) -> None:
    assert license_problems(mine, catalog(mine, *BASES).get) == expected


def test_a_circle_is_told_whoever_is_below_it() -> None:
    (problem,) = license_problems(card("a", "MIT", "round"), catalog(*BASES).get)
    assert problem in {
        "the lineage leads round in a circle: round is made from trip is made from round",
        "the lineage leads round in a circle: trip is made from round is made from trip",
    }


def test_a_dataset_may_not_allow_more_than_what_it_was_made_from() -> None:
    data = {"schema": "zoo.card/v1", "kind": "dataset", "summary": "s"}
    talks, made = (
        parse_card(msgspec.json.encode(data | each), "card.yaml")
        for each in (
            {"id": "talks", "license": {"spdx": "CC-BY-NC-4.0"}},
            {"id": "made", "license": {"spdx": "MIT", "commercial": "yes"}, "made_from": ["talks"]},
        )
    )
    claim, commercial = license_problems(made, {"talks": talks}.get)
    assert claim.startswith("the licence MIT (permissive) allows more than that of its ancestor 'talks', CC-BY-NC-4.0")
    assert commercial.startswith("license.commercial is 'yes', but the licence of its ancestor 'talks'")


# -- zoo show and zoo list ---------------------------------------------------------------------------------------------

ZOO = [
    card("llama-7b", {"weights": "llama"}),
    card("chimera", {"spdx": "Apache-2.0", "weights": "llama", "commercial": "no"}, "llama-7b", relation="delta"),
    card("chimera-int4", None, "chimera", relation="quantized"),
    card("phoenix", RAIL, {"repo": "bigscience/bloomz"}, aliases=["bird"]),
    card("fable", {"spdx": "MIT"}, "phoenix", "chimera"),
    card("fable-int8", None, "fable", relation="quantized"),
    card("fable-and-more", None, "fable", {"name": "Secret"}, "gone"),
    card("free", "Apache-2.0"),
    card("freer", "MIT", "free"),
    card("shared", "CC-BY-SA-4.0"),
    card("sold", {"name": "Community", "commercial": "yes"}),
    card("talks", "CC-BY-NC-4.0", kind="dataset"),
    card("speeches", "MIT", kind="dataset", made_from=["talks"]),
]


@pytest.fixture
def cards(monkeypatch: pytest.MonkeyPatch) -> Path:
    """A zoo with these cards only; their folder."""
    monkeypatch.setenv("ZOO_DISABLE_PLUGINS", "registry,hatchling")
    folder = Path(os.environ["ZOO_CONFIG"]) / "cards"
    folder.mkdir(parents=True)
    for each in ZOO:
        (folder / f"{each.id}.yaml").write_bytes(msgspec.json.encode(each))
    return folder


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        pytest.param(
            "fable",
            """\
bigscience/bloomz  (no card)
└─ finetune: phoenix  (bigscience-bloom-rail-1.0; restricted)
   └─ merge: fable  (MIT; non-commercial)
      ├─ merge: fable-and-more  (no licence named; non-commercial; also from a base without card, gone)
      └─ quantized: fable-int8  (no licence named; non-commercial)
llama-7b  (llama; non-commercial)
└─ delta: chimera  (llama; non-commercial)
   └─ merge: fable  (see above)
""",
            id="a merge",
        ),
        pytest.param(
            "llama-7b",
            """\
llama-7b  (llama; non-commercial)
└─ delta: chimera  (llama; non-commercial)
   ├─ quantized: chimera-int4  (no licence named; non-commercial)
   └─ merge: fable  (MIT; non-commercial; also from phoenix)
      ├─ merge: fable-and-more  (no licence named; non-commercial; also from a base without card, gone)
      └─ quantized: fable-int8  (no licence named; non-commercial)
""",
            id="a root",
        ),
        pytest.param(
            "fable-and-more",
            """\
bigscience/bloomz  (no card)
└─ finetune: phoenix  (bigscience-bloom-rail-1.0; restricted)
   └─ merge: fable  (MIT; non-commercial)
      └─ merge: fable-and-more  (no licence named; non-commercial)
llama-7b  (llama; non-commercial)
└─ delta: chimera  (llama; non-commercial)
   └─ merge: fable  (see above)
Secret  (no card)
└─ merge: fable-and-more  (see above)
gone  (no card)
└─ merge: fable-and-more  (see above)
""",
            id="a leaf",
        ),
        pytest.param("free", "free  (Apache-2.0; permissive)\n└─ finetune: freer  (MIT; permissive)\n", id="two"),
        pytest.param("sold", "sold  (Community; unknown)\n", id="alone"),
        pytest.param(
            "speeches", "talks  (CC-BY-NC-4.0; non-commercial)\n└─ speeches  (MIT; non-commercial)\n", id="a dataset"
        ),
    ],
)
def test_show_draws_the_family(cards: Path, run: Run, name: str, expected: str) -> None:
    result = run("show", "--lineage", name)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == expected


def test_show_draws_a_circle_once(cards: Path, run: Run) -> None:
    for name, base in {"hen": "egg", "egg": "hen", "chick": "hen"}.items():
        (cards / f"{name}.yaml").write_bytes(msgspec.json.encode(card(name, "MIT", base)))
    assert run("show", "hen", "--lineage").stdout == (
        "finetune: egg  (MIT; unknown)\n"
        "└─ finetune: hen  (MIT; unknown)\n"
        "   ├─ finetune: egg  (see above)\n"
        "   └─ finetune: chick  (MIT; unknown)\n"
    )
    assert "Problem: the lineage leads round in a circle: " in run("show", "hen").stderr


def test_show_lineage_as_json(cards: Path, run: Run) -> None:
    document = json.loads(run("show", "bird", "--lineage", "--json").stdout)
    assert (document["schema"], document["id"]) == ("zoo.lineage/v1", "phoenix")
    names = [each["name"] for each in document["family"]]
    assert names == ["bigscience/bloomz", "phoenix", "fable", "fable-and-more", "fable-int8"]
    assert document["family"][0] == {
        "name": "bigscience/bloomz",
        "card": False,
        "relation": "",
        "bases": [],
        "license": "",
        "terms": None,
    }
    fable = document["family"][2]
    assert (fable["card"], fable["relation"], fable["bases"]) == (True, "merge", ["phoenix", "chimera"])
    assert fable["terms"] == {
        "kind": "non-commercial",
        "commercial": "no",
        "license": "llama",
        "source": "chimera",
        "link": "",
    }


def test_a_card_by_its_path_is_shown_with_its_own_lineage(cards: Path, run: Run, tmp_path: Path) -> None:
    (tmp_path / "free.yaml").write_bytes(msgspec.json.encode(card("free", "MIT", "phoenix")))
    lines = run("show", "--lineage", str(tmp_path / "free.yaml")).stdout.splitlines()
    assert lines[1:3] == [
        "└─ finetune: phoenix  (bigscience-bloom-rail-1.0; restricted)",
        "   └─ finetune: free  (MIT; restricted)",
    ]
    assert lines[3].strip() == "└─ finetune: freer  (MIT; restricted)"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("free", "permissive, commercial use yes (Apache-2.0)"),
        (
            "phoenix",
            f"restricted, commercial use restricted ({RAIL}, https://huggingface.co/spaces/bigscience/license)",
        ),
        ("fable", "non-commercial, commercial use no, inherited from chimera (llama)"),
        ("speeches", "non-commercial, commercial use no, inherited from talks (CC-BY-NC-4.0)"),
        ("sold", "unknown, commercial use yes (Community)"),
    ],
)
def test_show_tells_the_terms(cards: Path, run: Run, name: str, expected: str) -> None:
    result = run("show", name)
    assert f"\nterms  {expected}\n" in result.stdout
    assert json.loads(run("show", name, "--json").stdout)["terms"]["kind"] == expected.partition(",")[0]


def test_show_tells_a_claim_that_allows_too_much(cards: Path, run: Run) -> None:
    expected = over("MIT", "permissive", "chimera", "llama", "non-commercial") + ", such as llama"
    assert run("show", "fable").stderr == f"Problem: {expected}\n"
    assert json.loads(run("show", "fable", "--json").stdout)["problems"] == [expected]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("--license permissive", ["free", "freer"]),
        ("--license Permissive --commercial", ["free", "freer"]),
        ("--license permissive --commercial *r", ["freer"]),
        ("--license copyleft", ["shared"]),
        ("--license restricted", ["phoenix"]),
        ("--license non-commercial", ["chimera", "chimera-int4", "fable", "fable-and-more", "fable-int8", "llama-7b"]),
        ("--license unknown", ["sold"]),
        ("--commercial", ["free", "freer", "shared", "sold"]),
        ("--license llama", ["chimera", "llama-7b"]),
        ("--license apache-2.0", ["chimera", "free"]),
        ("--license apache-2.0 --commercial", ["free"]),
        ("--license cc-by-sa-4.0", ["shared"]),
        ("--license community", ["sold"]),
        ("--kind dataset --license permissive", []),
        ("--kind all --license non-commercial t* sp*", ["speeches", "talks"]),
    ],
)
def test_list_by_terms(cards: Path, run: Run, arguments: str, expected: list[str]) -> None:
    for _ in range(2):  # from the cards, and from what was remembered of them
        document = json.loads(run("list", *arguments.split(), "--json").stdout)
        assert [each["id"] for each in document["items"]] == expected


def test_escapes_in_names_do_not_reach_the_terminal(cards: Path, run: Run) -> None:
    evil = card("evil", {"name": "\x1b[2Jfree"}, {"name": "\x1b]0;x\x07base"})
    (cards / "evil.yaml").write_bytes(msgspec.json.encode(evil))
    assert run("show", "--lineage", "evil").stdout.splitlines() == [
        "]0;xbase  (no card)",
        "└─ finetune: evil  ([2Jfree; unknown)",
    ]
    assert "\x1b" not in run("show", "evil").output
