"""Full fine-tuning: all weights learn, with the plain `transformers.Trainer` and labels from the zoo's one renderer.

Plain because TRL's trainer costs twice the time on models as small as those that are trained on a CPU. Knows nothing of
cards; what it made is told in a `TrainingResult`.
"""

from __future__ import annotations

import shutil
import time
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import accelerate  # noqa: F401 (the trainer needs it; without it transformers hides the reason)
import msgspec
import torch
import transformers
from transformers import Trainer, TrainerCallback, TrainingArguments, set_seed
from transformers.trainer_utils import get_last_checkpoint

from zoo_core import LoadedModel, Loading, TrainingJob, TrainingResult, ZooError, render
from zoo_sft.rows import collate, make_rows

_Positive = Annotated[int, msgspec.Meta(ge=1)]


class FullOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The options of full fine-tuning. Defaults are those with which Phoenix was trained, where a CPU allows."""

    epochs: Annotated[float, msgspec.Meta(gt=0)] = 3.0
    learning_rate: Annotated[float, msgspec.Meta(gt=0)] = 2e-5
    batch_size: _Positive = 8
    accumulate: _Positive = 1
    warmup: Annotated[float, msgspec.Meta(ge=0)] = 0.03
    weight_decay: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    scheduler: Literal["cosine", "linear", "constant", "constant_with_warmup", "polynomial", "inverse_sqrt"] = "cosine"
    max_length: _Positive = 2048
    too_long: str = "error"
    dtype: str = "float32"
    save_dtype: str = "float16"
    checkpoint_steps: _Positive = 500


class FullTrainer:
    """Fine-tunes all weights of a model, or trains a new one from nothing."""

    def train(self, job: TrainingJob) -> TrainingResult:
        """Train, resuming from the last checkpoint in the job's folder, and save weights and tokenizer there."""
        options = self._options(job)
        started = time.time()
        transformers.logging.set_verbosity_error()
        transformers.logging.disable_progress_bar()
        device = _device(job.device)
        set_seed(job.seed)
        job.progress(0.0, "reading the conversations")
        loaded = self._model(job, options, device)
        context = int(getattr(loaded.model.config, "seq_length", 0) or options.max_length)
        max_length = min(options.max_length, context)
        rows, skipped = make_rows(
            job.conversations, job.template, loaded.tokenizer, max_length=max_length, too_long=options.too_long
        )
        trainer = self._trainer(job, options, loaded, rows, device)
        outcome = trainer.train(resume_from_checkpoint=get_last_checkpoint(str(job.folder / "checkpoints")))
        files = _save(loaded, job.folder, getattr(torch, options.save_dtype))
        shutil.rmtree(job.folder / "checkpoints", ignore_errors=True)
        return TrainingResult(
            files=files,
            architecture=_architecture(loaded.model),
            context=context,
            facts={
                "conversations": len(rows),
                "skipped": skipped,
                "tokens": sum(len(row["input_ids"]) for row in rows),
                "steps": outcome.global_step,
                "loss": round(outcome.training_loss, 4),
                "seconds": round(time.time() - started, 1),
                "device": device,
            },
        )

    def _options(self, job: TrainingJob) -> FullOptions:
        try:
            options = msgspec.convert(dict(job.options), FullOptions, strict=False)
        except msgspec.ValidationError as error:
            known = ", ".join(field.name for field in msgspec.structs.fields(FullOptions))
            raise ZooError(f"The trainer 'full' cannot use its options: {error}. Known: {known}.") from None
        if options.too_long not in {"error", "skip"}:
            raise ZooError(f"The option too_long is 'error' or 'skip', not '{options.too_long}'.")
        for name in ("dtype", "save_dtype"):
            if getattr(options, name) not in {"float32", "bfloat16", "float16"}:
                raise ZooError(f"The option {name} is float32, bfloat16 or float16, not '{getattr(options, name)}'.")
        return options

    def _model(self, job: TrainingJob, options: FullOptions, device: str) -> LoadedModel:
        if job.base is not None:
            model = job.family.load_model(
                job.base, Loading(device=device, dtype=options.dtype, remote_code=job.remote_code)
            )
            return LoadedModel(model.train(), job.family.load_tokenizer(job.base, remote_code=job.remote_code))
        texts = (render(job.template, each.messages, reply=False).text for each in job.conversations)
        return job.family.create(texts, job.model_options, seed=job.seed)

    def _trainer(
        self, job: TrainingJob, options: FullOptions, loaded: LoadedModel, rows: list[dict[str, list[int]]], device: str
    ) -> Trainer:
        arguments = TrainingArguments(
            output_dir=str(job.folder / "checkpoints"),
            num_train_epochs=options.epochs,
            learning_rate=options.learning_rate,
            per_device_train_batch_size=options.batch_size,
            gradient_accumulation_steps=options.accumulate,
            warmup_steps=options.warmup,
            weight_decay=options.weight_decay,
            lr_scheduler_type=options.scheduler,
            train_sampling_strategy="group_by_length",
            bf16=options.dtype == "bfloat16" and device != "cpu",
            use_cpu=device == "cpu",
            seed=job.seed,
            data_seed=job.seed,
            save_steps=options.checkpoint_steps,
            save_total_limit=1,
            logging_steps=20,
            disable_tqdm=True,
            report_to="none",
            dataloader_pin_memory=device != "cpu",
        )
        pad_id = loaded.tokenizer.pad_token_id
        trainer = Trainer(
            model=loaded.model,
            args=arguments,
            train_dataset=_Rows(rows),
            data_collator=partial(collate, pad_id=loaded.tokenizer.eos_token_id if pad_id is None else pad_id),
            callbacks=[_Report(job)],
        )
        trainer.callback_handler.callbacks = [
            each for each in trainer.callback_handler.callbacks if type(each).__name__ != "PrinterCallback"
        ]
        return trainer


class _Rows(torch.utils.data.Dataset[dict[str, list[int]]]):
    """Rows in memory, in the form that the trainer's length grouping reads."""

    def __init__(self, rows: list[dict[str, list[int]]]) -> None:
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> dict[str, list[int]]:
        return self._rows[index]


class _Report(TrainerCallback):  # type: ignore[misc]
    """Passes the trainer's progress on to whoever shows it."""

    def __init__(self, job: TrainingJob) -> None:
        self._job = job

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **rest: Any) -> None:
        if logs and "loss" in logs:
            share = state.global_step / max(state.max_steps, 1)
            self._job.progress(share, f"step {state.global_step} of {state.max_steps}, loss {float(logs['loss']):.4f}")


def _device(wish: str) -> str:
    if wish != "auto":
        try:
            torch.empty(0, device=wish)
        except (RuntimeError, AssertionError, NotImplementedError) as error:
            raise ZooError(f"There is no device '{wish}' here to train on; leave --device out, or say cpu.") from error
        return wish
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _save(loaded: LoadedModel, folder: Path, dtype: torch.dtype) -> list[Path]:
    made = folder / "made"  # of their own, so that what an interrupted run left is neither kept nor left out
    shutil.rmtree(made, ignore_errors=True)
    loaded.model.config.use_cache = True  # the trainer switches it off
    loaded.model.to(dtype).save_pretrained(made)
    loaded.tokenizer.save_pretrained(made)
    files = [path.replace(folder / path.name) for path in sorted(made.iterdir())]
    made.rmdir()
    for path in files:
        path.chmod(files[0].stat().st_mode)  # safetensors writes for the owner alone
    return files


def _architecture(model: Any) -> dict[str, Any]:
    config = model.config
    return {
        "model_class": type(model).__name__,
        "params": sum(each.numel() for each in model.parameters()),
        "vocab_size": config.vocab_size,
        "layers": config.num_hidden_layers,
        "hidden_size": config.hidden_size,
    }
