"""Load models that transformers knows, and put those together that are published as deltas or adapters.

A family of a plugin derives from `TransformersFamily` and names the class of transformers that its models are of. What is no
whole model is refused here, at the last place before it would run. Knows nothing of conversations.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
import transformers

from zoo_core import Assembly, LoadedModel, Loading, MissingDependency, WeightsError, ZooError, install_name
from zoo_weights.adapter import merge_adapter
from zoo_weights.checkpoint import Checkpoint
from zoo_weights.delta import Policy, apply_delta, looks_like_delta
from zoo_weights.remote_code import UNCHOSEN, needs_code, require_tokenizer, running
from zoo_weights.small_files import json_of
from zoo_weights.target import keeping

#: The file by which a folder with an adapter is known.
ADAPTER = "adapter_config.json"
#: The files of weights that transformers loads where it is not told of others, the first that is there.
SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"


class TransformersFamily:
    """Models of one class of transformers, from safetensors on this machine."""

    #: A class of transformers, such as `LlamaForCausalLM`; `AutoModelForCausalLM` lets the checkpoint choose.
    model_class: ClassVar[str] = "AutoModelForCausalLM"

    def loads(self) -> Any:
        """The class whose `from_pretrained` loads the models; a family with a class of its own returns that."""
        return getattr(transformers, self.model_class)

    def load_tokenizer(self, folder: Path, *, remote_code: bool = False) -> Any:
        """Load the tokenizer from a local folder. Code that the folder brings runs where the user has allowed it."""
        require_tokenizer(folder)
        _require_sentencepiece(folder)
        with running(self.loads(), remote_code):
            return transformers.AutoTokenizer.from_pretrained(
                folder, local_files_only=True, trust_remote_code=remote_code, **_as_at_its_time(folder)
            )

    def load_model(self, folder: Path, loading: Loading) -> Any:
        """Load safetensors weights from a local folder, all on one device or spread as `loading` says.

        Raises `WeightsError` for a delta, an adapter, quantized weights, those of another class, and where tensors are missing.
        """
        _require_own_files(folder)
        if loading.packed is not None:
            return loading.packed.load(self.loads(), folder, loading)
        self._require_whole_model(folder)
        spread, of_class = _spread(loading), self.loads()
        with running(of_class, loading.remote_code):
            model, told = of_class.from_pretrained(
                folder,
                dtype=getattr(torch, loading.dtype),
                local_files_only=True,
                use_safetensors=True,
                trust_remote_code=loading.remote_code,
                output_loading_info=True,
                **UNCHOSEN,
                **spread,
            )
        if missing := sorted(told["missing_keys"]):  # transformers would fill them with random numbers
            raise WeightsError(
                f"The weights in {folder} lack {len(missing):,} tensors, the first of them {missing[0]}; get the folder again."
            )
        if "disk" in getattr(model, "hf_device_map", {}).values():  # from where they would be read for every token
            raise WeightsError(
                f"The model in {folder} does not fit into the memory that it may take of the devices here; "
                "see what it needs with zoo fit, or allow it more."
            )
        return (model if spread else model.to(loading.device)).eval()

    def needs_code(self, folder: Path) -> bool:
        """Whether the model or its tokenizer is of no class that transformers has, so that only its own code runs it."""
        return needs_code(folder, self.loads())

    def create(self, texts: Iterable[str], options: Mapping[str, Any], *, seed: int) -> LoadedModel:
        """Refuse: a model of this kind is not made from nothing."""
        raise ZooError(
            f"This family loads models of the class {self.model_class}, but makes no new ones; train a base."
        )

    def is_part(self, folder: Path) -> bool:
        """Whether a folder holds a delta or an adapter, which is no model without its base."""
        if json_of(folder / ADAPTER):
            return True
        with Checkpoint.open(folder) as checkpoint:
            return looks_like_delta(checkpoint)

    def assemble(self, assembly: Assembly) -> None:
        """Add the delta, or merge the adapter, as the card's lineage says. What was interrupted is resumed."""
        lineage = assembly.card.lineage
        with keeping(assembly.folder):
            if lineage is not None and lineage.relation == "adapter":
                merge_adapter(assembly.base, assembly.parts, assembly.folder, progress=assembly.progress)
                return
            policy = Policy.from_card(assembly.card)
            apply_delta(assembly.base, assembly.parts, assembly.folder, policy, progress=assembly.progress)

    def _require_whole_model(self, folder: Path) -> None:
        """Raise `WeightsError` for weights that this class would make nonsense of."""
        with Checkpoint.open(folder) as checkpoint:
            self._require_class(checkpoint)
            if looks_like_delta(checkpoint):
                raise WeightsError(
                    f"The folder {folder} holds a delta, which by itself gives gibberish; add it to its base: "
                    f"zoo merge delta --base BASE --delta {folder} --target NEW"
                )

    def _require_class(self, checkpoint: Checkpoint) -> None:
        config, folder = checkpoint.config, checkpoint.folder
        if "quantization_config" in config or (folder / "quantize_config.json").is_file():
            raise WeightsError(
                f"The weights in {folder} are quantized in a way that no installed plugin runs; take those that are not."
            )
        wanted = getattr(self.loads(), "config_class", None)
        if wanted is None:  # a class of transformers that lets the checkpoint choose
            return
        said = config.get("architectures")
        names = [str(name) for name in said] if isinstance(said, list) else []
        kind = str(config.get("model_type", wanted.model_type))
        # LLaMA's class was at first spelt otherwise.
        right = not names or self.model_class.casefold() in {name.casefold() for name in names}
        if kind != wanted.model_type or not right:
            raise WeightsError(
                f"The weights in {folder} are those of a {(names or [kind])[0][:80]}, but this family loads "
                f"{self.model_class}; name a folder of that class, or another model."
            )


def _require_own_files(folder: Path) -> None:
    """Raise `WeightsError` where transformers would load other files than the usual ones, which are looked at."""
    if (folder / ADAPTER).is_file():
        raise WeightsError(
            f"The folder {folder} holds an adapter, which is no model by itself; merge it into its base: "
            f"zoo merge adapter --base BASE --adapter {folder} --target NEW"
        )
    usual = next((name for name in (SINGLE, INDEX) if (folder / name).is_file()), "")
    said = json_of(folder / "config.json").get("transformers_weights", usual)
    others = sorted(path.name for path in folder.glob("shard-*-model-*.safetensors"))
    if others or said != usual:
        raise WeightsError(
            f"The folder {folder} has its weights twice, in '{str((others or [said])[0])[:80]}' too; keep only the usual files."
        )


def _as_at_its_time(folder: Path) -> dict[str, bool]:
    """What is to be told of a tokenizer of LLaMA whose files are older than the field `legacy`.

    It put a space before every text that follows a special token, and models learned from texts cut up so; transformers 5
    takes a missing field for a new tokenizer, which does not.
    """
    told = json_of(folder / "tokenizer_config.json")
    is_llama = told.get("tokenizer_class") in ("LlamaTokenizer", "LlamaTokenizerFast")
    return {"legacy": True} if is_llama and "legacy" not in told else {}


def _require_sentencepiece(folder: Path) -> None:
    """Raise `MissingDependency` where a tokenizer needs SentencePiece and it is not here; transformers asks for another."""
    if (folder / "tokenizer.json").is_file() or not (folder / "tokenizer.model").is_file():
        return
    try:
        import google.protobuf  # noqa: F401
        import sentencepiece  # noqa: F401 (transformers uses both)
    except ImportError as error:
        raise MissingDependency(
            f"The tokenizer in {folder} needs the packages 'sentencepiece' and 'protobuf'. Install them with: "
            f"pip install {install_name('chat')}"
        ) from error


def _spread(loading: Loading) -> dict[str, Any]:
    """What transformers is told where a model is to be spread over devices; empty where it is to be on one."""
    if not loading.device_map:
        return {}
    try:
        import accelerate  # noqa: F401 (transformers uses it)
    except ImportError as error:
        raise MissingDependency(
            "Spreading a model over devices needs the package 'accelerate'. Install it with: "
            f"pip install {install_name('chat')}"
        ) from error
    limits = {int(key) if key.isdecimal() else key: size for key, size in loading.max_memory.items()}
    return {"device_map": loading.device_map, "max_memory": limits or None}
