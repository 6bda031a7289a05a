"""Code that a checkpoint brings: nothing of it runs before the user has allowed exactly these files, and then they do."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import transformers
from click.testing import Result
from hub_standin import Hub
from tiny_models import tiny_llama

from zoo_core import Zoo, card_yaml, open_session, parse_card
from zoo_core.consent import allow, allowed, cleared, code_of, consents
from zoo_core.errors import ZooError

Run = Callable[..., Result]
TEMPLATE = (
    "{% for message in messages %}{% if message.role == 'assistant' %}"
    "{% generation %}{{ message.content }}</s>{% endgeneration %}{% else %}{{ message.content }}\n{% endif %}{% endfor %}"
)
#: Every module says that it was run, and in which version.
SAYS = "import os\nwith open(os.environ['MARKS'], 'a') as marks: marks.write(__name__.rpartition('.')[2] + ' {version}\\n')\n"
CODE = {
    "configuration_own.py": SAYS
    + "from transformers import LlamaConfig\nclass OwnConfig(LlamaConfig):\n    model_type = 'own'\n",
    "parts.py": SAYS + "WORD = 'parts'\n",
    "modeling_own.py": SAYS
    + "from transformers import LlamaForCausalLM\nfrom .configuration_own import OwnConfig\nfrom .parts import WORD\n"
    + "class OwnForCausalLM(LlamaForCausalLM):\n    config_class = OwnConfig\n    word = WORD\n",
    "tokenization_own.py": SAYS
    + "from transformers import PreTrainedTokenizerFast\nclass OwnTokenizer(PreTrainedTokenizerFast):\n"
    + "    def encode_more(self):\n        return 1\n",
}
MODEL = {"AutoConfig": "configuration_own.OwnConfig", "AutoModelForCausalLM": "modeling_own.OwnForCausalLM"}
TOKENIZER = {"AutoTokenizer": [None, "tokenization_own.OwnTokenizer"]}


@pytest.fixture
def marks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file into which the code of checkpoints writes, which is not there until some is run."""
    path = tmp_path / "marks"
    monkeypatch.setenv("MARKS", str(path))
    return path


def change(path: Path, **fields: Any) -> None:
    """Set fields of a JSON file; None removes one."""
    data = {**json.loads(path.read_bytes()), **fields}
    path.write_text(json.dumps({key: value for key, value in data.items() if value is not None}))


def write_code(folder: Path, *names: str, version: int = 1) -> None:
    """Write modules that no other test has: what this process has imported once it does not run again."""
    for name in names:
        (folder / name).write_text(CODE[name].replace("{version}", str(version)) + f"# {folder}\n")


def own_model(folder: Path, *, version: int = 1) -> Path:
    """A checkpoint of an architecture that only its own code knows."""
    tiny_llama(folder)
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    change(folder / "config.json", model_type="own", architectures=["OwnForCausalLM"], auto_map=MODEL)
    write_code(folder, "configuration_own.py", "modeling_own.py", "parts.py", version=version)
    return folder


def own_tokenizer(folder: Path) -> Path:
    """A LLaMA whose tokenizer is in code of its own."""
    tiny_llama(folder)
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    change(folder / "tokenizer_config.json", tokenizer_class="OwnTokenizer", auto_map=TOKENIZER)
    write_code(folder, "tokenization_own.py")
    return folder


def digest(folder: Path) -> str:
    """The digest over the code of a folder, as the documentation says it."""
    said = hashlib.sha256()
    for path in sorted(folder.rglob("*.py"), key=lambda path: path.relative_to(folder).as_posix()):
        name = path.relative_to(folder).as_posix().encode()
        said.update(name + b"\0" + hashlib.sha256(path.read_bytes()).hexdigest().encode() + b"\n")
    return said.hexdigest()


def chat(run: Run, folder: Path) -> Result:
    return run("chat", str(folder), "Hello", "--max-new-tokens", "2", "--seed", "1", "--no-log")


def lines(marks: Path) -> set[str]:
    """What was run since the last time."""
    said = set(marks.read_text().splitlines()) if marks.exists() else set()
    marks.unlink(missing_ok=True)
    return said


# -- refused, allowed, changed -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [own_model, own_tokenizer])
def test_code_runs_only_once_it_is_allowed(make: Callable[[Path], Path], run: Run, tmp_path: Path, marks: Path) -> None:
    folder = make(tmp_path / "model")
    refused = chat(run, folder)
    assert (refused.exit_code, refused.stdout, len(refused.stderr.splitlines())) == (1, "", 1)
    assert f"in {folder} with the digest {digest(folder)}" in refused.stderr
    assert refused.stderr.endswith(f"zoo trust {folder} {digest(folder)}\n")
    explained = run("explain", str(folder), "Hello")
    assert explained.stdout.startswith("prompt\nHello\n")
    assert "runs code of its own" in explained.output
    for word in ("show", "trust", "fit"):
        assert run(word, str(folder)).exit_code == 0
    assert not marks.exists()
    assert run("trust", str(folder), digest(folder)).exit_code == 0
    assert not marks.exists()
    answered = chat(run, folder)
    assert answered.exit_code == 0, answered.stderr
    assert lines(marks) == {f"{path.stem} 1" for path in folder.glob("*.py")}


def test_a_change_asks_again_and_what_was_allowed_before_is_run_again(run: Run, tmp_path: Path, marks: Path) -> None:
    folder = own_model(tmp_path / "model")
    run("trust", str(folder), first := digest(folder))
    assert chat(run, folder).exit_code == 0
    assert lines(marks) == {"configuration_own 1", "modeling_own 1", "parts 1"}
    for change_it in (
        lambda: write_code(folder, "parts.py", version=2),
        lambda: (folder / "more.py").write_text(""),
        lambda: (folder / "more.py").rename(folder / "other.py"),
    ):
        change_it()
        refused = chat(run, folder)
        assert refused.exit_code == 1
        assert "are not those that you allowed on " in refused.stderr
        assert lines(marks) == set()
    run("trust", str(folder), digest(folder))
    assert chat(run, folder).exit_code == 0
    assert "parts 2" in lines(marks)
    (folder / "other.py").unlink()
    write_code(folder, "parts.py")
    assert digest(folder) == first
    assert cleared(*card_and(folder)).folder.name == first


def card_and(folder: Path) -> tuple[Any, Path]:
    return Zoo().catalog.model(str(folder))[0], folder


ONCE = """
import sys
from zoo_core.cli import cli
cli(["chat", sys.argv[1], "Hello", "--max-new-tokens", "2", "--no-log"])
"""


def test_no_cache_of_another_run_is_believed(run: Run, tmp_path: Path, marks: Path) -> None:
    """What lies where transformers keeps modules for all programs is neither run nor added to."""
    folder = own_model(tmp_path / "model")
    run("trust", str(folder), digest(folder))
    shared = tmp_path / "hf"
    environment = os.environ | {"HF_HOME": str(shared), "HF_MODULES_CACHE": str(shared)}
    loader = f"from transformers import AutoConfig as A; A.from_pretrained({str(folder)!r}, trust_remote_code=True)"
    subprocess.run([sys.executable, "-c", loader], env=environment, check=True)
    assert lines(marks) == {"configuration_own 1"}
    planted = list((shared / "transformers_modules").rglob("configuration_own.py"))
    assert len(planted) == 1
    for path in shared.rglob("*.py"):
        path.write_text(SAYS.replace("{version}", "planted"))
    done = subprocess.run([sys.executable, "-c", ONCE, str(folder)], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert lines(marks) == {"configuration_own 1", "modeling_own 1", "parts 1"}
    assert list((shared / "transformers_modules").rglob("modeling_own.py")) == []


def test_two_versions_in_one_process_each_run_their_own(run: Run, tmp_path: Path, marks: Path) -> None:
    one, two = own_model(tmp_path / "a" / "model"), own_model(tmp_path / "b" / "model", version=2)
    for folder, version in ((one, 1), (two, 2)):
        run("trust", str(folder), digest(folder))
        assert chat(run, folder).exit_code == 0
        assert lines(marks) == {f"{name} {version}" for name in ("configuration_own", "modeling_own", "parts")}
    noted = transformers.AutoModelForCausalLM._model_mapping._extra_content
    assert [each for each in noted.values() if "own" in str(each)] == []  # else the next model might be made of it


def test_what_is_allowed_is_what_is_run(tmp_path: Path, marks: Path) -> None:
    """What is exchanged in the folder after the check does not reach the copy that is loaded."""
    folder = own_model(tmp_path / "model")
    card, _ = card_and(folder)
    allow(card, code_of(card, folder))
    copy, runs = cleared(card, folder)
    write_code(folder, "parts.py", version=2)
    change(folder / "config.json", auto_map={"AutoConfig": "a/b--x.Y"})
    assert (runs, copy.name, digest(copy)) == (True, code_of(card, copy).digest, copy.name)
    assert (copy / "model.safetensors").samefile(folder / "model.safetensors")
    assert (copy / "parts.py").stat().st_nlink == 1
    assert json.loads((copy / "config.json").read_bytes())["auto_map"] == MODEL


def test_code_that_transformers_does_not_need_is_left_alone(run: Run, tmp_path: Path, marks: Path) -> None:
    """Many repositories have kept code of the time before transformers knew their architecture."""
    folder = tiny_llama(tmp_path / "model")
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    change(folder / "config.json", auto_map=MODEL)
    change(folder / "tokenizer_config.json", tokenizer_class="LlamaTokenizer", auto_map=TOKENIZER)
    write_code(folder, *CODE)
    assert chat(run, folder).exit_code == 0
    assert not marks.exists()


# -- what is never run -------------------------------------------------------------------------------------------------

ELSEWHERE = "takes its code from another repository, a/b, which may change at any time and is never run"
NOT_THERE = "which is not in"
NEVER = {
    "another repository": ("config.json", {"AutoConfig": "a/b--configuration_own.OwnConfig"}, ELSEWHERE),
    "one of several": ("config.json", {**MODEL, "AutoModel": "a/b--m.M"}, ELSEWHERE),
    "that of the tokenizer": ("tokenizer_config.json", {"AutoTokenizer": ["a/b--t.T", None]}, ELSEWHERE),
    "the old form": ("tokenizer_config.json", ["a/b--t.T", None], ELSEWHERE),
    "that of a processor": ("processor_config.json", {"AutoProcessor": "a/b--p.P"}, ELSEWHERE),
    "deep inside": ("generation_config.json", {"x": [{"y": "a/b--p.P"}]}, ELSEWHERE),
    "a path": ("config.json", {"AutoConfig": "/etc/configuration.OwnConfig"}, NOT_THERE),
    "a way out": ("config.json", {"AutoConfig": "../configuration_own.OwnConfig"}, NOT_THERE),
    "a file that is not there": ("config.json", {"AutoConfig": "configuration.OwnConfig"}, NOT_THERE),
    "no text": ("config.json", {"AutoConfig": 5}, NOT_THERE),
    "no name": ("config.json", {"AutoConfig": ""}, NOT_THERE),
}


@pytest.mark.parametrize(("name", "entry", "sentence"), NEVER.values(), ids=NEVER)
def test_code_from_elsewhere_is_never_run(
    name: str, entry: Any, sentence: str, run: Run, tmp_path: Path, marks: Path
) -> None:
    folder = own_model(tmp_path / "model")
    path = folder / name
    path.write_text(path.read_text() if path.exists() else "{}")
    change(path, auto_map=entry)
    card, _ = card_and(folder)
    for result in (chat(run, folder), run("trust", str(folder)), run("trust", str(folder), digest(folder))):
        assert result.exit_code == 1
        assert sentence in result.stderr
        assert len(result.stderr.splitlines()) == 1
    assert consents() == []
    assert not marks.exists()
    with pytest.raises(ZooError, match=r"never run|is not in"):
        code_of(card, folder)


def test_a_configuration_that_stands_in_for_the_one_that_was_looked_at(run: Run, tmp_path: Path, marks: Path) -> None:
    """transformers would read that one, with its code from another repository, once the code here is allowed."""
    folder = own_model(tmp_path / "model")
    shutil.copy(folder / "config.json", folder / "config.4.0.json")
    change(folder / "config.4.0.json", auto_map={"AutoConfig": "a/b--configuration_own.OwnConfig"})
    change(folder / "config.json", configuration_files=["config.4.0.json"])
    run("trust", str(folder), digest(folder))
    refused = chat(run, folder)
    assert (refused.exit_code, len(refused.stderr.splitlines())) == (1, 1)
    assert "names other files to be read in its place, which is refused" in refused.stderr
    assert not marks.exists()


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_nobody_is_asked_whether_a_part_of_a_model_may_run_code(tmp_path: Path, marks: Path) -> None:
    """transformers has this model itself, but asks of its part on the terminal, whatever it was told of the whole."""
    folder = own_model(tmp_path / "model")
    part = {"model_type": "blip_text_model", "name_or_path": str(folder)}
    part |= {"auto_map": {"AutoModel": "modeling_own.OwnForCausalLM"}}
    whole = {"model_type": "fuyu", "architectures": ["FuyuForCausalLM"], "text_config": part}
    (folder / "config.json").write_text(json.dumps(whole))
    code, shown = on_terminal(["chat", str(folder), "Hello", "--no-log"], b"y\n")
    assert (code, b"A part of the model is in code of its own, which is never run" in shown) == (1, True), shown
    assert b"[y/N]" not in shown
    assert not marks.exists()


def test_no_kernel_is_fetched_from_a_hub() -> None:
    """It would be code that nobody has read; transformers then computes by its own."""
    from transformers.integrations import hub_kernels

    import zoo_weights.families  # noqa: F401 (which sees to it)

    with pytest.raises(FileNotFoundError, match="the kernel a/kernel is code from a hub, which is never run"):
        hub_kernels.get_kernel("a/kernel", version=1, allow_all_kernels=True)


def test_only_files_that_are_digested_are_copied(tmp_path: Path) -> None:
    """A link counts as what it leads to; what no digest is over is not beside the code that runs."""
    folder = own_model(tmp_path / "model")
    outside = tmp_path / "parts.py"
    (folder / "parts.py").rename(outside)
    (folder / "parts.py").symlink_to(outside)
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "far.py").write_text("")
    (folder / "more").symlink_to(tmp_path / "more")
    for name in (".hidden/modeling_own.py", "__pycache__/parts.cpython-311.pyc", "parts.pyc", "a\nb.py"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"")
    card, _ = card_and(folder)
    allow(card, code_of(card, folder))
    copy = cleared(card, folder).folder
    assert sorted(path.name for path in copy.rglob("*.py*")) == ["configuration_own.py", "modeling_own.py", "parts.py"]
    assert not (copy / "parts.py").is_symlink()
    outside.write_text("changed")
    with pytest.raises(ZooError, match="are not those that you allowed"):
        cleared(card, folder)


def test_a_card_that_speaks_of_code_which_is_not_there(run: Run, tmp_path: Path) -> None:
    folder = tiny_llama(tmp_path / "model")
    change(folder / "config.json", model_type="own", architectures=["OwnForCausalLM"])
    text = card_yaml(Zoo().catalog.model(str(folder))[0]) + "runtime: {remote_code: true}\n"
    (folder / "zoo.yaml").write_text(text)
    refused = run("chat", str(folder), "x", "--template", "phoenix")
    assert f"needs code of its own, but there is none in {folder}" in refused.stderr


# -- the command -------------------------------------------------------------------------------------------------------


def test_trust_lists_the_files_and_takes_no_yes(run: Run, tmp_path: Path, marks: Path) -> None:
    folder = own_model(tmp_path / "model")
    (folder / "deep").mkdir()
    (folder / "deep" / "more.py").write_text("")
    listed = run("trust", str(folder), input=f"{digest(folder)}\nyes\ny\n")
    assert listed.exit_code == 0
    for path in folder.rglob("*.py"):
        line = next(line for line in listed.stdout.splitlines() if line.startswith(path.relative_to(folder).as_posix()))
        assert line.split()[1:] == [f"{path.stat().st_size:,}", hashlib.sha256(path.read_bytes()).hexdigest()]
    assert f"\ndigest  {digest(folder)}\n" in listed.stdout
    assert listed.stderr == f"Read them; to allow exactly them: zoo trust {folder} {digest(folder)}\n"
    data = json.loads(run("trust", str(folder), "--json").stdout)
    assert (data["digest"], data["allowed"], len(data["files"])) == (digest(folder), False, 4)
    assert not allowed(digest(folder))
    assert not marks.exists()


def test_only_the_whole_digest_allows(run: Run, tmp_path: Path) -> None:
    folder = own_model(tmp_path / "model")
    right = digest(folder)
    for wrong in (right[:12], right.upper(), "yes", "0" * 64, right + " "):
        result = run("trust", str(folder), wrong)
        assert (result.exit_code, result.stdout) == (1, "")
        assert f"has the digest {right}, not the one given; nothing is allowed." in result.stderr
    assert consents() == []


def test_what_is_allowed_is_listed_and_taken_back(run: Run, tmp_path: Path, marks: Path) -> None:
    folder = own_model(tmp_path / "model")
    assert run("trust", "--list").stdout == ""
    run("trust", str(folder), digest(folder))
    assert "You have allowed them." in run("trust", str(folder)).stderr
    assert run("trust", "--list").stdout.splitlines()[1].split()[:2] == [digest(folder), "model"]
    (entry,) = json.loads(run("trust", "--list", "--json").stdout)["items"]
    assert (entry["digest"], entry["model"]) == (digest(folder), "model")
    assert digest(folder) in run("trust", "--revoke", "model").stdout
    assert run("trust", "--revoke", "model").exit_code == 1
    assert chat(run, folder).exit_code == 1
    assert not marks.exists()
    run("trust", str(folder), digest(folder))
    assert run("trust", "--revoke", digest(folder), "--json").exit_code == 0
    assert consents() == []


def test_one_name_of_code_takes_back_all_of_its_names(run: Run, tmp_path: Path) -> None:
    """Code is allowed, not names: what one model may not run any more, another with the same files may not either."""
    one, two = (own_model(tmp_path / name / name) for name in ("one", "two"))
    for path in one.glob("*.py"):
        shutil.copy(path, two)
    for folder in (one, two):
        assert run("trust", str(folder), digest(one)).exit_code == 0
    assert sorted(each.model for each in consents()) == ["one", "two"]
    assert run("trust", "--revoke", str(one)).exit_code == 0  # as it is called elsewhere, not by the id of its card
    assert consents() == []
    assert chat(run, two).exit_code == 1


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
@pytest.mark.parametrize(("right", "code"), [(True, 0), (False, 1), (None, 0)], ids=["digest", "yes", "nothing"])
def test_on_a_terminal_the_digest_is_asked_for(right: bool | None, code: int, tmp_path: Path, marks: Path) -> None:
    folder = own_model(tmp_path / "model")
    typed = {True: digest(folder), False: "yes", None: ""}[right].encode() + b"\n"
    ended, shown = on_terminal(["trust", str(folder)], typed)
    assert ended == code, shown
    assert b"type the digest" in shown
    assert allowed(digest(folder)) is (right is True)
    assert not marks.exists()


def on_terminal(words: list[str], typed: bytes) -> tuple[int, bytes]:
    """Run the command line on a terminal; its exit code and what it showed."""
    import pty

    above, below = pty.openpty()
    command = [sys.executable, "-c", "from zoo_core.cli import main; main()", *words]
    with subprocess.Popen(command, stdin=below, stdout=below, stderr=below) as process:
        os.close(below)
        os.write(above, typed)
        shown = b""
        while piece := read_terminal(above):
            shown += piece
    os.close(above)
    return process.returncode, shown


def read_terminal(terminal: int) -> bytes:
    """What a program wrote; nothing once it has ended."""
    try:
        return os.read(terminal, 4096)
    except OSError:
        return b""


USAGE = {
    "nothing": ([], 2, "Name a model"),
    "no such model": (["nothing"], 1, "No model is called 'nothing'"),
    "no code": (["hatchling"], 1, "'hatchling' brings no code of its own, so there is nothing to allow."),
    "not here": (["phoenix"], 1, "zoo pull phoenix"),
    "nothing to take back": (["--revoke", "hatchling"], 1, "You have allowed no code of 'hatchling'"),
}


@pytest.mark.parametrize(("words", "code", "sentence"), USAGE.values(), ids=USAGE)
def test_trust_refuses(words: list[str], code: int, sentence: str, run: Run) -> None:
    result = run("trust", *words)
    assert (result.exit_code, result.stdout) == (code, "")
    assert sentence in result.stderr


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"schema": "zoo.consents/v9", "consents": []}', b"\xff"], ids=repr
)
def test_a_damaged_record_allows_nothing(content: bytes, run: Run, tmp_path: Path, marks: Path) -> None:
    folder = own_model(tmp_path / "model")
    Path(os.environ["ZOO_DATA"]).mkdir(exist_ok=True)
    Path(os.environ["ZOO_DATA"], "consents.json").write_bytes(content)
    result = chat(run, folder)
    assert result.exit_code == 1
    assert "is damaged; remove it, and allow again what you need." in result.stderr
    assert not marks.exists()


# -- every other way to load -------------------------------------------------------------------------------------------


@pytest.fixture
def talks(tmp_path: Path) -> Path:
    path = tmp_path / "talks.jsonl"
    talk = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]}
    path.write_text(json.dumps(talk) + "\n")
    return path


def test_training_and_quantizing_ask_too(run: Run, tmp_path: Path, marks: Path, talks: Path) -> None:
    folder = own_tokenizer(tmp_path / "model")
    commands = {
        "tuned": ["train", str(folder), "--data", str(talks), "--out", str(tmp_path / "tuned"), "-o", "epochs=1"],
        "small": ["quantize", str(folder), "--method", "q8_0", "-o", str(tmp_path / "small")],
    }
    for words in commands.values():
        refused = run(*words)
        assert refused.exit_code == 1
        assert f"zoo trust {folder} {digest(folder)}" in refused.stderr
    assert not marks.exists()
    assert not list(tmp_path.glob("*.partial"))
    run("trust", str(folder), digest(folder))
    for name, words in commands.items():
        done = run(*words)
        assert done.exit_code == 0, done.stderr
        assert (tmp_path / name / "zoo.yaml").is_file()
    assert lines(marks) == {"tokenization_own 1"}


def test_a_folder_named_with_a_card(run: Run, tmp_path: Path, marks: Path) -> None:
    """The command in the refusal is the one that helps, however the folder was named."""
    folder = own_model(tmp_path / "a model")
    card = card_yaml(card_and(folder)[0]).replace(f"path: {folder}", "path: nowhere")
    (tmp_path / "card.yaml").write_text(card)
    words = [str(tmp_path / "card.yaml"), "Hi", "--model-path", str(folder), "--max-new-tokens", "1", "--no-log"]
    refused = run("chat", *words)
    assert refused.stderr.endswith(f"zoo trust {tmp_path}/card.yaml {digest(folder)} --model-path '{folder}'\n")
    assert run("trust", str(tmp_path / "card.yaml"), digest(folder), "--model-path", str(folder)).exit_code == 0
    assert run("chat", *words).exit_code == 0


def test_sessions_of_scripts_ask_too(tmp_path: Path, marks: Path) -> None:
    folder = own_model(tmp_path / "model")
    with pytest.raises(ZooError, match="runs code of its own"):
        open_session(Zoo(), str(folder))
    assert not marks.exists()


# -- from a hub --------------------------------------------------------------------------------------------------------


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_code_is_pulled_only_for_a_card_that_says_so(hub: Hub, run: Run, tmp_path: Path, marks: Path) -> None:
    files = contents(own_model(tmp_path / "model"))
    hub.add("a/own", {**files, "deep/more.py": b"", "README.md": b"# Own"})
    pulled = run("pull", "hf:a/own")
    assert pulled.exit_code == 0, pulled.stderr
    place = Path(pulled.stdout.strip())
    assert {path.name for path in place.rglob("*.py")} == {"configuration_own.py", "modeling_own.py", "parts.py"}
    card, _ = Zoo().catalog.model("hf:a/own")
    assert card.runtime.remote_code
    assert {"modeling_own.py", "parts.py"} < {file.path for file in card.files}
    refused = chat(run, Path("hf:a/own"))
    assert refused.stderr.endswith(f"zoo trust hf:a/own {digest(place)}\n")
    assert run("trust", "hf:a/own", digest(place)).exit_code == 0
    assert chat(run, Path("hf:a/own")).exit_code == 0
    assert marks.exists()
    plain = card_yaml(card).replace("remote_code: true", "remote_code: false")
    path = tmp_path / "plain.yaml"
    text = plain[: plain.index("files:")] + plain[plain.index("format:") :]
    path.write_text(text.replace("id: own", "id: plain"))
    assert parse_card(path.read_bytes(), "plain.yaml").files == []
    planned = json.loads(run("pull", str(path), "--dry-run", "--json").stdout)
    assert [file["path"] for file in planned["files"] if file["path"].endswith(".py")] == []
    locked = run("card", "lock", str(path))
    assert locked.exit_code == 0, locked.stderr
    assert ".py" not in path.read_text()
