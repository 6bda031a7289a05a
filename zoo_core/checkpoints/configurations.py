"""What a checkpoint's config.json says of its network, whichever of the usual names its architecture gives to things.

A number that is not said, or said in a way that is not understood, is None: nothing is guessed. Reads plain data; knows
nothing of files and tensors.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from zoo_core.cards.parts import Architecture, Quantization
from zoo_core.names import is_name

if TYPE_CHECKING:
    from collections.abc import Mapping

    Config = Mapping[str, Any]

#: The names under which configurations say a number; the first that is there counts.
LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
HIDDEN = ("hidden_size", "n_embd", "n_embed", "d_model")
INTERMEDIATE = ("intermediate_size", "ffn_hidden_size", "n_inner", "ffn_dim")
VOCABULARY = ("padded_vocab_size", "vocab_size")
HEADS = ("num_attention_heads", "n_head", "n_heads", "num_heads")
KV_HEADS = ("num_key_value_heads", "num_kv_heads", "n_head_kv", "kv_n_heads")
HEAD_SIZE = ("head_dim", "kv_channels", "attention_head_dim")
CONTEXT = ("max_position_embeddings", "n_positions", "max_sequence_length", "seq_length", "max_seq_len", "n_ctx")

#: Beginnings of names that tell of layers which keep something else than keys and values, or keep them compressed.
_OTHER_MEMORY = ("mamba", "ssm", "linear_", "kv_lora", "attn_layer", "hybrid", "rwkv", "conv_")
_LARGEST = 2**63 - 1
#: The bytes of the widest number in which a model computes.
_WIDEST = 8


def flat(config: Config) -> dict[str, Any]:
    """A configuration with what it says of its language model and of its attention moved to the top."""
    joined = dict(config)
    for part in ("text_config", "llm_config", "attn_config"):
        if isinstance(inner := config.get(part), dict):
            joined |= {key: value for key, value in inner.items() if key != "architectures"}
    return joined


def architecture(config: Config) -> Architecture:
    """The network that a flat configuration describes, without what only the weights can tell."""
    names = config.get("architectures")
    model_class = names[0] if isinstance(names, list) and names and isinstance(names[0], str) else ""
    heads, hidden = number(config, HEADS), number(config, HIDDEN)
    head_size = number(config, HEAD_SIZE)
    if head_size is None and heads and hidden and hidden % heads == 0:
        head_size = hidden // heads
    return Architecture(
        model_class=model_class[:200],
        vocab_size=number(config, VOCABULARY),
        layers=number(config, LAYERS),
        hidden_size=hidden,
        intermediate_size=number(config, INTERMEDIATE),
        heads=heads,
        kv_heads=_kv_heads(config, heads),
        head_size=head_size,
    )


def context(config: Config) -> int | None:
    """How many tokens the network was made for."""
    return number(config, CONTEXT) or None


def kv_numbers_per_token(config: Config) -> int | None:
    """How many numbers the cache of keys and values holds per token, or None where the cache is of another kind."""
    if config.get("is_encoder_decoder") or any(key.startswith(_OTHER_MEMORY) for key in config):
        return None
    kinds = config.get("layer_types")
    if isinstance(kinds, list) and not all(
        str(kind).endswith(("full_attention", "sliding_attention")) for kind in kinds
    ):
        return None
    network = architecture(config)
    if not (network.layers and network.kv_heads and network.head_size):
        return None
    count = 2 * network.layers * network.kv_heads * network.head_size
    return count if count <= _LARGEST // _WIDEST else None


def dtype(config: Config) -> str:
    """The dtype that the configuration names, such as `bfloat16`, or nothing."""
    said = config.get("dtype", config.get("torch_dtype"))
    name = said.removeprefix("torch.") if isinstance(said, str) else ""
    return name if name in {"float64", "float32", "bfloat16", "float16"} else ""


def quantization(config: Config) -> Quantization | None:
    """How the weights were shrunk, where the configuration says it."""
    said = config.get("quantization_config")
    if not isinstance(said, dict):
        return None
    method = str(said.get("quant_method", "")).lower()
    bits = number(said, ("bits", "w_bit"))
    if bits is None:
        bits = 4 if said.get("load_in_4bit") is True else 8 if said.get("load_in_8bit") is True else None
    group, order = said.get("group_size", said.get("q_group_size")), said.get("desc_act")
    return Quantization(
        method=method if is_name(method) else "unknown",
        bits=bits,
        group_size=group if type(group) is int and abs(group) <= _LARGEST else None,
        act_order=order if isinstance(order, bool) else None,
    )


def refused(config: Config) -> list[str]:
    """Numbers of the network that a flat configuration gives in a way that cannot be true or is not understood."""
    known = (LAYERS, HIDDEN, INTERMEDIATE, VOCABULARY, HEADS, KV_HEADS, HEAD_SIZE, CONTEXT)
    return [
        f"{name}: {repr(config[name])[:60]}"
        for names in known
        for name in names
        if config.get(name) is not None and number(config, (name,)) is None
    ]


def number(config: Config, names: tuple[str, ...]) -> int | None:
    """The first of these names under which a configuration has a whole number."""
    for name in names:
        value = config.get(name)
        if type(value) is int and 0 <= value <= _LARGEST:
            return value
    return None


def _kv_heads(config: Config, heads: int | None) -> int | None:
    """Heads of keys and values: fewer than the others where they share them."""
    if config.get("multi_query_attention") is True:
        return number(config, ("multi_query_group_num",))
    if config.get("multi_query") is True and config.get("new_decoder_architecture") is not True:
        return 1
    said = number(config, KV_HEADS)
    return heads if said is None else said
