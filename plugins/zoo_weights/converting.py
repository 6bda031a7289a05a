"""Make safetensors of pickled weights, one file after the other, each read by a guarded process of its own.

This process never opens a pickle. It starts `pickle_child` without secrets in its environment, believes nothing that it says
of its result, checks the header of what it wrote, and only then gives the file its name. A journal remembers finished files,
so that an interrupted run goes on with the next one. Knows nothing of cards.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Annotated

import msgspec

from zoo_core import (
    File,
    FolderView,
    UsageProblem,
    WeightsError,
    ZooError,
    bytes_text,
    read_tensors,
    sha256_of,
    write_whole,
)
from zoo_weights.small_files import is_like, json_of, small_files
from zoo_weights.writing import WrongResult

#: What was finished by an earlier run with the same inputs, in the folder that is written to.
JOURNAL = "convert.json"
INDEX = "model.safetensors.index.json"
_PICKLED_INDEX = "pytorch_model.bin.index.json"
#: How weights are called that this program converts; `consolidated` is how the first release of LLaMA calls its own.
_PICKLED = re.compile(r".+\.(bin|pt|pth|ckpt)")
_SHARD = re.compile(r"pytorch_model-(\d+)-of-(\d+)\.bin")
_ORIGINAL = re.compile(r"consolidated\.\d+\.pth")
#: Pickles that training leaves beside weights.
_OTHERS = ("training_args.bin", "optimizer*", "scheduler*", "rng_state*", "scaler*", "random_states*")
#: What is copied: configuration, tokenizer, and what tells the terms. Code is copied only for models that need it.
_COPIED = (
    *("*.json", "*.model", "*.jinja", "vocab*.txt", "merges*.txt", "*.tiktoken"),
    *("LICENSE*", "LICENCE*", "NOTICE*", "USE_POLICY*", "README.md"),
)
_NOT_COPIED = ("*.index.json", "trainer_state.json", JOURNAL)
#: The variables that a process needs to find its libraries, and no others: the rest may hold keys.
_ENVIRONMENT = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT", "LANG", "LC_ALL")
#: The longest line that is taken from the process.
_MAX_LINE = 200_000

Progress = Callable[[float, str], None]


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be converted: the pickled files with the names of their safetensors, and the files that are copied.

    `left_out` are the other files of the folder. `places` says which file the index names for each tensor, where there is one.
    """

    folder: Path
    pickled: dict[str, str]
    copied: list[str]
    left_out: list[str]
    places: dict[str, str]
    size: int


class Shard(msgspec.Struct, frozen=True, kw_only=True):
    """A finished file: its tensors, how many bytes these take, and what was found; `origin` is the pickled file.

    `dropped` are output layers that the model shares with its embedding, `not_finite` tensors with NaN or infinity,
    `unwrapped` the key under which the weights were, and `left_out` what else was there. Of each kind the first 20 are named.
    """

    origin: File
    file: File
    tensors: list[str]
    bytes: int
    dropped: list[str] = []
    not_finite: list[str] = []
    unwrapped: str = ""
    left_out: list[str] = []


class _Journal(msgspec.Struct, kw_only=True):
    key: dict[str, list[int]]
    shards: list[Shard] = []


class _Answer(msgspec.Struct, kw_only=True):
    """A line of the process."""

    refused: str = ""
    errno: Annotated[int, msgspec.Meta(ge=0, le=4095)] = 0
    bytes: int = 0
    of: int = 0
    done: _Found | None = None


class _Found(msgspec.Struct, kw_only=True):
    tensors: int
    unwrapped: str
    left_out: list[str]
    dropped: list[str]
    not_finite: list[str]


def find_pickled(folder: Path, *, code: bool = False) -> Source:
    """What there is to convert in a folder; with `code`, its Python files are copied too.

    Raises `WeightsError` where there is nothing to convert, or where that cannot be told.
    """
    sizes = {file.path: file.size for file in FolderView(folder).files if "/" not in file.path}
    ready = [path for path in sizes if path.endswith(".safetensors")]
    if ready:
        raise WeightsError(f"The folder {folder} has safetensors already ({ready[0]}): there is nothing to convert.")
    places = _index(folder) if _PICKLED_INDEX in sizes else {}
    pickled = sorted(set(places.values())) or _weights(folder, sizes)
    if missing := [path for path in pickled if path not in sizes]:
        raise WeightsError(
            f"The index {folder / _PICKLED_INDEX} names {missing[0][:100]}, which is not there; get the folder again."
        )
    if "adapter_config.json" in sizes and len(pickled) == 1:
        names = ["adapter_model.safetensors"]
    elif len(pickled) == 1:
        names = ["model.safetensors"]
    else:
        names = [f"model-{n:05d}-of-{len(pickled):05d}.safetensors" for n in range(1, len(pickled) + 1)]
    wanted = (*_COPIED, "*.py") if code else _COPIED
    copied = [path.name for path in small_files(folder, wanted, _NOT_COPIED)]
    used = {*pickled, *copied, _PICKLED_INDEX, "zoo.yaml"}
    return Source(
        folder=folder,
        pickled=dict(zip(pickled, names, strict=True)),
        copied=copied,
        left_out=[path for path in sizes if path not in used],
        places=places,
        size=sum(sizes[path] for path in [*pickled, *copied]),
    )


def convert(source: Source, out: Path, progress: Progress = lambda share, line: None) -> list[Shard]:
    """Convert into the existing folder `out`, taking up what an earlier run has finished there.

    Returns the finished files of weights; configuration, tokenizer and index are beside them, and `JOURNAL`, which the caller
    removes. Raises `WeightsError` for a file that is refused, `ZooError` where the disk is full or may not be written.
    """
    try:
        journal = _taken_up(source, out)
        _require_room(source, out, journal)
        ties = _ties(source.folder)
        done = sum(shard.origin.size for shard in journal.shards)
        total = sum((source.folder / path).stat().st_size for path in source.pickled)
        for path in source.pickled:
            if any(shard.origin.path == path for shard in journal.shards):
                continue
            before, size = done, (source.folder / path).stat().st_size

            def told(share: float, path: str = path, before: int = before, size: int = size) -> None:
                progress((before + share * size) / max(total, 1), path)

            journal.shards.append(_converted(source, path, out, ties, told))
            write_whole(out / JOURNAL, msgspec.json.encode(journal))
            done += size
        shards = sorted(journal.shards, key=lambda shard: shard.file.path)
        _require_whole(source, shards)
        if len(shards) > 1:
            _write_index(out, shards)
        for path in source.copied:
            shutil.copyfile(source.folder / path, out / path)
        return shards
    except OSError as error:
        raise _of_the_disk(out, error) from error


def has_converted(folder: Path) -> bool:
    """Whether the journal of a folder tells of files that need not be converted again."""
    with contextlib.suppress(OSError, msgspec.MsgspecError):
        return bool(msgspec.json.decode((folder / JOURNAL).read_bytes(), type=_Journal).shards)
    return False


def _index(folder: Path) -> dict[str, str]:
    """Which file holds each tensor, as the index of the pickled files says."""
    path = folder / _PICKLED_INDEX
    try:
        places = msgspec.convert(json_of(path)["weight_map"], dict[str, str])
    except (WeightsError, ValueError, KeyError):
        raise WeightsError(f"The index {path} cannot be read; get the folder again.") from None
    if not places or not all(_PICKLED.fullmatch(name) and "/" not in name for name in places.values()):
        raise WeightsError(f"The index {path} names no pickled files of this folder; get the folder again.")
    return places


def _weights(folder: Path, sizes: dict[str, int]) -> list[str]:
    """The pickled files of a folder without an index that hold its weights."""
    found = sorted(path for path in sizes if _PICKLED.fullmatch(path) and not is_like(path, _OTHERS))
    if any(_ORIGINAL.fullmatch(path) for path in found):
        raise WeightsError(
            f"The weights in {folder} ({found[0]}) are in the layout of LLaMA's first release, whose tensors are called "
            "otherwise and divided among its files by rows and columns; get the model in the layout of transformers."
        )
    if numbers := [match.groups() for path in found if (match := _SHARD.fullmatch(path))]:
        if {int(number) for number, _ in numbers} != set(range(1, int(numbers[0][1]) + 1)):
            raise WeightsError(
                f"The folder {folder} has {len(numbers)} of {int(numbers[0][1]):,} files of weights; get the others."
            )
        return [path for path in found if _SHARD.fullmatch(path)]
    known = [path for path in found if path in ("adapter_model.bin", "pytorch_model.bin")] or found
    if not known:
        raise WeightsError(f"The folder {folder} has no pickled weights (such as pytorch_model.bin).")
    if len(known) > 1:
        raise WeightsError(
            f"The folder {folder} has several pickled files and no index ({', '.join(known[:3])}), so that nobody can tell "
            "which of them are the weights; move the others elsewhere."
        )
    return known


def _ties(folder: Path) -> bool:
    """Whether transformers gives the output layer the numbers of the embedding when it loads the model of a folder."""
    try:
        config = json_of(folder / "config.json")
        if isinstance(said := config.get("tie_word_embeddings"), bool):
            return said
        from transformers import CONFIG_MAPPING

        return bool(CONFIG_MAPPING[config["model_type"]]().tie_word_embeddings)
    except (WeightsError, ValueError, KeyError, TypeError, AttributeError, ImportError):
        return False  # both are written then, and none is missing


def _taken_up(source: Source, out: Path) -> _Journal:
    """The journal of an earlier run with the same files, or a new one."""
    states = {path: (source.folder / path).stat() for path in source.pickled}
    key = {path: [state.st_size, state.st_mtime_ns] for path, state in states.items()}
    try:
        found = msgspec.json.decode((out / JOURNAL).read_bytes(), type=_Journal)
    except FileNotFoundError:
        found = _Journal(key=key)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        found = _Journal(key={})
    if found.key != key:
        raise UsageProblem(
            f"{out} holds unfinished work on other files, or on files that have changed since; remove it or choose another "
            "folder."
        )
    found.shards = [shard for shard in found.shards if _size(out / shard.file.path) == shard.file.size]
    write_whole(out / JOURNAL, msgspec.json.encode(found))
    return found


def _require_room(source: Source, out: Path, journal: _Journal) -> None:
    missing = source.size - sum(shard.file.size for shard in journal.shards)
    if missing > (free := shutil.disk_usage(out).free):
        raise ZooError(f"The result needs {bytes_text(missing)} in {out}, but only {bytes_text(free)} are free there.")


def _converted(source: Source, path: str, out: Path, ties: bool, told: Callable[[float], None]) -> Shard:
    """Have one file converted by a process, and look at what it wrote."""
    pickled, name = source.folder / path, source.pickled[path]
    part = out / f".{name}.part"
    origin = File(path=path, size=pickled.stat().st_size, sha256=sha256_of(pickled))
    try:
        found = _run(pickled, part, ties, told)
        size = part.stat().st_size
        tensors = read_tensors(lambda _, start, count: _read(part, start, count), name, size)
        if len(tensors) != found.tensors:
            raise WeightsError(f"The process that converted {pickled} wrote something else than it said; try again.")
        file = File(path=name, size=size, sha256=sha256_of(part))
        part.replace(out / name)
    finally:
        part.unlink(missing_ok=True)
    return Shard(
        origin=origin,
        file=file,
        tensors=sorted(tensors),
        bytes=sum(each.size for each in tensors.values()),
        dropped=found.dropped,
        not_finite=found.not_finite,
        unwrapped=found.unwrapped,
        left_out=found.left_out,
    )


def _run(pickled: Path, part: Path, ties: bool, told: Callable[[float], None]) -> _Found:
    """Start the process and listen to it until it ends. Raises `WeightsError` for a file that it refuses."""
    job = {"source": str(pickled.resolve()), "result": str(part.resolve()), "libraries": _libraries(), "tied": ties}
    last = _Answer()
    with tempfile.TemporaryFile() as complaints, _started(complaints, part.parent) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        with contextlib.suppress(BrokenPipeError):  # it has ended already, which is told below
            process.stdin.write(json.dumps(job).encode())
            process.stdin.close()
        while line := process.stdout.readline(_MAX_LINE):
            try:
                last = msgspec.json.decode(line, type=_Answer)
            except (msgspec.MsgspecError, UnicodeDecodeError):
                process.kill()  # no line of ours; what follows is not listened to
                break
            if last.of:
                told(min(last.bytes / last.of, 1.0))
        if last.done is not None and process.wait() == 0:
            return last.done
        if last.errno:
            raise OSError(last.errno, os.strerror(last.errno))
        if last.refused:
            raise WrongResult(f"The file {pickled} is not converted: {last.refused}.")
        raise WeightsError(f"The file {pickled} is not converted: {_end(process, complaints)}.")


@contextlib.contextmanager
def _started(complaints: IO[bytes], folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The process; it does not outlive the block."""
    kept = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
    process = subprocess.Popen(
        [sys.executable, "-I", "-B", str(Path(__file__).with_name("pickle_child.py"))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=complaints,
        cwd=folder,
        env=kept | {"OMP_NUM_THREADS": "1", "TMPDIR": str(folder.resolve()), "HOME": str(folder.resolve())},
    )
    try:
        with process:
            try:
                yield process
            finally:
                process.kill()
    except BrokenPipeError:
        return  # what was still to be written to a process that has ended


def _end(process: subprocess.Popen[bytes], complaints: IO[bytes]) -> str:
    """Why a process ended that did not say it."""
    code = process.wait()
    complaints.seek(0)
    lines = complaints.read(_MAX_LINE).decode(errors="replace").strip().splitlines()
    said = f" ({lines[-1][:200]})" if lines else ""
    what = f"was stopped by signal {-code}" if code < 0 else f"ended with {code}"
    return f"the process that read it {what}{said}; it may be damaged, or need more memory than there is"


def _libraries() -> list[str]:
    """The folders in which the process finds PyTorch and NumPy, wherever they were installed."""
    specs = [find_spec(name) for name in ("torch", "numpy")]
    return sorted({str(Path(spec.origin).parent.parent) for spec in specs if spec is not None and spec.origin})


def _require_whole(source: Source, shards: Sequence[Shard]) -> None:
    """Raise `WeightsError` unless every tensor is in one file only, and in the one that the index names."""
    here: dict[str, str] = {}
    for shard in shards:
        if twice := here.keys() & set(shard.tensors):
            raise WrongResult(
                f"The tensor '{min(twice)[:80]}' is in {shard.origin.path} and in another file of the weights."
            )
        here |= dict.fromkeys(shard.tensors, shard.origin.path)
    dropped = {name for shard in shards for name in shard.dropped}
    wrong = sorted(name for name, place in source.places.items() if name not in dropped and here.get(name) != place)
    if wrong:
        raise WrongResult(
            f"The index of {source.folder} says that '{wrong[0][:80]}' is in {source.places[wrong[0]][:100]}, but it is "
            f"{'in ' + here[wrong[0]] if wrong[0] in here else 'in no file'}; get the folder again."
        )


def _write_index(out: Path, shards: Sequence[Shard]) -> None:
    places = {name: shard.file.path for shard in shards for name in shard.tensors}
    content = {
        "metadata": {"total_size": sum(shard.bytes for shard in shards)},
        "weight_map": dict(sorted(places.items())),
    }
    write_whole(out / INDEX, (json.dumps(content, indent=2) + "\n").encode())


def _read(path: Path, start: int, count: int) -> bytes:
    with path.open("rb") as file:
        file.seek(start)
        return file.read(count)


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else -1


def _of_the_disk(out: Path, error: OSError) -> ZooError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return ZooError(
            f"There is no room for the result in {out} ({error.strerror}); make room and give the same command again, "
            "which goes on where it stopped."
        )
    return ZooError(f"The conversion stopped: {error.filename or out}: {error.strerror or error}.")
