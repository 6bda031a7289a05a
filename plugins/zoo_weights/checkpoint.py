"""A checkpoint in a folder: its configuration, what tensors it has, and their numbers, read a few rows at a time.

The headers of all files are checked before any number is read, and the index against them. Numbers are read into memory of
their own rather than mapped, so that memory does not grow with the model and a disk that fails is an error that can be told.
Knows nothing of cards and of what is computed.
"""

from __future__ import annotations

import json
import math
import os
import re
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import msgspec
import torch

from zoo_core import FolderView, WeightsError, checkpoint_facts, read_tensors

if TYPE_CHECKING:
    from collections.abc import Mapping

#: The dtypes of files as PyTorch knows them. Those that are not here take less than a byte or are its newest.
TORCH_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
#: The same, the other way round.
FILE_DTYPES = {dtype: name for name, dtype in TORCH_DTYPES.items()}

_NUMBERED = re.compile(r"-(\d+)-of-(\d+)\.safetensors\Z")
_INDEX = ".safetensors.index.json"


class Stored(msgspec.Struct, frozen=True):
    """A tensor as it is stored: dtype as the format spells it, shape, file, and the byte of the file where it begins."""

    dtype: str
    shape: tuple[int, ...]
    file: str
    begin: int

    @property
    def rows(self) -> int:
        """The length of the first dimension; a single number is one row."""
        return self.shape[0] if self.shape else 1

    @property
    def count(self) -> int:
        """How many numbers it holds."""
        return math.prod(self.shape)


class Checkpoint:
    """The safetensors of a folder. `tensors` are in the order in which they lie in the files.

    Files stay open until `close`, or until nobody uses the object, so that all numbers come from the files that were checked.
    """

    def __init__(self, folder: Path, config: dict[str, Any], facts: Any, tensors: dict[str, Stored]) -> None:
        """Use `Checkpoint.open`."""
        self.folder = folder
        #: What config.json says, as it is.
        self.config = config
        #: What `zoo_core.checkpoint_facts` says: architecture, `tied`, flat `config`, `tokenizer` …
        self.facts = facts
        self.tensors: Mapping[str, Stored] = tensors
        self._files: dict[str, int] = {}
        self._closed = weakref.finalize(self, _close_all, self._files)
        for path in sorted({tensor.file for tensor in tensors.values()}):
            try:
                self._files[path] = os.open(folder / path, os.O_RDONLY)
            except OSError as error:
                raise _unreadable(folder / path, error) from error

    @classmethod
    def open(cls, folder: Path) -> Checkpoint:
        """Read configuration and headers. Raises `WeightsError` for what is missing, damaged or contradicts itself."""
        view = FolderView(folder)
        try:
            facts = checkpoint_facts(view.read, view.files)
        except WeightsError as error:
            raise WeightsError(f"The weights in {folder} cannot be used: {_lower(str(error))}") from error
        if facts.format == "pickle":
            raise WeightsError(
                f"The weights in {folder} are pickled ({facts.weights[0]}), and reading a pickle can run code; make "
                f"safetensors of them first: zoo convert {folder}"
            )
        if facts.format != "safetensors":
            raise WeightsError(
                f"The folder {folder} has no safetensors (model.safetensors, or shards with their index)."
            )
        sizes = {file.path: file.size for file in view.files}
        tensors = {}
        for path in facts.weights:
            header = read_tensors(view.read, path, sizes[path])
            first = sizes[path] - max((each.data_offsets[1] for each in header.values()), default=0)
            for name, each in sorted(header.items(), key=lambda item: item[1].data_offsets):
                tensors[name] = Stored(each.dtype, tuple(each.shape), path, first + each.data_offsets[0])
        _require_whole(folder, facts.weights, tensors)
        return cls(folder, _config(folder), facts, tensors)

    def load(self, name: str, start: int = 0, stop: int | None = None) -> torch.Tensor:
        """A tensor, or its rows from `start` up to `stop`, in memory of its own. Several threads may call this at once.

        Rows are counted along the first dimension; a single number is one row. Raises `WeightsError`.
        """
        tensor = self.tensors[name]
        if tensor.dtype not in TORCH_DTYPES:
            raise WeightsError(
                f"The tensor '{name}' in {self.folder / tensor.file} has the dtype {tensor.dtype}, "
                "with which PyTorch cannot compute."
            )
        stop = tensor.rows if stop is None else stop
        shape = (stop - start, *tensor.shape[1:]) if tensor.shape else ()
        found = torch.empty(shape, dtype=TORCH_DTYPES[tensor.dtype])
        content = memoryview(as_bytes(found))
        position = tensor.begin + start * math.prod(tensor.shape[1:]) * found.element_size()
        while content:
            try:
                count = os.preadv(self._files[tensor.file], [content], position)
            except OSError as error:
                raise _unreadable(self.folder / tensor.file, error) from error
            if not count:
                raise WeightsError(
                    f"The file {self.folder / tensor.file} has become shorter while it was read; get it again."
                )
            content, position = content[count:], position + count
        return found

    def identity(self) -> dict[str, list[int]]:
        """What tells these files from others without reading them: their sizes and times of change."""
        states = {path: os.fstat(file) for path, file in self._files.items()}
        return {path: [state.st_size, state.st_mtime_ns] for path, state in states.items()}

    def close(self) -> None:
        """Close the files; numbers cannot be read any more."""
        self._closed()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def as_bytes(tensor: torch.Tensor) -> Any:
    """The bytes of a contiguous tensor as a NumPy array that shares its memory."""
    return tensor.reshape(-1).view(torch.uint8).numpy()


def _require_whole(folder: Path, weights: list[str], tensors: Mapping[str, Stored]) -> None:
    """Raise `WeightsError` unless the index names every tensor in its file, and no shard is missing."""
    index = next((path for path in sorted(folder.glob(f"[!.]*{_INDEX}"))), None)
    if index is not None and "model.safetensors" not in weights:
        named: dict[str, str] = json.loads(index.read_bytes())["weight_map"]
        here = {name: tensor.file for name, tensor in tensors.items()}
        wrong = [name for name in sorted(named.keys() | here.keys()) if named.get(name) != here.get(name)]
        if wrong:
            raise WeightsError(
                f"The index {index} says that '{wrong[0][:80]}' is {_place(named.get(wrong[0]))}, but it is "
                f"{_place(here.get(wrong[0]))} ({len(wrong):,} such tensors): shards are exchanged or of another model; "
                "get the folder again."
            )
        return
    numbers = [match.groups() for path in weights if (match := _NUMBERED.search(path))]
    if numbers and {int(number) for number, _ in numbers} != set(range(1, int(numbers[0][1]) + 1)):
        raise WeightsError(
            f"The folder {folder} has {len(numbers)} of {int(numbers[0][1]):,} files of weights; get the others."
        )


def _config(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    if not path.is_file():
        raise WeightsError(
            f"The folder {folder} has no config.json, so that nobody can tell what model its weights are."
        )
    config: dict[str, Any] = json.loads(path.read_bytes())
    return config


def _place(file: str | None) -> str:
    return f"in {file[:100]}" if file else "in no file"


def _lower(sentence: str) -> str:
    return sentence[:1].lower() + sentence[1:]


def _unreadable(path: Path, error: OSError) -> WeightsError:
    return WeightsError(f"The file {path} cannot be read: {error.strerror or error}.")


def _close_all(files: dict[str, int]) -> None:
    while files:
        os.close(files.popitem()[1])
