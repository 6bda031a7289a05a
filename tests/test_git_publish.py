"""Cards on their way into git repositories: real git, bare repositories on this disk, and servers that refuse."""

from __future__ import annotations

import gc
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pexpect
import pytest
from click.testing import Result
from git_repositories import card, git, git_home, heads, push, repository

from zoo_core import PublishRequest, UsageProblem, ZooError, card_yaml, parse_card
from zoo_git.publication import GitPublication
from zoo_git.repository import address_of, look_at

__all__ = ["git_home"]

Publish = Callable[..., Result]
HOME = "models/phoenix/parrot.yaml"


@pytest.fixture
def publish(run: Callable[..., Result], tmp_path: Path, git_home: Path) -> Publish:
    """Publish the card with this YAML text."""

    def publish_card(text: str, to: object, *options: str) -> Result:
        path = tmp_path / "given.yaml"
        path.write_text(text, encoding="utf-8")
        return run("card", "publish", str(path), "--to", f"git:{to}", *(options or ("--yes",)))

    return publish_card


@pytest.fixture
def remote(tmp_path: Path, git_home: Path) -> Path:
    """A registry with one card, whose path has a space in it."""
    return repository(tmp_path / "our cards.git", {"models/owl.yaml": card("owl")})


def prepared(remote: Path, text: str, **options: bool) -> GitPublication:
    request = PublishRequest(card=parse_card(text.encode(), "card"), address=str(remote), **options)
    return GitPublication(address_of(str(remote)), request)


def file(remote: Path, branch: str, path: str = HOME) -> str:
    return git(remote, "show", f"{branch}:{path}") + "\n"


def written(text: str) -> str:
    return card_yaml(parse_card(text.encode(), "card"))


def leftovers(tmp_path: Path) -> list[Path]:
    gc.collect()
    return list((tmp_path / "temporary").iterdir())


# -- what is published where -------------------------------------------------------------------------------------------


def test_card_comes_as_one_commit_on_its_own_branch(publish: Publish, remote: Path, tmp_path: Path) -> None:
    before = heads(remote)
    result = publish(card(), remote)
    assert result.exit_code == 0, result.stderr
    assert heads(remote).keys() == {"main", "card/parrot-1.0.0"}
    assert heads(remote)["main"] == before["main"]
    told = git(remote, "log", "--format=%an <%ae> %s", "--name-status", "main..card/parrot-1.0.0").splitlines()
    assert told == ["Ada <ada@example.org> Add the card of parrot 1.0.0", "", f"A\t{HOME}"]
    assert file(remote, "card/parrot-1.0.0") == written(card())
    assert "+id: parrot" in result.stdout
    shown = result.stdout.rpartition("Look at it: ")[2]
    assert shown == f"git -C '{remote}' log -p main..card/parrot-1.0.0\n"
    look = subprocess.run(shown, shell=True, capture_output=True, text=True, check=True)
    assert "+id: parrot" in look.stdout
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("options", [("--dry-run",), ("--dry-run", "--direct"), ("--dry-run", "--json"), ("--json",)])
def test_looking_changes_nothing(publish: Publish, remote: Path, tmp_path: Path, options: tuple[str, ...]) -> None:
    before = heads(remote)
    result = publish(card(), remote, *options)
    if "--dry-run" in options:
        assert result.exit_code == 0
        assert HOME in result.stdout
    else:
        assert (result.exit_code, "Say --yes" in result.stderr) == (2, True)
    del result  # the error in it holds what it came from
    assert heads(remote) == before
    assert leftovers(tmp_path) == []


def test_direct_commits_to_the_default_branch(publish: Publish, remote: Path) -> None:
    result = publish(card(), remote, "--direct", "--yes", "--message", "Welcome, parrot")
    assert result.stdout.endswith(f"Pushed to {remote}, branch main.\n")
    assert heads(remote).keys() == {"main"}
    assert git(remote, "log", "-1", "--format=%s", "main") == "Welcome, parrot"


def test_empty_repository_gets_its_first_commit(publish: Publish, tmp_path: Path, git_home: Path) -> None:
    remote = repository(tmp_path / "empty.git")
    result = publish(card(), remote)
    assert result.exit_code == 0, result.stderr
    assert "The repository is empty" in result.stderr
    assert git(remote, "ls-tree", "-r", "--name-only", "main") == HOME
    assert publish(card("owl"), remote).exit_code == 0  # from now on there is something to compare with
    assert heads(remote).keys() == {"main", "card/owl-1.0.0"}


def test_branch_of_the_address_is_the_one_to_publish_to(publish: Publish, remote: Path) -> None:
    push(remote, {"models/crow.yaml": card("crow")}, branch="next")
    before = heads(remote)
    assert publish(card(), f"{remote}#next", "--direct", "--yes").exit_code == 0
    assert heads(remote)["main"] == before["main"]
    assert file(remote, "next") == written(card())


@pytest.mark.parametrize(
    ("text", "path"),
    [
        (card(), HOME),
        ("schema: zoo.card/v1\nkind: dataset\nid: talks\nsummary: Talks.\n", "datasets/talks.yaml"),
        ("schema: zoo.card/v1\nkind: benchmark\nid: riddles\nsummary: Riddles.\n", "benchmarks/riddles.yaml"),
    ],
)
def test_every_kind_has_its_folder(publish: Publish, remote: Path, text: str, path: str) -> None:
    result = publish(text, remote, "--json", "--yes")
    assert [change["path"] for change in json.loads(result.stdout)["changes"]] == [path]


@pytest.mark.parametrize("name", ["a..b", "a.lock", "a.", "a...b.", "x" * 80, "a.b-c_d"])
def test_every_name_gives_a_branch(publish: Publish, remote: Path, name: str) -> None:
    assert publish(card(name), remote).exit_code == 0
    assert len(heads(remote)) == 2


# -- a card that is there already --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("parrot.yaml", card()),
        ("birds/talking ones/Papagei.yml", "# our favourite\n" + card()),
        ("birds/crlf.yaml", card().replace("\n", "\r\n")),
        ("birds/quoted.yaml", card().replace("id: parrot", "id: 'parrot' # the bird")),
        ("birds/flow.yaml", "{schema: zoo.card/v1, id: parrot, family: phoenix, summary: A bird}"),
        ("birds/broken.yaml", card(more="colour: green\n")),
        ("birds/no-utf-8.yaml", card(more="notes: [\udcff]\n")),
    ],
)
def test_card_that_is_there_is_changed_in_place(publish: Publish, remote: Path, path: str, text: str) -> None:
    work = remote.parent / "other"
    git(remote.parent, "clone", "--quiet", str(remote), str(work))
    (work / path).parent.mkdir(parents=True, exist_ok=True)
    (work / path).write_bytes(text.encode(errors="surrogateescape"))
    git(work, "add", ".")
    git(work, "commit", "--quiet", "--message=A parrot")
    git(work, "push", "--quiet")
    result = publish(card(version="1.0.1"), remote)
    assert result.exit_code == 0, result.stderr
    assert git(remote, "diff", "--name-status", "main", "card/parrot-1.0.1") == f"M\t{path}"
    assert file(remote, "card/parrot-1.0.1", path) == written(card(version="1.0.1"))


def test_what_a_collection_says_is_part_of_the_card(publish: Publish, remote: Path) -> None:
    push(
        remote,
        {
            "models/birds.collection.yaml": "summary: A bird that talks.\nfamily: phoenix\n",
            "models/parrot.yaml": "schema: zoo.card/v1\nid: parrot\nextends: birds.collection.yaml\n",
        },
    )
    before = heads(remote)
    result = publish(card(), remote)
    assert "nothing to change" in result.stdout
    result = publish(card(summary="A bird that sings."), remote)
    assert result.exit_code == 1
    assert heads(remote) == before


@pytest.mark.parametrize("there", [card(), f"# the first one\n{card()}status: experimental\n"])
def test_card_that_is_there_needs_no_commit(publish: Publish, remote: Path, there: str) -> None:
    push(remote, {"birds/parrot.yaml": there})
    before = heads(remote)
    result = publish(card(), remote)
    assert (result.exit_code, "has this card already; nothing to change" in result.stdout) == (0, True)
    assert heads(remote) == before


@pytest.mark.parametrize(
    ("there", "given"), [("1.0.0", "1.0.0"), ("1.0.1", "1.0.0"), ("1.10.0", "1.9.0"), ("2.0.0", "1.99.99")]
)
def test_other_content_needs_a_higher_version(publish: Publish, remote: Path, there: str, given: str) -> None:
    push(remote, {HOME: card(version=there)})
    before = heads(remote)
    result = publish(card(version=given, summary="Another bird."), remote)
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert f"already has 'parrot' {there} with another content; raise the version" in result.stderr
    assert heads(remote) == before


def test_branch_that_waits_is_added_to(publish: Publish, remote: Path) -> None:
    publish(card(), remote)
    push(remote, {"notes.txt": "by a reviewer"}, branch="card/parrot-1.0.0")
    push(remote, {"models/crow.yaml": card("crow")})
    assert "nothing to change" in publish(card(), remote).stdout
    result = publish(card(summary="A bird that talks a lot."), remote)
    assert result.exit_code == 0, result.stderr
    assert "-summary: A bird that talks.\n+summary: A bird that talks a lot." in result.stdout
    titles = git(remote, "log", "--format=%s", "main..card/parrot-1.0.0").splitlines()
    assert titles == ["Add the card of parrot 1.0.0", "By somebody else", "Add the card of parrot 1.0.0"]


def test_names_that_git_cannot_tell_apart_have_branches_of_their_own(publish: Publish, remote: Path) -> None:
    for text in (card("a-b"), card("a..b"), card("a..b", summary="Changed while it waits.")):
        assert publish(text, remote).exit_code == 0
    first, second = sorted(heads(remote).keys() - {"main"})
    assert (first, second[:9], second[-6:]) == ("card/a-b-1.0.0", "card/a-b-", "-1.0.0")
    assert git(remote, "rev-list", "--count", f"main..{second}") == "2"


def test_card_whose_file_would_be_a_collection(publish: Publish, remote: Path) -> None:
    result = publish(card("birds.collection"), remote)
    assert (result.exit_code, "give the card another id" in result.stderr) == (1, True)
    assert heads(remote).keys() == {"main"}


def test_file_of_another_card_is_not_overwritten(publish: Publish, remote: Path) -> None:
    push(remote, {HOME: card("crow")})
    result = publish(card(), remote)
    assert (result.exit_code, result.stderr) == (
        1,
        f"Error: {HOME} in {remote} is something else than the card 'parrot'; move it first.\n",
    )


# -- what goes wrong ---------------------------------------------------------------------------------------------------


def test_refused_push_says_why(publish: Publish, remote: Path, tmp_path: Path) -> None:
    hook = remote / "hooks" / "pre-receive"
    hook.write_text("#!/bin/sh\necho 'birds are not welcome' >&2\nexit 1\n")
    hook.chmod(0o755)
    before = heads(remote)
    result = publish(card(), remote)
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert "refuses the push, and nothing was changed there" in result.stderr
    assert "(pre-receive hook declined) remote: birds are not welcome" in result.stderr
    assert heads(remote) == before
    del result
    assert leftovers(tmp_path) == []


def test_branch_that_somebody_works_on_is_not_pushed_to(publish: Publish, tmp_path: Path, git_home: Path) -> None:
    remote = repository(tmp_path / "cards.git", {"README": "cards"})
    result = publish(card(), tmp_path / "cards.git-work", "--direct", "--yes")
    assert (result.exit_code, "branch is currently checked out" in result.stderr) == (1, True)
    assert publish(card(), tmp_path / "cards.git-work").exit_code == 0
    assert heads(remote).keys() == {"main"}


@pytest.mark.parametrize("direct", [True, False])
def test_push_by_somebody_else_meanwhile_is_kept(remote: Path, direct: bool) -> None:
    publication = prepared(remote, card(), direct=direct)
    branch = "main" if direct else "card/parrot-1.0.0"
    push(remote, {"models/crow.yaml": card("crow")}, branch=branch)
    before = heads(remote)
    with pytest.raises(ZooError, match=r"Somebody else has pushed to .* meanwhile; .* publish again"):
        publication.carry_out()
    assert heads(remote) == before
    prepared(remote, card(), direct=direct).carry_out()
    names = git(remote, "ls-tree", "-r", "--name-only", branch).splitlines()
    assert {"models/crow.yaml", "models/owl.yaml", HOME} == set(names)


def test_two_cards_at_once(publish: Publish, remote: Path, tmp_path: Path) -> None:
    names = [f"parrot-{number}" for number in range(4)]
    runs = []
    for name in names:
        path = tmp_path / f"{name}.yaml"
        path.write_text(card(name))
        command = [sys.executable, "-c", "from zoo_core.cli import main; main()", "card", "publish", str(path)]
        runs.append(subprocess.Popen([*command, "--to", f"git:{remote}", "--yes"], stdout=subprocess.DEVNULL))
    assert [each.wait() for each in runs] == [0] * 4
    assert heads(remote).keys() == {"main", *(f"card/{name}-1.0.0" for name in names)}


def test_repository_that_disappears(remote: Path, tmp_path: Path) -> None:
    publication = prepared(remote, card())
    remote.rename(tmp_path / "elsewhere.git")
    with pytest.raises(ZooError, match="There is no git repository at"):
        publication.carry_out()
    (tmp_path / "elsewhere.git").rename(remote)
    prepared(remote, card()).carry_out()
    assert file(remote, "card/parrot-1.0.0") == written(card())


def test_kill_in_the_middle_of_the_push_leaves_the_repository_whole(
    publish: Publish, remote: Path, tmp_path: Path
) -> None:
    hook = remote / "hooks" / "pre-receive"
    gate = tmp_path / "gate"
    hook.write_text(f"#!/bin/sh\necho reached > '{gate}'\nread answer\nsleep 600\n")
    hook.chmod(0o755)
    before = heads(remote)
    (tmp_path / "given.yaml").write_text(card())
    command = [sys.executable, "-c", "from zoo_core.cli import main; main()", "card", "publish", "./given.yaml"]
    running = subprocess.Popen(
        [*command, "--to", f"git:{remote}", "--yes"],
        cwd=tmp_path,
        env=os.environ | {"TMPDIR": str(tmp_path / "temporary")},
        start_new_session=True,
        stdout=subprocess.DEVNULL,
    )
    try:
        while not gate.exists() and running.poll() is None:
            time.sleep(0.02)
    finally:
        os.killpg(running.pid, signal.SIGKILL)
        running.wait()
    assert gate.exists()
    hook.unlink()
    assert heads(remote) == before
    git(remote, "fsck", "--full")
    (old,) = leftovers(tmp_path)
    assert publish(card(), remote).exit_code == 0
    assert leftovers(tmp_path) == [old]  # it may be that of a run that goes on
    os.utime(old, (0, 0))
    publish(card(), remote)
    assert leftovers(tmp_path) == []


def test_user_without_a_name_is_told_how_to_get_one(publish: Publish, remote: Path, git_home: Path) -> None:
    (git_home / "gitconfig").write_text("")
    before = heads(remote)
    assert publish(card(), remote, "--dry-run").exit_code == 0
    result = publish(card(), remote)
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert "git does not know who you are; tell it with: git config --global user.name" in result.stderr
    assert heads(remote) == before


def test_default_branch_that_does_not_exist(publish: Publish, remote: Path) -> None:
    git(remote, "symbolic-ref", "HEAD", "refs/heads/trunk")
    result = publish(card(), remote)
    assert (result.exit_code, "'trunk'" in result.stderr, "#BRANCH" in result.stderr) == (1, True, True)
    assert publish(card(), f"{remote}#main").exit_code == 0
    assert heads(remote).keys() == {"main", "card/parrot-1.0.0"}


def test_tag_is_no_branch(publish: Publish, remote: Path) -> None:
    git(remote, "tag", "v1", "main")
    result = publish(card(), f"{remote}#v1")
    assert (result.exit_code, "'v1' is no branch of" in result.stderr) == (1, True)


@pytest.mark.parametrize("place", ["models", "models/phoenix", HOME])
def test_link_in_the_repository_leads_nowhere(publish: Publish, tmp_path: Path, git_home: Path, place: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    remote = repository(tmp_path / "cards.git", {"README": "cards"})
    work = tmp_path / "cards.git-work"
    (work / place).parent.mkdir(parents=True, exist_ok=True)
    (work / place).symlink_to(outside)
    push(remote, {"more": "more"})
    assert git(remote, "ls-tree", "main", place).startswith("120000")
    result = publish(card(), remote)
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert list(outside.iterdir()) == []
    assert heads(remote).keys() == {"main"}


def test_repository_around_the_run_is_left_alone(
    publish: Publish, remote: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = repository(tmp_path / "other.git", {"README": "other"})
    before = heads(other)
    monkeypatch.setenv("GIT_DIR", str(other))
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "index"))
    monkeypatch.setenv("GIT_WORK_TREE", str(tmp_path))
    assert publish(card(), remote).exit_code == 0
    monkeypatch.undo()
    assert heads(other) == before
    assert "card/parrot-1.0.0" in heads(remote)


def test_filters_of_the_user_do_not_run(
    publish: Publish, run: Callable[..., Result], remote: Path, git_home: Path
) -> None:
    push(
        remote, {".gitattributes": "*.yaml filter=x ident text eol=crlf\nparrot.yaml working-tree-encoding=UTF-16LE\n"}
    )
    made = git_home / "made"
    with (git_home / "gitconfig").open("a") as config:
        config.write(f'[filter "x"]\nsmudge = touch {made}; cat\nclean = touch {made}; cat\nrequired = true\n')
    assert publish(card(), remote, "--direct", "--yes").exit_code == 0
    assert publish(card(version="1.0.1"), remote).exit_code == 0
    assert run("registry", "add", "birds", f"git:{remote}").stderr == ""
    assert not made.exists()
    assert file(remote, "card/parrot-1.0.1") == written(card(version="1.0.1"))


def test_ignored_file_is_published_all_the_same(publish: Publish, remote: Path) -> None:
    push(remote, {".gitignore": "models/phoenix\n"})
    assert publish(card(), remote).exit_code == 0
    assert file(remote, "card/parrot-1.0.0") == written(card())


# -- addresses ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address",
    [
        "-oops",
        "--upload-pack=touch x",
        "ext::sh -c touch%20made",
        "fd::3",
        "transport+x::anything",
        "cards#-x",
        "#main",
        "~nobody-has-this-name/cards",
        "cards\nmore",
        "cards\x00",
        "https://user:se/cret@host.example/cards",
        "https://user:se#cret@host.example/cards",
        "https://host.example:port/cards",
    ],
)
def test_address_that_is_none(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(UsageProblem, match="is no address of a git repository") as caught:
        address_of(address)
    assert "cret" not in str(caught.value)
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("address", "code", "told"),
    [
        ("nowhere", 1, "There is no git repository at"),
        ("x" * 300, 1, "There is no git repository at"),
        ("file:///nowhere/at/all", 1, "There is no git repository at"),
        ("git://127.0.0.1/cards", 2, "does not let git reach"),
        ("http://127.0.0.1:1/cards", 1, "cannot be reached"),
        ("http://user:secret@127.0.0.1:1/cards", 1, "cannot be reached"),
        ("http://secret@127.0.0.1:1/cards", 1, "cannot be reached"),
        ("ssh://user:secret@127.0.0.1:1/cards", 1, "cannot be reached"),
        ("http://[::1]:1/cards", 1, "cannot be reached"),
        ("http://me:pa secret@127.0.0.1:1/cards", 1, "127.0.0.1:1/cards"),
        ("http://127.0.0.1:1/cards?private_token=secret", 1, "cannot be reached"),
        ("me:secret@127.0.0.1:cards", 1, "127.0.0.1"),
        ("http:/me:secret@127.0.0.1:1/cards", 1, "…@127.0.0.1"),
        ("our cards.git#no-such-branch", 1, "has no branch 'no-such-branch'"),
    ],
)
def test_repository_that_cannot_be_had(
    publish: Publish, remote: Path, monkeypatch: pytest.MonkeyPatch, address: str, code: int, told: str
) -> None:
    monkeypatch.chdir(remote.parent)
    monkeypatch.setenv("GIT_SSH_COMMAND", "ssh -F none -o BatchMode=yes")
    result = publish(card(), address)
    assert (result.exit_code, result.stderr.count("\n"), told in result.stderr) == (code, 1, True), result.stderr
    assert "secret" not in result.output


@pytest.fixture
def answering() -> Iterator[Callable[[int], str]]:
    """A web server that answers everything with one status; gives its address."""
    servers = []

    def serve(status: int) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(status)
                self.send_header("WWW-Authenticate", "Basic realm=cards")
                self.send_header("Content-Length", "13")
                self.end_headers()
                self.wfile.write(b"<html></html>")

            def log_message(self, *arguments: object) -> None:
                pass

        servers.append(ThreadingHTTPServer(("127.0.0.1", 0), Handler))
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        return f"127.0.0.1:{servers[-1].server_port}/cards.git"

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("status", "told"),
    [
        (401, "git may not enter"),
        (403, "git may not enter"),
        (404, "There is no git repository at"),
        (500, "cannot be reached"),
    ],
)
@pytest.mark.parametrize("login", ["", "ada:secret@", "secret@"])
def test_server_that_refuses(
    publish: Publish, answering: Callable[[int], str], status: int, told: str, login: str
) -> None:
    result = publish(card(), f"http://{login}{answering(status)}")
    assert (result.exit_code, result.stderr.count("\n"), told in result.stderr) == (1, 1, True), result.stderr
    assert "secret" not in result.output


def test_web_page_is_no_repository(publish: Publish, answering: Callable[[int], str]) -> None:
    address = f"http://{answering(200)}"  # git takes it for an empty repository, until it pushes
    told = publish(card(), address).stderr.splitlines()
    assert told[1:] == [f"Error: There is no git repository at {address}, or you may not read it."]


@pytest.mark.parametrize(
    ("address", "page"),
    [
        ("https://github.com/ada/cards.git", "https://github.com/ada/cards/compare/main...card/x-1.0.0"),
        ("https://github.com/ada/cards/", "https://github.com/ada/cards/compare/main...card/x-1.0.0"),
        ("https://ada:secret@codeberg.org/ada/cards", "https://codeberg.org/ada/cards/compare/main...card/x-1.0.0"),
        ("http://localhost:3000/ada/cards", "http://localhost:3000/ada/cards/compare/main...card/x-1.0.0"),
        ("git@github.com:ada/cards.git", "https://github.com/ada/cards/compare/main...card/x-1.0.0"),
        ("gitlab.com:group/sub/cards", "https://gitlab.com/group/sub/cards/-/compare/main...card/x-1.0.0"),
        ("ssh://git@gitlab.example/a/b.git", "https://gitlab.example/a/b/-/compare/main...card/x-1.0.0"),
        ("ssh://git@gitea.example:2222/ada/cards", "https://gitea.example/ada/cards/compare/main...card/x-1.0.0"),
        ("file:///srv/our%20cards.git", "git -C '/srv/our cards.git' log -p main..card/x-1.0.0"),
        ("/srv/cards", "git -C /srv/cards log -p main..card/x-1.0.0"),
    ],
)
def test_where_to_look_at_the_branch(address: str, page: str) -> None:
    assert look_at(address_of(address), "main", "card/x-1.0.0") == page


@pytest.mark.parametrize("address", ["https://ada:secret@host.example/cards", "cards", "git:", "svn:cards", ""])
def test_address_that_nothing_publishes_to(run: Callable[..., Result], address: str) -> None:
    result = run("card", "publish", "hatchling", "--to", address, "--yes")
    assert (result.exit_code, "does not begin an address to publish to. Known: " in result.stderr) == (2, True)
    assert "git:…" in result.stderr
    assert "secret" not in result.stderr


def test_question_is_asked_on_a_terminal_only(remote: Path, tmp_path: Path, git_home: Path) -> None:
    (tmp_path / "given.yaml").write_text(card())
    command = [
        "-c",
        "from zoo_core.cli import main; main()",
        "card",
        "publish",
        "./given.yaml",
        "--to",
        f"git:{remote}",
    ]
    for answer, code, branches in (("n", 1, {"main"}), ("y", 0, {"main", "card/parrot-1.0.0"})):
        terminal = pexpect.spawn(sys.executable, command, cwd=str(tmp_path), encoding="utf-8")
        terminal.expect("Publish this to .*branch card/parrot-1.0.0")
        assert heads(remote).keys() == {"main"}
        terminal.sendline(answer)
        terminal.expect(pexpect.EOF)
        terminal.close()
        assert (terminal.exitstatus, heads(remote).keys()) == (code, branches)


def test_path_may_look_like_an_address(tmp_path: Path, git_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("host:cards", "cards#2"):
        repository(tmp_path / name, {"README": "cards"})
        assert address_of(name) == (str(tmp_path / name), "")
        assert prepared(Path(name), card()).carry_out().startswith("Pushed")
