"""Which files of a repository a model needs: its safetensors, tokenizer and configuration.

What is left out by default: pickled weights, which can run code when they are read; pictures, papers and scripts; the same
weights in other forms, which lie in folders below or are called otherwise. Code comes only where the card says that the model
needs it, and is then listed and verified like every other file.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from zoo_core.errors import WeightsError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from zoo_core.sources import RemoteFile

#: What a model needs, by the names that training programs give; `.txt` only for the parts of a tokenizer.
WANTED = ("*.safetensors", "*.json", "*.model", "*.jinja", "vocab*.txt", "merges*.txt", "*.tiktoken")
#: Code, for models whose card says `runtime.remote_code`.
CODE = "*.py"
#: Weights that are pickled.
PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")


def is_wanted(name: str) -> bool:
    """Whether a file with this name is one of those that a model needs."""
    return any(fnmatchcase(name, pattern) for pattern in WANTED)


def wanted_files(files: Sequence[RemoteFile], where: str, *, code: bool = False) -> list[RemoteFile]:
    """The files of a repository that a model needs, by path; Python files among them only with `code`.

    `where` names the repository in error messages. Raises `WeightsError` for a repository without safetensors.
    """
    patterns = (*WANTED, CODE) if code else WANTED
    top = [file for file in files if "/" not in file.path and _is_like(file, patterns)]
    if not any(file.path.endswith(".safetensors") for file in top):
        pickled = sorted(file.path for file in files if _is_like(file, PICKLED))
        if pickled:
            raise WeightsError(
                f"{where} has only pickled weights ({pickled[0]}), and reading a pickle can run code: the zoo uses "
                "safetensors; --all-files fetches them all the same, and zoo convert makes safetensors of them."
            )
        raise WeightsError(f"{where} has no safetensors; --all-files fetches what it has.")
    return sorted(_one_form(top), key=lambda file: file.path)


def _one_form(files: list[RemoteFile]) -> list[RemoteFile]:
    """Without second copies of the weights, which some publishers add in one piece, in half precision or another layout."""
    for pattern in ("model-*-of-*.safetensors", "model.safetensors"):
        if any(fnmatchcase(file.path, pattern) for file in files):
            return [file for file in files if not file.path.endswith(".safetensors") or fnmatchcase(file.path, pattern)]
    return files


def _is_like(file: RemoteFile, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(file.path, pattern) for pattern in patterns)
