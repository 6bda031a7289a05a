"""Which quantizer loads a folder whose weights are quantized, and which shrinks a model while it is loaded.

Quantizers say both in their offers: `loads` are the methods that a checkpoint's configuration names, `in_memory` those by which
they shrink what is loaded, `load_8bit` and `load_4bit` which of these the options of the same names mean.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from zoo_core.errors import UsageProblem
from zoo_core.names import did_you_mean

if TYPE_CHECKING:
    from pathlib import Path

    from zoo_core.interfaces import PackedLoader, Shrinker
    from zoo_core.offers import Offer
    from zoo_core.zoo import Zoo

#: The file in which the first programs for GPTQ kept their settings, and the method that it stands for.
_LONE_SETTINGS = ("quantize_config.json", "gptq")


def quantized_by(folder: Path) -> str:
    """The method by which the weights in a folder are quantized, as its configuration names it; empty where they are not."""
    said = _json(folder / "config.json").get("quantization_config")
    if isinstance(said, dict):
        is_old = said.get("load_in_8bit") or said.get("load_in_4bit")
        return str(said.get("quant_method") or ("bitsandbytes" if is_old else "unknown"))
    name, method = _LONE_SETTINGS
    return method if (folder / name).is_file() else ""


def packed_loader(zoo: Zoo, folder: Path) -> PackedLoader | None:
    """What loads the weights of a folder where they are quantized; None where they are not, or where nothing installed does."""
    method = quantized_by(folder)
    for _, offer in zoo.plugins.items("zoo_quantizers"):
        if method and method in offer.supports.get("loads", []):
            loader: PackedLoader = offer.load()()
            return loader
    return None


def shrinker(zoo: Zoo, method: str) -> Shrinker:
    """What shrinks models by a method while they are loaded. Raises `UsageProblem` for a method that nothing has."""
    known = _offers(zoo, "in_memory")
    if method not in known:
        what = f"Known: {', '.join(sorted(known))}." if known else "Install it with: pip install 'llm-zoo[int8]'"
        raise UsageProblem(
            f"No installed plugin shrinks a model by '{method}' while it is loaded.{did_you_mean(method, known)} {what}"
        )
    found: Shrinker = known[method].load()()
    return found


def method_of_flag(zoo: Zoo, flag: str) -> str:
    """The method that `load_8bit` or `load_4bit` means. Raises `UsageProblem` where no installed plugin says it."""
    known = _offers(zoo, flag)
    if not known:
        option = f"--{flag.replace('_', '-')}"
        raise UsageProblem(f"{option} needs a quantizer that works while a model is loaded, and no plugin brings one.")
    return next(iter(known))


def _offers(zoo: Zoo, key: str) -> dict[str, Offer]:
    """The methods that quantizers name under a key, each with its quantizer; of two with the same method the first."""
    found: dict[str, Offer] = {}
    for _, offer in zoo.plugins.items("zoo_quantizers"):
        for method in offer.supports.get(key, []):
            found.setdefault(method, offer)
    return found


def _json(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):  # which whoever loads the folder complains about
        return {}
    return data if isinstance(data, dict) else {}
