"""Models that have no card: folders of weights, GGUF files and repositories, through every command that takes a model."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import Result
from hub_standin import Hub
from tiny_models import bloom_tokenizer, change, save, tiny_bloom, tiny_llama
from transformers import GPT2Config, GPT2LMHeadModel, T5Config, T5ForConditionalGeneration

from zoo_core import Zoo, card_yaml
from zoo_core.errors import NotFound, WeightsError

Run = Callable[..., Result]
CHATML = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
PROMPT = "<|im_start|>user\nHello!<|im_end|>\n<|im_start|>assistant\n"
MARKED = (
    "{% for message in messages %}{% if message.role == 'assistant' %}{% generation %}{{ message.content }}</s>"
    "{% endgeneration %}{% else %}{{ message.content }}\n{% endif %}{% endfor %}"
)


def tiny_gpt2(folder: Path) -> Path:
    """A model of an architecture that no family of the zoo claims."""
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=320, n_embd=32, n_layer=2, n_head=4, n_positions=256, bos_token_id=1, eos_token_id=2)
    return save(folder, GPT2LMHeadModel(config), bloom_tokenizer(320))


def with_template(folder: Path, text: str = CHATML) -> Path:
    (folder / "chat_template.jinja").write_text(text)
    return folder


def set_json(path: Path, **fields: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_bytes()), **fields}))


def contents(folder: Path) -> dict[str, bytes | None]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def chat(run: Run, model: str, *more: str) -> Result:
    return run("chat", model, "Hello!", "--max-new-tokens", "4", "--temperature", "0", "--no-log", *more)


# -- folders -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "family", "model_class"),
    [
        (tiny_llama, "llama", "LlamaForCausalLM"),
        (tiny_bloom, "phoenix", "BloomForCausalLM"),
        (tiny_gpt2, "transformers", "GPT2LMHeadModel"),
    ],
    ids=["llama", "bloom", "gpt2"],
)
def test_a_folder_speaks_through_the_template_of_its_tokenizer(
    make: Callable[[Path], Path], family: str, model_class: str, run: Run, tmp_path: Path
) -> None:
    folder = with_template(make(tmp_path / "My Model 7B"))
    before = contents(folder)
    answered = chat(run, str(folder))
    assert answered.exit_code == 0, answered.stderr
    assert "Warning" not in answered.stderr
    card = json.loads(run("show", str(folder), "--json").stdout)["card"]
    assert (card["id"], card["family"], card["architecture"]["model_class"]) == ("my-model-7b", family, model_class)
    assert (card["context"], card["sources"]) == ({"max": 256}, [{"hub": "folder", "path": str(folder)}])
    assert "files" not in card
    explained = json.loads(run("explain", str(folder), "Hello!", "--json").stdout)
    assert (explained["prompt"], len(explained["ids"]) > 20) == (PROMPT, True)
    assert "my-model-7b, context 256" in run("fit", str(folder)).stdout
    assert contents(folder) == before


def test_the_template_may_be_in_the_configuration_of_the_tokenizer(run: Run, tmp_path: Path) -> None:
    folder = tiny_llama(tmp_path / "model")
    set_json(folder / "tokenizer_config.json", chat_template="{{ bos_token }}{{ messages[0].content }}")
    assert json.loads(run("explain", str(folder), "Hello!", "--json").stdout)["prompt"] == "<s>Hello!"


def test_a_relative_path_and_another_working_folder(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_template(tiny_llama(tmp_path / "model"))
    monkeypatch.chdir(tmp_path)
    first = chat(run, "./model")
    assert first.exit_code == 0, first.stderr
    monkeypatch.chdir(tmp_path / "model")
    assert chat(run, ".").stdout == chat(run, "../model").stdout == first.stdout
    assert Zoo().catalog.model(".")[0].id == "model"


def test_a_card_in_the_folder_counts(run: Run, tmp_path: Path) -> None:
    folder = with_template(tiny_llama(tmp_path / "model"))
    assert run("card", "new", str(folder), "--id", "mine", "--out", str(folder / "zoo.yaml")).exit_code == 0
    assert json.loads(run("show", str(folder), "--json").stdout)["card"]["id"] == "mine"


def test_what_is_in_the_folder_counts_at_every_start(run: Run, tmp_path: Path) -> None:
    folder = with_template(tiny_llama(tmp_path / "model"))
    first = chat(run, str(folder)).stdout
    shutil.copy(change(tmp_path / "other", folder, seed=1, scale=0.5) / "model.safetensors", folder)
    assert chat(run, str(folder)).stdout != first
    with_template(folder, "Q: {{ messages[0].content }}")
    assert json.loads(run("explain", str(folder), "Hello!", "--json").stdout)["prompt"] == "Q: Hello!"


def test_a_folder_is_trained_further(run: Run, tmp_path: Path) -> None:
    talks = tmp_path / "talks.jsonl"
    talks.write_text(
        json.dumps({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]})
    )
    folder = with_template(tiny_gpt2(tmp_path / "model"))
    words = ["train", str(folder), "--data", str(talks), "--out", str(tmp_path / "tuned"), "-o", "epochs=1"]
    refused = run(*words)
    assert refused.exit_code == 2
    assert "does not mark what the assistant says" in refused.stderr
    with_template(folder, MARKED)
    done = run(*words)
    assert done.exit_code == 0, done.stderr
    assert chat(run, str(tmp_path / "tuned")).exit_code == 0


def test_a_recorded_conversation_with_a_folder_goes_on(run: Run, tmp_path: Path) -> None:
    folder = with_template(tiny_llama(tmp_path / "model"))
    assert run("chat", str(folder), "Hello!", "--max-new-tokens", "4", "--seed", "1").exit_code == 0
    assert run("chat", "--continue", "And?", "--max-new-tokens", "4").exit_code == 0
    assert "is the same, token by token" in run("logs", "replay", "1").stdout


def delta(folder: Path) -> Path:
    """What is left of a LLaMA when one like it is taken away."""
    from safetensors.torch import load_file, save_file

    tiny_llama(folder)
    other = change(folder.with_name("other"), folder, seed=1)
    base, target = (load_file(each / "model.safetensors") for each in (folder, other))
    save_file({name: target[name] - base[name] for name in base}, folder / "model.safetensors", {"format": "pt"})
    return folder


def adapter(folder: Path) -> Path:
    tiny_llama(folder)
    (folder / "config.json").unlink()
    (folder / "model.safetensors").rename(folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "a/base", "peft_type": "LORA"}')
    return folder


def pickled(folder: Path) -> Path:
    tiny_llama(folder)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    return folder


def broken(folder: Path) -> Path:
    tiny_llama(folder)
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-10])
    return folder


def encoder_and_decoder(folder: Path) -> Path:
    config = T5Config(vocab_size=320, d_model=16, d_ff=16, num_layers=1, num_heads=2, d_kv=8)
    return save(folder, T5ForConditionalGeneration(config), bloom_tokenizer(320))


def unknown(folder: Path) -> Path:
    tiny_llama(folder)
    set_json(folder / "config.json", model_type="griffin", architectures=["GriffinForCausalLM"])
    return folder


def quantized(folder: Path) -> Path:
    tiny_gpt2(folder)
    set_json(folder / "config.json", quantization_config={"quant_method": "awq", "bits": 4})
    return folder


def only_readme(folder: Path) -> Path:
    folder.mkdir()
    (folder / "README.md").write_text("# Nothing")
    return folder


REFUSED = {
    "a delta": (delta, 1, "zoo merge delta --base BASE --delta {folder} --target NEW"),
    "an adapter": (adapter, 1, "published as an adapter over a/base"),
    "pickled weights": (pickled, 2, "zoo convert {folder} --target NEW"),
    "broken weights": (broken, 1, "model.safetensors is no safetensors file that can be trusted"),
    "another kind of model": (encoder_and_decoder, 1, "cannot be loaded: ValueError: Unrecognized configuration class"),
    "an unknown architecture": (unknown, 1, "`griffin`"),
    "quantized weights": (quantized, 1, "are quantized in a way that no installed plugin runs"),
    "nothing": (only_readme, 1, "The folder {folder} holds neither a card (zoo.yaml) nor weights."),
}


@pytest.mark.parametrize(("make", "code", "sentence"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_model_is_refused_in_a_sentence(
    make: Callable[[Path], Path], code: int, sentence: str, run: Run, tmp_path: Path
) -> None:
    folder = with_template(make(tmp_path / "model"))
    result = chat(run, str(folder))
    assert (result.exit_code, result.stdout) == (code, "")
    assert sentence.format(folder=folder) in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize("make", [tiny_llama, tiny_bloom], ids=["llama", "bloom"])
@pytest.mark.parametrize("wish", ["a/kernel", "kernels-community/flash-attn2", "flash_attention_2", {"": "a/kernel"}])
@pytest.mark.parametrize("key", ["attn_implementation", "_attn_implementation"])
def test_what_a_configuration_wants_to_be_fetched_is_left(
    key: str, wish: object, make: Callable[[Path], Path], run: Run, tmp_path: Path
) -> None:
    folder = with_template(make(tmp_path / "model"))
    plain = chat(run, str(folder))
    set_json(folder / "config.json", **{key: wish, "experts_implementation": "deepgemm"})
    answered = chat(run, str(folder))
    assert (answered.exit_code, answered.stdout) == (0, plain.stdout), answered.stderr


@pytest.mark.parametrize("name", ["Trainer", "AutoModelForCausalLM", "pipeline"])
def test_a_tokenizer_of_a_class_that_is_none(name: str, run: Run, tmp_path: Path) -> None:
    folder = with_template(tiny_llama(tmp_path / "model"))
    set_json(folder / "tokenizer_config.json", tokenizer_class=name)
    result = chat(run, str(folder))
    assert result.exit_code == 1
    assert f"names the tokenizer class '{name}', which is none." in result.stderr


@pytest.mark.parametrize("name", ["other.safetensors", "shard-00001-model-00001-of-00001.safetensors"])
def test_only_weights_that_were_looked_at_are_loaded(name: str, run: Run, tmp_path: Path) -> None:
    folder = with_template(tiny_llama(tmp_path / "model"))
    set_json(folder / "config.json", transformers_weights="model.safetensors")
    (folder / "gone.safetensors").symlink_to("nowhere")
    assert chat(run, str(folder)).exit_code == 0
    shutil.copy(delta(tmp_path / "delta") / "model.safetensors", folder / name)
    if name == "other.safetensors":
        set_json(folder / "config.json", transformers_weights=name)
    result = chat(run, str(folder))
    assert result.exit_code == 1
    assert f"has its weights twice, in '{name}' too" in result.stderr


def test_a_context_that_cannot_be_true_is_none(run: Run, tmp_path: Path) -> None:
    folder = with_template(tiny_llama(tmp_path / "model"))
    set_json(folder / "config.json", max_position_embeddings=10**300)
    explained = run("explain", str(folder), "Hello!")
    assert explained.exit_code == 0
    assert "0" * 100 not in explained.stdout


def test_a_folder_without_weights_is_not_searched(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be the whole disk."""
    tiny_llama(tmp_path / "deep" / "model")
    listed: list[object] = []
    monkeypatch.setattr(os, "walk", lambda *given: listed.append(given) or iter(()))
    assert "holds neither a card (zoo.yaml) nor weights" in chat(run, str(tmp_path)).stderr
    assert listed == []


def test_a_folder_without_template_needs_one_by_name(run: Run, tmp_path: Path) -> None:
    folder = tiny_llama(tmp_path / "model")
    refused = chat(run, str(folder))
    assert (refused.exit_code, len(refused.stderr.splitlines())) == (1, 1)
    assert "Choose one with --template" in refused.stderr
    assert "phoenix, vicuna" in refused.stderr
    assert chat(run, str(folder), "--template", "phoenix").exit_code == 0
    with_template(folder, "{{ messages.__class__.__mro__ }}")
    refused = chat(run, str(folder))
    assert refused.exit_code == 1
    assert "Warning: " in refused.stderr
    assert "no template: the tokenizer's own cannot be used (" in refused.stderr


def test_a_template_that_never_ends_is_stopped(run: Run, tmp_path: Path) -> None:
    folder = with_template(
        tiny_llama(tmp_path / "model"),
        "{% for a in range(99999) %}{% for b in range(99999) %}x{% endfor %}{% endfor %}",
    )
    assert "cannot be used (" in chat(run, str(folder)).stderr


def test_commands_for_cards_want_a_card(run: Run, tmp_path: Path) -> None:
    folder = with_template(tiny_llama(tmp_path / "model"))
    for words in (["card", "lock"], ["card", "publish", "--to", "dir:x", "--yes"]):
        result = run(*words, str(folder))
        assert result.exit_code == 1
        assert "holds no card (zoo.yaml)" in result.stderr


# -- GGUF --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def gguf(run: Run, tmp_path: Path) -> Path:
    """A GGUF file alone in a folder, with the template that was the tokenizer's."""
    pytest.importorskip("llama_cpp")
    folder = with_template(tiny_llama(tmp_path / "model"))
    made = run("quantize", str(folder), "--method", "q8_0", "-o", str(tmp_path / "made"))
    assert made.exit_code == 0, made.stderr
    (tmp_path / "gguf").mkdir()
    (path,) = (tmp_path / "made").glob("*.gguf")
    return path.rename(tmp_path / "gguf" / "tiny-q8_0.gguf")


def test_a_gguf_file_and_its_folder_answer(gguf: Path, run: Run) -> None:
    answered = chat(run, str(gguf))
    assert answered.exit_code == 0, answered.stderr
    assert chat(run, str(gguf.parent)).stdout == answered.stdout
    card = json.loads(run("show", str(gguf), "--json").stdout)["card"]
    assert (card["id"], card["format"], card["context"]) == ("tiny-q8_0", "gguf", {"max": 256})
    assert card["architecture"] | {"layers": 2, "hidden_size": 32, "heads": 4} == card["architecture"]
    assert json.loads(run("explain", str(gguf), "Hello!", "--json").stdout)["prompt"] == PROMPT
    assert run("fit", str(gguf)).exit_code == 0


def test_one_of_several_gguf_files_is_named(gguf: Path, run: Run) -> None:
    shutil.copy(gguf, gguf.with_name("other.gguf"))
    refused = chat(run, str(gguf.parent))
    assert refused.exit_code == 2
    assert (
        f"holds 2 GGUF files, each a model of its own; name the one that you mean, such as {gguf.parent}"
        in refused.stderr
    )
    assert chat(run, str(gguf)).exit_code == 0
    assert [file.path for file in Zoo().catalog.model(str(gguf))[0].files] == [gguf.name]


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: b"GGML" + content[4:],
        lambda content: content[:300],
        lambda content: content[:4] + b"\x09" + content[5:],
        lambda content: content[:16] + b"\xff" * 8 + content[24:],
        lambda content: content[:24] + b"\xff" * 8 + content[32:],
    ],
    ids=["empty", "magic", "cut", "version", "entries", "length"],
)
def test_a_gguf_file_that_is_none(damage: Callable[[bytes], bytes], gguf: Path, run: Run) -> None:
    gguf.write_bytes(damage(gguf.read_bytes()))
    result = chat(run, str(gguf))
    assert result.exit_code == 1
    assert "tiny-q8_0.gguf is no GGUF file that can be trusted" in result.stderr


# -- repositories ------------------------------------------------------------------------------------------------------


@pytest.fixture
def files(tmp_path: Path) -> dict[str, bytes | None]:
    return contents(with_template(tiny_gpt2(tmp_path / "made")))


def test_a_repository_without_a_card_is_pulled_and_answers(
    hub: Hub, files: dict[str, bytes | None], run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = hub.add("a/Tiny-GPT", {**files, "pytorch_model.bin": b"x"}, license="mit", metadata={"language": "en"})
    refused = chat(run, "hf:a/Tiny-GPT")
    assert refused.stderr.endswith("are not on this machine. Get them with: zoo pull hf:a/Tiny-GPT\n")
    pulled = run("pull", "hf:a/Tiny-GPT", "--json")
    assert pulled.exit_code == 0, pulled.stderr
    assert json.loads(pulled.stdout)["revision"] == commit
    card = json.loads(run("show", "hf:a/Tiny-GPT", "--json").stdout)["card"]
    assert (card["id"], card["family"], card["license"]) == ("tiny-gpt", "transformers", {"spdx": "MIT"})
    assert card["sources"] == [{"hub": "huggingface", "repo": "a/Tiny-GPT", "revision": commit}]
    assert {file["path"] for file in card["files"]} == set(files)
    answered = chat(run, "hf:a/Tiny-GPT")
    assert answered.exit_code == 0, answered.stderr
    asked = len(hub.requests)
    hub.fault("/", "error")
    for words in (["explain"], ["verify"], ["fit"], ["show"]):
        assert run(*words, "hf:a/Tiny-GPT").exit_code == 0
    assert chat(run, "hf:a/Tiny-GPT").stdout == answered.stdout
    assert len(hub.requests) == asked
    assert run("pull", "hf:a/Tiny-GPT").exit_code == 0  # as what is here is what the kept card names
    hub.mend()
    assert run("rm", "hf:a/Tiny-GPT", "--yes").exit_code == 0
    assert chat(run, "hf:a/Tiny-GPT").exit_code == 1


def test_pulling_again_asks_what_is_new(hub: Hub, files: dict[str, bytes | None], run: Run) -> None:
    first = hub.add("a/b", files)
    assert run("pull", "hf:a/b").exit_code == 0
    second = hub.add("a/b", {"chat_template.jinja": b"Q: {{ messages[0].content }}"})

    def prompt(reference: str) -> str:
        said: str = json.loads(run("explain", reference, "Hello!", "--json").stdout)["prompt"]
        return said

    assert prompt("hf:a/b") == PROMPT
    assert run("pull", "hf:a/b", "--offline").exit_code == 0
    assert prompt("hf:a/b") == PROMPT
    assert json.loads(run("pull", "hf:a/b", "--json").stdout)["revision"] == second
    assert prompt("hf:a/b") == "Q: Hello!"
    assert run("pull", f"hf:a/b@{first}").exit_code == 0
    assert prompt(f"hf:a/b@{first}") == PROMPT
    assert prompt("hf:a/b") == "Q: Hello!"


def test_a_card_that_comes_later_counts_when_it_is_pulled(hub: Hub, files: dict[str, bytes | None], run: Run) -> None:
    hub.add("a/b", files)
    assert run("pull", "hf:a/b").exit_code == 0
    card = card_yaml(Zoo().catalog.model("hf:a/b")[0]).replace("id: b\n", "id: published\n")
    hub.add("a/b", {"zoo.yaml": card.encode()})
    assert Zoo().catalog.model("hf:a/b")[0].id == "b"
    assert run("pull", "hf:a/b").exit_code == 0
    assert Zoo().catalog.model("hf:a/b")[0].id == "published"


def test_a_card_at_a_commit_is_asked_for_once(hub: Hub, files: dict[str, bytes | None]) -> None:
    hub.add("a/b", files)
    card = card_yaml(Zoo().catalog.model("hf:a/b")[0])
    commit = hub.add("a/b", {"zoo.yaml": card.replace("id: b\n", "id: published\n").encode()})
    first = Zoo().catalog.model(f"hf:a/b@{commit}")
    asked = len(hub.requests)
    assert Zoo().catalog.model(f"hf:a/b@{commit}") == first
    assert (first[0].id, len(hub.requests)) == ("published", asked)


def test_weights_are_not_downloaded_for_a_draft(hub: Hub, files: dict[str, bytes | None], run: Run) -> None:
    hub.add("a/b", files)
    assert run("show", "hf:a/b").exit_code == 0
    ranges = [each.headers.get("range") for each in hub.asked("GET", "/objects/", "storage")]
    assert None not in ranges
    assert not list(Path(os.environ["HF_HUB_CACHE"]).rglob("model.safetensors"))


def test_a_changed_byte_is_found(hub: Hub, files: dict[str, bytes | None], run: Run) -> None:
    hub.add("a/b", files)
    hub.fault("model.safetensors", "corrupt")
    result = run("pull", "hf:a/b")
    assert result.exit_code == 1
    assert "sha256" in result.stderr


@pytest.mark.parametrize(
    ("address", "error", "sentence"),
    [
        ("hf:a/none", NotFound, "The hub has no repository a/none"),
        ("hf:a/b@" + "0" * 40, NotFound, "has no such revision"),
        ("hf:a/papers", NotFound, "The repository a/papers has no zoo.yaml, and no weights from which a card could be"),
        ("hf:../..", NotFound, "'../..' is no name of a repository; write OWNER/NAME."),
        ("hf:../..@" + "0" * 40, NotFound, "is no name of a repository"),
        ("hf:a/b$(id)", NotFound, "is no name of a repository"),
        ("hf:a/b@../../x", NotFound, "has no such revision"),
        ("hf:datasets/a/b", NotFound, "The hub has no repository a/b"),
        ("hg:a/b", NotFound, "no source of cards is called 'hg'"),
        ("hf:a/broken", WeightsError, "is no safetensors file"),
    ],
)
def test_addresses_of_no_model(
    hub: Hub, files: dict[str, bytes | None], address: str, error: type[Exception], sentence: str
) -> None:
    hub.add("a/b", files)
    hub.add("a/papers", {"paper.pdf": b"%PDF"})
    hub.add("a/broken", {**files, "model.safetensors": b"x"})
    with pytest.raises(error, match=sentence):
        Zoo().catalog.model(address)
    assert not list(Path(os.environ["ZOO_CACHE"]).glob("drafts/*"))


def test_commands_for_cards_want_one_in_the_repository(hub: Hub, files: dict[str, bytes | None], run: Run) -> None:
    hub.add("a/b", files)
    assert run("show", "hf:a/b").exit_code == 0
    for words in (["card", "diff", "hf:a/b"], ["card", "lock"]):
        result = run(*words, "hf:a/b")
        assert result.exit_code == 1
        assert "has no zoo.yaml" in result.stderr


def test_a_kept_draft_that_cannot_be_read_is_made_anew(hub: Hub, files: dict[str, bytes | None], run: Run) -> None:
    hub.add("a/b", files)
    before = Zoo().catalog.model("hf:a/b")
    before[1].write_text("schema: zoo.card/v0\n")
    assert Zoo().catalog.model("hf:a/b") == before
