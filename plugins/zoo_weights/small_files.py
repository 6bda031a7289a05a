"""What lies beside the weights of a checkpoint: configuration and tokenizer, written into the folder of a new one.

What a stranger's folder has under these names may be anything: devices, links to the reader's own files, JSON without end.
Knows nothing of what the weights are.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from zoo_core import File, WeightsError, ZooError, write_whole

CONFIG = "config.json"
#: Files that models have beside their weights.
_WANTED = ("*.json", "*.model", "*.jinja", "vocab*.txt", "merges*.txt", "*.tiktoken")
#: Those of the weights themselves, and of training.
_UNWANTED = (CONFIG, "*.index.json", "adapter_config.json", "trainer_state.json", "*_results.json", "journal.json")
#: The largest of them that is copied, and the largest JSON file that is understood.
_LARGEST = 200_000_000
_LARGEST_JSON = 20_000_000


def json_of(path: Path) -> dict[str, Any]:
    """What a small JSON file says; nothing where there is none. Raises `WeightsError` for what is no object."""
    try:
        if not path.is_file():
            return {}
        if path.stat().st_size > _LARGEST_JSON:
            raise ValueError("it is too large")
        data = json.loads(path.read_bytes())
        if not isinstance(data, dict):
            raise ValueError("an object was expected")
    except OSError as error:
        raise WeightsError(f"The file {path} cannot be read: {error.strerror or error}.") from error
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise WeightsError(f"The file {path} is no JSON that can be read: {reason}.") from None
    return data


def small_files(folder: Path, patterns: Sequence[str] = _WANTED, unwanted: Sequence[str] = _UNWANTED) -> list[Path]:
    """The files of a folder that are copied beside new weights, by name. Raises `WeightsError` for what may not be copied.

    A link may lead to another file of the folder, or to where a hub's cache keeps what the folder shows: a folder from a
    stranger may hold one to a file of the user's, which would be published with the result.
    """
    home = folder.resolve()
    found = [
        path
        for path in sorted(folder.iterdir())
        if is_like(path.name, patterns) and not is_like(path.name, unwanted) and path.is_file()
    ]
    for path in found:
        place = path.resolve()
        if not any(place.is_relative_to(each) for each in (home, home.parent.parent / "blobs")):
            raise WeightsError(f"The file {path} is a link to {place}, out of its folder; put the file itself there.")
        if path.stat().st_size > _LARGEST:
            raise WeightsError(f"The file {path} is too large for a file of its kind; remove it from the folder.")
    return found


def copy_small_files(source: Path, folder: Path, config: Mapping[str, Any]) -> list[File]:
    """Write `config` and copy the tokenizer and other small files from one folder to another; tell what was written.

    Code that a checkpoint brings comes along where its configuration names it. Raises `ZooError`.
    """
    wanted = (*_WANTED, "*.py") if isinstance(config.get("auto_map"), dict) else _WANTED
    try:
        contents = {path.name: path.read_bytes() for path in small_files(source, wanted)}
    except OSError as error:
        raise WeightsError(f"The files beside the weights cannot be read: {error}.") from error
    contents[CONFIG] = (json.dumps(config, indent=2, ensure_ascii=False) + "\n").encode()
    return write_small_files(folder, contents)


def write_small_files(folder: Path, contents: Mapping[str, bytes]) -> list[File]:
    """Write files by their names; tell what was written. Raises `ZooError`."""
    try:
        for name, content in contents.items():
            write_whole(folder / name, content)
    except OSError as error:
        raise ZooError(f"The result cannot be written to {folder}: {error.strerror or error}.") from error
    return [
        File(path=name, size=len(content), sha256=hashlib.sha256(content).hexdigest())
        for name, content in sorted(contents.items())
    ]


def is_like(name: str, patterns: Sequence[str]) -> bool:
    """Whether a name is like one of these, and one that a file may have which is shown to people."""
    return name.isprintable() and not name.startswith(".") and any(fnmatchcase(name, each) for each in patterns)
