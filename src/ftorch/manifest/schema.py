"""Manifest v1: what a person writes.

Every key is described here once; `ftorch schema manifest` prints it for editors.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError
from pydantic import BeforeValidator, Field, PlainSerializer, PrivateAttr, field_validator, model_validator

from ftorch.manifest.fields import Amount, Duration, Frozen, Json, Name, Number, SecretPlace

CRON_ALIASES: Mapping[str, str] = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
}


class BaseModelRef(Frozen):
    """The checkpoint to tune: a Hub id, `builtin:smollm2-135m`, `builtin:tiny`, or a folder."""

    id: str = Field(min_length=1, description="Hub id such as Qwen/Qwen3-8B, builtin:NAME, or a folder")
    revision: str | None = Field(None, description="commit or tag at the Hub; pins the weights")


class Lora(Frozen):
    """The adapter's shape."""

    rank: int = Field(16, ge=1, le=512)
    alpha: int | None = Field(None, ge=1, description="scale; twice the rank when not given")
    dropout: Number = Field(0.0, ge=0.0, lt=1.0)
    targets: Literal["all-linear"] | tuple[str, ...] = Field("all-linear", description="all-linear, or module names")


class _Training(Frozen):
    lora: Lora = Lora()
    epochs: Number = Field(3.0, gt=0, le=100)
    max_steps: int | None = Field(None, ge=1, description="stop after so many optimizer steps")
    learning_rate: Number | None = Field(None, gt=0, le=1, description="2e-4, or 1e-3 below 0.5 B; dpo: 2e-5")
    batch_size: int = Field(16, ge=1, le=4096, description="rows per optimizer step")
    micro_batch_size: int | None = Field(None, ge=1, description="rows per pass; by device when not given")
    max_length: int = Field(1024, ge=8, le=1_048_576, description="tokens per row, prompt included")
    seed: int = Field(42, ge=0, lt=2**31)
    warmup_ratio: Number = Field(0.05, ge=0, lt=1)
    scheduler: Literal["linear", "cosine"] = "linear"
    weight_decay: Number = Field(0.0, ge=0)
    max_grad_norm: Number = Field(1.0, ge=0)
    quantize: Literal["4bit"] | None = Field(None, description="4bit: QLoRA, where the GPU library is there")
    save_every_steps: int = Field(50, ge=1, description="steps between checkpoints")


class Sft(_Training):
    """Supervised fine-tuning on prompts and completions."""

    type: Literal["sft"]
    train_on: Literal["completion", "all"] = Field("completion", description="which tokens are learned")


class Dpo(_Training):
    """Direct preference optimisation on chosen and rejected answers."""

    type: Literal["dpo"]
    epochs: Number = Field(1.0, gt=0, le=100)
    beta: Number = Field(0.1, gt=0, le=10, description="strength of the pull back to the reference model")


Method = Annotated[Sft | Dpo, Field(discriminator="type")]


class DataFormat(StrEnum):
    """How the rows of a dataset file are written."""

    AUTO = "auto"
    MESSAGES = "messages"
    PROMPT_COMPLETION = "prompt_completion"
    PREFERENCE = "preference"
    COLUMNS = "columns"


class HeldOutFile(Frozen):
    """Held-out rows in a file of their own."""

    path: str = Field(min_length=1)


class HeldOutFraction(Frozen):
    """Held-out rows drawn from the dataset by the hash of their content: adding rows never moves an old one."""

    fraction: Number = Field(gt=0, lt=1)
    by: Literal["content_hash"] = "content_hash"
    seed: int = Field(42, ge=0)


def _which_held_out(value: object) -> object:
    if isinstance(value, Mapping):
        return HeldOutFile.model_validate(value) if "path" in value else HeldOutFraction.model_validate(value)
    return value


HeldOut = Annotated[HeldOutFile | HeldOutFraction, BeforeValidator(_which_held_out)]


class Columns(Frozen):
    """Which columns of a table become prompt and answer."""

    text: str = "text"
    label: str | None = None
    chosen: str | None = None
    rejected: str | None = None


class Dataset(Frozen):
    """Where the rows are, how they are written, and which of them never leave for training."""

    path: str = Field(min_length=1, description="a .jsonl or .csv file, relative to the manifest")
    format: DataFormat = DataFormat.AUTO
    columns: Columns | None = Field(None, description="for csv, and for flat jsonl rows")
    system: str | None = Field(None, description="system message for rows that bring none")
    prompt: str | None = Field(None, description="user message with {text} where the text column goes")
    labels: Literal["from_data"] | tuple[str, ...] | None = Field(None, description="the closed set of answers")
    held_out: HeldOut = HeldOutFraction(fraction=0.1)
    validation: HeldOut | None = Field(None, description="rows that the trainer may look at while training")

    @field_validator("labels", mode="before")
    @classmethod
    def _spelling(cls, value: object) -> object:
        return "from_data" if value == "from-data" else value


class ProviderChoice(Frozen):
    """Who trains: one name, a list in order, or the rule that picks; beside it a block of options per provider."""

    model_config = {"extra": "allow"}

    name: str | tuple[str, ...] = Field(description="local, together, ...; a list in order; cheapest; fastest")

    @model_validator(mode="after")
    def _options_are_blocks(self) -> Self:
        for key, value in self.options.items():
            if not isinstance(value, dict):
                raise ValueError(f"{key!r} is not a block of options")  # noqa: TRY004  pydantic collects ValueError
        return self

    @property
    def options(self) -> Mapping[str, Mapping[str, Json]]:
        return self.model_extra or {}

    @property
    def names(self) -> tuple[str, ...]:
        return (self.name,) if isinstance(self.name, str) else self.name


def _provider(value: object) -> object:
    return {"name": value} if isinstance(value, str | list | tuple) else value


class Resources(Frozen):
    """The machine. Token-priced providers ignore it."""

    gpu: tuple[str, ...] = Field((), description="acceptable GPU types, best first; empty: what the provider has")
    workers: int = Field(1, ge=1, le=64)
    max_duration: Duration | None = Field(None, description="hard end of one run; else from the budget")

    @field_validator("gpu", mode="before")
    @classmethod
    def _one_or_many(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value


class Budget(Frozen):
    """What all runs and evaluations of the job may cost together."""

    limit: Amount
    on_exceed: Literal["cancel", "notify"] = "cancel"


class RetryEvent(StrEnum):
    """Why a new run may start after one that ended badly."""

    CAPACITY = "capacity"
    PREEMPTED = "preempted"
    PROVIDER_ERROR = "provider_error"


class Retry(Frozen):
    """When a new run starts by itself."""

    on_events: tuple[RetryEvent, ...] = tuple(RetryEvent)
    max_runs: int = Field(3, ge=1, le=20)
    then: Literal["fail", "next_provider"] = "fail"


class Guardrail(Frozen):
    """A figure that must hold beside the primary one."""

    metric: str
    at_least: Number | None = None
    at_most: Number | None = None


class Gate(Frozen):
    """What the tuned model must show on held-out rows. A point estimate never passes."""

    primary: str = "exact_match"
    at_least: Number | None = None
    beats: str | None = None
    no_worse_by: Number | None = None
    confidence: Number = Field(0.95, gt=0.5, lt=1)
    guardrails: tuple[Guardrail, ...] = ()


class Eval(Frozen):
    """How the adapter is judged on the held-out split."""

    compare_to: tuple[str, ...] = ("base",)
    metrics: tuple[str, ...] = ("exact_match",)
    gate: Gate | None = None
    where: str = Field("auto", description="auto, here, provider, or the URL of an OpenAI-compatible endpoint")


class Assumed(Frozen):
    """A figure that no job of ours measured, and where it comes from."""

    assumed: Amount
    source: str = Field(min_length=1)


class PerCall(Frozen):
    """A price per call and where it comes from."""

    per_call: Amount
    source: str = Field(min_length=1)


class PerToken(Frozen):
    """Prices per million tokens, with the tokens of one call."""

    per_million_input: Amount
    per_million_output: Amount
    input_tokens: int = Field(ge=0)
    output_tokens: int = Field(ge=0)
    source: str = Field(min_length=1)


class GpuHours(Frozen):
    """A dedicated GPU: its rate, what it can carry, and how full it may run."""

    per_gpu_hour: Amount
    calls_per_hour: int = Field(ge=1, description="measured capacity of one GPU")
    utilisation: Number = Field(0.6, gt=0, le=1)
    always_on: bool = True
    source: str = Field(min_length=1)


def _which_price(value: object) -> object:
    if not isinstance(value, Mapping):
        return value
    for key, model in (("per_call", PerCall), ("per_million_input", PerToken), ("per_gpu_hour", GpuHours)):
        if key in value:
            return model.model_validate(value)
    raise ValueError("give per_call, per_million_input and per_million_output, or per_gpu_hour, with a source")


Price = Annotated[PerCall | PerToken | GpuHours, BeforeValidator(_which_price)]


class Lifetime(Frozen):
    """The question this all is for: does the fine-tune pay over its life?"""

    calls_per_period: int = Field(ge=0)
    period: Literal["day", "week", "month", "year"] = "month"
    periods: int = Field(ge=1, le=1200)
    train_cost: Literal["ledger"] | Assumed = "ledger"
    hosted: Price
    serving: Price


class ScheduleTrigger(StrEnum):
    """What must be true for an occurrence to start a job."""

    ALWAYS = "always"
    DATASET_CHANGED = "dataset_changed"


class Schedule(Frozen):
    """When the job runs again by itself."""

    cron: str
    timezone: str = "UTC"
    when: ScheduleTrigger = ScheduleTrigger.DATASET_CHANGED
    misfire: Literal["skip", "once", "all"] = "once"
    overlap: Literal["skip", "queue_one"] = "skip"

    @field_validator("cron")
    @classmethod
    def _is_cron(cls, value: str) -> str:
        from datetime import UTC, datetime  # noqa: PLC0415  used by this check alone

        try:
            CronSim(CRON_ALIASES.get(value, value), datetime(2026, 1, 1, tzinfo=UTC))
        except CronSimError as error:
            raise ValueError(f"{value!r} is not a cron expression: {error}") from error
        return value

    @field_validator("timezone")
    @classmethod
    def _is_zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (KeyError, ValueError, OSError) as error:
            raise ValueError(f"{value!r} is not a time zone; use an IANA name such as Europe/Paris") from error
        return value


class Tracking(Frozen):
    """Where the trainer reports its curves besides our own files; the keys come from `secrets`."""

    wandb: Mapping[str, str] | None = None
    mlflow: Mapping[str, str] | None = None
    trackio: Mapping[str, str] | None = None


class Manifest(Frozen):
    """One job, as its author wrote it."""

    version: Literal[1] = Field(description="of the manifest's form")
    name: Name = Field(description="lower-case letters, digits and inner dashes; the job is found by it")
    base_model: Annotated[
        BaseModelRef,
        BeforeValidator(lambda value: {"id": value} if isinstance(value, str) else value),
    ] = Field(description="the checkpoint to tune: an id, or {id, revision}")
    from_adapter: str | None = Field(None, description="start from an adapter: name@latest, an adapter id, or a folder")
    method: Method = Field(description="how to train: sft or dpo")
    dataset: Dataset = Field(description="the rows, and which of them are held out")
    provider: Annotated[ProviderChoice, BeforeValidator(_provider)] = Field(description="who trains")
    resources: Resources = Field(Resources(), description="the machine")
    secrets: Mapping[str, SecretPlace] = Field(default_factory=dict, description="variable -> env:NAME, never a value")
    budget: Budget | None = Field(None, description="what the whole job may cost")
    retry: Retry = Field(Retry(), description="when a new run starts by itself")
    eval: Eval | None = Field(None, description="how the adapter is judged on held-out rows")
    lifetime: Lifetime | None = Field(None, description="the volume and the prices of its life")
    tracking: Tracking = Field(Tracking(), description="where curves are reported besides our own files")
    schedule: Schedule | None = Field(None, description="when the job runs again")
    labels: Mapping[str, str] = Field(default_factory=dict, description="for reports and budgets")

    _source: Path | None = PrivateAttr(None)

    @classmethod
    def from_file(cls, path: str | Path) -> Manifest:
        """Read a manifest. Raises ManifestError with every fault at its line."""
        from ftorch.manifest.load import load_manifest  # noqa: PLC0415  the loader builds on this module

        return load_manifest(Path(path))

    @property
    def source(self) -> Path | None:
        """The file it was read from; relative paths in it are relative to that file's folder."""
        return self._source

    def read_from(self, path: Path) -> Self:
        """The same manifest, knowing its file."""
        known = self.model_copy()
        known._source = path.absolute()
        return known


DecimalText = Annotated[Decimal, PlainSerializer(lambda value: f"{value:f}", return_type=str)]
"""An exact number kept as text in JSON."""
