"""The families of the overview and of CAMEL: tiny checkpoints of the right shape, in every form in which they were published.

Each goes through the path of the real ones: a card, a folder of weights, family, engine, session.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from click.testing import Result
from peft import LoraConfig, get_peft_model
from tiny_models import bloom_tokenizer, change, llama_tokenizer, save, tensors, tiny_bloom, tiny_llama
from transformers import AutoModelForCausalLM, GPTJConfig, GPTJForCausalLM, LlamaForCausalLM

from zoo_core import Assembly, Loading, ModelCard, WeightsError, Zoo
from zoo_core.cards.parts import Architecture, Base, Context, Delta, Generation, Lineage, Runtime, Source
from zoo_core.cards.writing import card_yaml
from zoo_core.opening import open_session
from zoo_core.session import Session
from zoo_weights import Policy, make_delta

IDS = torch.tensor([[1, 17, 42, 99, 7]])
LONG = 4096
END_OF_DOLLY = 400

Run = Callable[..., Result]

#: peft asks transformers for a property that has another name now.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")


def tiny_gptj(folder: Path) -> Path:
    """A GPT-J with the three tokens that Dolly added to its tokenizer."""
    torch.manual_seed(0)
    tokenizer = bloom_tokenizer(END_OF_DOLLY)
    added = ["### End", "### Instruction:", "### Response:\n"]
    tokenizer.add_special_tokens({"additional_special_tokens": added})
    shape = {"n_embd": 32, "n_layer": 2, "n_head": 4, "rotary_dim": 8, "n_positions": LONG}
    config = GPTJConfig(vocab_size=len(tokenizer) + 5, bos_token_id=1, eos_token_id=2, **shape)
    return save(folder, GPTJForCausalLM(config), tokenizer)


def long_llama(folder: Path, **config: Any) -> Path:
    return tiny_llama(folder, max_position_embeddings=LONG, **config)


def long_bloom(folder: Path) -> Path:
    return tiny_bloom(folder, seq_length=LONG)


#: Code that a checkpoint brings: an architecture that transformers has not, although it computes as LLaMA does.
CODE = """
from pathlib import Path

from transformers import LlamaConfig, LlamaForCausalLM

Path(r"{ran}").touch()


class StrangeConfig(LlamaConfig):
    model_type = "strange"


class StrangeForCausalLM(LlamaForCausalLM):
    config_class = StrangeConfig
"""


def with_code(folder: Path, auto: str = "AutoModelForCausalLM", name: str = "StrangeForCausalLM") -> Path:
    """A checkpoint that only its own code can load. The code leaves the file `ran` beside the folder when it runs."""
    long_llama(folder)
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"] = {"AutoConfig": "strange.StrangeConfig", auto: "strange.StrangeForCausalLM"}
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "strange", "architectures": [name]}))
    (folder / "strange.py").write_text(CODE.format(ran=folder.with_name("ran")))
    return folder


def card_of(name: str, **changes: Any) -> ModelCard:
    """The registry's card of a model, with the measures of a tiny one in place of its own."""
    card, _ = Zoo().catalog.model(name)
    own: dict[str, Any] = {
        "id": f"tiny-{card.id}",
        "aliases": [],
        "sources": [],
        "format": "safetensors",
        "lineage": None,
        "architecture": Architecture(),
        "context": Context(max=LONG),
        "generation": Generation(temperature=0, max_new_tokens=4),
        "runtime": Runtime(),
        "quantization": None,
    }
    return msgspec.structs.replace(card, **(own | changes))


def session_of(name: str, weights: Path, *, base: Path | None = None, lineage: Lineage | None = None) -> Session:
    """A session with a model's card, and these weights, or parts of them, as its source."""
    path = weights.parent / "card.yaml"
    card = card_of(name, sources=[Source(hub="folder", path=str(weights))], lineage=lineage)
    path.write_text(card_yaml(card), encoding="utf-8")
    return open_session(Zoo(), str(path), base=str(base) if base else None)


def talk(session: Session, text: str = "What is a camel?") -> str:
    answer = "".join(session.reply(text))
    assert session.last is not None
    assert session.last.finish in {"stop", "length"}
    assert session.last.prompt_tokens > len(text) // 4
    return answer


def logits(folder: Path) -> torch.Tensor:
    with torch.inference_mode():
        result: torch.Tensor = AutoModelForCausalLM.from_pretrained(folder).eval()(IDS).logits
    return result


# -- full weights ------------------------------------------------------------------------------------------------------

FULL = {
    "guanaco-7b": long_llama,
    "belle-7b-2m": long_bloom,
    "dolly-v1-6b": tiny_gptj,
    # published as deltas or adapters, and here already put together
    "alpaca-7b": long_llama,
    "vicuna-7b": long_llama,
    "vicuna-7b-v1.1": long_llama,
    "koala-13b": long_llama,
    "baize-7b": long_llama,
    "chinese-alpaca-7b": long_llama,
    "luotuo-7b": long_llama,
    "huatuogpt-13b": long_llama,
}


@pytest.mark.parametrize("name", FULL)
def test_a_whole_model_talks(name: str, tmp_path: Path) -> None:
    session = session_of(name, FULL[name](tmp_path / "weights"))
    talk(session)
    talk(session, "And a vicuna?")
    assert len(session.messages) == 4
    prompt = session.prompt([], 4)
    begins_with = prompt.ids[:1] == [session.engine._tokenizer.bos_token_id]  # type: ignore[attr-defined]
    assert begins_with == session.template.add_bos == (FULL[name] is long_llama)


def test_a_reply_ends_at_a_token_that_is_a_stop_string(tmp_path: Path) -> None:
    """Dolly ends with the token '### End', which is no end-of-text token and leaves no trace in the text."""
    folder = tiny_gptj(tmp_path / "weights")
    model = GPTJForCausalLM.from_pretrained(folder)
    with torch.no_grad():
        model.lm_head.bias[END_OF_DOLLY] = 1e4
    model.save_pretrained(folder)
    session = session_of("dolly-v1-6b", folder)
    assert talk(session) == ""
    assert session.last is not None
    assert (session.last.ids, session.last.finish) == ([END_OF_DOLLY], "stop")


def scripted_llama(folder: Path, following: dict[int, int]) -> Path:
    """A LLaMA that says after every token the one that it is told to: its layers add nothing, each token has its own axis."""
    long_llama(folder, hidden=320, layers=1)
    model = LlamaForCausalLM.from_pretrained(folder)
    with torch.no_grad():
        model.model.embed_tokens.weight.copy_(torch.eye(320))
        model.model.layers[0].self_attn.o_proj.weight.zero_()
        model.model.layers[0].mlp.down_proj.weight.zero_()
        model.lm_head.weight.zero_()
        for token, next_token in following.items():
            model.lm_head.weight[next_token, token] = 1
    model.save_pretrained(folder)
    return folder


def test_a_stray_byte_after_a_line_break_is_shown_as_such(tmp_path: Path) -> None:
    """LLaMA's line break is a byte to its tokenizer, which then reads a byte behind it that belongs to no character with it."""
    tokenizer = llama_tokenizer(320)
    newline, stray, end = (tokenizer.convert_tokens_to_ids(each) for each in ("<0x0A>", "<0xE9>", "</s>"))
    letters = tokenizer("abc", add_special_tokens=False)["input_ids"][-2:]
    steps = [newline, stray, *letters, end]
    folder = scripted_llama(tmp_path / "weights", dict(pairwise(steps)))
    session = session_of("guanaco-7b", folder)
    session.set({"max_new_tokens": 9})
    assert talk(session) == "\ufffd" + tokenizer.decode(letters)
    assert session.last is not None
    assert session.last.ids == steps[1:]


@pytest.mark.parametrize(("name", "other"), [("dolly-v1-6b", long_llama), ("vicuna-7b", long_bloom)])
def test_weights_of_another_architecture_are_refused(name: str, other: Callable[[Path], Path], tmp_path: Path) -> None:
    folder = other(tmp_path / "weights")
    session = session_of(name, folder)
    with pytest.raises(WeightsError, match="but this family loads"):
        talk(session)


# -- deltas ------------------------------------------------------------------------------------------------------------


def assembled(card: ModelCard, parts: Path, base: Path, out: Path) -> Path:
    """What the card's family makes of the parts and their base."""
    out.mkdir()
    family = Zoo().offer("zoo_model_families", card.family, "model family").load()()
    family.assemble(Assembly(card=card, parts=parts, base=base, folder=out))
    return out


def delta_card(name: str, delta: Delta) -> ModelCard:
    return card_of(name, lineage=Lineage(base=Base(name="its base"), relation="delta", delta=delta))


@pytest.mark.parametrize(
    ("name", "rows"),
    [("alpaca-7b", 1), ("vicuna-7b", 1), ("vicuna-7b-v1.1", 0), ("koala-13b", 0)],
)
def test_a_delta_becomes_the_model_that_it_was_made_of(name: str, rows: int, tmp_path: Path) -> None:
    """With the policy of the registry's card, rows and sum of weights being those of the tiny model."""
    base = long_llama(tmp_path / "base")
    model = change(tmp_path / "model", base, seed=1, rows=rows)
    real = Zoo().catalog.model(name)[0].lineage
    assert real is not None
    assert real.delta is not None
    total = sum(float(each.sum()) for each in tensors(model).values())
    policy = msgspec.structs.replace(
        real.delta, vocab_size=320 + rows, weight_sum=total if real.delta.weight_sum is not None else None
    )
    assert (policy.new_rows is not None) == bool(rows)
    (tmp_path / "delta").mkdir()
    make_delta(base, model, tmp_path / "delta", Policy(new_rows=policy.new_rows))
    made = assembled(delta_card(name, policy), tmp_path / "delta", base, tmp_path / "made")
    assert torch.equal(logits(made), logits(model))
    lineage = delta_card(name, policy).lineage
    answer = talk(session_of(name, tmp_path / "delta", base=base, lineage=lineage))
    assert answer == talk(session_of(name, model))


def test_a_delta_over_a_delta(tmp_path: Path) -> None:
    """HuatuoGPT-13B is a delta over Ziya, itself one over LLaMA with a longer vocabulary; both hold their tables whole."""
    real = [Zoo().catalog.model(name)[0].lineage for name in ("ziya-llama-13b-pretrain-v1", "huatuogpt-13b")]
    keeps = [each.delta.keeps for each in real if each is not None and each.delta is not None]
    assert keeps[0] == keeps[1]
    llama = long_llama(tmp_path / "llama")
    ziya = change(tmp_path / "ziya", llama, seed=1, rows=9)
    huatuo = change(tmp_path / "huatuo", ziya, seed=2)
    for base, model, name in ((llama, ziya, "ziya-delta"), (ziya, huatuo, "huatuo-delta")):
        (tmp_path / name).mkdir()
        make_delta(base, model, tmp_path / name, Policy(keeps=tuple(keeps[0])))
    first = delta_card("ziya-llama-13b-pretrain-v1", Delta(keeps=keeps[0], vocab_size=329))
    second = delta_card("huatuogpt-13b", Delta(keeps=keeps[1]))
    between = assembled(first, tmp_path / "ziya-delta", llama, tmp_path / "between")
    made = assembled(second, tmp_path / "huatuo-delta", between, tmp_path / "made")
    assert torch.equal(logits(made), logits(huatuo))
    assert torch.equal(tensors(made)["lm_head.weight"], tensors(tmp_path / "huatuo-delta")["lm_head.weight"])


# -- adapters ----------------------------------------------------------------------------------------------------------


def adapter(folder: Path, base: Path, **settings: Any) -> torch.Tensor:
    """Write a LoRA adapter that was taught a little; its model's logits."""
    torch.manual_seed(3)
    model = LlamaForCausalLM.from_pretrained(base)
    if settings.get("modules_to_save"):
        model.resize_token_embeddings(model.config.vocab_size + 24, mean_resizing=False)
    model = get_peft_model(model, LoraConfig(r=8, lora_alpha=16, task_type="CAUSAL_LM", **settings)).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name or "modules_to_save" in name:
                parameter.add_(torch.randn_like(parameter) * 0.05)
    model.save_pretrained(folder, save_embedding_layers=False)  # modules_to_save has them
    with torch.inference_mode():
        result: torch.Tensor = model(IDS).logits
    return result


EVERYWHERE = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "down_proj", "up_proj"]


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("luotuo-7b", {"target_modules": ["q_proj", "v_proj"]}),
        ("baize-7b", {"target_modules": EVERYWHERE}),
        ("chinese-alpaca-7b", {"target_modules": EVERYWHERE, "modules_to_save": ["embed_tokens", "lm_head"]}),
    ],
)
def test_an_adapter_is_merged_into_its_base(name: str, settings: dict[str, Any], tmp_path: Path) -> None:
    base = long_llama(tmp_path / "base")
    expected = adapter(tmp_path / "adapter", base, **settings)
    if "modules_to_save" in settings:  # more tokens, and so a tokenizer of its own
        llama_tokenizer(344).save_pretrained(tmp_path / "adapter")
    card = card_of(name, lineage=Lineage(base=Base(name="its base"), relation="adapter"))
    made = assembled(card, tmp_path / "adapter", base, tmp_path / "made")
    assert torch.allclose(logits(made), expected, atol=1e-5)
    assert not torch.allclose(logits(made)[..., :320], logits(base), atol=1e-3)
    answer = talk(session_of(name, tmp_path / "adapter", base=base, lineage=card.lineage))
    assert answer == talk(session_of(name, made))


# -- checkpoints with code of their own ----------------------------------------------------------------------------------

WITH_CODE = {
    "chatglm-6b": ("AutoModel", "ChatGLMModel"),
    "moss-moon-003-sft": ("AutoModelForCausalLM", "MossForCausalLM"),
    "huatuogpt-7b": ("AutoModelForCausalLM", "BaiChuanForCausalLM"),
    "huatuogpt2-7b": ("AutoModelForCausalLM", "BaichuanForCausalLM"),
    "huatuogpt2-34b": ("AutoModelForCausalLM", "YiForCausalLM"),
}


@pytest.mark.parametrize("name", WITH_CODE)
def test_code_of_a_checkpoint_runs_only_where_it_is_allowed(name: str, tmp_path: Path) -> None:
    folder = with_code(tmp_path / "weights", *WITH_CODE[name])
    card = Zoo().catalog.model(name)[0]
    assert card.runtime.remote_code
    family = Zoo().offer("zoo_model_families", card.family, "model family").load()()
    with pytest.raises(ValueError, match="remote"):
        family.load_model(folder, Loading())
    assert not (tmp_path / "ran").exists()
    model = family.load_model(folder, Loading(remote_code=True))
    assert (tmp_path / "ran").exists()
    with torch.inference_mode():
        assert model(IDS).logits.shape == (1, 5, 320)


@pytest.mark.parametrize("name", WITH_CODE)
def test_a_card_with_code_is_refused_without_consent(name: str, tmp_path: Path, run: Run) -> None:
    folder = with_code(tmp_path / "weights", *WITH_CODE[name])
    result = run("chat", name, "Hello", "--model-path", str(folder))
    assert result.exit_code != 0
    assert "code" in result.stderr
    assert not (tmp_path / "ran").exists()
