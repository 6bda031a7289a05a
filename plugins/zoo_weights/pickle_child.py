"""The guarded process that reads one pickled file of weights and writes its tensors as safetensors.

Run as `python -I pickle_child.py` with a job as JSON on stdin; tells on stdout, in lines of JSON, how far it is and what it
found. Whatever reads a pickle may be tricked by it, so this process is to have nothing to lose: PyTorch reads with
`weights_only`, which refuses everything but tensors and plain containers; from the moment when PyTorch is loaded Python may
open the one file and nothing else; memory, files and processes are limited, and the network is left, where the system allows
it. It knows nothing of the zoo and imports nothing of it. Its parent believes nothing that it says of the result, and looks.
"""

from __future__ import annotations

import ctypes
import io
import json
import os
import re
import sys
import warnings
from typing import Any, NoReturn

try:
    import resource
except ImportError:  # not on Windows
    resource = None  # type: ignore[assignment]

#: Where training programs put the weights in a file that holds more than them, in the order of preference.
WRAPPERS = ("state_dict", "model_state_dict", "model", "module")
#: The output layers of networks; one that shares the numbers of the embedding is left out where the configuration says so.
OUTPUTS = ("lm_head.weight", "embed_out.weight")
#: Memory beyond the file's own size that reading may take, in bytes.
ROOM = 1 << 30
#: The seconds of computing that it may take, and the bytes that it handles in a second where it is slow.
PATIENCE, PACE = 600, 5_000_000
#: Numbers that are looked at and written at a time.
PIECE = 1 << 22
#: The most names that are told of one kind.
MOST = 20
#: Python's own events that change nothing.
_HARMLESS = {"object.__getattr__", "sys._getframe", "builtins.id"}
_NEW_NETWORK, _NEW_USERS = 0x40000000, 0x10000000
_NO_NEW_PRIVILEGES, _DIE_WITH_PARENT, _KILL = 38, 1, 9


class Refused(Exception):
    """The file is not converted; the message is a clause that says why."""


def main() -> NoReturn:
    """Do the job on stdin. Ends the process."""
    job = json.load(sys.stdin)
    told = os.dup(1)
    os.dup2(2, 1)  # what a library prints is no line of ours
    _withdraw()
    sys.path.extend(each for each in job["libraries"] if each not in sys.path)
    import torch

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    _warm_up(torch)
    result = os.open(job["result"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_BINARY", 0), 0o666)
    answer: dict[str, Any]
    try:
        answer = {"done": Conversion(torch, job, result, told).run()}
    except Refused as error:
        answer = {"refused": str(error)}
    except MemoryError:
        answer = {"refused": "reading it takes more memory than a file of its size may"}
    except OSError as error:
        answer = {"errno": error.errno}
    except BaseException as error:
        answer = {"refused": _in_words(error)}
    tell(told, answer)
    os._exit(0)  # without what libraries do at the end, which is forbidden by now


def tell(told: int, answer: dict[str, Any]) -> None:
    """Send a line to the parent."""
    line = json.dumps(answer).encode() + b"\n"
    while line:
        line = line[os.write(told, line) :]


class Conversion:
    """The work on one file."""

    def __init__(self, torch: Any, job: dict[str, Any], result: int, told: int) -> None:
        self._torch = torch
        self._source: str = job["source"]
        self._tied: bool = job["tied"]
        self._size = os.path.getsize(self._source)  # noqa: PTH202 (as little as possible is imported here)
        self._result = result
        self._told = told
        self._forbidden: list[str] = []
        self._unwrapped = ""
        self._left_out: list[str] = []
        self._dropped: list[str] = []
        self._not_finite: list[str] = []
        self._dtypes = {
            getattr(torch, name): word
            for name, word in {
                **{"float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16"},
                **{"int64": "I64", "int32": "I32", "int16": "I16", "int8": "I8", "uint8": "U8", "bool": "BOOL"},
                **{"float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2"},
            }.items()
        }

    def run(self) -> dict[str, Any]:
        """Read and write everything; what was found, for the parent."""
        zipped = self._is_zipped()
        self._torch.sparse.check_sparse_tensor_invariants.enable()
        _limit(self._size)
        sys.addaudithook(self._watch)
        try:
            found = self._torch.load(self._source, map_location="cpu", weights_only=True, mmap=zipped)
        except OSError as error:
            raise Refused(f"it cannot be read to its end ({error.strerror or error})") from error
        if self._forbidden:
            raise Refused(f"reading it would have done something that weights do not need ({self._forbidden[0]})")
        tensors = self._without_second_copies(self._state(found))
        self._write(tensors)
        return {
            "tensors": len(tensors),
            "unwrapped": self._unwrapped,
            "left_out": self._left_out[:MOST],
            "dropped": self._dropped[:MOST],
            "not_finite": self._not_finite[:MOST],
        }

    def _is_zipped(self) -> bool:
        """Whether the file is of PyTorch's newer format, a zip archive, which can be mapped into memory."""
        with open(self._source, "rb") as file:  # noqa: PTH123
            return file.read(4) == b"PK\x03\x04"

    def _watch(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Python's audit hook: nothing is opened but the file, nothing is started, connected or removed."""
        if event in _HARMLESS or (event == "open" and arguments[:2] in ((self._source, "r"), (self._source, "rb"))):
            return
        self._forbidden.append(event)
        raise Refused(f"reading it would have done something that weights do not need ({event})")

    def _state(self, whole: Any) -> dict[str, Any]:
        """The tensors by name, out of what was in the file."""
        is_tensor = self._torch.is_tensor
        if not isinstance(whole, dict):
            raise Refused(f"it holds a {type(whole).__name__}, where tensors by name were expected")
        found: dict[str, Any] = whole
        if not any(is_tensor(each) for each in found.values()):
            for key in WRAPPERS:
                inner = found.get(key)
                if isinstance(inner, dict) and any(is_tensor(each) for each in inner.values()):
                    self._unwrapped, self._left_out = key, sorted(str(other)[:80] for other in found if other != key)
                    found = inner
                    break
            else:
                what = "an optimizer's state" if "param_groups" in found else "no tensors by name"
                raise Refused(f"it holds {what}")
        for name, value in found.items():
            self._require_plain(name, value)
        return found

    def _require_plain(self, name: Any, value: Any) -> None:
        if not isinstance(name, str) or not name.isprintable() or not 0 < len(name) <= 500 or name == "__metadata__":
            raise Refused(f"a tensor in it is called {str(name)[:80]!r}, as no tensor may be called")
        if not self._torch.is_tensor(value):
            raise Refused(f"its entry '{name[:80]}' is no tensor but a {type(value).__name__}")
        if value.layout is not self._torch.strided or value.is_quantized or value.is_meta or value.is_nested:
            raise Refused(
                f"its tensor '{name[:80]}' is of a kind (sparse, quantized, without numbers) that is not converted"
            )
        if value.dtype not in self._dtypes:
            raise Refused(f"its tensor '{name[:80]}' has the dtype {value.dtype}, which safetensors do not know")

    def _without_second_copies(self, state: dict[str, Any]) -> dict[str, Any]:
        """Leave out output layers with the embedding's own numbers, where the model takes these again when it is loaded.

        Other tensors that share their numbers are written as often as they have names, so that no model lacks one.
        """
        for name in [each for each in state if self._tied and each.endswith(OUTPUTS)]:
            twins = (other for each, other in state.items() if each not in (name, *self._dropped))
            output = state[name]
            if any(
                other.shape == output.shape and other.dtype == output.dtype and self._torch.equal(other, output)
                for other in twins
            ):
                self._dropped.append(name)
        return {name: tensor for name, tensor in state.items() if name not in self._dropped}

    def _write(self, state: dict[str, Any]) -> None:
        """The header, and the numbers of one tensor after the other."""
        tensors = dict(sorted(state.items(), key=lambda item: -item[1].element_size()))
        total = sum(each.numel() * each.element_size() for each in tensors.values())
        if total > 2 * self._size + ROOM // 1024:
            raise Refused(f"its tensors claim {total:,} bytes, far more than the {self._size:,} that the file has")
        self._put(memoryview(self._header(tensors)))
        done = 0
        for name, tensor in tensors.items():
            flat = tensor.detach().contiguous().reshape(-1)
            finite = True
            for piece in flat.split(PIECE):
                finite = finite and self._is_finite(piece)
                self._put(memoryview(piece.view(self._torch.uint8).numpy()))
            if not finite:
                self._not_finite.append(name)
            done += flat.numel() * flat.element_size()
            tell(self._told, {"bytes": done, "of": total})
        os.fsync(self._result)

    def _is_finite(self, piece: Any) -> bool:
        """Whether there is no NaN and no infinity. Their sum is not finite either, and is found much faster."""
        if self._torch.isfinite(piece.sum(dtype=self._torch.float32)):
            return True
        return bool(self._torch.isfinite(piece if piece.element_size() > 1 else piece.float()).all())

    def _header(self, tensors: dict[str, Any]) -> bytes:
        header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
        position = 0
        for name, tensor in tensors.items():
            end = position + tensor.numel() * tensor.element_size()
            offsets = [position, end]
            header[name] = {"dtype": self._dtypes[tensor.dtype], "shape": [*tensor.shape], "data_offsets": offsets}
            position = end
        encoded = json.dumps(header).encode()
        encoded += b" " * (-len(encoded) % 8)
        return len(encoded).to_bytes(8, "little") + encoded

    def _put(self, content: memoryview) -> None:
        while content:
            content = content[os.write(self._result, content) :]


def _withdraw() -> None:
    """Go where there is no network, never gain a privilege, and end with the parent, as far as the system does it."""
    try:
        libc = ctypes.CDLL(None)
        libc.prctl(_DIE_WITH_PARENT, _KILL, 0, 0, 0)
        libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
        if libc.unshare(_NEW_NETWORK):
            libc.unshare(_NEW_USERS | _NEW_NETWORK)
    except (OSError, AttributeError, TypeError):  # not Linux
        return


def _warm_up(torch: Any) -> None:
    """Have PyTorch import what it imports only when it reads a file, which is forbidden later."""
    for zipped in (True, False):
        example = io.BytesIO()
        torch.save({"example": torch.zeros(1)}, example, _use_new_zipfile_serialization=zipped)
        example.seek(0)
        torch.load(example, map_location="cpu", weights_only=True)


def _limit(size: int) -> None:
    """Limit memory, time, open files, the size of what is written, processes and threads, as far as the system does it."""
    if resource is None:
        return
    limits = {resource.RLIMIT_NOFILE: 64, resource.RLIMIT_CORE: 0, resource.RLIMIT_FSIZE: 2 * size + ROOM // 512}
    limits[resource.RLIMIT_CPU] = PATIENCE + size // PACE
    if hasattr(resource, "RLIMIT_NPROC"):
        limits[resource.RLIMIT_NPROC] = 0
    try:
        with open("/proc/self/statm", "rb") as file:  # noqa: PTH123
            limits[resource.RLIMIT_AS] = int(file.read().split()[0]) * resource.getpagesize() + 2 * size + ROOM
    except OSError:
        pass  # a system that does not say how much memory a process has does not keep this limit either
    for kind, most in limits.items():
        _, hard = resource.getrlimit(kind)
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        try:
            resource.setrlimit(kind, (most, most))
        except (OSError, ValueError):
            continue


def _in_words(error: BaseException) -> str:
    """Why PyTorch did not read the file."""
    text = str(error)
    if wanted := re.search(r"GLOBAL (\S+)", text):
        return f"it asks for {wanted[1][:80]}, which no weights need and which could run code"
    if "TorchScript" in text:
        return "it is a program (TorchScript), and not only weights"
    if "allocate memory" in text:
        return "it claims more memory than a file of its size may"
    if isinstance(error, EOFError) or re.search(r"central directory|unexpected EOF|out of bounds|invalid header", text):
        return "it is incomplete or damaged"
    reason = text.split("WeightsUnpickler error: ")[-1].strip().split("\n")[0]
    return f"it cannot be read as weights ({type(error).__name__}: {reason[:200]})"


if __name__ == "__main__":
    main()
