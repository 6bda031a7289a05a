"""The catalog: which card wins, what is reported, how a reference becomes a card, and the index of card files."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from click.testing import Result

from zoo_core import hookimpl
from zoo_core.cards.index import CardIndex
from zoo_core.catalog import Catalog, Place
from zoo_core.errors import CardError, NotFound, ZooError
from zoo_core.paths import cards_folder
from zoo_core.plugins import Plugins
from zoo_core.zoo import Zoo

Run = Callable[..., Result]


def write(path: Path, name: str = "", **fields: Any) -> Path:
    """Write a model's card; it is called like its file unless `name` is given."""
    data = {"schema": "zoo.card/v1", "id": name or path.stem, "family": "f", "summary": "s"} | fields
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.encode(data))
    return path


@pytest.fixture
def places(tmp_path: Path) -> dict[str, Place]:
    """Places as the zoo has them, none of which exists yet."""
    return {
        owner: Place(owner, tmp_path / "places" / owner, rank)
        for owner, rank in {"ours": 10, "theirs": 20, "mine": 30}.items()
    }


# -- precedence --------------------------------------------------------------------------------------------------------


def test_an_empty_catalog(places: dict[str, Place]) -> None:
    catalog = Catalog(places.values())
    assert (catalog.rows(), catalog.names(), catalog.warnings) == ([], [], [])


@pytest.mark.parametrize(
    ("owners", "winner"),
    [
        (["ours"], "ours"),
        (["ours", "theirs"], "theirs"),
        (["ours", "mine"], "mine"),
        (["mine", "theirs", "ours"], "mine"),
        (["ours", "theirs", "mine", "command line"], "command line"),
    ],
    ids=str,
)
def test_the_place_that_counts_most_wins_and_the_others_are_reported(
    places: dict[str, Place], tmp_path: Path, owners: list[str], winner: str
) -> None:
    files = {owner: write(places[owner].folder / "x.yaml", summary=owner) for owner in owners if owner in places}
    given = [write(tmp_path / "given.yaml", "x")] if "command line" in owners else []
    files |= dict.fromkeys(["command line"] * len(given), tmp_path / "given.yaml")
    catalog = Catalog(places.values(), files=given)
    assert [row.path for row in catalog.rows()] == [str(files[winner])]
    assert catalog.owner("x") == winner
    assert catalog.card("x")[1] == files[winner]
    assert len(catalog.warnings) == len(owners) - 1
    for owner in set(owners) - {winner}:
        expected = f"two cards are called 'x': {files[winner]} ({winner}) is used, {files[owner]} ({owner}) is not"
        assert expected in catalog.warnings


def test_the_zoo_ranks_its_places(tmp_path: Path) -> None:
    """The user's own before those of other plugins before ours."""
    folder = tmp_path / "plugin"
    plugin = SimpleNamespace(zoo_card_folders=hookimpl(lambda: [folder]))
    for name in ("phoenix-chat-7b", "both"):
        write(folder / f"{name}.yaml")
    write(Path(os.environ["ZOO_CONFIG"]) / "cards" / "deep" / "both.yaml", summary="mine")
    warnings: list[str] = []
    zoo = Zoo(plugins=Plugins(modules={"other": plugin}), warn=warnings.append)
    assert zoo.catalog.owner("phoenix-chat-7b") == "plugin other"
    assert zoo.catalog.owner("both") == "your cards"
    assert zoo.catalog.owner("vicuna-7b") == "plugin registry"
    assert sorted(warning.partition(":")[0] for warning in warnings) == [
        "two cards are called 'both'",
        "two cards are called 'phoenix-chat-7b'",
    ]


def test_two_cards_of_one_folder(places: dict[str, Place]) -> None:
    first, second = (write(places["mine"].folder / f"{name}.yaml", "x", summary=name) for name in "ab")
    catalog = Catalog(places.values())
    assert catalog.warnings == [f"two cards are called 'x': {first} (mine) is used, {second} (mine) is not"]
    assert len(catalog.rows()) == 1


def test_the_very_same_card_in_two_places_is_nothing_to_report(places: dict[str, Place]) -> None:
    for owner in ("mine", "ours"):
        write(places[owner].folder / "x.yaml", aliases=["y"])
    catalog = Catalog(places.values())
    assert (catalog.warnings, catalog.owner("x")) == ([], "mine")


# -- aliases -----------------------------------------------------------------------------------------------------------


def test_an_alias_stands_for_its_card(places: dict[str, Place]) -> None:
    write(places["ours"].folder / "x.yaml", aliases=["y", "z"])
    catalog = Catalog(places.values())
    assert catalog.names() == ["x", "y", "z"]
    assert {catalog.card(name)[0].id for name in catalog.names()} == {"x"}


def test_an_alias_that_two_cards_of_one_rank_claim_is_nobodys(places: dict[str, Place]) -> None:
    for name in ("a", "b"):
        write(places["mine"].folder / f"{name}.yaml", aliases=["same"])
    catalog = Catalog(places.values())
    assert catalog.warnings == ["the alias 'same' is claimed by 'a' (mine) and 'b' (mine); use one of these ids"]
    with pytest.raises(NotFound, match=r"^The alias 'same' is claimed by 'a' and 'b'; use one of these ids"):
        catalog.card("same")


def test_an_alias_goes_to_the_place_that_counts_most(places: dict[str, Place]) -> None:
    write(places["ours"].folder / "a.yaml", aliases=["same"])
    write(places["mine"].folder / "b.yaml", aliases=["same"])
    catalog = Catalog(places.values())
    assert catalog.card("same")[0].id == "b"
    assert catalog.warnings == ["the alias 'same' is claimed by 'b' (mine) and 'a' (ours); 'b' is used"]


@pytest.mark.parametrize(
    ("place", "winner", "owner"), [("mine", "b", "mine"), ("ours", "a", "ours")], ids=["higher", "same"]
)
def test_an_id_is_stronger_than_an_alias_of_its_own_rank(
    places: dict[str, Place], place: str, winner: str, owner: str
) -> None:
    write(places["ours"].folder / "a.yaml")
    write(places[place].folder / "b.yaml", aliases=["a"])
    catalog = Catalog(places.values())
    assert catalog.card("a")[0].id == winner
    told = f"the alias 'a' is the id of 'a' (ours) and claimed by 'b' ({owner}); '{winner}' is used"
    assert catalog.warnings == [told]


def test_a_conflict_is_told_when_its_name_is_used_however_many_there_are(places: dict[str, Place]) -> None:
    for number in range(30):
        for place in ("mine", "ours"):
            write(places[place].folder / f"m{number:02d}.yaml", summary=place)
    told: list[str] = []
    catalog = Catalog(places.values(), warn=told.append)
    assert catalog.card("m25")[0].summary == "mine"
    assert [each.startswith("two cards are called 'm25': ") for each in told] == [True]


def test_aliases_that_say_nothing_new_do_no_harm(places: dict[str, Place]) -> None:
    write(places["mine"].folder / "x.yaml", aliases=["x", "y", "y"])
    catalog = Catalog(places.values())
    assert catalog.warnings == []
    assert catalog.card("y")[0].id == catalog.card("x")[0].id == "x"


def test_aliases_of_a_card_that_lost_are_gone(places: dict[str, Place]) -> None:
    write(places["ours"].folder / "x.yaml", aliases=["old"])
    write(places["mine"].folder / "x.yaml", aliases=["new"])
    catalog = Catalog(places.values())
    assert catalog.names() == ["new", "x"]


# -- broken cards --------------------------------------------------------------------------------------------------------

BROKEN = {
    "no YAML": b"{",
    "nothing": b"",
    "unknown field": b"schema: zoo.card/v1\nid: y\nfamily: f\nsummary: s\nlicence: {}\n",
    "no text": b"\xff\xfe\x00",
    "wrong tag": b"schema: !!bool maybe\n",
    "deep": b"[" * 100_000,
}


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_card_costs_one_warning(places: dict[str, Place], content: bytes) -> None:
    folder = places["mine"].folder
    write(folder / "a.yaml")
    (folder / "b.yaml").write_bytes(content)
    write(folder / "c.yaml")
    catalog = Catalog(places.values())
    (warning,) = catalog.warnings
    assert warning.startswith(f"card left out: {folder / 'b.yaml'}")
    assert [row.id for row in catalog.rows()] == ["a", "c"]


def test_a_broken_card_named_on_the_command_line_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "b.yaml").write_bytes(b"{")
    with pytest.raises(CardError, match=r"b\.yaml"):
        Catalog([], files=[tmp_path / "b.yaml"])


def test_a_card_that_breaks_after_it_was_listed(places: dict[str, Place]) -> None:
    path = write(places["mine"].folder / "a.yaml")
    catalog = Catalog(places.values())
    path.write_bytes(b"{")
    with pytest.raises(CardError, match=r"a\.yaml"):
        catalog.card("a")
    path.unlink()
    with pytest.raises(CardError, match=r"a\.yaml cannot be read: No such file"):
        catalog.card("a")


# -- which files are cards -------------------------------------------------------------------------------------------------


def test_cards_lie_anywhere_below_a_folder(places: dict[str, Place]) -> None:
    folder = places["mine"].folder
    for path in ("a.yaml", "b.yml", "c/d/e.yaml", "f.yaml/g.yaml"):
        write(folder / path)
    for path in (".hidden.yaml", ".git/h.yaml", "i.yaml~", "j.json", "k.YAML", "notes.txt"):
        write(folder / path, "not-a-card")
    catalog = Catalog(places.values())
    assert [row.id for row in catalog.rows()] == ["a", "b", "e", "g"]
    assert catalog.warnings == []


def test_a_file_for_a_folder_holds_no_cards(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    assert Catalog([Place("mine", tmp_path / "file", 30)]).rows() == []


def test_links_that_lead_round_or_nowhere_do_no_harm(places: dict[str, Place]) -> None:
    folder = places["mine"].folder
    write(folder / "sub" / "a.yaml")
    (folder / "round").symlink_to(".")
    (folder / "sub" / "up").symlink_to("..")
    (folder / "itself").symlink_to("itself")
    (folder / "nowhere.yaml").symlink_to("nothing")
    catalog = Catalog(places.values())
    assert [row.id for row in catalog.rows()] == ["a"]
    assert catalog.warnings == []


def test_linked_folders_and_files_are_read(places: dict[str, Place], tmp_path: Path) -> None:
    folder = places["mine"].folder
    folder.mkdir(parents=True)
    write(tmp_path / "elsewhere" / "a.yaml")
    (folder / "linked").symlink_to(tmp_path / "elsewhere")
    (folder / "b.yaml").symlink_to(write(tmp_path / "other.yaml", "b"))
    assert [row.id for row in Catalog(places.values()).rows()] == ["a", "b"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes")
def test_what_is_no_file_is_not_waited_for(places: dict[str, Place]) -> None:
    write(places["mine"].folder / "a.yaml")
    os.mkfifo(places["mine"].folder / "pipe.yaml")
    assert [row.id for row in Catalog(places.values()).rows()] == ["a"]


# -- patterns --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        ([], ["bird-7b", "bird-7b-chat", "wolf-13b"]),
        (["bird*"], ["bird-7b", "bird-7b-chat"]),
        (["*-7b"], ["bird-7b"]),
        (["wolf-13b"], ["wolf-13b"]),
        (["wolf-?3b", "bird-7b"], ["bird-7b", "wolf-13b"]),
        (["[bw]*b"], ["bird-7b", "wolf-13b"]),
        (["can*"], ["wolf-13b"]),
        (["BIRD*"], []),
        (["bird"], []),
        ([""], []),
        (["*"], ["bird-7b", "bird-7b-chat", "wolf-13b"]),
    ],
    ids=str,
)
def test_patterns_match_ids_and_aliases(places: dict[str, Place], patterns: list[str], expected: list[str]) -> None:
    for name in ("bird-7b", "bird-7b-chat"):
        write(places["ours"].folder / f"{name}.yaml")
    write(places["mine"].folder / "wolf-13b.yaml", aliases=["canis"])
    assert [row.id for row in Catalog(places.values()).rows(patterns)] == expected


# -- references --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def catalog(places: dict[str, Place], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Catalog:
    """A catalog with one model and one dataset; more cards lie in the working folder."""
    write(places["mine"].folder / "phoenix.yaml", aliases=["bird"], version="1.2.0")
    (places["mine"].folder / "talks.yaml").write_text("schema: zoo.card/v1\nkind: dataset\nid: talks\nsummary: s\n")
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "card.yaml", "of-file")
    write(tmp_path / "card.yml", "of-yml")
    write(tmp_path / "weights" / "zoo.yaml", "of-folder")
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path))
    return Catalog(places.values())


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("phoenix", "phoenix"),
        ("bird", "phoenix"),
        ("phoenix@1.2.0", "phoenix"),
        ("bird@1.2.0", "phoenix"),
        ("./card.yaml", "of-file"),
        ("card.yaml", "of-file"),
        ("card.yml", "of-yml"),
        ("weights/zoo.yaml", "of-folder"),
        ("./weights", "of-folder"),
        ("./weights/", "of-folder"),
        ("~/weights", "of-folder"),
        ("./empty/../weights", "of-folder"),
    ],
)
def test_references(catalog: Catalog, reference: str, expected: str) -> None:
    card, path = catalog.model(reference)
    assert card.id == expected
    assert path.is_file()
    assert catalog.knows(reference)


def test_an_absolute_path_is_a_reference(catalog: Catalog, tmp_path: Path) -> None:
    assert catalog.card(str(tmp_path / "weights"))[1] == tmp_path / "weights" / "zoo.yaml"


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("phenix", "No model is called 'phenix'. Did you mean phoenix? See all of them with: zoo list"),
        ("Phoenix", "No model is called 'Phoenix'. Did you mean phoenix? See all of them with: zoo list"),
        ("zebra", "No model is called 'zebra'. See all of them with: zoo list"),
        ("", "No model is called ''. See all of them with: zoo list"),
        ("@1.2.0", "No model is called ''. See all of them with: zoo list"),
        ("weights", "No model is called 'weights'. See all of them with: zoo list"),
        ("phoenix@2.0.0", "The card of 'phoenix' has version 1.2.0, not 2.0.0."),
        ("hf:a/b", "'hf:a/b' names no card: no registry and no source of cards is called 'hf'."),
        ("./nothing", "There is no card at nothing."),
        ("nothing.yaml", "There is no card at nothing.yaml."),
        ("~no-such-user/x", "There is no card at ~no-such-user/x."),
        ("./" + "x" * 300, f"There is no card at {'x' * 300}."),
        ("card.yaml/x.yaml", "There is no card at card.yaml/x.yaml."),
        ("./empty", "The folder empty holds no card (zoo.yaml), so the zoo cannot tell what its weights are."),
    ],
    ids=lambda each: each[:20],
)
def test_references_to_nothing(catalog: Catalog, reference: str, message: str) -> None:
    with pytest.raises(NotFound) as caught:
        catalog.model(reference)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    "reference", ["phenix", "", "./nothing", "nothing.yaml", "~no-such-user", "./" + "x" * 300], ids=str
)
def test_what_the_catalog_does_not_know(catalog: Catalog, reference: str) -> None:
    assert not catalog.knows(reference)


def test_a_dataset_is_no_model(catalog: Catalog) -> None:
    assert catalog.card("talks")[0].id == "talks"
    with pytest.raises(CardError, match=r"^'talks' is a dataset, not a model\.$"):
        catalog.model("talks")


def test_what_is_neither_file_nor_folder_is_refused(catalog: Catalog) -> None:
    with pytest.raises(ZooError, match=r"^/dev/null is neither a card file nor a folder"):
        catalog.card("/dev/null")


@pytest.mark.parametrize("given", ["./weights", "./weights/zoo.yaml", "~/weights"])
def test_files_of_the_command_line_may_be_folders(catalog: Catalog, given: str) -> None:
    assert [row.id for row in Catalog([], files=[Path(given)]).rows()] == ["of-folder"]


def test_find_tells_nothing_where_there_is_nothing(places: dict[str, Place]) -> None:
    write(places["mine"].folder / "a.yaml", aliases=["b"])
    catalog = Catalog(places.values())
    assert [card.id if (card := catalog.find(name)) else None for name in ("a", "b", "c", "./a", "x:y")] == [
        "a",
        "a",
        None,
        None,
        None,
    ]
    (places["mine"].folder / "a.yaml").unlink()
    assert catalog.find("a") is None


# -- the default model -------------------------------------------------------------------------------------------------------

SHIPPED = [{"hub": "package", "repo": "p", "path": "weights"}]


def test_without_shipped_weights_there_is_no_default(places: dict[str, Place]) -> None:
    write(places["ours"].folder / "a.yaml", sources=[{"hub": "huggingface", "repo": "a/b"}])
    with pytest.raises(NotFound, match=r"^No model is installed with its weights; name one, or set ZOO_MODEL"):
        Catalog(places.values()).default_model()


def test_the_default_is_shipped_with_its_weights(places: dict[str, Place]) -> None:
    write(places["ours"].folder / "a.yaml", sources=[{"hub": "huggingface", "repo": "a/b"}])
    write(places["ours"].folder / "z.yaml", sources=SHIPPED)
    dataset = "schema: zoo.card/v1\nkind: dataset\nid: b\nsummary: s\nsources: [{hub: package, repo: p}]\n"
    (places["ours"].folder / "b.yaml").write_text(dataset)
    assert Catalog(places.values()).default_model() == "z"


def test_among_shipped_models_ours_come_first_then_stable_ones_then_by_name(places: dict[str, Place]) -> None:
    write(places["mine"].folder / "a.yaml", sources=SHIPPED, status="stable")
    assert Catalog(places.values()).default_model() == "a"
    write(places["ours"].folder / "c.yaml", sources=SHIPPED)
    assert Catalog(places.values()).default_model() == "c"
    write(places["ours"].folder / "b.yaml", sources=SHIPPED)
    assert Catalog(places.values()).default_model() == "b"
    write(places["ours"].folder / "d.yaml", sources=SHIPPED, status="stable")
    assert Catalog(places.values()).default_model() == "d"


@pytest.mark.parametrize(("value", "expected"), [("mine", "mine"), ("./card.yaml", "./card.yaml"), ("", "z")])
def test_the_user_may_name_the_default(
    places: dict[str, Place], monkeypatch: pytest.MonkeyPatch, value: str, expected: str
) -> None:
    write(places["ours"].folder / "z.yaml", sources=SHIPPED)
    monkeypatch.setenv("ZOO_MODEL", value)
    assert Catalog(places.values()).default_model() == expected


# -- the index -----------------------------------------------------------------------------------------------------------------


def summaries(places: dict[str, Place], index: Path) -> list[str]:
    return [row.summary for row in Catalog(places.values(), index=index).rows()]


@pytest.fixture
def index(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "cards.msgpack"


def test_the_index_is_read_in_place_of_cards_that_have_not_changed(places: dict[str, Place], index: Path) -> None:
    path = write(places["mine"].folder / "a.yaml", summary="old")
    assert summaries(places, index) == ["old"]
    status = path.stat()
    path.write_bytes(path.read_bytes().replace(b"old", b"new"))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert summaries(places, index) == ["old"]  # the same size and time: nobody looked into the file
    assert Catalog(places.values(), index=index).card("a")[0].summary == "new"  # a card itself is always read


@pytest.mark.parametrize("change", ["size", "time", "older"])
def test_a_changed_card_is_read_again(places: dict[str, Place], index: Path, change: str) -> None:
    path = write(places["mine"].folder / "a.yaml", summary="old")
    assert summaries(places, index) == ["old"]
    status = path.stat()
    write(path, summary="newer" if change == "size" else "new")
    shift = {"size": 0, "time": 1, "older": -1_000_000_000}[change]
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + shift))
    assert summaries(places, index) == ["newer" if change == "size" else "new"]


def test_broken_cards_are_remembered_with_their_problem(places: dict[str, Place], index: Path) -> None:
    path = places["mine"].folder / "a.yaml"
    write(path)
    path.write_bytes(b"{")
    first = Catalog(places.values(), index=index).warnings
    written = index.stat().st_mtime_ns
    assert Catalog(places.values(), index=index).warnings == first != []
    assert index.stat().st_mtime_ns == written


def test_the_index_forgets_files_that_are_gone(places: dict[str, Place], index: Path) -> None:
    gone = write(places["mine"].folder / "a.yaml")
    assert len(summaries(places, index)) == 1
    gone.unlink()
    write(places["mine"].folder / "b.yaml")
    assert len(summaries(places, index)) == 1
    assert str(gone).encode() not in index.read_bytes()


def test_the_index_keeps_cards_of_places_that_are_not_asked_for(places: dict[str, Place], index: Path) -> None:
    for owner in ("mine", "ours"):
        write(places[owner].folder / f"{owner}.yaml")
    summaries(places, index)
    whole = index.read_bytes()
    summaries({"mine": places["mine"]}, index)
    assert index.read_bytes() == whole


DAMAGED: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda good: b"",
    "garbage": lambda good: b"garbage",
    "cut": lambda good: good[:-5],
    "another shape": lambda good: msgspec.msgpack.encode([1, 2, 3]),
    "another format": lambda good: good.replace(b"zoo.card/v1/rows", b"zoo.card/v0/rows"),
    "no UTF-8": lambda good: good.replace(b"told", b"t\xffld"),
    "nested without end": lambda good: b"\x91" * 100_000,
}


@pytest.mark.parametrize("damage", DAMAGED.values(), ids=DAMAGED.keys())
def test_a_damaged_index_is_made_anew(places: dict[str, Place], index: Path, damage: Callable[[bytes], bytes]) -> None:
    write(places["mine"].folder / "a.yaml", summary="told")
    assert summaries(places, index) == ["told"]
    good = index.read_bytes()
    assert damage(good) != good
    index.write_bytes(damage(good))
    assert summaries(places, index) == ["told"]
    assert index.read_bytes() == good


@pytest.mark.parametrize("kind", ["below a file", "a folder"])
def test_an_index_that_cannot_be_written_does_no_harm(places: dict[str, Place], tmp_path: Path, kind: str) -> None:
    write(places["mine"].folder / "a.yaml")
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "folder" / "inside").mkdir(parents=True)
    index = tmp_path / "file" / "cards.msgpack" if kind == "below a file" else tmp_path / "folder"
    assert summaries(places, index) == ["s"]
    assert list((tmp_path / "folder").iterdir()) == [tmp_path / "folder" / "inside"]


def test_without_a_place_nothing_is_remembered(places: dict[str, Place], tmp_path: Path) -> None:
    write(places["mine"].folder / "a.yaml")
    index = CardIndex(None)
    assert len(index.rows(places["mine"].folder)) == 1
    index.save()
    assert [path.name for path in tmp_path.iterdir() if path.name not in {"places", "zoo"}] == []


def test_a_command_goes_on_where_no_cache_can_be_written(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    expected = run("list").stdout
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "file" / "below"))
    result = run("list")
    assert (result.exit_code, result.stdout, result.stderr) == (0, expected, "")


@pytest.mark.parametrize(("broken", "told", "last"), [(10, 10, "m-9.yaml"), (13, 11, "3 cards more have problems")])
def test_many_problems_are_counted_not_listed(zoo_folders: Path, broken: int, told: int, last: str) -> None:
    for number in range(broken):
        path = cards_folder() / f"m-{number}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("schema: zoo.card/v1\nid: x\n")
    warnings: list[str] = []
    assert Zoo(plugins=Plugins([]), warn=warnings.append).catalog.rows() == []
    assert len(warnings) == told
    assert last in warnings[-1]
