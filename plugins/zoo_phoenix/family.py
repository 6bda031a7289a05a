"""Load and make models of the BLOOM architecture. Knows weights and tokenizers, nothing of conversations."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import BloomConfig, PreTrainedTokenizerFast

from zoo_core import LoadedModel, ZooError
from zoo_phoenix.model import BloomForCausalLM
from zoo_weights import TransformersFamily

#: Token ids 0 to 3, as in BLOOM's own tokenizer.
UNKNOWN, BEGIN, END, PAD = SPECIAL_TOKENS = ("<unk>", "<s>", "</s>", "<pad>")

#: What `create` takes: the vocabulary's size, the context in tokens, and the shape of the network.
CREATE_OPTIONS = {"vocab_size": 2048, "context": 512, "hidden_size": 128, "layers": 4, "heads": 4}

#: The special tokens and the 256 bytes, below which byte-level BPE cannot go.
SMALLEST_VOCABULARY = len(SPECIAL_TOKENS) + 256


class PhoenixFamily(TransformersFamily):
    """Models of the BLOOM architecture (Le Scao et al., 2022), from which Phoenix was made, with attention of their own."""

    model_class = "BloomForCausalLM"

    def loads(self) -> Any:
        """The class whose attention goes through fused kernels; its checkpoints are those of transformers' own."""
        return BloomForCausalLM

    def needs_code(self, folder: Path) -> bool:
        """Never: what a checkpoint brings is left alone."""
        return False

    def create(self, texts: Iterable[str], options: Mapping[str, Any], *, seed: int) -> LoadedModel:
        """Make an untrained model and a byte-level BPE tokenizer fitted to `texts`; options as in `CREATE_OPTIONS`."""
        if unknown := sorted(set(options) - set(CREATE_OPTIONS)):
            raise ZooError(
                f"The family phoenix has no model option '{unknown[0]}'. Known: {', '.join(CREATE_OPTIONS)}."
            )
        chosen = CREATE_OPTIONS | dict(options)
        for name, least in {**dict.fromkeys(CREATE_OPTIONS, 1), "vocab_size": SMALLEST_VOCABULARY}.items():
            if type(chosen[name]) is not int or chosen[name] < least:
                raise ZooError(f"The model option {name} is a whole number from {least} on, not {chosen[name]!r}.")
        if chosen["hidden_size"] % chosen["heads"]:
            raise ZooError(f"The model option hidden_size is a multiple of heads, {chosen['heads']}.")
        tokenizer = _train_tokenizer(texts, chosen["vocab_size"], chosen["context"])
        config = BloomConfig(
            vocab_size=chosen["vocab_size"],
            hidden_size=chosen["hidden_size"],
            n_layer=chosen["layers"],
            n_head=chosen["heads"],
            hidden_dropout=0.0,
            attention_dropout=0.0,
            unk_token_id=0,
            bos_token_id=1,
            eos_token_id=2,
            pad_token_id=3,
            seq_length=chosen["context"],
        )
        torch.manual_seed(seed)
        return LoadedModel(BloomForCausalLM(config), tokenizer)


def _train_tokenizer(texts: Iterable[str], vocab_size: int, context: int) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE(unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token=UNKNOWN,
        bos_token=BEGIN,
        eos_token=END,
        pad_token=PAD,
        padding_side="left",
        model_max_length=context,
    )
