"""Manifest v1: what a person writes.

Every key is described here once; `ftorch schema manifest` prints it for editors.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    BeforeValidator,
    Field,
    PrivateAttr,
    ValidationInfo,
    field_validator,
    model_validator,
)

from ftorch.manifest.evaluation import Eval
from ftorch.manifest.fields import Amount, Duration, Frozen, Json, Name, Number, SecretPlace, Whole
from ftorch.manifest.lifetime import Lifetime
from ftorch.manifest.schedule import Schedule
from ftorch.manifest.task import Task


def _is_texts(value: object) -> bool:
    return isinstance(value, list | tuple) and bool(value) and all(isinstance(one, str) and one for one in value)


class BaseModelRef(Frozen):
    """The checkpoint to tune: a Hub id, `builtin:smollm2-135m`, `builtin:tiny`, or a folder."""

    id: str = Field(min_length=1, description="Hub id such as Qwen/Qwen3-8B, builtin:NAME, or a folder")
    revision: str | None = Field(None, description="commit or tag at the Hub; pins the weights")


def _base_model(value: object) -> object:
    if isinstance(value, str):
        return {"id": value}
    if isinstance(value, Mapping | BaseModelRef):
        return value
    raise ValueError(f"must be an id such as Qwen/Qwen3-8B, or a block with id and revision, not {value!r}")


def _targets(value: object) -> object:
    if value == "all-linear" or _is_texts(value):
        return value
    raise ValueError(f"must be all-linear or a list of module names, not {value!r}")


class Lora(Frozen):
    """The adapter's shape."""

    rank: Whole = Field(16, ge=1, le=512, description="columns of the adapter's matrices: its size")
    alpha: Whole | None = Field(None, ge=1, description="scale; twice the rank when not given")
    dropout: Number = Field(0.0, ge=0.0, lt=1.0, description="share of the adapter's inputs left out in each step")
    targets: Annotated[Literal["all-linear"] | tuple[str, ...], BeforeValidator(_targets)] = Field(
        "all-linear", description="which layers get an adapter: all-linear, or module names"
    )


class _Training(Frozen):
    lora: Lora = Field(Lora(), description="the adapter's shape")
    epochs: Number = Field(3.0, gt=0, le=100, description="passes over the training rows; parts of one are allowed")
    max_steps: Whole | None = Field(None, ge=1, description="stop after so many optimizer steps")
    learning_rate: Number | None = Field(
        None, gt=0, le=1, description="when not given: 2e-4, or 1e-3 for a base below 0.5 B; dpo: 2e-5"
    )
    batch_size: Whole = Field(16, ge=1, le=4096, description="rows per optimizer step")
    micro_batch_size: Whole | None = Field(
        None, ge=1, description="rows per pass, a divisor of batch_size; the largest up to 8 when not given"
    )
    max_length: Whole = Field(1024, ge=8, le=1_048_576, description="tokens per row, prompt included")
    seed: Whole = Field(42, ge=0, le=2**31 - 1, description="of all chance in training")
    warmup_ratio: Number = Field(0.05, ge=0, lt=1, description="share of the steps in which the learning rate rises")
    scheduler: Literal["linear", "cosine"] = Field("linear", description="how the learning rate falls to its end")
    weight_decay: Number = Field(0.0, ge=0, description="pull of the adapter's weights to zero")
    max_grad_norm: Number = Field(1.0, ge=0, description="longer gradients are cut to this norm; 0: never")
    quantize: Literal["4bit"] | None = Field(None, description="4bit: QLoRA, where the GPU library is there")
    save_every_steps: Whole = Field(50, ge=1, description="steps between checkpoints")

    @field_validator("micro_batch_size")
    @classmethod
    def _divides(cls, value: int | None, found: ValidationInfo) -> int | None:
        batch_size = found.data.get("batch_size")
        if value and batch_size and batch_size % value:
            raise ValueError(f"must divide batch_size, {batch_size}; {value} does not")
        return value


class Sft(_Training):
    """Supervised fine-tuning on prompts and completions."""

    type: Literal["sft"] = Field(description="this method")
    train_on: Literal["completion", "all"] = Field("completion", description="which tokens are learned")


class Dpo(_Training):
    """Direct preference optimisation on chosen and rejected answers."""

    type: Literal["dpo"] = Field(description="this method")
    epochs: Number = Field(1.0, gt=0, le=100, description="passes over the training rows; parts of one are allowed")
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

    path: str = Field(min_length=1, description="a .jsonl or .csv file, relative to the manifest")


class HeldOutFraction(Frozen):
    """Held-out rows drawn from the dataset by the hash of their content: adding rows never moves an old one."""

    fraction: Number = Field(gt=0, lt=1, description="share of the rows")
    by: Literal["content_hash"] = Field("content_hash", description="what decides where a row goes")
    seed: Whole = Field(42, ge=0, description="another one draws other rows")


def _which_held_out(value: object) -> object:
    if isinstance(value, Mapping):
        return HeldOutFile.model_validate(value) if "path" in value else HeldOutFraction.model_validate(value)
    return value


HeldOut = Annotated[HeldOutFile | HeldOutFraction, BeforeValidator(_which_held_out)]


class Columns(Frozen):
    """Which columns of a table become prompt and answer."""

    text: str = Field("text", description="the column that becomes the prompt")
    label: str | None = Field(None, description="the column that becomes the answer")
    chosen: str | None = Field(None, description="dpo: the column with the better answer")
    rejected: str | None = Field(None, description="dpo: the column with the worse answer")


def _labels(value: object) -> object:
    if value in ("from-data", "from_data"):
        return "from_data"
    if value is None or _is_texts(value):
        return value
    raise ValueError(f"must be from_data or a list of labels, not {value!r}")


class Dataset(Frozen):
    """Where the rows are, how they are written, and which of them never leave for training."""

    path: str = Field(
        min_length=1, description="a .jsonl or .csv file, relative to the manifest, or a URL that fsspec opens"
    )
    format: DataFormat = Field(DataFormat.AUTO, description="how its rows are written")
    columns: Columns | None = Field(None, description="for csv, and for flat jsonl rows")
    system: str | None = Field(None, description="system message for rows that bring none")
    prompt: str | None = Field(None, description="user message with {text} where the text column goes")
    labels: Annotated[
        Literal["from_data"] | tuple[str, ...] | None,
        BeforeValidator(_labels, json_schema_input_type=Literal["from_data", "from-data"] | tuple[str, ...] | None),
    ] = Field(None, description="the closed set of answers: a list, or from_data")
    held_out: HeldOut = Field(HeldOutFraction(fraction=0.1), description="rows that never leave for training")
    validation: HeldOut | None = Field(None, description="rows that the trainer may look at while training")


def _names(value: object) -> object:
    names = (value,) if isinstance(value, str) else value
    if not _is_texts(names) or not isinstance(names, list | tuple):
        raise ValueError(f"must be a provider's name or a list of names, not {value!r}")
    if len(set(names)) < len(names):
        raise ValueError(f"names a provider twice: {', '.join(names)}")
    return value


class ProviderChoice(Frozen):
    """Who trains: one name, a list in order, or the rule that picks; beside it a block of options per provider."""

    model_config = {"extra": "allow"}

    name: Annotated[str | tuple[str, ...], BeforeValidator(_names)] = Field(
        description="local, together, ...; a list in order; cheapest; fastest"
    )

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
    workers: Whole = Field(1, ge=1, le=64, description="processes that train together")
    max_duration: Duration | None = Field(None, description="hard end of one run; else from the budget")

    @field_validator("gpu", mode="before", json_schema_input_type=str | tuple[str, ...])
    @classmethod
    def _one_or_many(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value


class Budget(Frozen):
    """What all runs and evaluations of the job may cost together."""

    limit: Amount = Field(description="with its currency: 25.00 USD")
    on_exceed: Literal["cancel", "notify"] = Field("cancel", description="what happens at the limit")


def pair(value: str | None) -> str | None:
    """A label as `key=value`. Raises ValueError for anything else."""
    if value is not None and not re.fullmatch(r"[^=\s]+=[^=]+", value):
        raise ValueError(f"must be key=value, such as team=support, not {value!r}")
    return value


def has_label(wanted: str | None, labels: Mapping[str, str]) -> bool:
    """The labels hold the pair; where none is wanted, all do."""
    if wanted is None:
        return True
    key, _, value = wanted.partition("=")
    return labels.get(key) == value


class BudgetRule(Frozen):
    """What may be spent per period, by label or in all."""

    limit: Amount = Field(description='with its currency: "500.00 USD"')
    period: Literal["day", "week", "month", "year"] = Field("month", description="how long the limit holds, in UTC")
    label: str | None = Field(None, description="key=value; the whole installation when not given")

    @field_validator("label")
    @classmethod
    def _is_pair(cls, value: str | None) -> str | None:
        return pair(value)

    @property
    def often(self) -> str:
        """The period as people say it: `monthly`."""
        return {"day": "daily", "week": "weekly", "month": "monthly", "year": "yearly"}[self.period]

    @property
    def words(self) -> str:
        """As people say it: `monthly budget for team=support`."""
        return f"{self.often} budget for {self.label}" if self.label else f"{self.often} budget of this installation"

    def counts(self, labels: Mapping[str, str]) -> bool:
        """A job with these labels spends from it."""
        return has_label(self.label, labels)


class RetryEvent(StrEnum):
    """Why a new run may start after one that ended badly."""

    CAPACITY = "capacity"
    PREEMPTED = "preempted"
    PROVIDER_ERROR = "provider_error"


class Retry(Frozen):
    """When a new run starts by itself."""

    on_events: tuple[RetryEvent, ...] = Field(
        tuple(RetryEvent), description="what is worth a new run; all when not given"
    )
    max_runs: Whole = Field(3, ge=1, le=20, description="runs at one provider, the first one included")
    then: Literal["fail", "next_provider"] = Field(
        "fail", description="what follows the last run; without capacity a list of providers is walked in any case"
    )


WANDB_KEY = "WANDB_API_KEY"
"""The secret that `tracking.wandb` needs, under the name that Weights & Biases reads."""


class Tracking(Frozen):
    """Where the trainer reports its curves besides our own files; the keys come from `secrets`."""

    wandb: Mapping[str, str] | None = Field(None, description="Weights & Biases: {project: ...}")
    mlflow: Mapping[str, str] | None = Field(None, description="MLflow: {project: ..., tracking_uri: ...}")
    trackio: Mapping[str, str] | None = Field(None, description="Trackio: {project: ...}")


def _version(value: object) -> object:
    if type(value) is not int or value != 1:
        raise ValueError(f"must be 1, the only version that this ftorch reads, not {value!r}")
    return value


class Manifest(Frozen):
    """One job, as its author wrote it."""

    version: Annotated[Literal[1], BeforeValidator(_version)] = Field(description="of the manifest's form")
    name: Name = Field(description="lower-case letters, digits and inner dashes; the job is found by it")
    base_model: Annotated[
        BaseModelRef,
        BeforeValidator(_base_model, json_schema_input_type=str | BaseModelRef),
    ] = Field(description="the checkpoint to tune: an id, or {id, revision}")
    from_adapter: str | None = Field(None, description="start from an adapter: name@latest, an adapter id, or a folder")
    method: Method = Field(description="how to train: sft or dpo")
    dataset: Dataset = Field(description="the rows, and which of them are held out")
    provider: Annotated[
        ProviderChoice,
        BeforeValidator(_provider, json_schema_input_type=str | tuple[str, ...] | ProviderChoice),
    ] = Field(description="who trains: a name, a list of names, or a block")
    resources: Resources = Field(Resources(), description="the machine")
    secrets: Mapping[str, SecretPlace] = Field(default_factory=dict, description="variable -> env:NAME, never a value")
    budget: Budget | None = Field(None, description="what the whole job may cost")
    retry: Retry = Field(Retry(), description="when a new run starts by itself")
    eval: Eval | None = Field(None, description="how the adapter is judged on held-out rows")
    lifetime: Lifetime | None = Field(None, description="the volume and the prices of its life")
    task: Task | None = Field(None, description="what is to be done, for `ftorch decide`")
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
