"""Code that a checkpoint brings, as transformers runs it: from a folder of modules that is this process's own.

transformers copies such code into a folder that all programs of a user share, and imports it from there, with whatever lies
beside it and whatever Python compiled of it before. Here it finds that folder empty. Whether code may run at all is decided
by the core, and said by the user.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import transformers
from transformers import CONFIG_MAPPING, dynamic_module_utils

from zoo_core import WeightsError


def needs_code(folder: Path, model_class: Any) -> bool:
    """Whether model or tokenizer in a folder are of no class that transformers has itself.

    Where it has them, its own are used, as it does without being told otherwise, and the checkpoint's code is left alone.
    """
    config, tokenizer = (_read(folder / name) for name in ("config.json", "tokenizer_config.json"))
    kind, names = config.get("model_type"), config.get("architectures")
    known = CONFIG_MAPPING[kind] if isinstance(kind, str) and kind in CONFIG_MAPPING else None
    mapping = getattr(model_class, "_model_mapping", None)
    if known is None or (mapping is not None and known not in mapping):
        return True
    said = [*names] if isinstance(names, list) and "auto_map" in config else []
    said += [tokenizer.get("tokenizer_class")] if "auto_map" in tokenizer else []
    return not all(isinstance(name, str) and hasattr(transformers, name) for name in said)


@contextlib.contextmanager
def running(model_class: Any, allowed: bool) -> Iterator[None]:
    """Load a checkpoint in here, whose code may run if it is `allowed`.

    What transformers notes of classes in such code is forgotten afterwards: it would take them for those of the next
    checkpoint with a configuration of the same type.
    """
    if not allowed:
        yield
        return
    _use_own_modules()
    mapping = getattr(model_class, "_model_mapping", None)
    noted = dict(mapping._extra_content) if mapping is not None else {}
    try:
        yield
    finally:
        if mapping is not None:
            mapping._extra_content = noted


@cache
def _use_own_modules() -> None:
    """Have transformers keep the modules of checkpoints in a new folder, which goes when the process ends."""
    place = Path(tempfile.mkdtemp(prefix="zoo-modules-"))
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    dynamic_module_utils.HF_MODULES_CACHE = str(place)
    name = dynamic_module_utils.TRANSFORMERS_DYNAMIC_MODULE_NAME
    if (before := sys.modules.get(name)) is not None:  # of whoever ran such code in this process before the zoo
        before.__path__.insert(0, str(place / name))


def _read(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise WeightsError(f"The file {path} cannot be read: {error}.") from None
    return data if isinstance(data, dict) else {}
