"""What lies beside the weights of a checkpoint: configuration and tokenizer, written into the folder of a new one.

Knows nothing of what the weights are.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from zoo_core import File, WeightsError, ZooError, write_whole

CONFIG = "config.json"
#: Files that models have beside their weights.
_WANTED = ("*.json", "*.model", "*.jinja", "vocab*.txt", "merges*.txt", "*.tiktoken")
#: Those of the weights themselves, and of training.
_UNWANTED = (CONFIG, "*.index.json", "adapter_config.json", "trainer_state.json", "*_results.json", "journal.json")
#: The largest of them that is copied.
_LARGEST = 200_000_000


def copy_small_files(source: Path, folder: Path, config: Mapping[str, Any]) -> list[File]:
    """Write `config` and copy the tokenizer and other small files from one folder to another; tell what was written.

    Code that a checkpoint brings comes along where its configuration names it. Raises `ZooError`.
    """
    wanted = (*_WANTED, "*.py") if isinstance(config.get("auto_map"), dict) else _WANTED
    contents = {CONFIG: (json.dumps(config, indent=2, ensure_ascii=False) + "\n").encode()}
    for path in sorted(source.iterdir()):
        name = path.name
        if path.is_file() and _is_like(name, wanted) and not _is_like(name, _UNWANTED):
            contents[name] = _content(path)
    try:
        for name, content in contents.items():
            write_whole(folder / name, content)
    except OSError as error:
        raise ZooError(f"The result cannot be written to {folder}: {error.strerror or error}.") from error
    return [
        File(path=name, size=len(content), sha256=hashlib.sha256(content).hexdigest())
        for name, content in contents.items()
    ]


def _is_like(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _content(path: Path) -> bytes:
    try:
        if path.stat().st_size > _LARGEST:
            raise WeightsError(f"The file {path} is too large for a file of its kind; remove it from the folder.")
        return path.read_bytes()
    except OSError as error:
        raise WeightsError(f"The file {path} cannot be read: {error.strerror or error}.") from error
