"""What the files of a GPTQ checkpoint say of its layout, in every spelling that programs have used.

`quantize_config.json` is AutoGPTQ's; `quantization_config` in config.json came later and says the same. The oldest checkpoints,
of GPTQ-for-LLaMa, have neither: there the shapes of the tensors tell. Knows nothing of PyTorch.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec

from zoo_core import WeightsError

FILE = "quantize_config.json"
#: The widths that GPTQ has.
BITS = (2, 3, 4, 8)
#: The layouts that are read: zero points stored minus one, and as they are.
FORMATS = {"gptq": True, "gptq_v2": False}


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The layout. `bits` and `group_size` are None where only the shapes of the tensors tell."""

    bits: int | None = None
    group_size: int | None = None
    minus_one: bool = True

    @classmethod
    def read(cls, folder: Path) -> Settings:
        """Read what a folder says. Raises `WeightsError` for a layout that is not read here, and for a damaged file."""
        path = folder / FILE
        said: Any = _json(path) if path.is_file() else _json(folder / "config.json").get("quantization_config", {})
        if not isinstance(said, dict):
            raise WeightsError(
                f"The quantization_config in {folder / 'config.json'} is no object; get the folder again."
            )
        return cls.of(said, path if path.is_file() else folder / "config.json")

    @classmethod
    def of(cls, said: dict[str, Any], path: Path) -> Settings:
        """Understand a mapping of settings; `path` is where it stands, for errors."""
        if not said:
            return cls()
        method = str(said.get("quant_method") or said.get("method") or "gptq").lower()
        if method != "gptq":
            raise WeightsError(f"The weights that {path} describes are quantized by '{method[:80]}', not by gptq.")
        layout = str(said.get("checkpoint_format") or said.get("format") or "gptq").lower()
        if said.get("is_marlin_format") is True:
            layout = "marlin"
        if layout not in FORMATS:
            raise WeightsError(
                f"The weights that {path} describes are in the layout '{layout[:80]}', and only {' and '.join(FORMATS)} can be "
                "read; take the model in one of these."
            )
        if str(said.get("pack_dtype", "int32")) != "int32":
            raise WeightsError(f"{path} says that numbers are packed as {str(said['pack_dtype'])[:80]}, not as int32.")
        bits, group = said.get("bits"), said.get("group_size", -1)
        if bits not in BITS or type(bits) is not int:
            raise WeightsError(f"{path} says that weights have {bits!r:.80} bits, but GPTQ has 2, 3, 4 or 8.")
        if type(group) is not int or (group < 1 and group != -1):
            raise WeightsError(
                f"{path} says that groups have the size {group!r:.80}; it is -1 or a whole number from 1 on."
            )
        if said.get("dynamic"):  # single layers may be packed otherwise
            return cls(minus_one=FORMATS[layout])
        return cls(bits=bits, group_size=group, minus_one=FORMATS[layout])


def _json(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise WeightsError(f"The file {path} cannot be read: {' '.join(str(error).split())[:200]}.") from None
    if not isinstance(data, dict):
        raise WeightsError(f"The file {path} holds a JSON {type(data).__name__}, but an object was expected.")
    return data
