"""How llama.cpp wants the networks that can be exported: the names of their tensors, the order of rows, and their numbers.

A tensor keeps its values; only rows may lie in another order. Knows nothing of files and of bits.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec
import torch
from gguf import GGUFWriter
from gguf.constants import RopeScalingType

from zoo_core import WeightsError, ZooError

#: The tensors of each network: what llama.cpp calls them, `{}` being the number of a layer.
_BLOOM = {
    "word_embeddings": "token_embd",
    "word_embeddings_layernorm": "token_embd_norm",
    "h.{}.input_layernorm": "blk.{}.attn_norm",
    "h.{}.self_attention.query_key_value": "blk.{}.attn_qkv",
    "h.{}.self_attention.dense": "blk.{}.attn_output",
    "h.{}.post_attention_layernorm": "blk.{}.ffn_norm",
    "h.{}.mlp.dense_h_to_4h": "blk.{}.ffn_up",
    "h.{}.mlp.dense_4h_to_h": "blk.{}.ffn_down",
    "ln_f": "output_norm",
}
_LLAMA = {
    "embed_tokens": "token_embd",
    "layers.{}.input_layernorm": "blk.{}.attn_norm",
    "layers.{}.self_attn.q_proj": "blk.{}.attn_q",
    "layers.{}.self_attn.k_proj": "blk.{}.attn_k",
    "layers.{}.self_attn.v_proj": "blk.{}.attn_v",
    "layers.{}.self_attn.o_proj": "blk.{}.attn_output",
    "layers.{}.post_attention_layernorm": "blk.{}.ffn_norm",
    "layers.{}.mlp.gate_proj": "blk.{}.ffn_gate",
    "layers.{}.mlp.up_proj": "blk.{}.ffn_up",
    "layers.{}.mlp.down_proj": "blk.{}.ffn_down",
    "norm": "output_norm",
}
#: The output layer, which is left out where it is the embedding's own.
_OUTPUT = {"lm_head": "output"}
#: Tables that old checkpoints keep and that are computed anew.
_TABLE = re.compile(r"\.rotary_emb\.inv_freq\Z")
_LAYER = re.compile(r"(?<=\.)(\d+)(?=\.)")

Reorder = Callable[[torch.Tensor], torch.Tensor]


class Network(msgspec.Struct, frozen=True, kw_only=True):
    """A network as a GGUF file holds it: its architecture's name, which tensor of the checkpoint becomes which, and in what
    order of rows; `extra` are tensors that no checkpoint has."""

    architecture: str
    tensors: dict[str, str]
    reorder: Mapping[str, Reorder]
    describe: Callable[[GGUFWriter], None]
    extra: dict[str, torch.Tensor] = {}


def network_of(model: str, config: Mapping[str, Any], names: Iterable[str], *, tied: bool) -> Network:
    """The network that a flat configuration and the names of its tensors describe. `model` is named in error messages.

    Raises `ZooError` for an architecture or a setting that cannot be exported, `WeightsError` for missing tensors.
    """
    classes = config.get("architectures") or ["?"]
    if classes[0] == "BloomForCausalLM":
        return _bloom(model, config, names)
    if classes[0] == "LlamaForCausalLM":
        return _llama(model, config, names, tied=tied)
    raise ZooError(
        f"'{model}' is a {classes[0]}, but GGUF files are made of BloomForCausalLM and LlamaForCausalLM; "
        "llama.cpp's own converter may know it."
    )


def _bloom(model: str, config: Mapping[str, Any], names: Iterable[str]) -> Network:
    if config.get("apply_residual_connection_post_layernorm"):
        raise ZooError(f"'{model}' adds its residuals after the norm, which llama.cpp cannot compute.")
    layers = _whole(model, config, "n_layer", "num_hidden_layers")
    heads = _whole(model, config, "n_head", "num_attention_heads")
    hidden = _whole(model, config, "hidden_size", "n_embed")
    tensors = _named(model, names, _BLOOM, layers, prefix="transformer.", ignored=r"lm_head\.weight", biases=True)

    def describe(writer: GGUFWriter) -> None:
        writer.add_block_count(layers)
        writer.add_embedding_length(hidden)
        writer.add_feed_forward_length(4 * hidden)
        writer.add_head_count(heads)
        writer.add_head_count_kv(heads)
        writer.add_layer_norm_eps(float(config.get("layer_norm_epsilon", 1e-5)))

    def together(tensor: torch.Tensor) -> torch.Tensor:
        """From query, key and value of one head after the other to all queries, all keys, all values."""
        split = tensor.reshape(heads, 3, hidden // heads, *tensor.shape[1:])
        return split.transpose(0, 1).reshape(tensor.shape)

    fused = {name: together for name in tensors if ".query_key_value." in name}
    return Network(architecture="bloom", tensors=tensors, reorder=fused, describe=describe)


def _llama(model: str, config: Mapping[str, Any], names: Iterable[str], *, tied: bool) -> Network:
    layers = _whole(model, config, "num_hidden_layers")
    heads = _whole(model, config, "num_attention_heads")
    kv_heads = _whole(model, {"num_key_value_heads": heads} | dict(config), "num_key_value_heads")
    hidden = _whole(model, config, "hidden_size")
    size = config.get("head_dim") or hidden // heads
    if config.get("hidden_act", "silu") != "silu":
        raise ZooError(f"'{model}' computes with {config['hidden_act']}, but llama.cpp with silu in this architecture.")
    table = {f"model.{key}": value for key, value in _LLAMA.items()}
    tensors = _named(
        model, names, table if tied else table | _OUTPUT, layers, ignored=r"lm_head\.weight" if tied else "(?!)"
    )
    rope = _rope(config)

    def describe(writer: GGUFWriter) -> None:
        writer.add_block_count(layers)
        writer.add_embedding_length(hidden)
        writer.add_feed_forward_length(_whole(model, config, "intermediate_size"))
        writer.add_head_count(heads)
        writer.add_head_count_kv(kv_heads)
        writer.add_key_length(size)
        writer.add_value_length(size)
        writer.add_rope_dimension_count(size)
        writer.add_layer_norm_rms_eps(float(config.get("rms_norm_eps", 1e-6)))
        writer.add_rope_freq_base(float(rope.get("rope_theta", 10000.0)))
        if rope.get("rope_type") == "linear":
            writer.add_rope_scaling_type(RopeScalingType.LINEAR)
            writer.add_rope_scaling_factor(float(rope["factor"]))

    def interleaved(tensor: torch.Tensor) -> torch.Tensor:
        """From the halves of each head, which rotate against each other, to pairs that lie side by side."""
        count = tensor.shape[0] // size
        return tensor.reshape(count, 2, size // 2, *tensor.shape[1:]).transpose(1, 2).reshape(tensor.shape)

    turned = {name: interleaved for name in tensors if ".q_proj." in name or ".k_proj." in name}
    extra = _stretching(model, rope, size)
    return Network(architecture="llama", tensors=tensors, reorder=turned, describe=describe, extra=extra)


def _rope(config: Mapping[str, Any]) -> dict[str, Any]:
    """The rotation's settings, which newer configurations gather and older ones spread."""
    gathered = config.get("rope_parameters") or config.get("rope_scaling") or {}
    kind = gathered.get("rope_type", gathered.get("type", "default"))
    return {"rope_theta": config.get("rope_theta", 10000.0)} | dict(gathered) | {"rope_type": kind}


def _stretching(model: str, rope: Mapping[str, Any], size: int) -> dict[str, torch.Tensor]:
    """By what each frequency of the rotation is divided in a model whose context was stretched (Llama 3.1)."""
    kind = rope["rope_type"]
    if kind in ("default", "linear"):
        return {}
    if kind != "llama3":
        raise ZooError(f"'{model}' stretches its context by '{kind}', which cannot be exported to GGUF.")
    factor, low, high = (float(rope[key]) for key in ("factor", "low_freq_factor", "high_freq_factor"))
    length = float(rope["original_max_position_embeddings"])
    waves = 2 * math.pi * float(rope["rope_theta"]) ** (torch.arange(0, size, 2, dtype=torch.float64) / size)
    smooth = ((length / waves - low) / (high - low)).clamp(0, 1)
    return {"rope_freqs.weight": (1 / ((1 - smooth) / factor + smooth)).float()}


def _named(
    model: str,
    names: Iterable[str],
    table: Mapping[str, str],
    layers: int,
    *,
    prefix: str = "",
    ignored: str,
    biases: bool = False,
) -> dict[str, str]:
    """For each tensor of the checkpoint its name in GGUF. Raises for tensors that are unknown, and for those that lack."""
    found: dict[str, str] = {}
    for name in names:
        stem, _, kind = name.removeprefix(prefix).rpartition(".")
        number = _LAYER.search(f"{stem}.")
        pattern = _LAYER.sub("{}", f"{stem}.", count=1).removesuffix(".")
        if pattern in table and kind in ("weight", "bias"):
            found[name] = f"{table[pattern].format(number[1] if number else '')}.{kind}"
        elif not _TABLE.search(name) and not re.fullmatch(ignored, name.removeprefix(prefix)):
            raise ZooError(f"'{model}' has the tensor '{name[:80]}', for which GGUF has no place.")
    kinds = ("weight", "bias") if biases else ("weight",)
    needed = {
        f"{value.format(number)}.{kind}"
        for value in table.values()
        for number in (range(layers) if "{}" in value else [0])
        for kind in (kinds if value != "token_embd" else ("weight",))
    }
    if lacking := sorted(needed - set(found.values())):
        raise WeightsError(f"The weights of '{model}' lack {len(lacking)} tensors, for GGUF's {lacking[0]} the first.")
    return found


def _whole(model: str, config: Mapping[str, Any], *names: str) -> int:
    for name in names:
        if type(value := config.get(name)) is int and value > 0:
            return value
    raise ZooError(f"The configuration of '{model}' does not say '{names[0]}'.")
