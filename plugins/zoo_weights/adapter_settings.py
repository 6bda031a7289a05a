"""What the configuration of an adapter says, as the library peft understands it: ranks, scaling, and which modules are meant.

Whatever would change how the adapter is to be merged, and is not known here, is refused by name.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import msgspec
import regex

from zoo_core import WeightsError
from zoo_weights.small_files import json_of

CONFIG = "adapter_config.json"
#: Ways to begin a training that leave the base as it is; the others also change the base when an adapter is loaded.
_PLAIN_BEGINNINGS = (None, True, False, "gaussian", "eva", "orthogonal")
#: Fields that say where an adapter came from or how it was trained, and nothing of how it is merged. `fan_in_fan_out` is
#: among them, because the network itself tells how its layers lie, and peft believes the network.
_WITHOUT_EFFECT = {
    *("auto_mapping", "inference_mode", "peft_version", "revision", "task_type"),
    *("corda_config", "eva_config", "fan_in_fan_out", "loftq_config", "lora_dropout", "lora_ga_config"),
    *("megatron_core", "merge_weights", "qalora_group_size", "runtime_config"),
}

#: The most patterns of an adapter, the most repetitions that one may count, and how many seconds it may look at a name: a
#: pattern from a stranger could look forever. Networks have some thousands of modules.
_MOST_PATTERNS = 10_000
_MOST_REPEATS = 10_000
_PATIENCE = 2.0

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
        found = (_match(whole, module) for whole in self._layers() or [r".*?\.[^.]*\.(?P<layer>\d{1,9})\."])
        return next((int(match["layer"]) for match in found if match), None)

    def _layers(self) -> list[str]:
        patterns = [self.layers_pattern] if isinstance(self.layers_pattern, str) else self.layers_pattern
        return [rf"(?:^|.*?\.){pattern}\.(?P<layer>\d{{1,9}})\." for pattern in patterns or []]

    def patterns(self) -> list[str]:
        """The regular expressions of the configuration, as they are used."""
        names = [each for each in (self.target_modules, self.exclude_modules) if isinstance(each, str)]
        ends = map(_at_the_end, [*(self.rank_pattern or {}), *(self.alpha_pattern or {})])
        return [*names, *self._layers(), *ends]


def read_settings(folder: Path) -> Settings:
    """The configuration in an adapter's folder. Raises `WeightsError` for one that is no LoRA's, or that asks for more."""
    path = folder / CONFIG
    data = json_of(path)
    if not data:
        raise WeightsError(f"The folder {folder} has no {CONFIG}, or an empty one, so it is not an adapter.")
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
        _require_harmless(settings.patterns())
    except (msgspec.ValidationError, ValueError) as error:
        raise WeightsError(f"The configuration {path} cannot be used: {error}.") from None
    if settings.init_lora_weights not in _PLAIN_BEGINNINGS:
        raise WeightsError(
            f"The adapter {folder} began its training with {str(settings.init_lora_weights)[:40]}, which also changes the "
            "base; merge it with the library peft, or save it as a plain LoRA first (path_initial_model_for_weight_conversion)."
        )
    return settings


def _require_harmless(patterns: list[str]) -> None:
    """Raise `ValueError` for regular expressions that peft would not understand, or that take too much to compile."""
    if len(patterns) > _MOST_PATTERNS:
        raise ValueError(f"it has {len(patterns):,} patterns")
    for pattern in patterns:
        counts = re.findall(r"[{,](\d+)(?=[,}])", pattern)
        if any(len(count) > 4 for count in counts) or math.prod(max(int(each), 1) for each in counts) > _MOST_REPEATS:
            raise ValueError(f"the pattern '{pattern[:60]}' counts too many repetitions")
        try:
            re.compile(pattern)
            _compiled(pattern)
        except (re.error, regex.error, RecursionError, OverflowError) as error:
            raise ValueError(f"the pattern '{pattern[:60]}' is none ({str(error)[:100]})") from None


def _is_named(names: _Names, module: str) -> bool:
    """Whether a module is meant: a list names it whole or by its last parts, a single text is a regular expression."""
    if isinstance(names, str):
        return _match(names, module, whole=True) is not None
    return any(module == name or module.endswith(f".{name}") for name in names or [])


def _of_pattern(patterns: Mapping[str, _Value] | None, module: str, otherwise: _Value) -> _Value:
    """The value of the first pattern that fits the end of a module's name."""
    fitting = (value for pattern, value in (patterns or {}).items() if _match(_at_the_end(pattern), module))
    return next(fitting, otherwise)


def _at_the_end(pattern: str) -> str:
    return rf"(.*\.)?({pattern})$"


def _match(pattern: str, module: str, *, whole: bool = False) -> Any:
    """How a pattern fits a module's name, or None. Raises `WeightsError` where that takes too long to say."""
    try:
        compiled = _compiled(pattern)
        return compiled.fullmatch(module, timeout=_PATIENCE) if whole else compiled.match(module, timeout=_PATIENCE)
    except TimeoutError:
        raise WeightsError(
            f"The pattern '{pattern[:60]}' in the adapter's {CONFIG} takes too long to compare with '{module[:60]}'; "
            "do not use this adapter."
        ) from None


@functools.lru_cache(maxsize=_MOST_PATTERNS)
def _compiled(pattern: str) -> Any:
    """A pattern for the library regex, which unlike Python's own can be told to give up."""
    return regex.compile(pattern)
