"""The stand-in of the hub answers huggingface_hub's real client as the hub does; other tests build on that."""

from __future__ import annotations

import os
from pathlib import Path

import huggingface_hub
import pytest
from hub_standin import TOKEN, Hub
from huggingface_hub import CommitOperationAdd, HfApi
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

WEIGHTS = os.urandom(5000)
FILES = {"config.json": b'{"a": 1}', "model.safetensors": WEIGHTS, "sub/tokenizer.json": b"{}"}


def test_a_repository_is_described_listed_and_downloaded(hub: Hub) -> None:
    commit = hub.add("owner/name", FILES, license="mit", metadata={"tags": ["x"], "base_model": "a/b"})
    api = HfApi()
    info = api.model_info("owner/name", files_metadata=True)
    assert (info.sha, info.card_data.license, info.card_data.base_model, info.gated) == (commit, "mit", "a/b", False)
    large = next(each for each in info.siblings if each.rfilename == "model.safetensors")
    assert large.lfs is not None
    assert (large.size, large.lfs.size) == (5000, 5000)
    listed = {each.path for each in api.list_repo_tree("owner/name", recursive=True, revision=commit)}
    assert listed == {*FILES, "README.md"}
    assert [each.path for each in api.list_repo_tree("owner/name", "sub")] == ["sub/tokenizer.json"]
    assert [each.path for each in api.get_paths_info("owner/name", ["config.json", "no"])] == ["config.json"]
    folder = Path(huggingface_hub.snapshot_download("owner/name", token=TOKEN))
    assert {path: (folder / path).read_bytes() for path in FILES} == FILES
    assert (folder / "model.safetensors").resolve().name == large.lfs.sha256
    assert (folder / "config.json").resolve().name == api.get_paths_info("owner/name", "config.json")[0].blob_id
    assert "authorization" in hub.asked("GET", "/resolve/")[0].headers
    assert all("authorization" not in request.headers for request in hub.asked("GET", "", host="storage"))


def test_datasets_are_repositories_too(hub: Hub) -> None:
    commit = hub.add("owner/data", {"rows.jsonl": b"{}\n"}, license="cc-by-4.0", kind="datasets")
    info = HfApi().dataset_info("owner/data")
    assert (info.sha, info.card_data.license) == (commit, "cc-by-4.0")
    path = huggingface_hub.hf_hub_download("owner/data", "rows.jsonl", repo_type="dataset")
    assert Path(path).read_bytes() == b"{}\n"


def test_earlier_commits_and_branches_stay(hub: Hub) -> None:
    first = hub.add("owner/name", FILES)
    second = hub.add("owner/name", {"config.json": b"{}", "sub/tokenizer.json": None})
    hub.add("owner/name", {"other": b"1"}, branch="trial")
    for revision, expected in ((first, b'{"a": 1}'), (second, b"{}"), ("main", b"{}")):
        path = huggingface_hub.hf_hub_download("owner/name", "config.json", revision=revision)
        assert Path(path).read_bytes() == expected
    assert {branch.name: branch.target_commit for branch in HfApi().list_repo_refs("owner/name").branches} == {
        "main": second,
        "trial": hub.repo("owner/name").refs["refs/heads/trial"],
    }
    assert set(hub.files("owner/name")) == {"config.json", "model.safetensors"}


@pytest.mark.parametrize(
    ("settings", "token", "error"),
    [
        ({"gated": True}, None, GatedRepoError),
        ({"gated": True, "accepted": False}, TOKEN, GatedRepoError),
        ({"private": True}, None, RepositoryNotFoundError),
        ({"private": True, "accepted": False}, TOKEN, RepositoryNotFoundError),
        ({}, "hf_wrong", HfHubHTTPError),
    ],
)
def test_who_may_not_read_is_refused(hub: Hub, settings: dict[str, bool], token: str | None, error: type) -> None:
    hub.add("owner/name", FILES, **settings)
    with pytest.raises(error):
        huggingface_hub.hf_hub_download("owner/name", "config.json", token=token or False)


@pytest.mark.parametrize("settings", [{"gated": True}, {"private": True}])
def test_who_may_read_can(hub: Hub, settings: dict[str, bool]) -> None:
    hub.add("owner/name", FILES, **settings)
    assert Path(huggingface_hub.hf_hub_download("owner/name", "config.json", token=TOKEN)).is_file()
    assert HfApi().whoami(token=TOKEN)["name"] == "tester"


@pytest.mark.parametrize(
    ("repo", "path", "revision", "error"),
    [
        ("owner/none", "config.json", "main", RepositoryNotFoundError),
        ("owner/name", "none", "main", RemoteEntryNotFoundError),
        ("owner/name", "config.json", "0" * 40, RevisionNotFoundError),
    ],
)
def test_what_is_not_there_is_not_found(hub: Hub, repo: str, path: str, revision: str, error: type) -> None:
    hub.add("owner/name", FILES)
    with pytest.raises(error):
        huggingface_hub.hf_hub_download(repo, path, revision=revision)


def operations(text: bytes) -> list[CommitOperationAdd]:
    readme = CommitOperationAdd("README.md", b"---\nlicense: mit\n---\n" + text)
    return [readme, CommitOperationAdd("extra.bin", b"large " + text)]


# The client hands httpx2 files to upload in a way that httpx2 warns of.
@pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
def test_a_pull_request_and_a_direct_commit(hub: Hub) -> None:
    start = hub.add("owner/name", FILES, license="mit")
    api = HfApi(token=TOKEN)
    opened = api.create_commit(
        "owner/name", operations(b"1"), commit_message="Ask", create_pr=True, parent_commit=start
    )
    assert (opened.pr_num, opened.pr_revision, hub.repo("owner/name").refs["refs/heads/main"]) == (
        1,
        "refs/pr/1",
        start,
    )
    assert hub.files("owner/name", "refs/pr/1")["extra.bin"] == b"large 1"
    assert [each.title for each in api.get_repo_discussions("owner/name")] == ["Ask"]
    assert api.get_discussion_details("owner/name", 1).is_pull_request
    done = api.create_commit("owner/name", operations(b"2"), commit_message="Do", parent_commit=start)
    assert hub.repo("owner/name").find("main").id == done.oid  # type: ignore[union-attr]
    with pytest.raises(HfHubHTTPError, match="412"):
        api.create_commit("owner/name", operations(b"3"), commit_message="Late", parent_commit=start)


def test_only_who_may_write_commits(hub: Hub) -> None:
    small = [CommitOperationAdd("a.txt", b"a")]
    hub.add("owner/name", FILES, writable=False)
    with pytest.raises(HfHubHTTPError, match="403"):
        HfApi(token=TOKEN).create_commit("owner/name", small, commit_message="Do")
    with pytest.raises(HfHubHTTPError, match="401"):
        HfApi(token=False).create_commit("owner/name", small, commit_message="Do", create_pr=True)
    assert HfApi(token=TOKEN).create_commit("owner/name", small, commit_message="Ask", create_pr=True).pr_num == 1


@pytest.mark.parametrize(
    ("kind", "start", "expected"),
    [
        ("corrupt", 0, WEIGHTS[:-1] + bytes([WEIGHTS[-1] ^ 1])),
        ("short", 0, WEIGHTS[:2500]),
        ("whole", 4000, WEIGHTS),
        ("redirect", 0, b"elsewhere"),
        (None, 4000, WEIGHTS[4000:]),
    ],
)
def test_faults_show_in_what_arrives(hub: Hub, kind: str | None, start: int, expected: bytes) -> None:
    with Hub() as other:
        hub.add("owner/name", FILES)
        other.add("owner/name", {"f": b"elsewhere"})
        if kind:
            hub.fault("model.safetensors", kind, to=f"{other.url}/owner/name/resolve/main/f", times=1)  # type: ignore[arg-type]
        headers = {"Range": f"bytes={start}-"} if start else {}
        answer = huggingface_hub.get_session().get(
            f"{hub.url}/owner/name/resolve/main/model.safetensors", headers=headers
        )
        assert answer.content == expected
        mended = huggingface_hub.get_session().get(f"{hub.url}/owner/name/resolve/main/model.safetensors")
        assert mended.content == WEIGHTS
