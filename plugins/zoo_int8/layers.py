"""Which layers of a network are quantized: its linear layers without the output layer, as transformers has it for bitsandbytes.

Embeddings and norms are no linear layers. The method `original-int8` takes the output layer too, as the first LLM Zoo did.
Knows no numbers.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers
from torch import nn
from transformers.pytorch_utils import Conv1D
from transformers.quantizers.base import get_keys_to_not_convert
from transformers.quantizers.quantizers_utils import should_convert_module

from zoo_core import WeightsError, ZooError
from zoo_weights import UNCHOSEN, running


def skeleton(folder: Path, *, remote_code: bool = False) -> Any:
    """The network of a checkpoint without its numbers. Raises `WeightsError`."""
    general = transformers.AutoModelForCausalLM
    with running(general, remote_code):
        try:
            config = transformers.AutoConfig.from_pretrained(
                folder, local_files_only=True, trust_remote_code=remote_code
            )
            if hasattr(config, "quantization_config"):
                del config.quantization_config
            with torch.device("meta"):
                return general.from_config(config, trust_remote_code=remote_code, **UNCHOSEN)
        except Exception as error:  # transformers raises many kinds for a configuration that makes no sense
            reason = " ".join(str(error).split())[:200]
            raise WeightsError(
                f"The configuration in {folder} describes no network that transformers can build: {reason}"
            ) from error


def linear_layers(model: Any, method: str, kept: list[str] | None = None) -> dict[str, nn.Linear]:
    """The layers of a model that a method quantizes, by name. `kept` are layers that a checkpoint says were left as they are.

    Raises `ZooError` for a network that is built of something else.
    """
    layers = {name: layer for name, layer in model.named_modules() if type(layer) is nn.Linear}
    if method != "original-int8":
        kept = get_keys_to_not_convert(model) if kept is None else kept
        layers = {name: layer for name, layer in layers.items() if should_convert_module(name, kept)}
    kind = type(model).__name__
    if any(isinstance(layer, Conv1D) for layer in model.modules()):
        raise ZooError(f"A {kind} keeps its weights the other way round (Conv1D), which '{method}' does not know.")
    if not layers:
        raise ZooError(f"A {kind} has no linear layers that '{method}' could shrink; is it quantized already?")
    return layers
