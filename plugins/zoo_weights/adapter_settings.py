"""What the configuration of an adapter says, as the library peft understands it: ranks, scaling, and which modules are meant.

Whatever would change how the adapter is to be merged, and is not known here, is refused by name.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import msgspec

from zoo_core import WeightsError

CONFIG = "adapter_config.json"
#: The largest configuration that is read.
_MAX_CONFIG = 20_000_000
#: Ways to begin a training that leave the base as it is; the others also change the base when an adapter is loaded.
_PLAIN_BEGINNINGS = (None, True, False, "gaussian", "eva", "orthogonal")
#: Fields that say where an adapter came from or how it was trained, and nothing of how it is merged. `fan_in_fan_out` is
#: among them, because the network itself tells how its layers lie, and peft believes the network.
_WITHOUT_EFFECT = {
    *("auto_mapping", "inference_mode", "peft_version", "revision", "task_type"),
    *("corda_config", "eva_config", "fan_in_fan_out", "loftq_config", "lora_dropout", "lora_ga_config"),
    *("megatron_core", "merge_weights", "qalora_group_size", "runtime_config"),
}

_Names = list[str] | str | None
_Value = TypeVar("_Value", int, float)


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The configuration of a LoRA adapter, under the names that peft gives to its fields."""

    peft_type: str
    r: Annotated[int, msgspec.Meta(ge=1, le=2**31)]
    lora_alpha: float
    use_rslora: bool = False
    use_dora: bool = False
    bias: Literal["none", "all", "lora_only"] = "none"
    rank_pattern: dict[str, Annotated[int, msgspec.Meta(ge=1, le=2**31)]] | None = None
    alpha_pattern: dict[str, float] | None = None
    target_modules: _Names = None
    exclude_modules: _Names = None
    modules_to_save: list[str] | None = None
    layers_to_transform: list[int] | int | None = None
    layers_pattern: _Names = None
    init_lora_weights: bool | str | None = None
    ensure_weight_tying: bool = False
    base_model_name_or_path: str | None = None

    def rank(self, module: str) -> int:
        """The rank of a module's matrices."""
        return _of_pattern(self.rank_pattern, module, self.r)

    def scaling(self, module: str) -> float:
        """What the product of a module's matrices is multiplied with."""
        alpha, rank = _of_pattern(self.alpha_pattern, module, self.lora_alpha), self.rank(module)
        return alpha / math.sqrt(rank) if self.use_rslora else alpha / rank

    def targets(self, module: str) -> bool:
        """Whether a module is one of those that the adapter changes."""
        if _is_named(self.exclude_modules, module) or any(
            f".{name}." in f".{module}." for name in self.modules_to_save or []
        ):
            return False
        if not _is_named(self.target_modules, module):
            return False
        wanted = self.layers_to_transform
        if isinstance(self.target_modules, str) or module in (self.target_modules or []) or wanted in (None, []):
            return True
        layer = self._layer(module)
        return layer is not None and layer in ([wanted] if isinstance(wanted, int) else wanted or [])

    def saves(self, module: str) -> bool:
        """Whether a module stands whole in the adapter: it, or one that it is part of, is called like a name at its end."""
        parts = module.split(".")
        wholes = [".".join(parts[:count]) for count in range(1, len(parts) + 1)]
        return any(whole.endswith(name) for whole in wholes for name in self.modules_to_save or [])

    @property
    def names_all_targets(self) -> bool:
        """Whether every module that is meant can be told from its name alone."""
        return self.target_modules is not None and self.target_modules != "all-linear"

    def _layer(self, module: str) -> int | None:
        """The number of the layer that a module is in."""
        patterns = [self.layers_pattern] if isinstance(self.layers_pattern, str) else self.layers_pattern
        wholes = [rf"(?:^|.*?\.){pattern}\.(?P<layer>\d+)\." for pattern in patterns or []]
        found = (re.match(whole, module) for whole in wholes or [r".*?\.[^.]*\.(?P<layer>\d+)\."])
        return next((int(match["layer"]) for match in found if match), None)


def read_settings(folder: Path) -> Settings:
    """The configuration in an adapter's folder. Raises `WeightsError` for one that is no LoRA's, or that asks for more."""
    path = folder / CONFIG
    data = _json(path)
    kind = str(data.get("peft_type"))
    if kind != "LORA":
        raise WeightsError(f"The adapter {folder} is of the kind {kind[:40]}; only LoRA adapters can be merged.")
    known = {*Settings.__struct_fields__, *_WITHOUT_EFFECT}
    if asked := sorted(name for name, value in data.items() if name not in known and value):
        raise WeightsError(
            f"The adapter {folder} uses {asked[0][:60]}, which is not merged here; merge it with the library peft."
        )
    try:
        settings = msgspec.convert({name: data[name] for name in data if name in Settings.__struct_fields__}, Settings)
        for pattern in _patterns(settings):
            re.compile(pattern)
    except (msgspec.ValidationError, re.error) as error:
        raise WeightsError(f"The configuration {path} cannot be used: {error}.") from None
    if settings.init_lora_weights not in _PLAIN_BEGINNINGS:
        raise WeightsError(
            f"The adapter {folder} began its training with {str(settings.init_lora_weights)[:40]}, which also changes the "
            "base; merge it with the library peft, or save it as a plain LoRA first (path_initial_model_for_weight_conversion)."
        )
    return settings


def _json(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > _MAX_CONFIG:
            raise ValueError("it is too large")
        data = json.loads(path.read_bytes())
        if not isinstance(data, dict):
            raise ValueError("an object was expected")
    except FileNotFoundError:
        raise WeightsError(f"The folder {path.parent} has no {path.name}, so it is not an adapter.") from None
    except OSError as error:
        raise WeightsError(f"The file {path} cannot be read: {error.strerror or error}.") from error
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise WeightsError(f"The file {path} is no JSON that can be read: {reason}.") from None
    return data


def _patterns(settings: Settings) -> list[str]:
    """The regular expressions of a configuration."""
    names = [settings.target_modules, settings.exclude_modules, settings.layers_pattern]
    texts = [each for each in names if isinstance(each, str)]
    lists = [settings.layers_pattern] if isinstance(settings.layers_pattern, list) else []
    return [
        *texts,
        *(text for each in lists for text in each),
        *(settings.rank_pattern or {}),
        *(settings.alpha_pattern or {}),
    ]


def _is_named(names: _Names, module: str) -> bool:
    """Whether a module is meant: a list names it whole or by its last parts, a single text is a regular expression."""
    if isinstance(names, str):
        return re.fullmatch(names, module) is not None
    return any(module == name or module.endswith(f".{name}") for name in names or [])


def _of_pattern(patterns: Mapping[str, _Value] | None, module: str, otherwise: _Value) -> _Value:
    """The value of the first pattern that fits the end of a module's name."""
    for pattern, value in (patterns or {}).items():
        if re.match(rf"(.*\.)?({pattern})$", module):
            return value
    return otherwise
