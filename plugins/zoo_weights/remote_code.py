"""Code that a checkpoint brings, as transformers runs it: from a folder of modules that is this process's own.

transformers copies such code into a folder that all programs of a user share, and imports it from there, with whatever lies
beside it and whatever Python compiled of it before. Here it finds that folder empty. Whether code may run at all is decided
by the core, and said by the user.
"""

from __future__ import annotations

import atexit
import contextlib
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import transformers
from transformers import CONFIG_MAPPING, dynamic_module_utils
from transformers.integrations import hub_kernels

from zoo_core import WeightsError
from zoo_weights.small_files import json_of

#: How tokenizers' classes are called.
_TOKENIZERS = re.compile(r"(Tokenizer(Fast)?|Backend)\Z")

#: What a configuration may choose to compute with, such as a package that is not here, or a kernel of a hub: left to
#: transformers, for the model and all of its parts.
UNCHOSEN: dict[str, None] = {"attn_implementation": None, "experts_implementation": None}


def _refuse(*_: object) -> None:
    raise WeightsError("A part of the model is in code of its own, which is never run; use a copy without it.")


def _no_kernel(name: str, *_: object, **unused: object) -> None:
    raise FileNotFoundError(f"the kernel {name} is code from a hub, which is never run")


# Of a part of a model transformers asks on the terminal whether its code may run, whatever it was told of the whole. With no
# time to answer it refuses, in our words: code is allowed by its digest, and nowhere else.
dynamic_module_utils.TIME_OUT_REMOTE_CODE = 0
dynamic_module_utils._raise_timeout_error = _refuse
# Where the package `kernels` is installed, configurations and some architectures have transformers fetch code from a hub and
# run it. What it takes for a file that is not there is computed by its own code.
hub_kernels.get_kernel = _no_kernel


def needs_code(folder: Path, model_class: Any) -> bool:
    """Whether model or tokenizer in a folder are of no class that transformers has itself.

    Where it has them, its own are used, as it does without being told otherwise, and the checkpoint's code is left alone.
    """
    config, tokenizer = (json_of(folder / name) for name in ("config.json", "tokenizer_config.json"))
    kind, names = config.get("model_type"), config.get("architectures")
    known = CONFIG_MAPPING[kind] if isinstance(kind, str) and kind in CONFIG_MAPPING else None
    mapping = getattr(model_class, "_model_mapping", None)
    if known is None or (mapping is not None and known not in mapping):
        return True
    said = [*names] if isinstance(names, list) and "auto_map" in config else []
    said += [tokenizer.get("tokenizer_class")] if "auto_map" in tokenizer else []
    return not all(isinstance(name, str) and hasattr(transformers, name) for name in said)


def require_tokenizer(folder: Path) -> None:
    """Raise `WeightsError` where the tokenizer is to be of a class of transformers that is none.

    It would be loaded all the same, whatever its class then does with the folder.
    """
    for name in ("tokenizer_config.json", "config.json"):
        said = json_of(folder / name).get("tokenizer_class")
        if isinstance(said, str) and not _TOKENIZERS.search(said) and hasattr(transformers, said):
            raise WeightsError(f"The file {folder / name} names the tokenizer class '{said[:80]}', which is none.")


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
