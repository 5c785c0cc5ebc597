"""Training itself. Importing this module takes seconds: it brings torch and its family."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import datasets
from transformers import PrinterCallback
from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer

from ftorch.trainer import checkpoints, models
from ftorch.trainer.arguments import effective, training_arguments
from ftorch.trainer.bases import Located
from ftorch.trainer.callbacks import Reporter, Tokens
from ftorch.trainer.checkpoints import Checkpoint
from ftorch.trainer.device import Device, choose, memory_errors, quantization
from ftorch.trainer.errors import DataError, InterruptedRun
from ftorch.trainer.rows import Row
from ftorch.trainer.session import Session
from ftorch.trainer.spec import Job, TrainSpec

LIBRARIES = ("torch", "transformers", "trl", "peft", "datasets", "accelerate", "safetensors")


@dataclass(frozen=True, slots=True)
class Material:
    """What training works on: the base model's folder and the rows."""

    base: Located
    rows: Sequence[Row]
    validation: Sequence[Row]


class _Counting:
    """Counts what is trained on, and writes no model card."""

    tokens: Tokens

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> Any:
        self.tokens.add(inputs)
        return super().training_step(model, inputs, num_items_in_batch)  # type: ignore[misc]  # a mixin

    def create_model_card(self, *_: Any, **__: Any) -> None:
        """The library would write one into every checkpoint, with guessed contents."""


class _SftTrainer(_Counting, SFTTrainer):  # type: ignore[misc]  # untyped library
    pass


class _DpoTrainer(_Counting, DPOTrainer):  # type: ignore[misc]  # untyped library
    pass


def train(job: Job[TrainSpec], material: Material, start: Checkpoint | None, session: Session) -> Checkpoint | None:
    """Train from `start`, or from the beginning, to the final checkpoint. Raises InterruptedRun when told to stop.

    Of several workers only the one that writes has it in the end.
    """
    models.quieten()
    datasets.disable_progress_bars()
    with memory_errors("lower micro_batch_size or max_length"):
        device = choose(job.spec.dtype, job.spec.threads, session.world.here)
        trainer = _trainer(job, material, device, session)
        trainer.tokens = Tokens(start.mark["trained_tokens"], start.mark["loss_tokens"]) if start else Tokens()
        facts = {**_facts(job, trainer, device, material), **_carried(start)}
        trainer.add_callback(Reporter(session, trainer.tokens, facts))
        session.phase("train")
        if start:
            session.event("resume", checkpoint=f"checkpoints/{start.path.name}")
        with session.stepping():
            trainer.train(resume_from_checkpoint=str(start.path) if start else None)
    return _final(session)


def _trainer(job: Job[TrainSpec], material: Material, device: Device, session: Session) -> Any:
    session.phase("load")
    spec = job.spec
    tokenizer = models.load_tokenizer(material.base.path)
    model = models.load_base(material.base.path, device, quantization(device, spec.quantize))
    new_adapter = None
    if spec.from_adapter:
        # DPO: given a model with an adapter, TRL copies it to a second, frozen one and takes that as the reference.
        model = models.load_adapter(model, job.path(spec.from_adapter), spec.base_model, session, is_trainable=True)
    else:
        new_adapter = models.lora_config(spec.lora, model)
    session.phase("tokenize")
    arguments = training_arguments(spec, device, session.folder)
    trainer_class, config_class = (_SftTrainer, SFTConfig) if spec.method == "sft" else (_DpoTrainer, DPOConfig)
    trainer = trainer_class(
        model=model,
        args=config_class(**arguments),
        train_dataset=_dataset(material.rows, spec),
        eval_dataset=_dataset(material.validation, spec) if material.validation else None,
        processing_class=tokenizer,
        peft_config=new_adapter,
    )
    trainer.remove_callback(PrinterCallback)
    if len(trainer.train_dataset) == 0:
        raise DataError(f"{spec.train_file}: no trained token in any row", hint="raise max_length")
    return trainer


def _dataset(rows: Sequence[Row], spec: TrainSpec) -> Any:
    extra = {"chat_template_kwargs": spec.chat_template_kwargs} if spec.chat_template_kwargs else {}
    return datasets.Dataset.from_list([{**row.parts, **extra} for row in rows])


def _facts(job: Job[TrainSpec], trainer: Any, device: Device, material: Material) -> dict[str, Any]:
    kept = len(trainer.train_dataset)
    return {
        "fingerprint": job.fingerprint,
        "identity": job.identity,
        "base_revision": material.base.revision,
        "train_rows": kept,
        "dropped_rows": len(material.rows) - kept,
        "train_tokens": sum(_tokens(row, job.spec.max_length) for row in trainer.train_dataset),
        "device": device.kind,
        "device_name": device.name,
        "dtype": device.dtype,
        "threads": device.threads,
        "versions": {name: version(name) for name in LIBRARIES},
        "effective": effective(job.spec, device, models.shape(trainer.model)),
    }


def _carried(start: Checkpoint | None) -> dict[str, Any]:
    """What a resumed run must not forget."""
    mark = start.mark if start else {}
    return {"cpu_seconds_before": mark.get("cpu_seconds", 0.0), "prior_attempts": mark.get("prior_attempts", [])}


def _tokens(row: Mapping[str, Any], max_length: int) -> int:
    """Tokens of one prepared row, as the collator will cut it."""
    if "input_ids" in row:
        return len(row["input_ids"])
    prompt = len(row["prompt_ids"])
    return sum(min(prompt + len(row[answer]), max_length) for answer in ("chosen_ids", "rejected_ids"))


def _final(session: Session) -> Checkpoint | None:
    if not session.world.is_writer:
        return None
    last = checkpoints.newest(session.folder.checkpoints)
    if last is None or not last.is_final:
        raise InterruptedRun(session.stop_reason or "signal", session.progress.step)
    return last
