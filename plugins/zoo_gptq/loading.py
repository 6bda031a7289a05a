"""Load a folder of GPTQ weights as a transformers model, with PyTorch alone.

transformers loads the model as it loads every other; on the way, the linear layers that the file has packed are exchanged for
layers that keep them so. The headers of the files are checked against the model before a number is read. Knows nothing of how
weights are quantized.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import nn
from transformers.pytorch_utils import Conv1D
from transformers.quantizers import HfQuantizer, register_quantization_config, register_quantizer
from transformers.utils.quantization_config import QuantizationConfigMixin

from zoo_core import Loading, WeightsError
from zoo_gptq.layers import NibbleLinear, PackedLinear, Shape
from zoo_gptq.packing import words
from zoo_gptq.settings import BITS, Settings
from zoo_weights import UNCHOSEN, Checkpoint, running

#: Under which name transformers knows our layers; its own, `gptq`, needs libraries that these do without.
METHOD = "zoo-gptq"
_PACKED = ".qweight"


def load_gptq(model_class: Any, folder: Path, loading: Loading) -> Any:
    """Load a model of a class of transformers, all on one device or spread as `loading` says, ready to be used.

    Raises `WeightsError` for another layout, shapes that disagree with each other or with the model, and missing tensors.
    """
    Settings.read(folder)  # before transformers reads the same files with less patience
    with Checkpoint.open(folder) as checkpoint:
        weights = _entry(checkpoint)
    with running(model_class, loading.remote_code):
        model, told = _read(model_class, folder, weights, loading)
    if missing := sorted(told["missing_keys"]):  # transformers would fill them with random numbers
        raise WeightsError(
            f"The weights in {folder} lack {len(missing):,} tensors, the first of them {missing[0]}; get the folder again."
        )
    _settle(model, folder)
    if loading.device_map:
        return model.eval()
    if loading.device == "cpu" and loading.dtype == "bfloat16":
        _speed_up(model)
    return model.to(loading.device).eval()


def _read(model_class: Any, folder: Path, weights: str, loading: Loading) -> Any:
    """What transformers makes of the folder when it begins with the file `weights`, and what it says of it."""
    config = transformers.AutoConfig.from_pretrained(
        folder, local_files_only=True, trust_remote_code=loading.remote_code
    )
    config.quantization_config = {"quant_method": METHOD, "folder": os.fspath(folder)}
    config.transformers_weights = weights
    limits = {int(key) if key.isdecimal() else key: size for key, size in loading.max_memory.items()}
    spread = {"device_map": loading.device_map, "max_memory": limits or None} if loading.device_map else {}
    return model_class.from_pretrained(
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


class PackedConfig(QuantizationConfigMixin):  # type: ignore[misc]
    """What transformers carries through its loading: the folder, from which our quantizer reads the rest."""

    def __init__(self, folder: str = "", **unused: Any) -> None:
        """Settings for a folder."""
        self.quant_method = METHOD
        self.folder = folder


class PackedQuantizer(HfQuantizer):  # type: ignore[misc]
    """Exchanges the layers of a model that has no numbers yet."""

    requires_calibration = True

    def _process_model_before_weight_loading(self, model: Any, **unused: Any) -> Any:
        folder = Path(self.quantization_config.folder)
        with Checkpoint.open(folder) as checkpoint:
            shapes = layer_shapes(checkpoint, model)
        with torch.device("meta"):
            for name, shape in shapes.items():
                model.set_submodule(name, PackedLinear(shape))
        return model

    def is_serializable(self) -> bool:
        """Not: what is in memory may be packed otherwise than the file was."""
        return False

    @property
    def is_trainable(self) -> bool:
        """Not: whole numbers have no gradient."""
        return False


if METHOD not in transformers.quantizers.auto.AUTO_QUANTIZER_MAPPING:  # a module may be imported twice, by reloading it
    register_quantization_config(METHOD)(PackedConfig)
    register_quantizer(METHOD)(PackedQuantizer)


def layer_shapes(checkpoint: Checkpoint, model: Any) -> dict[str, Shape]:
    """The packed layers of a checkpoint by the names that they have in the model. Raises `WeightsError`."""
    settings = Settings.read(checkpoint.folder)
    found = {}
    for packed in checkpoint.tensors:
        if not packed.endswith(_PACKED):
            continue
        stored = packed.removesuffix(_PACKED)
        name, layer = _layer(model, stored)
        if layer is None:
            raise WeightsError(
                f"The weights in {checkpoint.folder} have a packed layer '{stored[:100]}', which a {type(model).__name__} "
                "does not have; they are those of another model."
            )
        rows, out = layer.weight.shape if isinstance(layer, Conv1D) else layer.weight.shape[::-1]
        found[name] = _shape(checkpoint, stored, settings, int(rows), int(out), layer.bias is not None)
    if not found:
        raise WeightsError(
            f"The weights in {checkpoint.folder} have no packed layers ('…{_PACKED}'), so they are no GPTQ weights."
        )
    return found


def _layer(model: Any, stored: str) -> tuple[str, nn.Module | None]:
    """The layer that a file calls so; files leave out the model's own prefix or not."""
    prefix = f"{model.base_model_prefix}."
    for name in (stored, prefix + stored, stored.removeprefix(prefix)):
        try:
            layer = model.get_submodule(name)
        except AttributeError:
            continue
        if isinstance(layer, nn.Linear | Conv1D):
            return name, layer
    return stored, None


def _shape(checkpoint: Checkpoint, stored: str, settings: Settings, rows: int, out: int, needs_bias: bool) -> Shape:
    """The shape of a layer with `rows` inputs, from its tensors. Raises `WeightsError` where these disagree."""
    has = _parts(checkpoint, stored, needs_bias)
    bits = settings.bits or next((each for each in BITS if has["qweight"][:1] == (words(rows, each),)), 4)
    size = settings.group_size or _group_size(rows, has["scales"])
    size = rows if size == -1 else min(size, rows)
    groups = -(-rows // size)
    wanted = {
        "qweight": (words(rows, bits), out),
        "scales": (groups, out),
        "qzeros": (groups, words(out, bits)),
        "g_idx": (rows,),
        "bias": (out,),
    }
    for part, shape in has.items():
        if shape != wanted[part]:
            raise WeightsError(
                f"The tensor '{stored[:100]}.{part}' in {checkpoint.folder} is {_times(shape)}, but for a layer of {rows} "
                f"inputs and {out} outputs with {bits} bits in groups of {size} it is {_times(wanted[part])}."
            )
    return Shape(bits, rows, out, groups, size, settings.minus_one, "g_idx" in has, "bias" in has)


def _parts(checkpoint: Checkpoint, stored: str, needs_bias: bool) -> dict[str, tuple[int, ...]]:
    """The shapes of a layer's tensors. Raises `WeightsError` where one is missing or holds numbers of another kind."""
    has = {
        part: tensor.shape
        for part in ("qweight", "qzeros", "scales", "g_idx", "bias")
        if (tensor := checkpoint.tensors.get(f"{stored}.{part}")) is not None
    }
    for part in ("qweight", "qzeros", "scales", *(["bias"] if needs_bias else [])):
        if part not in has:
            raise WeightsError(
                f"The weights in {checkpoint.folder} lack the tensor '{stored[:100]}.{part}'; get them again."
            )
        if part.startswith("q") and (dtype := checkpoint.tensors[f"{stored}.{part}"].dtype) != "I32":
            raise WeightsError(
                f"The tensor '{stored[:100]}.{part}' in {checkpoint.folder} holds {dtype} and not the whole numbers of 32 "
                "bits into which GPTQ packs weights; take the model in AutoGPTQ's layout."
            )
    return has


def _group_size(rows: int, scales: tuple[int, ...]) -> int:
    """How many inputs share a scale, where only the number of scales tells."""
    groups = scales[0] if scales else 1
    return -(-rows // max(groups, 1))


def _settle(model: Any, folder: Path) -> None:
    """Look at the numbers of all packed layers that have to fit each other."""
    for name, layer in model.named_modules():
        if isinstance(layer, PackedLinear):
            try:
                layer.settle()
            except ValueError as error:
                raise WeightsError(
                    f"The layer '{name}' in {folder} cannot be used: {error}; get the folder again."
                ) from None


def _speed_up(model: nn.Module) -> None:
    """Put fast layers in the place of packed ones, one after the other, so that memory holds one of them twice."""
    for name, layer in list(model.named_modules()):
        if isinstance(layer, PackedLinear):
            model.set_submodule(name, NibbleLinear.of(layer))


def _entry(checkpoint: Checkpoint) -> str:
    """The file that transformers is to begin with: the only one, or the index of several."""
    files = sorted({tensor.file for tensor in checkpoint.tensors.values()})
    if len(files) == 1:
        return files[0]
    index = sorted(path.name for path in checkpoint.folder.glob("*.safetensors.index.json"))
    if len(index) != 1:
        raise WeightsError(
            f"The weights in {checkpoint.folder} are {len(files)} files, and {len(index)} indexes tell which tensor is where; "
            "one is needed (model.safetensors.index.json)."
        )
    return index[0]


def _times(shape: tuple[int, ...]) -> str:
    return " × ".join(map(str, shape)) or "a single number"
