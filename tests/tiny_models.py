"""Tiny checkpoints of the right architecture with a tokenizer of the right shape, made on the spot from random numbers.

They go through the same code as the models that they stand for. Norms begin at one, as in models that learned.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import BloomConfig, BloomForCausalLM, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

TEXT = [
    "The zoo opens at nine, and the birds are awake long before.",
    "Der Zoo öffnet um neun, und die Vögel sind viel früher wach.",
    "Le zoo ouvre à neuf heures; les oiseaux sont réveillés depuis longtemps.",
    "动物园九点开门，鸟儿早就醒了。",
    "A chat between a curious human and an artificial intelligence assistant.",
    "Human: What can you do? Assistant: I can answer questions, 0 1 2 3 4 5 6 7 8 9.",
]


def tiny_llama(
    folder: Path,
    *,
    vocab: int = 320,
    hidden: int = 32,
    layers: int = 2,
    heads: int = 4,
    dtype: str = "float32",
    seed: int = 0,
    shards: bool = False,
    pad: bool = False,
    **config: Any,
) -> Path:
    """A LLaMA with a tokenizer that numbers <unk>, <s>, </s> from 0; `pad` adds the token <pad> and its row at the end."""
    torch.manual_seed(seed)
    tokenizer = llama_tokenizer(vocab)
    if pad:
        tokenizer.add_special_tokens({"pad_token": "<pad>"})
    wishes: dict[str, Any] = {
        "vocab_size": vocab + int(pad),
        "hidden_size": hidden,
        "intermediate_size": 2 * hidden + 8,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "max_position_embeddings": 256,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "tie_word_embeddings": False,
    }
    model = LlamaForCausalLM(LlamaConfig(**(wishes | config)))
    return save(folder, model, tokenizer, dtype=dtype, shards=shards)


def tiny_bloom(
    folder: Path,
    *,
    vocab: int = 320,
    hidden: int = 32,
    layers: int = 2,
    heads: int = 4,
    dtype: str = "float32",
    seed: int = 0,
    shards: bool = False,
    **config: Any,
) -> Path:
    """A BLOOM with a byte-level tokenizer that numbers <unk>, <s>, </s>, <pad> from 0; its output layer is the embedding."""
    torch.manual_seed(seed)
    wishes: dict[str, Any] = {
        "vocab_size": vocab,
        "hidden_size": hidden,
        "n_layer": layers,
        "n_head": heads,
        "seq_length": 256,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 3,
    }
    model = BloomForCausalLM(BloomConfig(**(wishes | config)))
    return save(folder, model, bloom_tokenizer(vocab), dtype=dtype, shards=shards)


def llama_tokenizer(vocab: int) -> PreTrainedTokenizerFast:
    """A BPE of pieces that begin with ▁ and falls back to bytes, as SentencePiece makes them for LLaMA."""
    bytes_of_pieces = [f"<0x{byte:02X}>" for byte in range(256)]
    specials = ["<unk>", "<s>", "</s>"]
    trained = Tokenizer(models.BPE(unk_token="<unk>"))
    trained.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    room = vocab - len(specials) - len(bytes_of_pieces)
    trainer = trainers.BpeTrainer(vocab_size=max(room, 1), show_progress=False)
    trained.train_from_iterator(TEXT, trainer)
    learned = json.loads(trained.to_str())["model"]
    pieces = sorted(learned["vocab"], key=lambda piece: learned["vocab"][piece])[: max(room, 0)]
    numbers = {piece: number for number, piece in enumerate([*specials, *bytes_of_pieces, *pieces])}
    merges = [tuple(pair) if isinstance(pair, list) else tuple(pair.split(" ")) for pair in learned["merges"]]
    known = [pair for pair in merges if {*pair, "".join(pair)} <= numbers.keys()]
    tokenizer = Tokenizer(models.BPE(vocab=numbers, merges=known, unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.normalizer = trained.normalizer
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        clean_up_tokenization_spaces=False,
        model_max_length=256,
    )


def bloom_tokenizer(vocab: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE as BLOOM has it."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab,
        special_tokens=["<unk>", "<s>", "</s>", "<pad>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXT, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        padding_side="left",
        clean_up_tokenization_spaces=False,
        model_max_length=256,
    )


def save(folder: Path, model: Any, tokenizer: Any, *, dtype: str = "float32", shards: bool = False) -> Path:
    """Write model and tokenizer; as several files with an index if wished."""
    folder.mkdir(parents=True, exist_ok=True)
    model = model.to(getattr(torch, dtype))
    size = sum(each.nbytes for each in model.state_dict().values())
    model.save_pretrained(folder, max_shard_size=max(size // 3, 1) if shards else "5GB")
    tokenizer.save_pretrained(folder)
    return folder


def change(folder: Path, source: Path, *, seed: int, scale: float = 0.02, rows: int = 0) -> Path:
    """A model that was taught further: `source` with small changes everywhere, and `rows` new rows for tokens."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.manual_seed(seed)
    tokenizer = AutoTokenizer.from_pretrained(source)
    model = AutoModelForCausalLM.from_pretrained(source, dtype="auto")
    dtype = str(model.dtype).removeprefix("torch.")
    if rows:
        tokenizer.add_tokens([f"<new{number}>" for number in range(rows)])
        model.resize_token_embeddings(model.config.vocab_size + rows, mean_resizing=False)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_((torch.randn(parameter.shape) * scale).to(parameter.dtype))
    return save(folder, model, tokenizer, dtype=dtype)


def tensors(folder: Path) -> Mapping[str, torch.Tensor]:
    """All tensors of a folder, by name."""
    from safetensors.torch import load_file

    return {name: each for path in sorted(folder.glob("*.safetensors")) for name, each in load_file(path).items()}
