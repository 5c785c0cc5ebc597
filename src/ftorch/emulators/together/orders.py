"""From a body to a job: what the service checks of an order, how much work it is, and what a trainer makes of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ftorch.emulators.server import RefusedError
from ftorch.emulators.together import models
from ftorch.emulators.together.jobs import DEFAULT_SEED, Size
from ftorch.emulators.together.models import DEFAULT_RANK, Method, TunableModel
from ftorch.emulators.together.rows import count_tokens, trainer_row
from ftorch.emulators.together.rules import Checked
from ftorch.emulators.together.schemas import Cosine, CreateFineTune, Dpo, Full, Linear, Lora, Scheduler, Sft
from ftorch.emulators.training import Work

_DEFAULT_BETA = 0.1
_DEFAULT_BATCH = 8


@dataclass(frozen=True, slots=True)
class Data:
    """The rows of an order, and the size of the training file."""

    train: Checked
    validation: Checked | None
    bytes: int


def check_order(order: CreateFineTune, model: TunableModel) -> None:
    """Everything but the files. Raises RefusedError for the first value that the service does not take."""
    method, lora = order.training_method.method, lora_of(order)
    _within("n_epochs", order.n_epochs, 1, models.MAX_EPOCHS)
    _within("n_evals", order.n_evals or 0, 0, models.MAX_EVALS)
    _within("n_checkpoints", order.n_checkpoints or 1, 1, models.MAX_CHECKPOINTS)
    _within("learning_rate", order.learning_rate, models.MIN_LEARNING_RATE, models.MAX_LEARNING_RATE)
    if order.max_seq_length is not None:
        _within("max_seq_length", order.max_seq_length, models.MIN_SEQ_LENGTH, model.context(method))
    if order.batch_size != "max":
        _within("batch_size", order.batch_size, model.min_batch, model.largest_batch(method))
    if lora:
        _within("lora_r", lora.lora_r, 1, model.max_rank)
        _check_modules(lora, model)
    if order.n_evals and not order.validation_file:
        raise _invalid("n_evals is set but there is no validation_file")
    _check_early_stopping(order)


def check_format(method: Method, checked: Checked, name: str) -> None:
    """Preference rows are for DPO and for nothing else."""
    if checked.is_preference != (method == "dpo"):
        raise _invalid(
            f"{name} has the format {checked.dataset_format}, which the method {method} cannot be trained on"
        )


def lora_of(order: CreateFineTune) -> Lora | None:
    """The adapter that is ordered; None for full training."""
    match order.training_type:
        case None:
            return Lora(lora_r=DEFAULT_RANK, lora_alpha=2 * DEFAULT_RANK)
        case Full():
            return None
        case Lora() as lora:
            return lora


def batch_of(order: CreateFineTune, model: TunableModel) -> int:
    if order.batch_size == "max":
        return model.largest_batch(order.training_method.method)
    return order.batch_size


def sequence_of(order: CreateFineTune, model: TunableModel) -> int:
    return order.max_seq_length or model.context(order.training_method.method)


def scheduler_of(order: CreateFineTune) -> Scheduler:
    return order.lr_scheduler or Cosine()


def size_of(order: CreateFineTune, model: TunableModel, data: Data) -> Size:
    longest = sequence_of(order, model)
    count = len(data.train.rows)
    train = count_tokens(data.train.rows, max_length=longest, packs=order.packing)
    evaluated = count_tokens(data.validation.rows, max_length=longest, packs=order.packing) if data.validation else 0
    return Size(
        rows=count,
        bytes=data.bytes,
        steps=order.n_epochs * -(-count // batch_of(order, model)),
        train_tokens=order.n_epochs * train,
        eval_tokens=(order.n_evals or 0) * evaluated,
    )


def work_of(order: CreateFineTune, model: TunableModel, data: Data, size: Size) -> Work:
    """The order for a trainer. What the stand-in cannot do (a huge batch, a long sequence) is made smaller there."""
    lora = lora_of(order) or Lora(lora_r=DEFAULT_RANK, lora_alpha=2 * DEFAULT_RANK)
    return Work(
        base_model=model.name_in_adapters,
        method=order.training_method.method,
        rows=tuple(trainer_row(row) for row in data.train.rows),
        validation_rows=tuple(trainer_row(row) for row in data.validation.rows) if data.validation else (),
        rank=lora.lora_r,
        alpha=lora.lora_alpha,
        dropout=lora.lora_dropout,
        targets=_targets(lora),
        tokens=size.tokens,
        values={**_values(order, model), **_method_values(order)},
    )


def _values(order: CreateFineTune, model: TunableModel) -> dict[str, Any]:
    return {
        "epochs": float(order.n_epochs),
        "learning_rate": order.learning_rate,
        "batch_size": _DEFAULT_BATCH if order.batch_size == "max" else order.batch_size,
        "max_length": sequence_of(order, model),
        "seed": DEFAULT_SEED if order.random_seed is None else order.random_seed,
        "warmup_ratio": min(order.warmup_ratio, 0.99),
        "scheduler": "linear" if isinstance(order.lr_scheduler, Linear) else "cosine",
        "weight_decay": order.weight_decay,
        "max_grad_norm": order.max_grad_norm,
    }


def _method_values(order: CreateFineTune) -> dict[str, Any]:
    match order.training_method:
        case Sft() as sft:
            return {"train_on": "all" if sft.train_on_inputs is True else "completion"}
        case Dpo() as dpo:
            return {"beta": dpo.dpo_beta or _DEFAULT_BETA}


def _targets(lora: Lora) -> str | tuple[str, ...]:
    words = lora.lora_trainable_modules
    return words if words == "all-linear" else tuple(sorted(words.split(",")))


def _check_modules(lora: Lora, model: TunableModel) -> None:
    targets = _targets(lora)
    if isinstance(targets, str):
        return
    for name in targets:
        if name not in model.target_modules:
            raise _invalid(f"{name!r} is not a module of {model.id}; it has {', '.join(model.target_modules)}")


def _check_early_stopping(order: CreateFineTune) -> None:
    if not order.early_stopping_enabled:
        return
    patience = 2 if order.early_stopping_patience is None else order.early_stopping_patience
    warmup = 1 if order.early_stopping_warmup_evals is None else order.early_stopping_warmup_evals
    needed = patience + warmup + 1
    if not order.validation_file or (order.n_evals or 0) < needed:
        raise _invalid(f"Early stopping requires validation_file and n_evals >= patience + warmup_evals + 1 = {needed}")


def _within(name: str, value: float, smallest: float, largest: float) -> None:
    if not smallest <= value <= largest:
        raise _invalid(f"{name} must be between {smallest} and {largest} (got {value})")


def _invalid(message: str) -> RefusedError:
    return RefusedError(400, "invalid_request", message)
