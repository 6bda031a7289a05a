"""Run gptqmodel in a process of its own: it writes on the terminal, sets environment variables and keeps threads.

`run` is called by the quantizer; `python -m zoo_gptq.backend` is what it starts. The two speak in lines of JSON through a pipe,
and everything else that the library says goes into a log beside the work.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from zoo_core import ZooError
from zoo_gptq.options import Options

LOG, WORK = "gptqmodel.log", "gptqmodel.json"
#: The architectures whose unfinished work the library can take up, layer by layer.
RESUMABLE = ("llama", "qwen3_moe")


class Work(msgspec.Struct, frozen=True, kw_only=True):
    """What the process is to do."""

    source: str
    target: str
    scratch: str
    rows: list[list[int]]
    options: Options
    device: str
    seed: int
    remote_code: bool


def run(work: Work, folder: Path, layer_done: Callable[[int, int], None]) -> dict[str, Any]:
    """Do the work and tell its facts. Raises `ZooError`.

    `layer_done` is told how many layers are done, from 0 on, and how many there are.
    """
    (folder / WORK).write_bytes(msgspec.json.encode(work))
    reading, writing = os.pipe()
    command = [sys.executable, "-m", "zoo_gptq.backend", str((folder / WORK).resolve()), str(writing)]
    with (
        (folder / LOG).open("wb") as log,
        os.fdopen(reading, encoding="utf-8") as told,
        tempfile.TemporaryDirectory() as elsewhere,
    ):
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=[writing],
            start_new_session=True,  # Ctrl-C is for us, and we end it
            env=_environment(),
            cwd=elsewhere,  # where the library leaves a folder of logs
        )
        os.close(writing)
        try:
            return _listen(told, process, folder, layer_done)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _listen(
    told: Any, process: subprocess.Popen[bytes], folder: Path, layer_done: Callable[[int, int], None]
) -> dict[str, Any]:
    for line in told:
        said = json.loads(line)
        if "layer" in said:
            layer_done(said["layer"], said["layers"])
        elif "error" in said:
            raise ZooError(f"gptqmodel could not quantize the model: {said['error']}")
        else:
            facts: dict[str, Any] = said
            return facts
    code = process.wait()
    reason = "it was killed, perhaps because memory ran out" if code < 0 else _last_line(folder / LOG)
    raise ZooError(f"gptqmodel ended before it was done: {reason}.")


def _environment() -> dict[str, str]:
    workers = str(max(2, os.cpu_count() or 2))  # with fewer than two, the library refuses to load anything
    ours = {"GPTQMODEL_CPU_WORKERS": workers, "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "NO_COLOR": "1"}
    return {**os.environ, **ours, "PYTHONPATH": os.pathsep.join(map(os.path.abspath, filter(None, sys.path)))}


def _last_line(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return lines[-1][:300] if lines else "it said nothing"


class _Progress:
    """What the library calls when it is done with a layer."""

    def __init__(self, tell: Callable[[dict[str, Any]], None], layers: int) -> None:
        self._tell, self._layers = tell, layers

    def layer_complete(self, *, layer_idx: int, submodule_finalized: bool) -> None:
        """Pass it on."""
        if submodule_finalized:
            self._tell({"layer": layer_idx + 1, "layers": self._layers})


def _quantize(work: Work, tell: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """The work itself, in the process of its own."""
    import torch
    from gptqmodel import GPTQModel, QuantizeConfig
    from gptqmodel.looper.checkpoint_store import CheckpointConfig

    import zoo_weights.remote_code  # noqa: F401 (what it refuses on import is refused in this process too)

    torch.manual_seed(work.seed)
    options = work.options
    settings = QuantizeConfig(
        bits=options.bits,
        group_size=options.group_size,
        desc_act=options.act_order,
        act_group_aware=False,  # it would leave the order of AutoGPTQ's layout
        damp_percent=options.damp,
        device=work.device,
        offload_to_disk_path=work.scratch,
    )
    # On a CPU, float32 is exact and fast; a GPU gets what the library finds best for it.
    exact = {"dtype": torch.float32} if work.device == "cpu" else {}
    model = GPTQModel.load(work.source, settings, trust_remote_code=work.remote_code, **exact)
    config = model.model.config
    layers = int(config.get_text_config().num_hidden_layers)
    tell({"layer": 0, "layers": layers})
    model.layer_callback = _Progress(tell, layers)
    resumed = {}
    if config.model_type in RESUMABLE:
        resumed = {"checkpoint": CheckpointConfig(path=Path(work.scratch).with_name("layers"))}
    rows = [{"input_ids": row, "attention_mask": [1] * len(row)} for row in work.rows]
    model.quantize(rows, batch_size=1, calibration_data_min_length=1, **resumed)
    model.save(work.target)
    return {"peak_memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}


def _main(path: str, pipe: str) -> None:
    with os.fdopen(int(pipe), "w", encoding="utf-8") as out:

        def tell(said: dict[str, Any]) -> None:
            out.write(json.dumps(said) + "\n")
            out.flush()

        try:
            tell(_quantize(msgspec.json.decode(Path(path).read_bytes(), type=Work), tell))
        except Exception as error:  # whatever the library raises is told in the other process
            tell({"error": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"})
            raise


if __name__ == "__main__":
    _main(*sys.argv[1:])
