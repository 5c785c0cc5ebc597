"""The bodies that Together is sent, made from a plan. Every value is written out: Together's defaults are not ours."""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from ftorch.manifest.catalogue import id_at
from ftorch.manifest.plan import Plan
from ftorch.manifest.schema import WANDB_KEY, Dpo, Sft
from ftorch.providers.base import RunOrder

TRAINING_FILE, VALIDATION_FILE = "training_file", "validation_file"
BATCH, ACCUMULATION = "batch_size", "gradient_accumulation_steps"
"""What `Staged.detail` holds: ids of files, and how a batch is split; text, as all of it."""


WANDB = {
    "project": "wandb_project_name",
    "entity": "wandb_entity",
    "name": "wandb_name",
    "base_url": "wandb_base_url",
}
"""The keys of `tracking.wandb`, and what Together calls them."""


class Body(BaseModel):
    """A misspelt name must fail here: Together takes unknown fields without a word."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def json_object(self) -> dict[str, Any]:
        """As it is sent; what is None is left out."""
        return self.model_dump(mode="json", exclude_none=True)


class LoraType(Body):
    type: Literal["Lora"] = "Lora"
    lora_r: int
    lora_alpha: int
    lora_dropout: float
    lora_trainable_modules: str


class SftMethod(Body):
    method: Literal["sft"] = "sft"
    train_on_inputs: bool


class DpoMethod(Body):
    method: Literal["dpo"] = "dpo"
    dpo_beta: float
    dpo_normalize_logratios_by_length: bool = False
    dpo_reference_free: bool = False


class LinearArgs(Body):
    min_lr_ratio: float = 0.0


class CosineArgs(LinearArgs):
    num_cycles: float = 0.5


class Scheduler(Body):
    lr_scheduler_type: Literal["linear", "cosine"]
    lr_scheduler_args: CosineArgs | LinearArgs


class Priced(Body):
    """What a price goes by: `POST /v1/fine-tunes/estimate-price`."""

    training_file: str
    validation_file: str | None
    model: str
    n_epochs: int
    n_evals: int
    training_type: LoraType
    training_method: SftMethod | DpoMethod


class NewJob(Priced):
    """`POST /v1/fine-tunes`."""

    packing: bool = True
    n_checkpoints: int = 1
    batch_size: int
    gradient_accumulation_steps: int
    learning_rate: float
    lr_scheduler: Scheduler
    warmup_ratio: float
    max_grad_norm: float
    weight_decay: float
    max_seq_length: int
    random_seed: int
    early_stopping_enabled: bool = False
    suffix: str = Field(max_length=40)
    wandb_key: str | None = Field(None, repr=False)
    wandb_base_url: str | None = None
    wandb_project_name: str | None = None
    wandb_name: str | None = None
    wandb_entity: str | None = None


def price_body(plan: Plan, detail: Mapping[str, str]) -> Priced:
    """The question what the plan costs with the files that were staged."""
    return Priced(**_priced(plan, detail))


def create_body(order: RunOrder) -> NewJob:
    """The order as Together takes it; the run's key is the suffix of the model that it makes."""
    plan, detail, method = order.plan, order.staged.detail, order.plan.method
    assert method.learning_rate is not None, "a plan has every default written out"
    return NewJob(
        **_priced(plan, detail),
        batch_size=int(detail[BATCH]),
        gradient_accumulation_steps=int(detail[ACCUMULATION]),
        learning_rate=method.learning_rate,
        lr_scheduler=_scheduler(method.scheduler),
        warmup_ratio=method.warmup_ratio,
        max_grad_norm=method.max_grad_norm,
        weight_decay=method.weight_decay,
        max_seq_length=method.max_length,
        random_seed=method.seed,
        suffix=order.key,
        **_tracking(order),
    )


def evaluations(plan: Plan) -> int:
    """How often the validation rows are read: once an epoch. Their tokens are billed too."""
    return ceil(plan.method.epochs) if plan.dataset.validation_rows else 0


def _priced(plan: Plan, detail: Mapping[str, str]) -> dict[str, Any]:
    return {
        "training_file": detail[TRAINING_FILE],
        "validation_file": detail.get(VALIDATION_FILE),
        "model": id_at("together", plan.base_model.id),
        "n_epochs": int(plan.method.epochs),
        "n_evals": evaluations(plan),
        "training_type": _lora(plan),
        "training_method": _method(plan.method),
    }


def _lora(plan: Plan) -> LoraType:
    lora = plan.method.lora
    return LoraType(
        lora_r=lora.rank,
        lora_alpha=lora.alpha or 2 * lora.rank,
        lora_dropout=lora.dropout,
        lora_trainable_modules=lora.targets if isinstance(lora.targets, str) else ",".join(lora.targets),
    )


def _method(method: Sft | Dpo) -> SftMethod | DpoMethod:
    match method:
        case Sft():
            return SftMethod(train_on_inputs=method.train_on == "all")
        case Dpo():
            return DpoMethod(dpo_beta=method.beta)


def _scheduler(name: Literal["linear", "cosine"]) -> Scheduler:
    return Scheduler(lr_scheduler_type=name, lr_scheduler_args=CosineArgs() if name == "cosine" else LinearArgs())


def _tracking(order: RunOrder) -> dict[str, str | None]:
    wandb = order.plan.tracking.wandb
    if wandb is None:
        return {}
    named = {"name": order.key, **wandb}
    return {"wandb_key": order.secrets[WANDB_KEY], **{theirs: named.get(ours) for ours, theirs in WANDB.items()}}
