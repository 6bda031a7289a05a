"""The facts of a checkpoint, from its configuration and the headers of its weights: no weights are read, no code runs.

Works alike on a folder and on a hub: all that is needed is a list of the files and a function that reads a part of one.
What a checkpoint does not say is absent. Knows nothing of cards beyond their parts.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from zoo_core.cards.parts import Architecture, Memory, Quantization
from zoo_core.checkpoints import configurations
from zoo_core.checkpoints.tensors import BITS, read_tensors
from zoo_core.errors import WeightsError
from zoo_core.weights.choosing import CODE, WANTED, wanted_files

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from zoo_core.checkpoints.tensors import Read, Tensor
    from zoo_core.sources import RemoteFile

CONFIG = "config.json"
ADAPTER_CONFIG = "adapter_config.json"
#: The largest JSON file of a checkpoint that is read whole; indexes of the largest models have a few megabytes.
MAX_JSON = 20_000_000

#: How dtypes are called in files of weights and elsewhere.
DTYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
#: The bytes of a number of each dtype in which a model computes.
DTYPE_BYTES = {"float64": 8, "float32": 4, "float16": 2, "bfloat16": 2}
#: The widest layer of each block, by the names that networks without `intermediate_size` in their configuration give it.
_WIDE = re.compile(r"\.(dense_h_to_4h|c_fc|fc_in|fc1|ffn\.up_proj)\.weight\Z")
#: Tables that some checkpoints keep beside their parameters, and that every library computes anew.
_TABLES = re.compile(r"(\.rotary_emb\.inv_freq|\.masked_bias)\Z")

Format = Literal["safetensors", "gguf", "pickle"]
#: How files of weights are called; those of an optimizer and of a training run's state are none.
_WEIGHTS: dict[Format, re.Pattern[str]] = {
    "safetensors": re.compile(r".+\.safetensors"),
    "gguf": re.compile(r".+\.gguf"),
    "pickle": re.compile(r"(pytorch_model|adapter_model|model|consolidated).*\.(bin|pt|pth)"),
}


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What a checkpoint says of itself.

    `weights` are the files that hold its weights. `adapter` says that these are an addition to the model `base`; `tied`
    that the output layer is the embedding's own, so that its numbers are counted once; `remote_code` that model or tokenizer
    name code that the checkpoint brings. `config`, `generation` and `tokenizer` are its configuration files as they are.
    """

    format: Format | None = None
    weights: list[str] = []
    architecture: Architecture = Architecture()
    memory: Memory = Memory()
    quantization: Quantization | None = None
    context: int | None = None
    remote_code: bool = False
    adapter: bool = False
    base: str = ""
    tied: bool = False
    chat_template: str = ""
    config: dict[str, Any] = {}
    generation: dict[str, Any] = {}
    tokenizer: dict[str, Any] = {}


def checkpoint_facts(read: Read, files: Sequence[RemoteFile]) -> Facts:
    """Look at a checkpoint. Raises `WeightsError` for files that are damaged or contradict each other."""
    sizes = {file.path: file.size for file in files}
    config = configurations.flat(read_json(read, CONFIG, sizes))
    adapter = read_json(read, ADAPTER_CONFIG, sizes)
    tokenizer = read_json(read, "tokenizer_config.json", sizes)
    kind, weights = weight_files(read, files)
    tensors = _tensors(read, weights, sizes) if kind == "safetensors" else {}
    quantization = configurations.quantization(config)
    tied = config.get("tie_word_embeddings") is True
    counted = [tensor for name, tensor in tensors.items() if _is_parameter(name, tensor)]
    if tied and (copy := _second_copy(tensors)) is not None:
        counted.remove(copy)
    base = adapter.get("base_model_name_or_path")
    return Facts(
        format=kind,
        weights=weights,
        architecture=_architecture(config, tensors, counted, quantization is not None),
        memory=_memory(config, counted),
        quantization=quantization,
        context=configurations.context(config),
        remote_code=bool(config.get("auto_map") or tokenizer.get("auto_map")),
        adapter=bool(adapter),
        base=base if isinstance(base, str) else "",
        tied=tied,
        chat_template=_chat_template(read, tokenizer, sizes),
        config=config,
        generation=read_json(read, "generation_config.json", sizes),
        tokenizer=tokenizer,
    )


def chosen_files(files: Sequence[RemoteFile], facts: Facts, also: Iterable[str] = ()) -> list[RemoteFile]:
    """The files that make a model, by path: those that `zoo pull` fetches by default, and those in `also`.

    Code is among them where the facts say that the checkpoint brings some.
    Weights in another format than safetensors, which are never fetched by default, are among them where there are no others.
    """
    wanted = {*facts.weights, *also}
    if facts.format == "safetensors":
        wanted |= {file.path for file in wanted_files(files, "the checkpoint", code=facts.remote_code)}
    else:
        wanted |= {file.path for file in files if _is_small_part(file.path, facts.remote_code)}
    return sorted((file for file in files if file.path in wanted), key=lambda file: file.path)


def weight_files(read: Read, files: Sequence[RemoteFile]) -> tuple[Format | None, list[str]]:
    """The format of a checkpoint, and the files that hold its weights; safetensors before others."""
    paths = sorted(file.path for file in files if "/" not in file.path)
    for kind, names in _WEIGHTS.items():
        found = [path for path in paths if names.fullmatch(path)]
        if kind == "safetensors" and found:
            found = [file.path for file in wanted_files(files, "the checkpoint") if file.path in found]
            index = next((path for path in paths if path.endswith(".safetensors.index.json")), "")
            if index and "model.safetensors" not in found:
                found = _indexed(read, index, files)
        if found:
            return kind, found
    return None, []


def read_json(read: Read, path: str, sizes: dict[str, int]) -> dict[str, Any]:
    """A JSON file of a checkpoint that is a mapping; an empty one where there is no such file. Raises `WeightsError`."""
    if path not in sizes:
        return {}
    if sizes[path] > MAX_JSON:
        raise WeightsError(f"The file {path} has {sizes[path]:,} bytes, too many for a file of its kind.")
    try:
        data = json.loads(read(path, 0, sizes[path]))
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise WeightsError(f"The file {path} is no JSON that can be read: {reason}.") from None
    if not isinstance(data, dict):
        raise WeightsError(f"The file {path} holds a JSON {type(data).__name__}, but an object was expected.")
    return data


def _is_small_part(path: str, code: bool) -> bool:
    """Whether a file is one of the configuration, the tokenizer or the `code`, whatever format the weights have."""
    patterns = (*WANTED, CODE) if code else WANTED
    return "/" not in path and any(fnmatchcase(path, name) for name in patterns) and not path.endswith(".safetensors")


def _indexed(read: Read, index: str, files: Sequence[RemoteFile]) -> list[str]:
    """The files that an index of tensors names, all of which must be there."""
    sizes = {file.path: file.size for file in files}
    named = read_json(read, index, sizes).get("weight_map")
    if not isinstance(named, dict) or not all(isinstance(each, str) for each in named.values()) or not named:
        raise WeightsError(f"The file {index} names no files of weights.")
    shards = sorted(set(named.values()))
    if lacking := [shard for shard in shards if shard not in sizes]:
        raise WeightsError(
            f"The file {index} names '{lacking[0][:100]}', which is not there; get the whole folder again."
        )
    return shards


def _tensors(read: Read, weights: Sequence[str], sizes: dict[str, int]) -> dict[str, Tensor]:
    """The tensors of all files of weights, each of which may be in one file only."""
    tensors: dict[str, Tensor] = {}
    for path in weights:
        found = read_tensors(read, path, sizes[path])
        if twice := tensors.keys() & found.keys():
            raise WeightsError(f"The tensor '{min(twice)[:80]}' stands in {path} and in another file of the weights.")
        tensors |= found
    return tensors


def _is_parameter(name: str, tensor: Tensor) -> bool:
    """Whether a tensor is one of the network's own: no table of angles, no mask of the attention."""
    return not _TABLES.search(name) and not (name.endswith(".attn.bias") and len(tensor.shape) > 1)


def _second_copy(tensors: dict[str, Tensor]) -> Tensor | None:
    """The output layer of a network that shares the embedding's numbers, where a file holds them twice."""
    output = next((name for name in tensors if name.endswith("lm_head.weight")), "")
    twin = any(tensor.shape == tensors[output].shape for name, tensor in tensors.items() if output not in ("", name))
    return tensors[output] if twin else None


def _architecture(
    config: dict[str, Any], tensors: dict[str, Tensor], counted: list[Tensor], packed: bool
) -> Architecture:
    """The network. Packed weights hold several parameters in a number, so that these cannot be counted."""
    network = configurations.architecture(config)
    params = None if packed else sum(tensor.count for tensor in counted) or None
    return msgspec.structs.replace(
        network,
        params=params,
        intermediate_size=network.intermediate_size or _widest(tensors, network.hidden_size),
    )


def _widest(tensors: dict[str, Tensor], hidden: int | None) -> int | None:
    """How wide the blocks of a network become inside, from their tensors."""
    for name, tensor in tensors.items():
        if hidden and _WIDE.search(name) and len(tensor.shape) == 2 and hidden in tensor.shape:
            first, second = tensor.shape
            return second if first == hidden else first
    return None


def _memory(config: dict[str, Any], counted: list[Tensor]) -> Memory:
    """Bytes at the dtype in which most of the weights are stored, or in which packed weights are computed."""
    stored: Counter[str] = Counter()
    for tensor in counted:
        stored[tensor.dtype] += tensor.count * BITS[tensor.dtype]
    most = stored.most_common(1)[0][0] if stored else ""
    dtype = DTYPES.get(most) or configurations.dtype(config)
    numbers = configurations.kv_numbers_per_token(config)
    return Memory(
        weights_bytes=sum(tensor.size for tensor in counted) or None,
        kv_bytes_per_token=numbers * DTYPE_BYTES[dtype] if numbers and dtype else None,
        dtype=dtype,
    )


def _chat_template(read: Read, tokenizer: dict[str, Any], sizes: dict[str, int]) -> str:
    """The conversation template that the tokenizer brings: in a file of its own, or in its configuration."""
    path = "chat_template.jinja"
    if path in sizes:
        if sizes[path] > MAX_JSON:
            raise WeightsError(f"The file {path} has {sizes[path]:,} bytes, too many for a file of its kind.")
        return read(path, 0, sizes[path]).decode("utf-8", errors="replace")
    said = tokenizer.get("chat_template")
    if isinstance(said, list):
        named = {each.get("name"): each.get("template") for each in said if isinstance(each, dict)}
        said = named.get("default")
    return said if isinstance(said, str) else ""
