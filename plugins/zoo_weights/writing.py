"""Write a checkpoint piece by piece: header first, tensors streamed behind it, so that memory holds a few megabytes.

Names, dtypes and shapes are known before (the plan); the numbers are made a few rows at a time by several threads, and checked,
written and digested as they come. A shard gets its name when all of it is on the disk, and a journal remembers it, so that an
interrupted run goes on with the next one. Knows nothing of deltas, adapters and cards.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import math
import os
import shutil
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import torch

from zoo_core import File, UsageProblem, WeightsError, ZooError, bytes_text, write_whole
from zoo_weights.checkpoint import FILE_DTYPES, as_bytes
from zoo_weights.layout import Piece, Planned, header_of, pieces_of, spread

#: What was finished by an earlier run with the same inputs, in the folder that is written to.
JOURNAL = "journal.json"
INDEX = "model.safetensors.index.json"
SHARD_SIZE = 5_000_000_000
#: Bytes after which the disk is told to begin.
FLUSH_SIZE = 128_000_000
#: Threads that make pieces: one digests or waits for its turn, the others read, compute and write, so that more would wait.
THREADS = min(4, 1 + (os.cpu_count() or 1))
#: Gives the rows of a tensor from the first number up to the second. Called by several threads.
Make = Callable[[str, int, int], torch.Tensor]
#: Told the share of the work that is done (0 to 1) and a line to show.
Progress = Callable[[float, str], None]
#: The files of a checkpoint, each with the tensors in it.
_Shards = Mapping[str, Sequence[Planned]]


class WrongResult(WeightsError):
    """What was made cannot be right; making it again from the same files would give the same."""


class Written(msgspec.Struct, frozen=True, kw_only=True):
    """What was written. `total` is the sum of all numbers and `digest` that of the tensors, where they were asked for."""

    files: list[File]
    total: float = 0.0
    digest: str = ""


class _Shard(msgspec.Struct, frozen=True, kw_only=True):
    """A finished file of tensors, and what was found out of them."""

    file: File
    total: float
    digests: dict[str, str]


class _Journal(msgspec.Struct, kw_only=True):
    key: str
    shards: list[_Shard] = []


class _Found:
    """What is found out of a file while it is written: its digest, and sum and digest of each tensor that is measured."""

    def __init__(self, header: bytes, measured: Sequence[Planned]) -> None:
        self._whole = hashlib.sha256(header)
        self._digests = {each.name: hashlib.sha256() for each in measured}
        self._totals = dict.fromkeys(self._digests, 0.0)

    def add(self, name: str, content: memoryview, total: float) -> None:
        """The next bytes of a tensor, and the sum of the numbers in them."""
        self._whole.update(content)
        if name in self._digests:
            self._digests[name].update(content)
            self._totals[name] += total

    def shard(self, name: str, size: int) -> _Shard:
        """What was found, for the journal."""
        file = File(path=name, size=size, sha256=self._whole.hexdigest())
        digests = {tensor: digest.hexdigest() for tensor, digest in self._digests.items()}
        return _Shard(file=file, total=math.fsum(self._totals.values()), digests=digests)


def write_checkpoint(
    folder: Path,
    plan: Sequence[Planned],
    make: Make,
    *,
    made_from: Mapping[str, Any],
    shard_size: int = SHARD_SIZE,
    threads: int = 0,
    measure: bool = False,
    progress: Progress = lambda share, line: None,
) -> Written:
    """Write `model.safetensors`, or shards of at most `shard_size` bytes with their index, into an existing folder.

    `made_from` tells the inputs and options; what an interrupted run with the same ones has finished is not made again, and
    the work of another one is refused. The caller removes the journal with `forget_journal` when the folder is complete.
    `measure` asks for sum and digest of all tensors. Raises `WrongResult` for numbers that are not finite, `ZooError` where
    the disk is full or may not be written.
    """
    shards = spread(plan, shard_size)
    facts = {"made_from": made_from, "shards": shards, "measure": measure}
    key = hashlib.sha256(msgspec.json.encode(facts, order="sorted")).hexdigest()
    writer = _Writer(folder, shards, make, threads or THREADS, measure, progress)
    try:
        writer.begin(key)
        for name in shards:
            writer.write(name)
        return writer.end()
    except OSError as error:
        raise _of_the_disk(folder, error) from error


def forget_journal(folder: Path) -> None:
    """Remove the journal of a folder that is complete."""
    (folder / JOURNAL).unlink(missing_ok=True)


def has_finished(folder: Path) -> bool:
    """Whether the journal of a folder tells of shards that need not be made again."""
    with contextlib.suppress(OSError, msgspec.MsgspecError):
        return bool(msgspec.json.decode((folder / JOURNAL).read_bytes(), type=_Journal).shards)
    return False


def tensors_digest(plan: Sequence[Planned], digests: Mapping[str, str]) -> str:
    """The digest of a set of tensors, however they are spread over files: SHA-256 of a line for each, by name.

    A line is the name, the dtype, the shape and the SHA-256 of the bytes, with a space between: `lm_head.weight F16 8x4 ab…`.
    """
    lines = [
        f"{each.name} {each.dtype} {'x'.join(map(str, each.shape))} {digests[each.name]}\n" for each in sorted(plan)
    ]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


class _Writer:
    """The work on one folder."""

    def __init__(
        self, folder: Path, shards: _Shards, make: Make, threads: int, measure: bool, progress: Progress
    ) -> None:
        self._folder = folder
        self._shards = shards
        self._make = make
        self._threads = threads
        self._measure = measure
        self._progress = progress
        self._total = sum(each.size for shard in shards.values() for each in shard)
        self._done = 0
        self._journal = _Journal(key="")

    def begin(self, key: str) -> None:
        """Take up the journal of an earlier run, and make sure that the disk has room for the rest."""
        self._journal = self._taken_up(key)
        missing = self._total - sum(shard.file.size for shard in self._journal.shards)
        if missing > (free := shutil.disk_usage(self._folder).free):
            raise ZooError(
                f"The result needs {bytes_text(missing)} in {self._folder}, but only {bytes_text(free)} are free there."
            )
        self._save()

    def _taken_up(self, key: str) -> _Journal:
        path = self._folder / JOURNAL
        try:
            found = msgspec.json.decode(path.read_bytes(), type=_Journal)
        except FileNotFoundError:
            return _Journal(key=key)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            found = _Journal(key="")
        if found.key != key:
            raise UsageProblem(
                f"{self._folder} holds the unfinished work of another merge, or of inputs that have changed since; "
                "remove it or choose another folder."
            )
        found.shards = [shard for shard in found.shards if _size(self._folder / shard.file.path) == shard.file.size]
        return found

    def _save(self) -> None:
        write_whole(self._folder / JOURNAL, msgspec.json.encode(self._journal))

    def write(self, name: str) -> None:
        """Write one file of tensors, unless an earlier run did."""
        tensors = self._shards[name]
        if any(shard.file.path == name for shard in self._journal.shards):
            self._told(sum(each.size for each in tensors), f"{name} is there already")
            return
        header = header_of(tensors)
        part = self._folder / f".{name}.part"
        try:
            with part.open("wb", buffering=0) as file:
                shard = self._stream(file.fileno(), name, header, tensors)
            part.replace(self._folder / name)
        except BaseException:
            with contextlib.suppress(OSError):
                part.unlink()
            raise
        self._journal.shards.append(shard)
        self._save()

    def _stream(self, file: int, name: str, header: bytes, tensors: Sequence[Planned]) -> _Shard:
        """Make the pieces of a file by several threads, and digest them in their order."""
        found = _Found(header, tensors if self._measure else [])
        _write_at(file, memoryview(header), 0)
        with (
            _one_thread_each(),
            _flushing(file) as flush,
            contextlib.closing(self._made(file, pieces_of(tensors, len(header)), found)) as made,
        ):
            for count in made:
                flush(count)
                self._told(count, name)
        return found.shard(name, len(header) + sum(each.size for each in tensors))

    def _made(self, file: int, pieces: Iterable[Piece], found: _Found) -> Generator[int]:
        """Make the pieces, a few at a time, and tell the bytes of each. What is not begun when nobody wants more is dropped."""
        waiting: deque[Future[int]] = deque()
        pool = ThreadPoolExecutor(self._threads, thread_name_prefix="make")
        try:
            for piece in pieces:
                before = waiting[-1] if waiting else None
                waiting.append(pool.submit(self._piece, file, piece, found, before))
                if len(waiting) > 2 * self._threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _piece(self, file: int, piece: Piece, found: _Found, before: Future[int] | None) -> int:
        """Make rows of a tensor, look at them, write them where they belong, and digest them when it is their turn.

        One thread does it all, because a piece stays in the caches of the processor that made it.
        """
        tensor = self._make(piece.tensor.name, piece.start, piece.stop)
        shape = (piece.stop - piece.start, *piece.tensor.shape[1:]) if piece.tensor.shape else ()
        if tuple(tensor.shape) != shape or FILE_DTYPES[tensor.dtype] != piece.tensor.dtype:
            raise ValueError(f"{piece} was made as {tuple(tensor.shape)} {tensor.dtype}")
        if tensor.is_floating_point():
            _require_finite(piece.tensor.name, tensor)
        total = float(tensor.sum(dtype=torch.float64)) if self._measure else 0.0
        content = memoryview(as_bytes(tensor.contiguous()))
        _write_at(file, content, piece.position)
        if before is not None:
            before.result()  # begun earlier, so that it ends; where it failed, this piece does too
        found.add(piece.tensor.name, content, total)
        return len(content)

    def _told(self, count: int, line: str) -> None:
        self._done += count
        self._progress(self._done / max(self._total, 1), line)

    def end(self) -> Written:
        """Write the index where there are several files, and tell what there is."""
        shards = sorted(self._journal.shards, key=lambda shard: shard.file.path)
        files = [shard.file for shard in shards]
        if len(files) > 1:
            files.append(self._index())
        plan = [each for shard in self._shards.values() for each in shard]
        digests = {name: digest for shard in shards for name, digest in shard.digests.items()}
        return Written(
            files=files,
            total=math.fsum(shard.total for shard in shards),
            digest=tensors_digest(plan, digests) if self._measure else "",
        )

    def _index(self) -> File:
        places = {each.name: name for name, shard in self._shards.items() for each in shard}
        content = {"metadata": {"total_size": self._total}, "weight_map": dict(sorted(places.items()))}
        encoded = (json.dumps(content, indent=2) + "\n").encode()
        write_whole(self._folder / INDEX, encoded)
        return File(path=INDEX, size=len(encoded), sha256=hashlib.sha256(encoded).hexdigest())


def _require_finite(name: str, tensor: torch.Tensor) -> None:
    """Raise `WeightsError` for NaN and infinity. Their sum is not finite either, and is found much faster."""
    exact = tensor.dtype in (torch.float64, torch.float32, torch.float16, torch.bfloat16)
    if exact and math.isfinite(tensor.sum()):
        return
    if not torch.isfinite(tensor.float()).all():
        raise WrongResult(
            f"The tensor '{name}' would hold numbers that are not finite (NaN or infinity); "
            "look for the damaged file among the inputs and get it again."
        )


@contextlib.contextmanager
def _one_thread_each() -> Iterator[None]:
    """Keep PyTorch from dividing every piece among all processors: the pieces are divided among threads already."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextlib.contextmanager
def _flushing(file: int) -> Iterator[Callable[[int], None]]:
    """Have the disk write while the next pieces are made: told how much has come, and all of it at the end of the block."""
    waiting = 0
    with ThreadPoolExecutor(1, thread_name_prefix="flush") as pool:
        begun: list[Future[None]] = []

        def came(count: int) -> None:
            nonlocal waiting
            waiting += count
            if waiting >= FLUSH_SIZE:
                waiting = 0
                begun.append(pool.submit(os.fsync, file))

        yield came
        for each in [*begun, pool.submit(os.fsync, file)]:
            each.result()  # an error of the disk is told once only


def _write_at(file: int, content: memoryview, position: int) -> None:
    while content:
        count = os.pwrite(file, content, position)
        content, position = content[count:], position + count


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else -1


def _of_the_disk(folder: Path, error: OSError) -> ZooError:
    """What the disk said, with what to do where it is full."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return ZooError(
            f"There is no room for the result in {folder} ({error.strerror}); make room and give the same command again, "
            "which goes on where it stopped."
        )
    return ZooError(f"The result cannot be written to {folder}: {error.strerror or error}.")
