"""Write a quantized checkpoint: read a few rows, round them, write them. Memory does not grow with the model.

What is no weight of a linear layer is copied as it is. Shards that an interrupted run has finished are not made again.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from zoo_core import File, QuantizationJob, WeightsError, ZooError
from zoo_int8 import bits
from zoo_int8.formats import configuration, planned
from zoo_int8.layers import linear_layers, skeleton
from zoo_int8.original import GROUP
from zoo_int8.rounding import largest, rounded
from zoo_weights import Checkpoint, Planned, copy_small_files, forget_journal, write_checkpoint

#: Files of this size: what was finished of an interrupted run are whole ones.
_SHARD = 1_000_000_000
#: How many weights are looked at at a time; a multiple of every block.
_AT_ONCE = 4_194_304

_Make = Callable[[int, int], torch.Tensor]


def save(job: QuantizationJob, checkpoint: Checkpoint) -> tuple[list[File], dict[str, Any]]:
    """Write the files of a quantized model into the job's folder, and tell what there is to know. Raises `ZooError`."""
    model = skeleton(checkpoint.folder, remote_code=job.remote_code)
    shapes = {name: (layer.out_features, layer.in_features) for name, layer in linear_layers(model, job.method).items()}
    work = _Work(checkpoint, job.method, shapes, model)
    written = write_checkpoint(
        job.folder,
        [each for each, _ in work.steps.values()],
        work.rows,
        made_from={"work": "int8", "input": checkpoint.identity(), "method": job.method},
        shard_size=_SHARD,
        progress=lambda share, line: job.progress(share, f"{work.at} ({line})"),
    )
    config = {key: value for key, value in checkpoint.config.items() if key != "_name_or_path"}
    config["quantization_config"] = configuration(job.method, checkpoint.facts.memory.dtype)
    if job.method == "original-int8":
        config["tie_word_embeddings"] = False
    files = [*written.files, *copy_small_files(checkpoint.folder, job.folder, config)]
    forget_journal(job.folder)
    return files, {
        "source_dtype": checkpoint.facts.memory.dtype,
        "layers": len(shapes),
        "linear_weights": sum(map(math.prod, shapes.values())),
        "linear_bytes": sum(work.steps[name][0].size for name in work.quantized),
    }


class _Work:
    """What is written: every tensor, and what makes its rows."""

    def __init__(self, checkpoint: Checkpoint, method: str, shapes: dict[str, tuple[int, int]], model: Any) -> None:
        self._checkpoint, self._method = checkpoint, method
        self.steps: dict[str, tuple[Planned, _Make]] = {}
        self.quantized: list[str] = []
        #: What is being made.
        self.at = ""
        places = self._places(model)
        sources = {f"{layer}.weight": self._source(layer, shape, places, model) for layer, shape in shapes.items()}
        for name in {**places, **sources}:  # in the order of the files
            if name in sources:
                layer = name.removesuffix(".weight")
                self._add(layer, shapes[layer], sources[name])
            else:
                stored = checkpoint.tensors[places[name]]
                self.steps[name] = Planned(name, stored.dtype, stored.shape), self._copy(places[name])

    def rows(self, name: str, start: int, stop: int) -> torch.Tensor:
        """Rows of a tensor that is written."""
        self.at = name
        return self.steps[name][1](start, stop)

    def _places(self, model: Any) -> dict[str, str]:
        """The tensors of the checkpoint by their names in the network; files of the bare network have shorter ones."""
        known, prefix = model.state_dict().keys(), f"{model.base_model_prefix}."
        return {
            prefix + name if name not in known and prefix + name in known else name: name
            for name in self._checkpoint.tensors
        }

    def _source(self, layer: str, shape: tuple[int, int], places: dict[str, str], model: Any) -> str:
        """The tensor with the weights of a layer; an output layer that has none uses those of the embedding."""
        source = places.get(f"{layer}.weight")
        if source is None and model.get_submodule(layer) is model.get_output_embeddings():
            tied = model.get_input_embeddings()
            source = next((places.get(f"{name}.weight") for name, each in model.named_modules() if each is tied), None)
        stored = self._checkpoint.tensors.get(source or "")
        if stored is None or source is None:
            raise WeightsError(f"The weights in {self._checkpoint.folder} lack '{layer}.weight'; get the folder again.")
        if stored.shape != shape:
            raise WeightsError(
                f"The tensor '{source}' in {self._checkpoint.folder} is {list(stored.shape)}, but the configuration says "
                f"{list(shape)}; get the folder again."
            )
        return source

    def _add(self, layer: str, shape: tuple[int, int], source: str) -> None:
        """Plan the tensors of a layer."""
        state = self._state(shape, source)
        parts = planned(layer, self._method, shape, len(state))
        makers = self._makers(shape, source, state)
        for part, tensor in parts.items():
            self.steps[tensor.name] = tensor, makers[part.split("__")[0]]
            self.quantized.append(tensor.name)

    def _makers(self, shape: tuple[int, int], source: str, state: torch.Tensor) -> dict[str, _Make]:
        """What makes the parts of a layer."""
        method, columns = self._method, shape[1]
        group = GROUP if method == "original-int8" else columns

        def scales(start: int, stop: int) -> torch.Tensor:
            step = max(_AT_ONCE // columns, 1)
            parts = [largest(self._load(source, at, min(at + step, stop)), group) for at in range(start, stop, step)]
            return torch.cat(parts)

        if method in ("int8", "original-int8"):
            return {
                "weight": lambda start, stop: rounded(self._load(source, start, stop), group),
                "SCB": lambda start, stop: scales(start, stop)[:, 0],
                "absmax": scales,
                "weight_format": lambda start, stop: torch.tensor(0, dtype=torch.uint8),
            }
        count = math.prod(shape)
        return {
            "weight": lambda start, stop: self._packed(source, 2 * start, min(2 * stop, count)),
            "weight.absmax": lambda start, stop: self._block_scales(
                source, bits.BLOCK * start, min(bits.BLOCK * stop, count)
            ),
            "weight.quant_map": lambda start, stop: bits.four_bit_code(method)[start:stop],
            "weight.quant_state.bitsandbytes": lambda start, stop: state[start:stop],
        }

    def _load(self, source: str, start: int, stop: int) -> torch.Tensor:
        return self._checkpoint.load(source, start, stop)

    def _copy(self, source: str) -> _Make:
        return lambda start, stop: self._load(source, start, stop)

    def _packed(self, source: str, start: int, stop: int) -> torch.Tensor:
        """Two weights to a byte, of those from the number `start` on, which begins a block."""
        return torch.cat([bits.four_bit_numbers(each, self._method)[0] for each in self._flat(source, start, stop)])

    def _block_scales(self, source: str, start: int, stop: int) -> torch.Tensor:
        return torch.cat([largest(each[None], bits.BLOCK)[0] for each in self._flat(source, start, stop)])

    def _flat(self, source: str, start: int, stop: int) -> Iterator[torch.Tensor]:
        """The weights from the number `start` to `stop`, as if they were one row; some at a time, each in whole blocks."""
        columns = self._checkpoint.tensors[source].shape[1]
        for begin in range(start, stop, _AT_ONCE):
            end = min(begin + _AT_ONCE, stop)
            first = begin // columns
            rows = self._load(source, first, math.ceil(end / columns))
            yield rows.flatten()[begin - first * columns : end - first * columns]

    def _state(self, shape: tuple[int, int], source: str) -> torch.Tensor:
        """What bitsandbytes keeps beside 4-bit weights, in JSON."""
        dtype = {"F16": "float16", "BF16": "bfloat16"}.get(self._checkpoint.tensors[source].dtype, "float32")
        said = {"quant_type": self._method, "blocksize": bits.BLOCK, "dtype": dtype, "shape": shape}
        return torch.tensor(list(json.dumps(said).encode()), dtype=torch.uint8)


def written_paths(folder: Path, files: list[File]) -> list[Path]:
    """Where the files are."""
    return [folder / file.path for file in files]


def require_floats(checkpoint: Checkpoint, name: str) -> None:
    """Raise `ZooError` for weights that are quantized already."""
    if "quantization_config" in checkpoint.config or (checkpoint.folder / "quantize_config.json").is_file():
        raise ZooError(f"'{name}' is quantized already; quantize the model that it was made from.")
