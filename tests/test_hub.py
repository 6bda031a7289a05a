"""Weights from the hub, with the real client library against the stand-in: what arrives, what is refused, what is kept."""

from __future__ import annotations

import hashlib
import random
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import huggingface_hub
import pytest
from hub_repositories import Kind, blob_id
from hub_standin import TOKEN, Hub
from huggingface_hub import constants

from zoo_core import Download, NotFound, RemoteFile, Source, Unreachable, WeightsError, Zoo, ZooError
from zoo_core.parallel import AT_ONCE
from zoo_hub import transfers
from zoo_hub.cache import RepositoryCache
from zoo_hub.weights import HubWeights

WEIGHTS = random.Random(3).randbytes(3_000_000)
FILES = {"config.json": b'{"model_type": "small"}', "model.safetensors": WEIGHTS, "sub/tokenizer.json": b"{}"}


@pytest.fixture
def commit(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> str:
    """The commit of the repository `me/mine`; nothing waits long before it is tried again."""
    monkeypatch.setattr(transfers, "PAUSE", 0.01)
    return hub.add("me/mine", FILES, license="apache-2.0", metadata={"base_model": "a/b"})


def at(revision: str = "", repo: str = "me/mine") -> Source:
    return Source(hub="huggingface", repo=repo, revision=revision)


def listed(files: Mapping[str, bytes] = FILES) -> list[RemoteFile]:
    return [
        RemoteFile(path=path, size=len(content), sha256=hashlib.sha256(content).hexdigest())
        for path, content in files.items()
    ]


def check(path: Path, file: RemoteFile) -> None:
    """What a pull checks, in short."""
    content = path.read_bytes()
    right = hashlib.sha256(content).hexdigest() == file.sha256 if file.sha256 else blob_id(content) == file.git_id
    if not right:
        raise WeightsError(f"The file {file.path} is damaged.")


def download(source: Source, files: list[RemoteFile] | None = None) -> Path:
    return HubWeights().download(Download(source=source, files=files or listed(), check=check))


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }


def visible() -> list[str]:
    """Everything that a program which uses the hub's cache could take for a file of a model."""
    cache = Path(constants.HF_HUB_CACHE)
    return sorted(
        path.name for part in ("snapshots", "blobs") for path in cache.glob(f"*/{part}/**/*") if not path.is_dir()
    )


def weights_asked(hub: Hub) -> list[str | None]:
    """The ranges of the weights that were asked for."""
    return [each.headers.get("range") for each in hub.asked("GET", "/objects/", "storage")]


def test_the_plugin_offers_it(zoo: Zoo) -> None:
    assert zoo.offer("zoo_weight_sources", "huggingface", "weight source").load() is HubWeights


def test_inspect_asks_once_and_tells_all(hub: Hub, commit: str) -> None:
    found = HubWeights().inspect(at())
    assert (found.repo, found.revision, found.license, found.gated) == ("me/mine", commit, "apache-2.0", False)
    assert (found.metadata["base_model"], found.address) == ("a/b", f"{hub.url}/me/mine")
    files = {file.path: file for file in found.files}
    assert files["model.safetensors"] == listed()[1]
    assert files["config.json"] == RemoteFile(path="config.json", size=23, git_id=blob_id(FILES["config.json"]))
    assert len(hub.requests) == 1


def test_inspect_finds_an_earlier_commit_and_a_gate(hub: Hub, commit: str) -> None:
    hub.add("me/mine", {"new.json": b"{}"}, gated=True)
    assert "new.json" not in {file.path for file in HubWeights().inspect(at(commit)).files}
    assert HubWeights().inspect(at("main")).gated


@pytest.mark.parametrize(
    ("start", "size", "kind"),
    [(0, 8, None), (2_999_990, 100, None), (3_000_000, 5, None), (100, 100_000, "whole"), (2_999_990, 100, "whole")],
)
def test_a_part_of_a_file_is_read(hub: Hub, commit: str, start: int, size: int, kind: Kind | None) -> None:
    if kind:
        hub.fault("model.safetensors", kind)
    assert HubWeights().read(at(commit), "model.safetensors", start=start, size=size) == WEIGHTS[start : start + size]
    assert HubWeights().read(at(commit), "sub/tokenizer.json") == b"{}"


@pytest.mark.parametrize("revision", ["", "main", "commit"])
def test_files_come_into_the_cache_and_are_not_fetched_again(hub: Hub, commit: str, revision: str) -> None:
    source = at(commit if revision == "commit" else revision)
    moved: dict[str, int] = {}
    request = Download(
        source=source, files=listed(), check=check, progress=lambda path, done, total: moved.update({path: done})
    )
    folder = HubWeights().download(request)
    assert (folder.name, contents(folder), moved) == (commit, FILES, {path: len(text) for path, text in FILES.items()})
    assert HubWeights().present(at(commit), listed()).keys() == FILES.keys()
    assert list(HubWeights().store(source).iterdir()) == []
    moved.clear()
    before = len(hub.requests)
    assert HubWeights().download(request) == folder
    assert len(hub.requests) == before + (0 if revision == "commit" else 1)
    assert moved == {path: len(text) for path, text in FILES.items()}


def test_what_is_not_asked_for_is_not_fetched(hub: Hub, commit: str) -> None:
    assert contents(download(at(commit), listed()[:1])) == {"config.json": FILES["config.json"]}
    assert weights_asked(hub) == []
    assert HubWeights().present(at(commit), listed()).keys() == {"config.json"}


def test_the_client_library_finds_our_files(hub: Hub, commit: str) -> None:
    folder = download(at(commit))
    files = len(hub.asked("GET", "/resolve/"))
    assert Path(huggingface_hub.snapshot_download("me/mine", revision=commit, ignore_patterns="README.md")) == folder
    assert Path(huggingface_hub.snapshot_download("me/mine", ignore_patterns="README.md")) == folder
    assert (len(hub.asked("GET", "/resolve/")), hub.asked("HEAD", "")) == (files, [])
    scanned = huggingface_hub.scan_cache_dir(constants.HF_HUB_CACHE)
    assert (scanned.warnings, [repo.repo_id for repo in scanned.repos]) == ([], ["me/mine"])


def test_we_find_the_client_librarys_files(hub: Hub, commit: str) -> None:
    folder = Path(huggingface_hub.snapshot_download("me/mine"))
    before = len(hub.requests)
    assert HubWeights().present(at(), listed()).keys() == FILES.keys()
    assert download(at(commit)) == folder
    assert len(hub.requests) == before


def test_a_content_that_another_commit_has_is_not_fetched_again(hub: Hub, commit: str) -> None:
    download(at(commit))
    files = {**FILES, "config.json": b"{}", "copy.safetensors": WEIGHTS}
    newer = hub.add("me/mine", files)
    assert contents(download(at(newer), listed(files))) == files
    assert len(weights_asked(hub)) == 1
    assert contents(RepositoryCache("me/mine").snapshot(commit)) == FILES


def test_without_symbolic_links_files_are_moved_and_copied(
    hub: Hub, commit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_SYMLINKS", True)
    folder = download(at(commit))
    assert contents(folder) == FILES
    assert not (folder / "model.safetensors").is_symlink()
    assert HubWeights().remove(at(commit), listed()) == sum(map(len, FILES.values()))


@pytest.mark.parametrize(
    ("path", "kind", "error", "says"),
    [
        ("model.safetensors", "corrupt", WeightsError, "model.safetensors is damaged"),
        ("config.json", "corrupt", WeightsError, "config.json is damaged"),
        ("model.safetensors", "short", WeightsError, "model.safetensors of me/mine has 1,500,000 bytes, not 3,000,000"),
        (
            "model.safetensors",
            "truncated",
            Unreachable,
            "The hub cannot be reached for me/mine: peer closed connection",
        ),
        ("model.safetensors", "whole", None, ""),
        ("model.safetensors", "unsaid", WeightsError, "model.safetensors of me/mine ends after 1,500,000 of 3,000,000"),
        ("model.safetensors", "endless", WeightsError, "model.safetensors of me/mine has more than 3,000,000 bytes"),
        ("model.safetensors", "lying", WeightsError, r"model.safetensors of me/mine at commit \w+ has the sha256 "),
        ("model.safetensors", "html", Unreachable, "does not answer for me/mine as a hub does"),
        ("model.safetensors", "missing", NotFound, "me/mine has no file model.safetensors at"),
        ("model.safetensors", "error", Unreachable, "The hub answers 500 for me/mine; try again later"),
        ("/api/models", "html", Unreachable, "does not answer for me/mine as a hub does"),
        ("/api/models", "error", Unreachable, "The hub answers 500 for me/mine"),
        ("/objects", "error", Unreachable, "The hub answers 500 for me/mine"),
        ("/objects", "html", WeightsError, "has 36 bytes, not 3,000,000"),
    ],
)
def test_what_is_wrong_never_becomes_visible(
    hub: Hub, commit: str, path: str, kind: Kind, error: type[ZooError] | None, says: str
) -> None:
    hub.fault(path, kind)
    if error is None:
        assert contents(download(at(commit))) == FILES
        return
    with pytest.raises(error, match=says):
        download(at(commit))
    damaged = "config.json" if path == "config.json" else "model.safetensors"
    content = FILES[damaged]
    assert not {damaged, blob_id(content), hashlib.sha256(content).hexdigest()} & set(visible())
    hub.mend()
    assert contents(download(at(commit))) == FILES


@pytest.mark.parametrize(("kind", "times"), [("error", 2), ("truncated", 1)])
def test_what_passes_is_waited_for(hub: Hub, commit: str, kind: Kind, times: int) -> None:
    hub.fault("model.safetensors", kind, times=times)
    assert contents(download(at(commit))) == FILES


@pytest.mark.parametrize(
    ("source", "says"),
    [
        (at(repo="me/none"), "The hub has no repository me/none, or it is private"),
        (at("0" * 40), "me/mine has no such revision"),
        (at(repo="../../me"), "'../../me' is no name of a repository"),
        (at(repo="me/mine/more"), "'me/mine/more' is no name of a repository"),
    ],
)
def test_what_is_not_there_is_not_found(hub: Hub, commit: str, source: Source, says: str) -> None:
    for attempt in (HubWeights().inspect, download, lambda source: HubWeights().read(source, "config.json")):
        with pytest.raises(NotFound, match=says):
            attempt(source)


@pytest.mark.parametrize("path", ["../../../secret", "/etc/passwd", "a/../../b", "a\\b", ""])
def test_a_path_that_leads_out_of_its_folder_is_refused(hub: Hub, commit: str, path: str) -> None:
    with pytest.raises(WeightsError, match="is no path of a file in a repository"):
        HubWeights().present(at(commit), [RemoteFile(path=path, size=1)])
    with pytest.raises(WeightsError, match="is no path of a file in a repository"):
        HubWeights().remove(at(commit), [RemoteFile(path=path, size=1)])


def test_a_digest_that_is_none_is_refused(hub: Hub, commit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "digest", lambda path, content: "../../../../evil")
    with pytest.raises(WeightsError, match=r"The hub tells the sha256 '../../../../evil' of model.safetensors"):
        download(at(commit))


def test_another_size_than_the_hubs_is_refused_before_anything_is_fetched(hub: Hub, commit: str) -> None:
    wrong = [*listed(), RemoteFile(path="README.md", size=1)]
    with pytest.raises(WeightsError, match=r"README.md of me/mine at commit \w+ has \d+ bytes, not 1"):
        download(at(commit), wrong)
    with pytest.raises(WeightsError, match=r"has no file none\.json"):
        download(at(commit), [RemoteFile(path="none.json", size=1)])
    assert hub.asked("GET", "/resolve/") == []


def test_a_damaged_file_in_the_cache_is_not_used(hub: Hub, commit: str) -> None:
    blob = (download(at(commit)) / "model.safetensors").resolve()
    blob.write_bytes(WEIGHTS[:-1] + b"x")
    hub.fault("model.safetensors", "corrupt")
    with pytest.raises(WeightsError, match=r"model\.safetensors is damaged"):
        download(at(commit))
    assert blob.exists()  # nothing better has come
    hub.mend()
    assert contents(download(at(commit))) == FILES
    blob.write_bytes(WEIGHTS[:-1] + b"x")
    newer = hub.add("me/mine", {"new.json": b"{}"})
    assert contents(download(at(newer))) == contents(download(at(commit))) == FILES


@pytest.mark.parametrize(
    ("settings", "token", "error", "says"),
    [
        ({"gated": True}, "", ZooError, "accept it at http://[^ ]+/me/mine, then set HF_TOKEN"),
        ({"gated": True, "accepted": False}, TOKEN, ZooError, "accept it at http://[^ ]+/me/mine"),
        ({"private": True}, "", NotFound, "no repository me/mine, or it is private; check the name, and set HF_TOKEN"),
        ({"private": True, "accepted": False}, TOKEN, NotFound, "no repository me/mine, or it is private"),
        ({}, "hf_wrong", ZooError, "The hub does not know you for me/mine; set HF_TOKEN"),
        ({"gated": True}, TOKEN, None, ""),
        ({"private": True}, TOKEN, None, ""),
    ],
)
def test_who_may_have_the_files(
    hub: Hub,
    commit: str,
    monkeypatch: pytest.MonkeyPatch,
    settings: dict[str, bool],
    token: str,
    error: type[ZooError] | None,
    says: str,
) -> None:
    hub.add("me/mine", {}, **settings)  # type: ignore[arg-type]
    monkeypatch.setenv("HF_TOKEN", token)
    if error is None:
        assert contents(download(at(commit))) == FILES
        return
    with pytest.raises(error, match=says) as raised:
        download(at(commit))
    assert not token or token not in str(raised.value)


def test_the_token_stays_with_the_hub(
    hub: Hub, commit: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with Hub() as other:
        other.add("me/mine", FILES)
        hub.fault("config.json", "redirect", to=f"{other.url}/me/mine/resolve/main/config.json")
        download(at(commit))
        asked = [*hub.requests, *other.requests]
    with_token = {request.host for request in hub.requests if "authorization" in request.headers}
    assert (with_token, {request.host for request in hub.requests}) == ({"hub"}, {"hub", "storage"})
    assert [request.path for request in other.requests] == ["/me/mine/resolve/main/config.json"]
    assert all("authorization" not in request.headers for request in other.requests)
    assert not any(TOKEN in f"{request.path}{request.query}" for request in asked)
    assert TOKEN not in "".join(capfd.readouterr())
    assert not any(TOKEN.encode() in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


def test_the_hubs_own_login_is_used(hub: Hub, commit: str) -> None:
    hub.add("me/mine", {}, private=True)
    Path(constants.HF_TOKEN_PATH).parent.mkdir(parents=True, exist_ok=True)
    Path(constants.HF_TOKEN_PATH).write_text(TOKEN)
    assert contents(download(at(commit))) == FILES


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("HF_TOKEN", "hf_t\u00f6ken", "because the token has characters that none has; set HF_TOKEN"),
        (
            "ALL_PROXY",
            "ftp://me:secret@proxy",
            "through the proxy that the environment names: Unknown scheme .*; look at HTTPS_PR",
        ),
        ("ALL_PROXY", "http://proxy:port", "through the proxy that the environment names: Invalid port"),
        (
            "SSL_CERT_FILE",
            "nowhere.pem",
            "because the certificates that the environment names cannot be read: No such f",
        ),
    ],
)
def test_settings_that_are_wrong(
    hub: Hub, commit: str, monkeypatch: pytest.MonkeyPatch, name: str, value: str, says: str
) -> None:
    monkeypatch.setenv(name, value)
    huggingface_hub.close_session()  # which is made anew with the settings
    for attempt in (HubWeights().inspect, download, lambda source: HubWeights().read(source, "config.json")):
        with pytest.raises(ZooError, match=says) as raised:
            attempt(at(commit))
        assert "secret" not in str(raised.value)
        assert name != "HF_TOKEN" or value not in str(raised.value)


def test_a_login_that_cannot_be_read(hub: Hub, commit: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "file" / "token"))
    for attempt in (HubWeights().inspect, download, lambda source: HubWeights().read(source, "config.json")):
        with pytest.raises(
            ZooError, match=rf"because {tmp_path}/file/token cannot be read: Not a directory; look at HF_"
        ):
            attempt(at(commit))


def test_offline_nothing_is_asked(hub: Hub, commit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = download(at(commit), listed()[:1])
    hub.requests.clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert download(at(commit), listed()[:1]) == folder
    for attempt in (HubWeights().inspect, download, lambda source: HubWeights().read(source, "config.json")):
        with pytest.raises(Unreachable, match="HF_HUB_OFFLINE is set"):
            attempt(at(commit))
    assert hub.requests == []


def test_a_hub_that_does_not_answer_is_unreachable(hub: Hub, commit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", "http://127.0.0.1:9/{repo_id}/resolve/{revision}/{filename}"
    )
    for attempt in (HubWeights().inspect, download, lambda source: HubWeights().read(source, "config.json")):
        with pytest.raises(Unreachable, match="The hub cannot be reached for me/mine"):
            attempt(at(commit))


def test_a_hub_that_falls_silent_is_unreachable(hub: Hub, commit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.2)
    tiny = {"tiny.safetensors": b"12345678"}
    newer = hub.add("me/mine", tiny)
    hub.fault("tiny.safetensors", "slow")
    with pytest.raises(Unreachable, match="The hub cannot be reached for me/mine"):
        download(at(newer), listed(tiny))


#: Downloads the repository and prints its folder, in a process of its own.
SCRIPT = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # which a job in the background would ignore
import sys
sys.path[:0] = ["tests"]
from test_hub import at, download
print("started", flush=True)
print(download(at(sys.argv[1])))
"""


def started(commit: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, commit],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=Path(__file__).parent.parent,
    )


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_what_is_interrupted_is_gone_on_with(hub: Hub, commit: str, how: signal.Signals) -> None:
    slow = hub.fault("model.safetensors", "slow")
    with started(commit) as process:
        assert slow.reached.wait(60)
        begun = HubWeights().store(at()) / hashlib.sha256(WEIGHTS).hexdigest()
        while not begun.exists() or begun.stat().st_size < 1_000_000:
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(how)
        output, errors = process.communicate()  # the server still holds the rest back
    assert process.returncode == -how, errors
    assert (output, slow.release.is_set()) == (b"started\n", False)
    assert hashlib.sha256(WEIGHTS).hexdigest() not in visible()
    hub.mend()
    size = begun.stat().st_size
    assert contents(download(at(commit))) == FILES
    assert weights_asked(hub) == ["bytes=0-", f"bytes={size}-"]
    assert list(HubWeights().store(at()).iterdir()) == []


def test_what_was_begun_and_is_wrong_is_fetched_anew(hub: Hub, commit: str) -> None:
    begun = HubWeights().store(at()) / hashlib.sha256(WEIGHTS).hexdigest()
    begun.parent.mkdir(parents=True)
    begun.write_bytes(b"x" * 1_000_000)
    assert contents(download(at(commit))) == FILES
    assert weights_asked(hub) == ["bytes=1000000-", "bytes=0-"]


def test_two_at_once_fetch_every_file_once(hub: Hub, commit: str) -> None:
    slow = hub.fault("model.safetensors", "slow", times=1)
    with started(commit) as one, started(commit) as other:
        assert slow.reached.wait(60)
        for process in (one, other):
            assert process.stdout is not None
            assert process.stdout.readline() == b"started\n"
        slow.release.set()
        folders = {process.communicate()[0] for process in (one, other)}
    assert (one.returncode, other.returncode, len(folders)) == (0, 0, 1)
    assert contents(RepositoryCache("me/mine").snapshot(commit)) == FILES
    assert weights_asked(hub) == ["bytes=0-"]


def test_files_come_in_parallel(hub: Hub) -> None:
    files = {f"{number}.safetensors": bytes([number]) * 100_000 for number in range(6)}
    commit = hub.add("me/many", files)
    slow = [hub.fault(f"{number}.safetensors", "slow", times=1) for number in range(4)]
    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(download, at(commit, "me/many"), listed(files))
        for fault in slow:
            assert fault.reached.wait(60)  # four are on their way at the same time
        assert len(hub.asked("GET", "/objects/")) == AT_ONCE == 4
        hub.mend()
        assert contents(done.result()) == files


def test_a_failure_stops_the_others_and_what_they_have_is_kept(hub: Hub, commit: str) -> None:
    slow = hub.fault("model.safetensors", "slow")

    def refuse(path: Path, file: RemoteFile) -> None:
        assert slow.reached.wait(60)
        slow.release.set()
        raise WeightsError(f"{file.path} is refused.")

    with pytest.raises(WeightsError, match="is refused"):
        HubWeights().download(Download(source=at(commit), files=listed(), check=refuse))
    assert visible() == []
    begun = HubWeights().store(at()) / hashlib.sha256(WEIGHTS).hexdigest()
    kept = begun.stat().st_size if begun.exists() else 0
    assert contents(download(at(commit))) == FILES
    assert weights_asked(hub)[1:] == ([f"bytes={kept}-"] if kept < len(WEIGHTS) else [])


def test_remove_frees_what_no_other_commit_has(hub: Hub, commit: str) -> None:
    files = {**FILES, "config.json": b"[ ]"}
    newer = hub.add("me/mine", files)
    download(at(commit))
    download(at(newer), listed(files))
    assert HubWeights().remove(at(commit), listed()) == len(FILES["config.json"])
    assert contents(RepositoryCache("me/mine").snapshot(newer)) == files
    assert not RepositoryCache("me/mine").snapshot(commit).exists()
    assert HubWeights().remove(at(commit), listed()) == 0
    assert HubWeights().remove(at(newer), listed()) == sum(map(len, files.values()))
    assert visible() == []


def test_remove_leaves_files_that_are_not_named(hub: Hub, commit: str) -> None:
    folder = Path(huggingface_hub.snapshot_download("me/mine"))
    assert HubWeights().remove(at(commit), listed()[1:2]) == len(WEIGHTS)
    assert contents(folder).keys() == {"README.md", "config.json", "sub/tokenizer.json"}
    assert huggingface_hub.scan_cache_dir(constants.HF_HUB_CACHE).warnings == []


def test_remove_leaves_copies_of_the_repository(hub: Hub, commit: str) -> None:
    """A copy has the same commits; the client library would take either of the two."""
    hub.repos["models", "me/copy"] = hub.repo("me/mine")
    ours, copy = download(at(commit)), download(at(commit, "me/copy"))
    assert ours.name == copy.name
    HubWeights().remove(at(commit, "me/copy"), listed())
    assert (contents(ours), copy.exists()) == (FILES, False)
    download(at(commit, "me/copy"))
    HubWeights().remove(at(commit), listed())
    assert (contents(copy), ours.exists()) == (FILES, False)


def test_remove_takes_what_was_begun(hub: Hub, commit: str) -> None:
    assert HubWeights().remove(at(commit), listed()) == 0
    begun = HubWeights().store(at())
    begun.mkdir(parents=True)
    (begun / "half").write_bytes(b"12345")
    assert (HubWeights().remove(at(commit), listed()), begun.exists()) == (5, False)


def test_a_damaged_cache_is_said_to_be_damaged(hub: Hub, commit: str) -> None:
    folder = download(at(commit))
    (folder / "config.json").resolve().unlink()
    with pytest.raises(WeightsError, match=r"The hub's cache in .*models--me--mine is damaged"):
        HubWeights().remove(at(commit), listed())


def test_files_of_a_dataset_are_in_a_repository_of_their_own_kind(hub: Hub) -> None:
    files = {"data.jsonl": b"{}\n", "more.parquet": WEIGHTS}
    commit = hub.add("me/mine", files, kind="datasets", license="mit")
    found = HubWeights().inspect(at(repo="datasets/me/mine"))
    assert (found.repo, found.revision, found.license) == ("datasets/me/mine", commit, "mit")
    folder = download(at(commit, "datasets/me/mine"), listed(files))
    assert contents(folder) == files
    plain = huggingface_hub.snapshot_download("me/mine", repo_type="dataset", revision=commit, local_files_only=True)
    assert Path(plain) == folder
    assert HubWeights().read(at(commit, "datasets/me/mine"), "data.jsonl", start=1, size=1) == b"}"
    assert HubWeights().remove(at(commit, "datasets/me/mine"), listed(files)) > len(WEIGHTS)
    with pytest.raises(NotFound, match="The hub has no repository me/mine"):
        HubWeights().inspect(at())
