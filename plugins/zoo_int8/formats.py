"""What quantized checkpoints look like: which tensors stand for a linear layer, and what their configuration says.

int8, nf4 and fp4 are in the format of transformers and bitsandbytes, so that those read them too; `original-int8` has one of
its own. Knows shapes and names, no numbers.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from zoo_core import WeightsError
from zoo_int8.original import GROUP
from zoo_weights import Checkpoint, Planned

#: `quant_method` of the format that only the zoo has, and the version of it.
ORIGINAL, VERSION = "zoo-original-int8", 1
#: How many bits a number of each method takes, without its share of the scales.
BITS = {"int8": 8, "nf4": 4, "fp4": 4, "original-int8": 8}
#: The sizes of a block that bitsandbytes has.
_BLOCKS = (32, 64, 128, 256, 512, 1024, 2048, 4096)


def configuration(method: str, dtype: str) -> dict[str, Any]:
    """The entry `quantization_config` of config.json."""
    if method == "original-int8":
        return {"quant_method": ORIGINAL, "version": VERSION, "bits": 8, "group_size": GROUP}
    said: dict[str, Any] = {
        "quant_method": "bitsandbytes",
        "load_in_8bit": method == "int8",
        "load_in_4bit": method != "int8",
    }
    if method == "int8":
        return {**said, "llm_int8_threshold": 6.0, "llm_int8_has_fp16_weight": False}
    computed = "bfloat16" if dtype == "bfloat16" else "float32" if dtype == "float32" else "float16"
    return {
        **said,
        "bnb_4bit_quant_type": method,
        "bnb_4bit_compute_dtype": computed,
        "bnb_4bit_quant_storage": "uint8",
        "bnb_4bit_use_double_quant": False,
    }


def method_of(config: Mapping[str, Any], place: str) -> str:
    """The method by which a checkpoint was quantized. Raises `WeightsError` where it is none of this plugin's, or corrupt."""
    said = config.get("quantization_config")
    if not isinstance(said, dict):
        raise WeightsError(f"The entry quantization_config of {place}/config.json is no object; get the folder again.")
    if said.get("quant_method") == ORIGINAL:
        if (said.get("version"), said.get("bits"), said.get("group_size")) != (VERSION, 8, GROUP):
            raise WeightsError(f"The weights in {place} are of another version of {ORIGINAL} than this zoo knows.")
        return "original-int8"
    eight, four = said.get("load_in_8bit") is True, said.get("load_in_4bit") is True
    if eight and not four:
        return "int8"
    kind = said.get("bnb_4bit_quant_type", "fp4")
    if four and not eight and kind in ("nf4", "fp4"):
        return str(kind)
    raise WeightsError(
        f"The entry quantization_config of {place}/config.json names no method that bitsandbytes has; get the folder again."
    )


def planned(name: str, method: str, shape: tuple[int, int], state: int = 0) -> dict[str, Planned]:
    """The tensors of a layer without its bias, by what they are. `state` is the size of what is said of 4 bits in JSON."""
    rows, columns = shape
    groups = math.ceil(columns / GROUP)
    count = rows * columns
    found: dict[str, tuple[str, tuple[int, ...]]]
    if method == "int8":
        found = {"weight": ("I8", shape), "SCB": ("F32", (rows,)), "weight_format": ("U8", ())}
    elif method == "original-int8":
        found = {"weight": ("I8", (rows, groups * GROUP)), "absmax": ("F32", (rows, groups))}
    else:
        found = {
            "weight": ("U8", (math.ceil(count / 2), 1)),
            "weight.absmax": ("F32", (math.ceil(count / 64),)),
            "weight.quant_map": ("F32", (16,)),
            f"weight.quant_state.bitsandbytes__{method}": ("U8", (state,)),
        }
    return {part: Planned(f"{name}.{part}", dtype, size) for part, (dtype, size) in found.items()}


def require_agreeing(checkpoint: Checkpoint, layers: Mapping[str, tuple[int, int]], method: str) -> None:
    """Raise `WeightsError` unless the tensors of all `layers` have the shapes that the network says.

    What computes with them would otherwise read beyond their ends.
    """
    for name, shape in layers.items():
        found = _four_bits(checkpoint, name, shape, method) if method in ("nf4", "fp4") else _eight(name, shape, method)
        for tensor, (dtype, size) in found.items():
            stored = checkpoint.tensors.get(tensor)
            if stored is None or stored.dtype != dtype or math.prod(stored.shape) != math.prod(size):
                is_there = f"{stored.dtype} {list(stored.shape)}" if stored else "missing"
                raise WeightsError(
                    f"The tensor '{tensor}' in {checkpoint.folder} is {is_there} where {dtype} {list(size)} belongs; "
                    "get the folder again."
                )


_Sizes = dict[str, tuple[str, tuple[int, ...]]]


def _eight(name: str, shape: tuple[int, int], method: str) -> _Sizes:
    parts = planned(name, method, shape)
    return {each.name: (each.dtype, each.shape) for part, each in parts.items() if part != "weight_format"}


def _four_bits(checkpoint: Checkpoint, name: str, shape: tuple[int, int], method: str) -> _Sizes:
    """The tensors of a 4-bit layer, whose scales may be quantized themselves."""
    state = f"{name}.weight.quant_state.bitsandbytes__{method}"
    said = _state(checkpoint, state)
    block, nested = said.get("blocksize"), said.get("nested_blocksize")
    if said.get("shape") != list(shape) or said.get("quant_type") != method or block not in _BLOCKS:
        raise WeightsError(
            f"The tensor '{state}' in {checkpoint.folder} does not say {method} of a layer of {list(shape)}; "
            "get the folder again."
        )
    count = math.prod(shape)
    scales = math.ceil(count / block)
    found: _Sizes = {
        f"{name}.weight": ("U8", (math.ceil(count / 2), 1)),
        f"{name}.weight.absmax": ("F32" if nested is None else "U8", (scales,)),
        f"{name}.weight.quant_map": ("F32", (16,)),
    }
    if nested is not None:
        groups = math.ceil(scales / nested) if nested in _BLOCKS else 0
        found[f"{name}.weight.nested_absmax"] = ("F32", (groups,))
        found[f"{name}.weight.nested_quant_map"] = ("F32", (256,))
    return found


def _state(checkpoint: Checkpoint, name: str) -> dict[str, Any]:
    """What a 4-bit layer says of itself; nothing where it says nothing that can be read."""
    stored = checkpoint.tensors.get(name)
    if stored is None or stored.dtype != "U8" or stored.count > 10_000:
        return {}
    try:
        said = json.loads(bytes(checkpoint.load(name).tolist()))
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}
