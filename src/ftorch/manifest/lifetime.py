"""The manifest's block `lifetime`: how often it is called for how long, and what a call costs either way."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from ftorch.manifest.fields import Amount, Frozen, Number, Whole

_SOURCE = "where the figure comes from"


class Assumed(Frozen):
    """A figure that no job of ours measured, and where it comes from."""

    assumed: Amount = Field(description="the amount")
    source: str = Field(min_length=1, description=_SOURCE)


class PerCall(Frozen):
    """A price per call and where it comes from."""

    per_call: Amount = Field(description="what one call costs")
    source: str = Field(min_length=1, description=_SOURCE)


class PerToken(Frozen):
    """Prices per million tokens, with the tokens of one call."""

    per_million_input: Amount = Field(description="for a million tokens read")
    per_million_output: Amount = Field(description="for a million tokens written")
    per_million_cached_input: Amount | None = Field(
        None, description="for a million tokens read from the prompt cache; as other input when not given"
    )
    input_tokens: Whole = Field(ge=0, description="that one call reads, cached ones included")
    cached_tokens: Whole = Field(0, ge=0, description="how many of them come from the prompt cache")
    output_tokens: Whole = Field(ge=0, description="that one call writes")
    source: str = Field(min_length=1, description=_SOURCE)

    @model_validator(mode="after")
    def _cached_are_read(self) -> Self:
        if self.cached_tokens > self.input_tokens:
            raise ValueError("cached_tokens are some of input_tokens, and cannot be more")
        return self


class GpuHours(Frozen):
    """A dedicated GPU: its rate, what it can carry, and how full it may run."""

    per_gpu_hour: Amount = Field(description="what one GPU costs in an hour")
    calls_per_hour: Whole = Field(ge=1, description="measured capacity of one GPU")
    utilisation: Number = Field(0.6, gt=0, le=1, description="how much of that capacity may be used")
    always_on: bool = Field(True, description="paid also when nobody calls")
    source: str = Field(min_length=1, description=_SOURCE)


class OfModel(Frozen):
    """A hosted model by its name: its prices come from `[prices.hosted]` in ftorch.toml, else from genai-prices."""

    model: str = Field(min_length=1, description="its name, such as gpt-4o-mini or anthropic/claude-sonnet-4")
    input_tokens: Whole = Field(ge=0, description="that one call reads, cached ones included")
    cached_tokens: Whole = Field(0, ge=0, description="how many of them come from the prompt cache")
    output_tokens: Whole = Field(ge=0, description="that one call writes")


LogFormat = Literal["auto", "openai", "litellm", "otel", "langfuse"]


class OfLogs(Frozen):
    """Real calls of the hosted model: their number, their tokens and their prices."""

    logs: str = Field(min_length=1, description="a .jsonl file, relative to the manifest")
    format: LogFormat = Field("auto", description="who wrote it; auto looks at the first line")
    model: str | None = Field(None, description="only the calls of this model; all when not given")


_PRICES: Mapping[str, type[Frozen]] = {
    "per_call": PerCall,
    "per_million_input": PerToken,
    "per_gpu_hour": GpuHours,
    "logs": OfLogs,
    "model": OfModel,
}
_SERVED = ("per_call", "per_million_input", "per_gpu_hour")


def _which_price(value: object) -> object:
    return _chosen(
        value, _SERVED, "give per_call, per_million_input and per_million_output, or per_gpu_hour, with a source"
    )


def _which_hosted(value: object) -> object:
    words = "give per_call, per_million_input and per_million_output, per_gpu_hour, model with tokens, or logs"
    return _chosen(value, tuple(_PRICES), words)


def _chosen(value: object, keys: tuple[str, ...], words: str) -> object:
    if not isinstance(value, Mapping):
        return value
    for key in keys:
        if key in value:
            return _PRICES[key].model_validate(value)
    raise ValueError(words)


Price = Annotated[PerCall | PerToken | GpuHours, BeforeValidator(_which_price)]
HostedPrice = Annotated[PerCall | PerToken | GpuHours | OfModel | OfLogs, BeforeValidator(_which_hosted)]


def _train_cost(value: object) -> object:
    if value == "ledger" or isinstance(value, Assumed):
        return value
    if isinstance(value, Mapping):
        return Assumed.model_validate(value)
    raise ValueError(f"must be ledger, or a block with assumed and source, not {value!r}")


TrainCostSource = Annotated[Literal["ledger"] | Assumed, BeforeValidator(_train_cost)]


class Retrain(Frozen):
    """Training again while the model is in use."""

    every: Number = Field(gt=0, description="periods from one training to the next")
    cost: TrainCostSource = Field("ledger", description="ledger: as much as the job cost; or a figure with its source")


class Kept(Frozen):
    """What is paid per period for keeping adapters, checkpoints and data."""

    per_period: Amount = Field(description="the amount")
    source: str = Field(min_length=1, description=_SOURCE)


class Uncertainty(Frozen):
    """By which share each figure may be off, either way, in 90 of 100 cases. The defaults are ours."""

    calls_per_period: Number = Field(0.3, ge=0, le=10, description="0.3: between volume / 1.3 and volume x 1.3")
    hosted: Number = Field(0.1, ge=0, le=10, description="of what a hosted call costs")
    serving: Number = Field(0.2, ge=0, le=10, description="of what serving the tuned model costs")
    train_cost: Number | None = Field(
        None, ge=0, le=10, description="when not given: 0.2 for an assumed or provisional figure, 0 for a billed one"
    )
    growth: Number = Field(0.0, ge=0, lt=1, description="added to and taken from growth")
    hosted_price_decline: Number = Field(0.0, ge=0, lt=1, description="added to and taken from it")


class Lifetime(Frozen):
    """The question this all is for: does the fine-tune pay over its life?"""

    calls_per_period: Whole | None = Field(
        None, ge=0, description="expected volume in the first period; with hosted: {logs: ...} theirs when not given"
    )
    growth: Number = Field(0.0, gt=-1, le=10, description="by which share the volume grows from period to period")
    period: Literal["day", "week", "month", "year"] = Field("month", description="the unit of that volume")
    periods: Whole = Field(ge=1, le=1200, description="how long the model will be used")
    train_cost: TrainCostSource = Field(
        "ledger", description="ledger: what the jobs really cost; or a figure with its source"
    )
    retrain: Retrain | None = Field(None, description="training again; by `schedule` when not given, else never")
    storage: Kept | None = Field(None, description="what keeping it costs")
    hosted: HostedPrice = Field(description="the price of the model that is called today")
    hosted_price_decline: Number = Field(0.0, ge=0, lt=1, description="by which share it falls from period to period")
    hosted_shutdown: date | None = Field(
        None, description="the day on which that model is switched off: nothing counts after it"
    )
    serving: Price = Field(description="the price of serving the tuned one")
    serving_price_decline: Number = Field(0.0, ge=0, lt=1, description="by which share it falls from period to period")
    uncertainty: Uncertainty = Field(Uncertainty(), description="how far the figures may be off")
    seed: Whole = Field(42, ge=0, description="of the chance in the probability; printed with it")

    @model_validator(mode="after")
    def _has_volume(self) -> Self:
        if self.calls_per_period is None and not isinstance(self.hosted, OfLogs):
            raise ValueError("calls_per_period is missing: give the volume, or hosted: {logs: ...} to count it")
        return self
