"""Whether an adapter belongs to a base, and what is then to be done to every tensor. Reads headers, no numbers.

Everything that can be refused is refused here, before a byte is written.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal, NamedTuple

from zoo_core import FolderView, WeightsError, read_tensors
from zoo_weights.adapter_settings import CONFIG, Settings, read_settings
from zoo_weights.checkpoint import TORCH_DTYPES, Checkpoint, Stored
from zoo_weights.delta_vocabulary import first_difference, tokens_of
from zoo_weights.layout import Planned
from zoo_weights.small_files import small_files

WEIGHTS = "adapter_model.safetensors"
PICKLED = "adapter_model.bin"
#: What peft puts before the name of every module.
_PREFIX = "base_model.model."
#: The matrices of an adapter: those of a linear layer, those of an embedding, and the magnitudes of DoRA.
_MATRIX = re.compile(r"(.+)\.lora_(A|B|embedding_A|embedding_B|magnitude_vector)(\.weight)?")
_INPUT = re.compile(r"(^|\.)(embed_tokens|word_embeddings|wte|embed_in|tok_embeddings)\Z")
_OUTPUT = re.compile(r"(^|\.)(lm_head|embed_out)\Z")
#: Beginnings of names with which a model's layers stand in some checkpoints and not in others.
_PREFIXES = ("transformer.", "model.")
#: Architectures whose linear layers hold their weights the other way round, inputs first.
_INPUTS_FIRST = frozenset(("clvp", "decision_transformer", "gpt2", "imagegpt", "openai-gpt"))
_FLOATS = frozenset(("F64", "F32", "F16", "BF16"))


class Change(NamedTuple):
    """What is added to a tensor: the names of two matrices and of magnitudes (empty where there are none), and a factor.

    `kind` says how the weights lie: `linear` outputs first, `inputs_first`, or `embedding` with a row for each token.
    """

    module: str
    kind: Literal["linear", "inputs_first", "embedding"]
    a: str
    b: str
    magnitude: str
    scaling: float


class Step(NamedTuple):
    """What becomes of a tensor: as it is to be written, the name of what it is made from, whether the adapter has that."""

    tensor: Planned
    source: str
    from_adapter: bool = False
    change: Change | None = None


class Plan(NamedTuple):
    """All tensors of the result.

    `unties` says that the output layer now has numbers of its own; `rows` are those of a vocabulary that has grown, else None.
    """

    steps: list[Step]
    unties: bool
    rows: int | None


class Adapter:
    """An adapter in its folder: what its configuration says, and its tensors under the names of the base's modules.

    `matrices` are the tensors of each module by their part (`A`, `embedding_B` …); `wholes` those that take a tensor's place.
    """

    def __init__(self, folder: Path, settings: Settings, checkpoint: Checkpoint) -> None:
        """Use `Adapter.open`."""
        self.folder = folder
        self.settings = settings
        self.checkpoint = checkpoint
        self.matrices: dict[str, dict[str, str]] = {}
        self.wholes: dict[str, str] = {}
        for name in checkpoint.tensors:
            self._sort_in(name)

    @classmethod
    def open(cls, folder: Path) -> Adapter:
        """Read configuration and header. Raises `WeightsError`."""
        view = FolderView(folder)
        sizes = {file.path: file.size for file in view.files}
        settings = read_settings(folder)
        if WEIGHTS not in sizes:
            if PICKLED in sizes:
                raise WeightsError(
                    f"The adapter {folder} is pickled ({PICKLED}), and reading a pickle can run code; make safetensors of it "
                    f"first: zoo convert {folder}"
                )
            raise WeightsError(f"The folder {folder} has {CONFIG}, but no {WEIGHTS}; get the adapter again.")
        header = read_tensors(view.read, WEIGHTS, sizes[WEIGHTS])
        first = sizes[WEIGHTS] - max((each.data_offsets[1] for each in header.values()), default=0)
        tensors = {
            name: Stored(each.dtype, tuple(each.shape), WEIGHTS, first + each.data_offsets[0])
            for name, each in header.items()
        }
        return cls(folder, settings, Checkpoint(folder, {}, None, tensors))

    def _sort_in(self, name: str) -> None:
        if not name.startswith(_PREFIX):
            raise WeightsError(
                f"The adapter {self.folder} holds '{name[:80]}', which is called otherwise than what peft saves; "
                "save it with peft again."
            )
        plain = name.removeprefix(_PREFIX)
        if match := _MATRIX.fullmatch(plain):
            self.matrices.setdefault(match[1], {})[match[2]] = name
        elif ".modules_to_save." in plain:  # a second copy, which peft writes where the vocabulary has grown
            self.wholes.setdefault(plain.replace(".modules_to_save.", "."), name)
        elif ".original_module." not in plain:  # what the module was before it was taught
            self.wholes[plain.replace(".base_layer.", ".")] = name


def plan_of(base: Checkpoint, adapter: Adapter, dtype: str | None) -> Plan:
    """What is to be done to every tensor, in the order in which the base has them. Raises `WeightsError`."""
    small_files(base.folder)  # told now where they may not be copied, and not when the weights are written
    names = _Names(base, adapter)
    changes = {names.of(f"{module}.weight"): _change(names, module) for module in adapter.matrices}
    wholes = {names.of(name): name for name in adapter.wholes}
    for name in adapter.wholes:
        _require_allowed_whole(names, name)
    _require_all_targets(names, changes)
    steps = [_step(names, name, changes.get(name), wholes.get(name), dtype) for name in base.tensors]
    untied = None
    if names.input and names.tied:
        untied = _untied(names, changes, wholes, dtype)
        steps = [step for step in steps if step.tensor.name != names.output] + ([untied] if untied else [])
    rows = _rows(names, steps)
    _require_same_tokens(base, adapter, steps, names)
    grown = rows is not None and rows != base.tensors[names.input or names.output].rows
    return Plan(steps, untied is not None, rows if grown else None)


class _Names:
    """The names of the base's tensors by the names that the adapter has for them.

    `input` is the embedding's tensor in the base, `output` the output layer's, which a network that shares the numbers of both
    may lack; each is empty where there is none.
    """

    def __init__(self, base: Checkpoint, adapter: Adapter) -> None:
        self.base = base
        self.adapter = adapter
        weights = [name for name in base.tensors if name.endswith(".weight")]
        self.input = next((name for name in weights if _INPUT.search(name.removesuffix(".weight"))), "")
        self.output = next((name for name in weights if _OUTPUT.search(name.removesuffix(".weight"))), "")
        self.tied = bool(base.facts.tied) or not self.output

    def of(self, name: str) -> str:
        """The base's name for what the adapter calls `name`. Raises `WeightsError` where the base has no such tensor."""
        for each in (
            name,
            *(name.removeprefix(prefix) for prefix in _PREFIXES),
            *(prefix + name for prefix in _PREFIXES),
        ):
            if each in self.base.tensors:
                return each
        if _OUTPUT.search(name.removesuffix(".weight")) and self.input:
            return name  # the base uses the embedding instead
        raise WeightsError(
            f"The adapter {self.adapter.folder} changes '{name[:80]}', which the base {self.base.folder} does not have; name "
            f"the base that it was made for{self._told_base()}."
        )

    def stored(self, name: str) -> Stored:
        """A tensor of the base; in place of an output layer that it lacks or does not use, the embedding."""
        is_output = _OUTPUT.search(name.removesuffix(".weight")) is not None
        return self.base.tensors[self.input if is_output and self.tied else name]

    def source(self, name: str) -> str:
        """The name of that tensor."""
        return self.input if self.tied and _OUTPUT.search(name.removesuffix(".weight")) else name

    def _told_base(self) -> str:
        said = self.adapter.settings.base_model_name_or_path
        return f", {said[:80]}" if said and said.isprintable() else ""


def _change(names: _Names, module: str) -> Change:
    """What an adapter adds to a module. Raises `WeightsError` for matrices that do not fit it."""
    adapter = names.adapter
    found, settings = adapter.matrices[module], adapter.settings
    weight = names.stored(names.of(f"{module}.weight"))
    in_embedding = any(part.startswith("embedding") for part in found)
    a, b = ("embedding_A", "embedding_B") if in_embedding else ("A", "B")
    wanted = {a, b, "magnitude_vector"} if settings.use_dora else {a, b}
    if found.keys() != wanted:
        odd = min(wanted ^ found.keys())
        raise WeightsError(
            f"The adapter {adapter.folder} {'lacks' if odd in wanted else 'has an unexpected'} lora_{odd} of '{module[:80]}'; "
            "get the adapter again."
        )
    if not settings.targets(module) and settings.names_all_targets:
        raise WeightsError(
            f"The adapter {adapter.folder} changes '{module[:80]}', which its {CONFIG} does not name; the two files are of "
            "different adapters."
        )
    kind: Literal["linear", "inputs_first", "embedding"] = "embedding" if in_embedding else "linear"
    if (
        kind == "linear"
        and str(names.base.facts.config.get("model_type")) in _INPUTS_FIRST
        and not _is_vocabulary(module)
    ):
        kind = "inputs_first"
    change = Change(module, kind, found[a], found[b], found.get("magnitude_vector", ""), settings.scaling(module))
    _require_fitting(names, change, weight)
    return change


def _require_fitting(names: _Names, change: Change, weight: Stored) -> None:
    """Raise `WeightsError` unless rank and shapes of an adapter's matrices are those of its configuration and of the base."""
    adapter = names.adapter
    tensors = adapter.checkpoint.tensors
    rank = adapter.settings.rank(change.module)
    shapes = [tensors[change.a].shape, tensors[change.b].shape]
    told = " and ".join(" x ".join(map(str, shape)) for shape in shapes)
    if any(len(shape) != 2 for shape in (*shapes, weight.shape)):
        raise WeightsError(
            f"The adapter {adapter.folder} changes '{change.module[:80]}', which is no linear layer and no embedding; merge it "
            "with the library peft."
        )
    if (shapes[0][0], shapes[1][1]) != (rank, rank):
        raise WeightsError(
            f"The adapter {adapter.folder} has matrices of {told} for '{change.module[:80]}', but its {CONFIG} says "
            f"rank {rank:,}; the two files are of different adapters."
        )
    rows, columns = weight.shape
    if whole := adapter.wholes.get(f"{change.module}.weight"):
        rows = tensors[whole].rows  # a grown vocabulary, which the adapter brings with it
    outputs, inputs = (rows, columns) if change.kind == "linear" else (columns, rows)
    magnitudes = tensors[change.magnitude].shape if change.magnitude else (outputs,)
    if (shapes[0][1], shapes[1][0]) != (inputs, outputs) or magnitudes != (outputs,):
        raise WeightsError(
            f"The adapter {adapter.folder} has matrices of {told} for '{change.module[:80]}', which is {rows:,} x {columns:,} "
            f"in the base {names.base.folder}; name the base that it was made for."
        )
    _require_floats(names, change)


def _require_floats(names: _Names, change: Change) -> None:
    """Raise `WeightsError` where the numbers cannot be computed with, such as those of a quantized base."""
    stored = names.stored(names.of(f"{change.module}.weight"))
    if stored.dtype not in _FLOATS:
        raise WeightsError(
            f"The tensor '{change.module[:80]}.weight' in the base {names.base.folder} holds numbers of the dtype "
            f"{stored.dtype}, as quantized weights do; take the base that is not quantized."
        )
    tensors = names.adapter.checkpoint.tensors
    if odd := [name for name in (change.a, change.b, change.magnitude) if name and tensors[name].dtype not in _FLOATS]:
        raise WeightsError(
            f"The adapter {names.adapter.folder} holds '{odd[0][:100]}' as {tensors[odd[0]].dtype}, "
            "with which it cannot be merged."
        )


def _require_allowed_whole(names: _Names, name: str) -> None:
    """Raise `WeightsError` for a whole tensor that the configuration does not speak of, or that does not fit the base."""
    adapter, settings = names.adapter, names.adapter.settings
    module = name.rpartition(".")[0]
    is_bias = name.endswith(".bias") and (
        settings.bias == "all" or (settings.bias == "lora_only" and module in adapter.matrices)
    )
    if not (is_bias or settings.saves(module) or _is_vocabulary(module)):
        raise WeightsError(
            f"The adapter {adapter.folder} holds '{name[:80]}', which its {CONFIG} does not name; it was saved by another "
            "program, or the two files are of different adapters."
        )
    ours, theirs = names.stored(names.of(name)), adapter.checkpoint.tensors[adapter.wholes[name]]
    grown = _is_vocabulary(module) and ours.shape[1:] == theirs.shape[1:] and theirs.rows >= ours.rows
    if ours.shape != theirs.shape and not grown:
        raise WeightsError(
            f"The adapter {adapter.folder} holds '{name[:80]}' with the shape {_shape(theirs)}, which is {_shape(ours)} in the "
            f"base {names.base.folder}; name the base that it was made for."
        )
    if (ours.dtype in _FLOATS) != (theirs.dtype in _FLOATS):
        raise WeightsError(
            f"The adapter {adapter.folder} holds '{name[:80]}' as {theirs.dtype}, the base {names.base.folder} as "
            f"{ours.dtype}; take the base that it was made for."
        )


def _require_all_targets(names: _Names, changed: Iterable[str]) -> None:
    """Raise `WeightsError` unless the adapter has something for every module of the base that its configuration names."""
    adapter, done = names.adapter, set(changed)
    if not done:
        raise WeightsError(
            f"The adapter {adapter.folder} holds no matrices (lora_A and lora_B), so that it changes nothing."
        )
    if not adapter.settings.names_all_targets:
        return
    for name, tensor in names.base.tensors.items():
        module = name.removesuffix(".weight")
        if name not in done and module != name and len(tensor.shape) == 2 and adapter.settings.targets(module):
            raise WeightsError(
                f"The adapter {adapter.folder} is to change '{module[:80]}' of the base {names.base.folder}, but holds "
                "nothing for it; it is incomplete or was made for another base."
            )


def _step(names: _Names, name: str, change: Change | None, whole: str | None, dtype: str | None) -> Step:
    """What becomes of a tensor of the base."""
    ours = names.stored(name)
    theirs = names.adapter.checkpoint.tensors[names.adapter.wholes[whole]] if whole else None
    kind = (
        dtype
        if dtype is not None and ours.dtype in TORCH_DTYPES and TORCH_DTYPES[ours.dtype].is_floating_point
        else ours.dtype
    )
    tensor = Planned(name, kind, (theirs or ours).shape)
    if whole:
        return Step(tensor, names.adapter.wholes[whole], True, change)
    return Step(tensor, names.source(name), False, change)


def _untied(names: _Names, changes: Mapping[str, Change], wholes: Mapping[str, str], dtype: str | None) -> Step | None:
    """The output layer of a network that shares the embedding's numbers, where the adapter makes two of the one.

    peft merges into the shared numbers, which also changes what the adapter left alone; the result here is the model that the
    adapter was trained as.
    """
    module = names.input.removesuffix(".weight")
    output = next((name for name in (*changes, *wholes) if _OUTPUT.search(name.removesuffix(".weight"))), "")
    touched = names.input in changes or (names.input in wholes and names.adapter.settings.saves(_called(names, module)))
    if not output and not touched:
        return None
    if names.adapter.settings.ensure_weight_tying:
        raise WeightsError(
            f"The adapter {names.adapter.folder} changes embedding and output layer as one (ensure_weight_tying), which is not "
            "merged here; merge it with the library peft."
        )
    output = output or names.output or "lm_head.weight"
    return _step(names, output, changes.get(output), wholes.get(output), dtype)


def _called(names: _Names, module: str) -> str:
    """What the adapter calls the embedding."""
    return next(
        (name.removesuffix(".weight") for name in names.adapter.wholes if name.endswith(module + ".weight")), module
    )


def _rows(names: _Names, steps: list[Step]) -> int | None:
    """How many rows the result has for tokens. Raises `WeightsError` where embedding and output layer would differ."""
    rows = {
        step.tensor.name: step.tensor.shape[0]
        for step in steps
        if step.tensor.name.endswith(".weight") and _is_vocabulary(step.tensor.name.removesuffix(".weight"))
    }
    if len(set(rows.values())) > 1:
        told = " and ".join(f"{count:,} of '{name[:80]}'" for name, count in rows.items())
        raise WeightsError(
            f"The adapter {names.adapter.folder} gives the model rows for different vocabularies: {told}; it is incomplete, or "
            f"the base {names.base.folder} is another one."
        )
    return next(iter(rows.values()), None)


def _require_same_tokens(base: Checkpoint, adapter: Adapter, steps: list[Step], names: _Names) -> None:
    """Raise `WeightsError` where both sides have a tokenizer and the adapter's does not fit the result."""
    theirs = tokens_of(adapter.folder, added=True)
    embedding = next((step for step in steps if step.tensor.name == names.input), None)
    if theirs is None or embedding is None:
        return
    rows = embedding.tensor.shape[0]
    if theirs and max(theirs) >= rows:
        raise WeightsError(
            f"The tokenizer of the adapter {adapter.folder} has {max(theirs) + 1:,} tokens, but the result would have rows for "
            f"{rows:,}; the adapter lacks its embedding, or the base {base.folder} is another one."
        )
    ours = tokens_of(base.folder, added=False)
    if ours is not None and not embedding.from_adapter and (difference := first_difference(ours, theirs)):
        raise WeightsError(
            f"The base {base.folder} has another vocabulary than the adapter {adapter.folder} ({difference}); name the base "
            "that it was made for."
        )


def _is_vocabulary(module: str) -> bool:
    return _INPUT.search(module) is not None or _OUTPUT.search(module) is not None


def _shape(tensor: Stored) -> str:
    return " x ".join(map(str, tensor.shape)) or "of a single number"
