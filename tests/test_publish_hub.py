"""Cards are read from a hub and published to it, through the hub's real client against a hub on loopback."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from click.testing import Result
from hub_standin import TOKEN, Hub

from zoo_core import NotFound, Unreachable, ZooError, card_yaml, read_card
from zoo_hub.cards import HubCards

README = "---\nfoo: {keep: me}  # untouched\nlicense: mit\ntags:\n- mine\n---\n# Mine\n\n---\ntext: stays\n"
CARD = """schema: zoo.card/v1
kind: model
id: mine
family: phoenix
summary: A model of mine
license: {spdx: Apache-2.0}
languages: [en]
lineage: {base: {repo: you/base}, relation: finetune}
format: safetensors
evals:
- {dataset: {id: them/bench, task: all}, metric: accuracy, value: 0.5}
- {dataset: {id: our-own}, metric: rank, value: 1.5}
"""


@pytest.fixture
def card(tmp_path: Path) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(CARD)
    return path


@pytest.fixture
def repo(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    return hub.add("me/mine", {"README.md": README.encode(), "config.json": b"{}"})


def changing(hub: Hub) -> list[str]:
    """The requests that could change something."""
    return [f"{each.method} {each.path}" for each in hub.requests if each.method not in {"GET", "HEAD"}]


def test_dry_run_shows_the_exact_change_and_makes_none(
    run: Callable[..., Result], hub: Hub, repo: str, card: Path
) -> None:
    result = run("card", "publish", card, "--to", "hf:me/mine", "--dry-run")
    assert result.exit_code == 0, result.stderr
    assert "+++ b/zoo.yaml" in result.stdout
    assert "-license: mit\n+license: apache-2.0\n" in result.stdout
    assert "+++ b/.eval_results/zoo.yaml" in result.stdout
    assert "nothing was changed" in result.stdout
    assert "our-own" in result.stderr  # what the hub has no words for
    assert changing(hub) == []


def test_pull_request_holds_exactly_what_was_shown(run: Callable[..., Result], hub: Hub, repo: str, card: Path) -> None:
    result = run("card", "publish", card, "--to", "hf:me/mine", "--yes")
    assert result.exit_code == 0, result.stderr
    assert result.stdout.splitlines()[-1] == f"A pull request is open: {hub.url}/me/mine/discussions/1"
    assert hub.files("me/mine")["README.md"] == README.encode()  # the main branch is as it was
    files = hub.files("me/mine", "refs/pr/1")
    assert sorted(files) == [".eval_results/zoo.yaml", "README.md", "config.json", "zoo.yaml"]
    assert files["zoo.yaml"].decode() == card_yaml(read_card(card))
    added = "language:\n- en\nbase_model: you/base\nbase_model_relation: finetune\nlibrary_name: transformers\n"
    expected = README.replace("license: mit", "license: apache-2.0").replace("- mine\n", "- mine\n- zoo-card\n")
    expected = expected.replace("---\n# Mine", f"{added}pipeline_tag: text-generation\n---\n# Mine")
    assert files["README.md"].decode() == expected
    (result_entry,) = yaml.safe_load(files[".eval_results/zoo.yaml"])
    assert result_entry["dataset"] == {"id": "them/bench", "task_id": "all"}


def test_direct_commits_to_the_main_branch_and_a_second_time_finds_nothing_to_do(
    run: Callable[..., Result], hub: Hub, repo: str, card: Path
) -> None:
    result = run("card", "publish", card, "--to", "hf:me/mine", "--direct", "--yes", "--message", "Our card")
    assert result.exit_code == 0, result.stderr
    there = hub.repo("me/mine").find("main")
    assert there is not None
    assert (there.title, there.parent, hub.repo("me/mine").pull_requests) == ("Our card", repo, [])
    again = run("card", "publish", card, "--to", "hf:me/mine", "--yes")
    assert (again.exit_code, again.stdout) == (0, "hf:me/mine has this card already; nothing to change.\n")
    assert HubCards().read("me/mine") == there.files["zoo.yaml"]


VERSIONS: dict[str, tuple[str, str, str]] = {
    "the same version": ("", "summary: Another summary", "already has 'mine' 1.0.0 with another content; raise the v"),
    "a lower version": ("", "version: 0.9.0", "raise the version of your card, 0.9.0, above that."),
    "a higher version": ("", "version: 1.0.1", ""),
    "the tenth version": ("version: 1.9.0", "version: 1.10.0", ""),
    "the card of another": ("id: other", "id: mine", ""),
    "no card": ("family: [", "id: mine", ""),
}


@pytest.mark.parametrize(("first", "second", "says"), VERSIONS.values(), ids=VERSIONS)
def test_what_was_published_under_a_version_never_changes(
    run: Callable[..., Result], hub: Hub, repo: str, card: Path, first: str, second: str, says: str
) -> None:
    def with_line(line: str) -> str:
        kept = [each for each in CARD.splitlines() if each.partition(":")[0] != line.partition(":")[0]]
        return "\n".join([*kept, line, ""])

    hub.add("me/mine", {"zoo.yaml": with_line(first).encode()})
    card.write_text(with_line(second))
    result = run("card", "publish", card, "--to", "hf:me/mine", "--direct", "--yes")
    assert (result.exit_code, says in result.stderr) == (1 if says else 0, True), result.stderr
    published = hub.files("me/mine")["zoo.yaml"].decode()
    assert published == (with_line(first) if says else card_yaml(read_card(card)))


def test_published_card_is_a_reference(run: Callable[..., Result], hub: Hub, repo: str, card: Path) -> None:
    assert run("card", "publish", card, "--to", "hf:me/mine", "--direct", "--yes").exit_code == 0
    shown = run("show", "hf:me/mine")
    assert (shown.exit_code, "A model of mine" in shown.stdout) == (0, True)
    assert "\ncard    hf:me/mine, kept at " in shown.stdout


def test_repository_without_readme_gets_one(run: Callable[..., Result], hub: Hub, repo: str, card: Path) -> None:
    hub.add("me/bare", {"config.json": b"{}"})
    assert run("card", "publish", card, "--to", "hf:me/bare", "--direct", "--yes").exit_code == 0
    assert hub.files("me/bare")["README.md"].startswith(b"---\nlicense: apache-2.0\n")


def test_dataset_goes_to_a_dataset_repository(run: Callable[..., Result], hub: Hub, repo: str, tmp_path: Path) -> None:
    hub.add("me/data", {"data.jsonl": b"{}\n"}, kind="datasets")
    (tmp_path / "data.yaml").write_text("schema: zoo.card/v1\nkind: dataset\nid: data\nsummary: s\nlanguages: [de]\n")
    result = run("card", "publish", tmp_path / "data.yaml", "--to", "hf:me/data", "--direct", "--yes")
    assert result.exit_code == 0, result.stderr
    assert HubCards().read("datasets/me/data").startswith(b"schema: zoo.card/v1\nkind: dataset\n")
    assert b"kind: dataset\nid: data\n" in hub.repo("me/data", "datasets").find("main").files["zoo.yaml"]  # type: ignore[union-attr]


def test_change_by_somebody_else_in_between_is_not_overwritten(hub: Hub, repo: str, card: Path) -> None:
    from zoo_core import PublishRequest

    publication = HubCards().publish(PublishRequest(card=read_card(card), address="me/mine", direct=True))
    theirs = hub.add("me/mine", {"README.md": b"theirs"})
    with pytest.raises(ZooError, match="changed by somebody else meanwhile; look at the change again"):
        publication.carry_out()
    assert hub.repo("me/mine").refs["refs/heads/main"] == theirs


def test_kill_in_the_middle_leaves_all_as_it_was(hub: Hub, repo: str, card: Path) -> None:
    fault = hub.fault("README.md", "slow")
    code = "from zoo_core.cli import main; main()"
    command = [sys.executable, "-c", code, "card", "publish", str(card), "--to", "hf:me/mine", "--direct", "--yes"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        assert fault.reached.wait(60)
        process.send_signal(signal.SIGKILL)
    fault.release.set()
    assert process.returncode == -signal.SIGKILL
    assert (changing(hub), hub.files("me/mine")["README.md"]) == ([], README.encode())
    hub.mend()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    assert "zoo.yaml" in hub.files("me/mine")


REFUSALS: dict[str, tuple[str, dict[str, object], str]] = {
    "no repository": ("hf:me/none", {}, "The hub has no repository me/none, or it is private"),
    "no name": ("hf:mine", {}, "'hf:mine' is no repository; write hf:OWNER/NAME"),
    "dataset's repository": ("hf:datasets/me/mine", {}, "'mine' is a model, but 'hf:datasets/me/mine' is a dataset's"),
    "revision": ("hf:me/mine@main", {}, "names a revision"),
    "unknown place": ("ftp:me/mine", {}, "'ftp' does not begin an address to publish to. Known: "),
    "not allowed": ("hf:me/theirs", {"writable": False}, "The hub does not allow this in me/theirs"),
    "broken front matter": ("hf:me/broken", {}, "The README's front matter cannot be read in line 3"),
    "no text": ("hf:me/binary", {}, "README.md in me/binary is no UTF-8 text"),
}


@pytest.mark.parametrize(("address", "settings", "says"), REFUSALS.values(), ids=REFUSALS)
def test_refusal_is_one_sentence(
    run: Callable[..., Result],
    hub: Hub,
    repo: str,
    card: Path,
    address: str,
    settings: dict[str, bool],
    says: str,
) -> None:
    hub.add("me/theirs", {"config.json": b"{}"}, **settings)  # type: ignore[arg-type]
    hub.add("me/broken", {"README.md": b"---\nlicense: [no\n---\n"})
    hub.add("me/binary", {"README.md": b"\xff\xfe"})
    result = run("card", "publish", card, "--to", address, "--direct", "--yes")
    assert result.exit_code in {1, 2}
    assert says in result.stderr
    assert len(result.stderr.split("Error: ")[1].strip().splitlines()) == 1


def test_no_token_is_said_and_a_token_never_is(
    run: Callable[..., Result], hub: Hub, card: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    hub.add("me/mine", {"README.md": README.encode()})
    result = run("card", "publish", card, "--to", "hf:me/mine", "--yes")
    assert result.exit_code == 1
    assert "set HF_TOKEN or log in with: hf auth login" in result.stderr
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    hub.fault("/api/models/me/mine/commit/", "error", status=500)
    failed = run("card", "publish", card, "--to", "hf:me/mine", "--yes", "--json")
    hub.mend()
    done = run("card", "publish", card, "--to", "hf:me/mine", "--yes", "--json")
    assert (failed.exit_code, done.exit_code) == (1, 0)
    assert TOKEN not in failed.output + failed.stderr + done.output + done.stderr
    holders = [path for path in tmp_path.rglob("*") if path.is_file() and TOKEN.encode() in path.read_bytes()]
    assert holders == []


def test_asks_before_it_publishes(run: Callable[..., Result], hub: Hub, repo: str, card: Path) -> None:
    result = run("card", "publish", card, "--to", "hf:me/mine")
    assert (result.exit_code, "Say --yes" in result.stderr) == (2, True)
    assert changing(hub) == []


def test_card_with_an_error_is_not_published(run: Callable[..., Result], hub: Hub, repo: str, tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text(CARD + "status: stable\n")
    result = run("card", "publish", tmp_path / "bad.yaml", "--to", "hf:me/mine", "--yes")
    assert result.exit_code == 1
    assert "'mine' is not published: status is stable, but" in result.stderr
    assert hub.requests == []


@pytest.mark.parametrize(
    ("address", "error", "says"),
    [
        ("me/mine", NotFound, "has no zoo.yaml; make a card with: zoo card new hf:me/mine"),
        ("me/none", NotFound, "The hub has no repository me/none"),
        ("me/mine@" + "0" * 40, NotFound, "has no such revision"),
        ("mine", ZooError, "is no repository"),
    ],
)
def test_reading_what_is_not_there(hub: Hub, repo: str, address: str, error: type[ZooError], says: str) -> None:
    with pytest.raises(error, match=says):
        HubCards().read(address)


def test_reading_works_from_the_cache_and_says_when_it_cannot(
    hub: Hub, repo: str, card: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    commit = hub.add("me/mine", {"zoo.yaml": CARD.encode()})
    assert HubCards().read(f"me/mine@{commit}") == CARD.encode()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert HubCards().read(f"me/mine@{commit}") == CARD.encode()
    with pytest.raises(Unreachable, match="not on this machine, and the hub is out of reach"):
        HubCards().read("me/other")


def test_a_lone_reference_to_a_hub_is_a_model_and_no_prompt(run: Callable[..., Result], hub: Hub) -> None:
    result = run("chat", "hf:me/none")
    assert (result.exit_code, "The hub has no repository me/none" in result.stderr) == (1, True)


@pytest.mark.parametrize("name", ["zoo.yaml", "README.md"])
def test_what_is_large_is_not_fetched(run: Callable[..., Result], hub: Hub, repo: str, card: Path, name: str) -> None:
    hub.add("me/mine", {name: b"x" * 5_000_001})
    hub.requests.clear()
    result = run("card", "publish", card, "--to", "hf:me/mine", "--dry-run")
    assert (result.exit_code, f"{name} in me/mine has more than 5,000,000 bytes" in result.stderr) == (1, True)
    assert [each.method for each in hub.requests if each.path.endswith(name)] == ["HEAD"]
