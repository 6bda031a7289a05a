"""Load checkpoints that are quantized: int8 on a CPU into the fast kernels, `original-int8` anywhere, the rest by bitsandbytes.

transformers does the reading; it is told here what layers to put in the place of the linear ones before, and what to do with
them afterwards.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers
from torch import nn
from transformers.quantizers.auto import register_quantization_config, register_quantizer
from transformers.quantizers.base import HfQuantizer
from transformers.utils.quantization_config import QuantizationConfigMixin

from zoo_core import Loading, MissingDependency, WeightsError, ZooError
from zoo_int8 import bits
from zoo_int8.formats import ORIGINAL, method_of, require_agreeing
from zoo_int8.kernels import Int8Linear, best_kernel
from zoo_int8.layers import linear_layers, skeleton
from zoo_int8.original import OriginalInt8Linear
from zoo_weights import UNCHOSEN, Checkpoint, running

#: How transformers knows the fast kernels.
_FAST = "zoo-int8"


def load(model_class: Any, folder: Path, loading: Loading) -> Any:
    """A model of a class of transformers from a folder with quantized weights, on its device. Raises `ZooError`."""
    with Checkpoint.open(folder) as checkpoint:
        method = method_of(checkpoint.config, str(folder))
        skipped = checkpoint.config["quantization_config"].get("llm_int8_skip_modules")
        layers = linear_layers(skeleton(folder, remote_code=loading.remote_code), method, skipped)
        shapes = {name: (layer.out_features, layer.in_features) for name, layer in layers.items()}
        require_agreeing(checkpoint, shapes, method)
    own = method == "original-int8" or (method == "int8" and torch.device(loading.device).type == "cpu")
    if own and loading.device_map:
        raise ZooError(f"Weights in {method} are loaded on one device; leave out --device-map.")
    model, told = _read(model_class, folder, loading, method, own=own, skipped=skipped)
    if missing := sorted(told["missing_keys"]):
        raise WeightsError(
            f"The weights in {folder} lack '{missing[0]}' and {len(missing) - 1:,} others; get them again."
        )
    if not own:
        bits.keep_odd_shapes_off_the_fast_path(model)
        _cast(model, getattr(torch, loading.dtype))
    return (model.to(loading.device) if own else model).eval()


def _read(
    model_class: Any, folder: Path, loading: Loading, method: str, *, own: bool, skipped: list[str] | None
) -> tuple[Any, Any]:
    """What transformers makes of the folder, and what it says of it."""
    spread: dict[str, Any] = {}
    with running(model_class, loading.remote_code):
        config = transformers.AutoConfig.from_pretrained(
            folder, local_files_only=True, trust_remote_code=loading.remote_code
        )
        if own:
            kind = ORIGINAL if method == "original-int8" else _FAST
            config.quantization_config = {"quant_method": kind, "skipped": skipped}
        else:
            bits.require_device(loading.device)
            spread = _places(loading)
            config.quantization_config["bnb_4bit_compute_dtype"] = loading.dtype
        found: tuple[Any, Any] = model_class.from_pretrained(
            folder,
            config=config,
            dtype=getattr(torch, loading.dtype),
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=loading.remote_code,
            output_loading_info=True,
            **UNCHOSEN,
            **spread,
        )
        return found


def _places(loading: Loading) -> dict[str, Any]:
    """Where bitsandbytes is to have the layers."""
    try:
        import accelerate  # noqa: F401 (transformers uses it)
    except ImportError as error:
        raise MissingDependency(
            "Loading weights of bitsandbytes needs the package 'accelerate'. Install it with: pip install 'llm-zoo[int8]'"
        ) from error
    if not loading.device_map:
        return {"device_map": {"": loading.device}}
    limits = {int(key) if key.isdecimal() else key: size for key, size in loading.max_memory.items()}
    return {"device_map": loading.device_map, "max_memory": limits or None}


def _cast(model: Any, dtype: torch.dtype) -> None:
    """Give norms and embeddings the dtype that was asked for: transformers leaves those alone that are called `weight`."""
    for parameter in model.parameters():
        if parameter.is_floating_point():
            parameter.data = parameter.data.to(dtype)


class _Stored(nn.Module):  # type: ignore[misc]
    """A layer of int8 as its file has it, until it is packed."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.register_buffer("weight", torch.empty(layer.weight.shape, dtype=torch.int8, device="meta"))
        self.register_buffer("SCB", torch.empty(layer.out_features, dtype=torch.float32, device="meta"))
        self.register_buffer("weight_format", torch.empty((), dtype=torch.uint8, device="meta"))
        self.bias = layer.bias


class _Config(QuantizationConfigMixin):  # type: ignore[misc]
    """What is said of a checkpoint whose layers are the zoo's own."""

    def __init__(self, quant_method: str, skipped: list[str] | None = None) -> None:
        self.quant_method = quant_method
        self.skipped = skipped


class _Quantizer(HfQuantizer):  # type: ignore[misc]
    """What transformers asks while it loads a quantized checkpoint."""

    is_trainable = False

    def is_serializable(self) -> bool:
        """It is not: packed weights cannot be saved."""
        return False


@register_quantizer(_FAST)
class _FastQuantizer(_Quantizer):
    def _process_model_before_weight_loading(self, model: Any, **_: Any) -> Any:
        best_kernel()
        for name, layer in linear_layers(model, "int8", self.quantization_config.skipped).items():
            model.set_submodule(name, _Stored(layer))
        return model

    def _process_model_after_weight_loading(self, model: Any, **_: Any) -> Any:
        stored = [name for name, layer in model.named_modules() if isinstance(layer, _Stored)]
        for name in stored:  # one after the other, so that there are never two copies of more than one
            layer = model.get_submodule(name)
            bias = None if layer.bias is None else layer.bias.detach()
            model.set_submodule(name, Int8Linear(layer.weight, layer.SCB, bias))
        return model


@register_quantizer(ORIGINAL)
class _OriginalQuantizer(_Quantizer):
    def _process_model_before_weight_loading(self, model: Any, **_: Any) -> Any:
        for name, layer in linear_layers(model, "original-int8").items():
            new = OriginalInt8Linear(layer.in_features, layer.out_features, bias=layer.bias)
            model.set_submodule(name, new)
        return model


register_quantization_config(_FAST)(_Config)
register_quantization_config(ORIGINAL)(_Config)
