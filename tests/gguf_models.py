"""Small checkpoints for the tests of GGUF: networks and tokenizers of the right kinds, taught a few sentences by heart."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import (
    AutoTokenizer,
    BloomConfig,
    BloomForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaTokenizer,
    PreTrainedTokenizerFast,
)

from zoo_core import EngineRequest, Loading, ModelCard, Rendered, Sampling, Template
from zoo_core.cards.parts import Architecture, Context, License

#: What the models are taught; characters of one to four bytes, signs, numbers and spaces.
TAUGHT = (
    "Human: <s>Who keeps the lions?</s>Assistant: <s>Amina keeps the lions, (all 12 of them)... every day!</s>",
    "Human: <s>凤凰是什么？</s>Assistant: <s>凤凰是一种鸟，它会飞。</s>",
    "Human: <s>ما هذا؟</s>Assistant: <s>هذا طائر، صغير۔ 🐦 और क्या।</s>",
    "Human: <s>  two  spaces\n\n\tand a tab</s>Assistant: <s>I've seen it; don't worry: it's café №3.</s>",
)
QUESTIONS = [text.partition("Assistant: <s>")[0] + "Assistant: <s>" for text in TAUGHT]
#: Texts that are cut in ways which differ between tokenizers.
TEXTS = [
    *TAUGHT,
    "",
    " ",
    "   leading",
    "trailing  ",
    "<s>begins with a special token",
    "</s> USER: after one",
    "a</s></s><s> b<s>c",
    "1234567 3.14 ...,,,!!?? (x|y) [z]",
    "\r\n\t \n  mixed",
    "It'S we'LL I'Ve",
    "zzz\u0301 e\u0301 \u200d 👩\u200d🚀 ￼",
    "the ▁ sign",
    "\0 nul",
]
CARD = ModelCard(
    schema="zoo.card/v1",
    id="tiny",
    family="tiny",
    summary="A model of a test",
    format="safetensors",
    license=License(spdx="Apache-2.0"),
    languages=["en", "zh"],
    architecture=Architecture(),
    context=Context(max=256),
)
TEMPLATE = Template(
    name="plain",
    text="{{ system }}{% for message in messages %}{{ roles[message.role] }}: <s>"
    "{%- generation -%} {{ message.content }}</s>{% endgeneration %}{% endfor %}",
    system="Be brief.",
    roles={"user": "Human", "assistant": "Assistant"},
)
WORDS_OF_BLOOM = r" ?[^(\s|[.,!?…。，、।۔،])]+"
WORDS_OF_LLAMA_3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
SPECIALS = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}


class TinyFamily:
    """What a plugin would bring for these models."""

    def __init__(self, model_class: Any) -> None:
        self._class = model_class

    def load_tokenizer(self, folder: Path, *, remote_code: bool = False) -> Any:
        return AutoTokenizer.from_pretrained(folder)

    def load_model(self, folder: Path, loading: Loading) -> Any:
        return self._class.from_pretrained(folder, dtype=getattr(torch, loading.dtype)).eval()


BLOOM, LLAMA = TinyFamily(BloomForCausalLM), TinyFamily(LlamaForCausalLM)


def byte_tokenizer(words: str = "", *, whole_words: bool = False, **options: Any) -> PreTrainedTokenizerFast:
    """A byte-level tokenizer that cuts text by an expression, or as GPT-2 does."""
    tokenizer = Tokenizer(models.BPE(unk_token=None if words else "<unk>", ignore_merges=whole_words))
    cut = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=not words)
    tokenizer.pre_tokenizer = (
        pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(words), "isolated"), cut]) if words else cut
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=[*SPECIALS.values()],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TAUGHT * 3, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **SPECIALS, **options)


def piece_tokenizer(folder: Path, **options: Any) -> Any:
    """A tokenizer of pieces, trained by SentencePiece as LLaMA's was."""
    import sentencepiece

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(text.replace("<s>", " ").replace("</s>", " ") for text in TAUGHT * 20),
        model_writer=model,
        vocab_size=380,
        model_type="bpe",
        byte_fallback=True,
        split_digits=True,
        character_coverage=0.98,
        normalization_rule_name="identity",
        add_dummy_prefix=True,
        remove_extra_whitespaces=False,
        minloglevel=2,
        hard_vocab_limit=False,
    )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.model").write_bytes(model.getvalue())
    return LlamaTokenizer.from_pretrained(folder, **options)


def older_piece_tokenizer(folder: Path) -> Any:
    """The same as files of the first years have it: a space before every stretch of text, whatever it begins with."""
    backend = piece_tokenizer(folder).backend_tokenizer
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    backend.pre_tokenizer = None
    return PreTrainedTokenizerFast(tokenizer_object=backend, **{k: v for k, v in SPECIALS.items() if k != "pad_token"})


def bloom(folder: Path, tokenizer: Any, *, rows: int = 416, dtype: str = "float32") -> Path:
    """A BLOOM; its embedding has more rows than the tokenizer has tokens, as the real one's."""
    config = BloomConfig(
        vocab_size=rows, hidden_size=64, n_layer=2, n_head=4, hidden_dropout=0.0, attention_dropout=0.0, seq_length=256
    )
    torch.manual_seed(1)
    return _taught(BloomForCausalLM(config), tokenizer, folder, dtype)


def llama(folder: Path, tokenizer: Any, *, dtype: str = "float32", **options: Any) -> Path:
    """A LLaMA whose heads share keys and values."""
    config = LlamaConfig(
        **{
            "vocab_size": len(tokenizer),
            "hidden_size": 64,
            "intermediate_size": 96,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": 256,
            "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
        }
        | options
    )
    torch.manual_seed(1)
    return _taught(LlamaForCausalLM(config), tokenizer, folder, dtype)


def _taught(model: Any, tokenizer: Any, folder: Path, dtype: str) -> Path:
    """Teach a model the sentences until it knows them, and save it."""
    rows = [torch.tensor([tokenizer(text, add_special_tokens=False)["input_ids"]]) for text in TAUGHT]
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(60):
        for ids in rows:
            model(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.to(getattr(torch, dtype)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def answer(engine: Any, prompt: str, **options: Any) -> tuple[str, list[int]]:
    """What an engine says, and the ids of it."""
    pieces = list(engine.stream(Rendered(text=prompt), Sampling(**{"temperature": 0, "max_new_tokens": 80} | options)))
    return "".join(piece.text for piece in pieces), [token for piece in pieces for token in piece.ids]


def default_engine(folder: Path, family: TinyFamily) -> Any:
    """The zoo's default engine with the same model."""
    from zoo_transformers.engine import TransformersEngine

    request = EngineRequest(card=CARD, folder=folder, family=family, template=TEMPLATE, device="cpu", dtype="float32")
    return TransformersEngine(request)
