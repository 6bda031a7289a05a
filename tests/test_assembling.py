"""Models in parts are put together once with the right base, and what was put together can be found, verified, removed."""

from __future__ import annotations

import functools
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import Result
from peft import LoraConfig, PeftModel, get_peft_model
from tiny_models import change, tensors, tiny_bloom, tiny_llama
from transformers import AutoModelForCausalLM, LlamaForCausalLM

from zoo_core import WeightsError, Zoo, ZooError
from zoo_core.weights.assembled import PARTIAL, RECORD, all_assembled, assembled_folder, lock_of
from zoo_core.weights.assembling import model_weights
from zoo_weights import Policy, make_delta

IDS = torch.tensor([[1, 17, 42, 99, 7]])
CARD = """
schema: zoo.card/v1
kind: model
id: ID
family: chimera
summary: A small model
sources: [SOURCE]
lineage: {base: {BASE}, relation: RELATION}
context: {max: 256}
template: {text: "{% for m in messages %}{{ m.content }}{% endfor %}"}
generation: {temperature: 0, max_new_tokens: 4}
"""

Run = Callable[..., Result]

#: peft asks transformers for a property that has another name now.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")


def write_card(zoo_folders: Path, id_: str, source: Path | None, base: str, relation: str = "delta") -> Path:
    """A card in the user's own folder; `relation` empty for a whole model."""
    text = CARD.replace("ID", id_).replace("BASE", base).replace("RELATION", relation)
    text = text.replace("SOURCE", f"{{hub: folder, path: {source}}}" if source else "")
    if not relation:
        text = "\n".join(line for line in text.splitlines() if not line.startswith("lineage"))
    path = zoo_folders / "config" / "cards" / f"{id_}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def delta_of(base: Path, target: Path, folder: Path) -> Path:
    folder.mkdir()
    make_delta(base, target, folder, Policy(new_rows="zero"))
    return folder


def logits(folder: Path) -> torch.Tensor:
    with torch.inference_mode():
        return AutoModelForCausalLM.from_pretrained(folder)(IDS).logits


def folder_of(reference: str, **options: Any) -> Path:
    zoo = Zoo()
    card, path = zoo.catalog.model(reference)
    return model_weights(zoo, card, path, reference=reference, **options)


@pytest.fixture
def parts(tmp_path: Path, zoo_folders: Path) -> Path:
    """A base, a model made from it, the delta between them, and cards of the base and the delta."""
    base = tiny_llama(tmp_path / "base")
    target = change(tmp_path / "target", base, seed=1)
    delta_of(base, target, tmp_path / "delta")
    write_card(zoo_folders, "ground", tmp_path / "base", "", "")
    write_card(zoo_folders, "child", tmp_path / "delta", "id: ground")
    return tmp_path


def test_the_base_of_the_lineage_is_found(run: Run, parts: Path) -> None:
    assert run("chat", "child", "Hello").exit_code == 0
    torch.testing.assert_close(logits(folder_of("child")), logits(parts / "target"), rtol=0, atol=1e-6)


@pytest.mark.parametrize("base", ["folder", "name of a folder", "card"])
def test_the_user_names_the_base(
    run: Run, parts: Path, base: str, zoo_folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(parts)
    write_card(zoo_folders, "child", parts / "delta", "name: unknown")
    refused = run("chat", "child", "Hello")
    assert refused.exit_code == 1
    assert "is published as a delta over unknown, without which it gives gibberish" in refused.stderr
    words = {"folder": str(parts / "base"), "name of a folder": "base", "card": "ground"}
    result = run("chat", "child", "Hello", "--base", words[base])
    assert result.exit_code == 0, result.stderr
    assert all_assembled()[0].base_name == ("ground" if base == "card" else "base")


def test_another_base_gives_another_folder_and_an_edit_of_the_card_does_not(parts: Path, zoo_folders: Path) -> None:
    first = folder_of("child")
    other = change(parts / "other", parts / "base", seed=2)
    second = folder_of("child", base=str(other))
    assert first != second
    assert folder_of("child") == second, "the newest"
    assert folder_of("child", base=str(parts / "base")) == first
    card = zoo_folders / "config" / "cards" / "child.yaml"
    card.write_text(card.read_text().replace("A small model", "A small model, told otherwise"))
    assert folder_of("child", base=str(parts / "base")) == first


def test_another_recipe_or_delta_is_not_taken_for_the_one_that_is_here(parts: Path, zoo_folders: Path) -> None:
    first = folder_of("child")
    card = zoo_folders / "config" / "cards" / "child.yaml"
    card.write_text(card.read_text().replace("relation: delta", "relation: delta, delta: {vocab_size: 320}"))
    assert folder_of("child") != first


def test_a_base_that_is_a_delta_itself_is_put_together_first(parts: Path, zoo_folders: Path) -> None:
    grandchild = change(parts / "grandtarget", parts / "target", seed=3)
    delta_of(parts / "target", grandchild, parts / "granddelta")
    write_card(zoo_folders, "grandchild", parts / "granddelta", "id: child")
    torch.testing.assert_close(logits(folder_of("grandchild")), logits(grandchild), rtol=0, atol=1e-5)
    assert {record.card for record in all_assembled()} == {"child", "grandchild"}


def test_a_folder_with_the_delta_of_the_base_will_do_as_the_base(parts: Path, zoo_folders: Path) -> None:
    grandchild = change(parts / "grandtarget", parts / "target", seed=3)
    delta_of(parts / "target", grandchild, parts / "granddelta")
    write_card(zoo_folders, "grandchild", parts / "granddelta", "id: child")
    found = folder_of("grandchild", base=str(parts / "delta"))
    torch.testing.assert_close(logits(found), logits(grandchild), rtol=0, atol=1e-5)


def test_a_base_that_is_a_delta_without_its_own_base_is_to_be_merged_first(run: Run, parts: Path) -> None:
    shutil.copytree(parts / "delta", parts / "half")
    words = {"ID": "half", "BASE": "name: far", "RELATION": "delta", "SOURCE": "{hub: folder, path: .}"}
    (parts / "half" / "zoo.yaml").write_text(
        functools.reduce(lambda text, each: text.replace(*each), words.items(), CARD)
    )
    result = run("chat", "child", "Hello", "--base", parts / "half")
    assert result.exit_code == 1
    advice = f"(zoo merge delta {parts / 'half'} --base FOLDER --target NEW), and name NEW as the base of 'child'."
    assert advice in result.stderr


def test_a_lineage_that_goes_in_a_circle_is_refused(parts: Path, zoo_folders: Path) -> None:
    write_card(zoo_folders, "one", parts / "delta", "id: two")
    write_card(zoo_folders, "two", parts / "delta", "id: one")
    with pytest.raises(ZooError, match="goes in a circle"):
        folder_of("one")


def test_an_adapter_answers_as_peft_has_it(parts: Path, zoo_folders: Path, run: Run) -> None:
    torch.manual_seed(5)
    model = get_peft_model(
        LlamaForCausalLM.from_pretrained(parts / "base"), LoraConfig(r=4, target_modules=["q_proj", "v_proj"])
    )
    with torch.no_grad():
        for name, each in model.named_parameters():
            if "lora_B" in name:
                each.normal_(std=0.1)
    model.save_pretrained(parts / "adapter")
    write_card(zoo_folders, "adapted", parts / "adapter", "id: ground", "adapter")
    result = run("chat", "adapted", "Hello")
    assert result.exit_code == 0, result.stderr
    with torch.inference_mode():
        own = PeftModel.from_pretrained(LlamaForCausalLM.from_pretrained(parts / "base"), parts / "adapter")(IDS).logits
    torch.testing.assert_close(logits(folder_of("adapted")), own, rtol=0, atol=1e-6)
    named = run("chat", "adapted", "Hello", "--model-path", parts / "adapter")
    assert (named.exit_code, named.stdout) == (0, result.stdout)


# -- what is refused, before anything is there ---------------------------------------------------------------------------


def other_vocabulary(here: Path) -> list[Any]:
    return ["--base", tiny_llama(here / "b", vocab=352)]


def other_network(here: Path) -> list[Any]:
    return ["--base", tiny_llama(here / "b", hidden=64)]


def other_family(here: Path) -> list[Any]:
    return ["--base", tiny_bloom(here / "b")]


def not_a_number(here: Path) -> list[Any]:
    folder = shutil.copytree(here / "base", here / "b")
    found = {name: each.clone() for name, each in tensors(folder).items()}
    found["model.norm.weight"][3] = float("nan")
    from safetensors.torch import save_file

    save_file(found, folder / "model.safetensors", metadata={"format": "pt"})
    return ["--base", folder]


WRONG: dict[str, tuple[Callable[[Path], list[Any]], int, str]] = {
    "vocabulary": (other_vocabulary, 1, "has the shape 352 x 32 in the base"),
    "network": (other_network, 1, "is another network than the delta"),
    "family": (other_family, 1, "is of the architecture bloom, the delta"),
    "NaN": (not_a_number, 1, "not finite"),
    "no folder": (lambda here: ["--base", here / "nowhere"], 1, "There is no folder"),
    "a path that is none": (lambda here: ["--base", "/" + "n" * 5_000], 1, "There is no folder"),
    "a name that is none": (lambda here: ["--base", "n" * 5_000], 1, "No model is called"),
    "no card": (lambda here: ["--base", "graund"], 1, "No model is called 'graund'. Did you mean ground?"),
    "a base that is the delta": (lambda here: ["--base", here / "delta"], 1, "delta"),
    "a whole model and a base": (
        lambda here: ["--model-path", here / "target", "--base", here / "base"],
        2,
        "holds no delta and no adapter but a whole model, so it takes no base (--base).",
    ),
}


@pytest.mark.parametrize(("make", "code", "sentence"), WRONG.values(), ids=WRONG)
def test_a_wrong_base_is_refused_and_nothing_is_left(
    run: Run, parts: Path, make: Callable[[Path], list[Any]], code: int, sentence: str
) -> None:
    result = run("chat", "child", "Hello", *make(parts))
    assert (result.exit_code, result.stdout) == (code, "")
    assert sentence in result.stderr
    assert all_assembled() == []
    assert not assembled_folder().is_dir() or list(assembled_folder().iterdir()) == []


def test_a_whole_model_takes_no_base(run: Run, parts: Path) -> None:
    result = run("chat", "ground", "Hello", "--base", parts / "base")
    assert result.exit_code == 2
    assert "'ground' is no delta and no adapter, so it takes no base (--base)." in result.stderr


def test_a_family_that_cannot_do_it_says_so(run: Run, parts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("zoo_weights.families.TransformersFamily.assemble")
    result = run("chat", "child", "Hello")
    assert result.exit_code == 2
    assert "The family 'chimera' cannot put 'child' together" in result.stderr


def test_a_base_in_the_lineage_that_is_damaged_is_named(run: Run, parts: Path, zoo_folders: Path) -> None:
    shard = parts / "base" / "model.safetensors"
    card = write_card(zoo_folders, "ground", parts / "base", "", "")
    card.write_text(
        card.read_text()
        + f"\nfiles: [{{path: model.safetensors, size: {shard.stat().st_size}, sha256: '{'0' * 64}'}}]\n"
    )
    for arguments in ([], ["--base", parts / "base"]):
        result = run("chat", "child", "Hello", *arguments)
        assert result.exit_code == 1
        assert "the card of 'ground' says 000000000000" in result.stderr


# -- what is kept --------------------------------------------------------------------------------------------------------


def test_the_folder_tells_what_it_is(run: Run, parts: Path) -> None:
    folder = folder_of("child")
    card, _ = Zoo().catalog.model(str(folder))
    assert card.lineage is not None
    assert (card.id, card.format, card.lineage.relation) == ("child", "safetensors", "finetune")
    assert {file.path for file in card.files} >= {"model.safetensors", "config.json", "tokenizer.json"}
    assert run("chat", folder, "Hello").stdout == run("chat", "child", "Hello").stdout
    checked = run("card", "check", "--offline", folder / "zoo.yaml")
    assert checked.exit_code == 0, checked.output
    assert not list(folder.glob("*journal*"))


def test_it_is_listed_verified_and_removed(run: Run, parts: Path) -> None:
    folder = folder_of("child")
    assert "child" in run("list", "--pulled").stdout
    verified = run("verify", "child", "--json")
    assert json.loads(verified.stdout)["folder"] == str(folder)
    content = bytearray((folder / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (folder / "model.safetensors").write_bytes(content)
    assert run("verify", "child").exit_code == 1
    told = run("rm", "child", "--dry-run").stdout
    assert f"{folder}  put together here, " in told
    assert run("rm", "child", "--yes").exit_code == 0
    assert not folder.exists()
    assert (parts / "delta").is_dir()
    assert "child" not in run("list", "--pulled").stdout
    assert "nothing to remove" in run("rm", "child", "--yes").stderr


def test_a_damaged_result_is_not_used(run: Run, parts: Path) -> None:
    folder = folder_of("child")
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[:-1])
    result = run("chat", "child", "Hello")
    assert result.exit_code == 1
    assert "it is incomplete or another one" in result.stderr
    assert run(*result.stderr.partition("remove it with zoo ")[2].partition(",")[0].split(), "--yes").exit_code == 0
    assert run("chat", "child", "Hello").exit_code == 0


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b"[" * 100_000], ids=range(5))
def test_a_record_that_cannot_be_understood_is_made_anew(parts: Path, content: bytes) -> None:
    folder = folder_of("child")
    (folder / RECORD).write_bytes(content)
    assert all_assembled() == []
    assert folder_of("child") == folder
    assert [record.folder for record in all_assembled()] == [str(folder)]


def test_what_is_used_is_remembered_as_verified(parts: Path) -> None:
    """Else a model of many gigabytes would be read twice before its first word."""
    from zoo_core.weights.store import Verified

    folder = folder_of("child")
    assert all(Verified().get(folder / file.path) == file.sha256 for file in all_assembled()[0].files)


# -- interrupted, and at the same time -----------------------------------------------------------------------------------

#: Puts a model together; with an argument, the process kills itself when the first shard is finished.
WORK = """
import os, signal, sys
from zoo_core import Zoo
from zoo_core.weights.assembling import model_weights
import zoo_weights.families as families

apply = families.apply_delta

def apply_delta(*args, **options):
    return apply(*args, **options | {"shard_size": 40_000, "threads": 1})

families.apply_delta = apply_delta

def progress(share, line):
    if len(sys.argv) > 1 and line.startswith("model-00003"):
        os.kill(os.getpid(), getattr(signal, sys.argv[1]))

zoo = Zoo()
card, path = zoo.catalog.model("child")
print(model_weights(zoo, card, path, progress=progress))
"""


def work(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WORK, *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ.copy())


@pytest.mark.parametrize("kind", ["SIGKILL", "SIGINT"])
def test_what_was_interrupted_goes_on_where_it_stopped(parts: Path, kind: str, run: Run) -> None:
    process = work(kind)
    process.communicate()
    assert process.returncode in {-signal.SIGKILL, -signal.SIGINT, 1, 130}
    assert all_assembled() == []
    [partial] = assembled_folder().iterdir()
    assert partial.name.endswith(PARTIAL)
    shards = sorted(partial.glob("model-*.safetensors"))
    assert shards, "something is finished"
    before = {path.name: path.stat().st_mtime_ns for path in shards}
    assert f"{partial}  unfinished work" in run("rm", "child", "--dry-run").stdout
    again = work()
    out, error = again.communicate()
    assert again.returncode == 0, error
    folder = Path(out.strip())
    after = {path.name: path.stat().st_mtime_ns for path in folder.glob("model-*.safetensors")}
    assert before.items() <= after.items(), "finished shards are not made again"
    assert not partial.exists()
    torch.testing.assert_close(logits(folder), logits(parts / "target"), rtol=0, atol=1e-6)


def test_unfinished_work_is_begun_anew_where_the_base_was_moved(parts: Path, run: Run) -> None:
    """The folder is found by the digests of the files, the work in it tells their places."""
    work("SIGKILL").communicate()
    (parts / "base").rename(parts / "elsewhere")
    result = run("chat", "child", "Hello", "--base", parts / "elsewhere")
    assert result.exit_code == 0, result.stderr
    assert [path.name.endswith(PARTIAL) for path in assembled_folder().iterdir()] == [False]


def test_a_disk_that_fails_in_the_middle_costs_no_finished_work(parts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import zoo_weights.families as families
    from zoo_weights import Checkpoint

    apply, load = families.apply_delta, Checkpoint.load

    def fails(self: Checkpoint, name: str, *rows: Any) -> torch.Tensor:
        if name == "model.norm.weight" and rows:
            raise WeightsError("The disk was taken away.")
        return load(self, name, *rows)

    monkeypatch.setattr(
        families, "apply_delta", lambda *args, **options: apply(*args, **options, shard_size=1, threads=1)
    )
    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(Checkpoint, "load", fails)
        with pytest.raises(WeightsError, match="The disk was taken away"):
            folder_of("child")
    [partial] = assembled_folder().iterdir()
    finished = {path.name: path.stat().st_mtime_ns for path in partial.glob("*.safetensors")}
    assert finished
    folder = folder_of("child")
    assert finished.items() <= {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}.items()


def test_unfinished_work_can_be_removed(parts: Path, run: Run) -> None:
    work("SIGKILL").communicate()
    assert run("rm", "child", "--yes").exit_code == 0
    assert list(assembled_folder().iterdir()) == []


def test_two_runs_at_once_make_one_model(parts: Path) -> None:
    both = [work(), work()]
    told = [process.communicate() for process in both]
    assert [process.returncode for process in both] == [0, 0], told
    assert len({out for out, _ in told}) == 1
    assert len(list(assembled_folder().iterdir())) == 1


def test_it_is_not_removed_while_it_is_made(parts: Path, run: Run) -> None:
    folder = folder_of("child")
    code = (
        "import sys\nfrom pathlib import Path\nfrom zoo_core.locks import locked\n"
        f"with locked(Path({str(lock_of(folder))!r})):\n    print('held', flush=True)\n    sys.stdin.read()\n"
    )
    holder = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    result = run("rm", "child", "--yes")
    holder.communicate("")
    assert result.exit_code == 1
    assert "is being put together in" in result.stderr
    assert folder.is_dir()
