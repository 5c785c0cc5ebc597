"""The manifest's block `lifetime`: how often it is called for how long, and what a call costs either way."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

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
    input_tokens: Whole = Field(ge=0, description="that one call reads")
    output_tokens: Whole = Field(ge=0, description="that one call writes")
    source: str = Field(min_length=1, description=_SOURCE)


class GpuHours(Frozen):
    """A dedicated GPU: its rate, what it can carry, and how full it may run."""

    per_gpu_hour: Amount = Field(description="what one GPU costs in an hour")
    calls_per_hour: Whole = Field(ge=1, description="measured capacity of one GPU")
    utilisation: Number = Field(0.6, gt=0, le=1, description="how much of that capacity may be used")
    always_on: bool = Field(True, description="paid also when nobody calls")
    source: str = Field(min_length=1, description=_SOURCE)


def _which_price(value: object) -> object:
    if not isinstance(value, Mapping):
        return value
    for key, model in (("per_call", PerCall), ("per_million_input", PerToken), ("per_gpu_hour", GpuHours)):
        if key in value:
            return model.model_validate(value)
    raise ValueError("give per_call, per_million_input and per_million_output, or per_gpu_hour, with a source")


Price = Annotated[PerCall | PerToken | GpuHours, BeforeValidator(_which_price)]


def _train_cost(value: object) -> object:
    if value == "ledger" or isinstance(value, Assumed):
        return value
    if isinstance(value, Mapping):
        return Assumed.model_validate(value)
    raise ValueError(f"must be ledger, or a block with assumed and source, not {value!r}")


class Lifetime(Frozen):
    """The question this all is for: does the fine-tune pay over its life?"""

    calls_per_period: Whole = Field(ge=0, description="expected volume")
    period: Literal["day", "week", "month", "year"] = Field("month", description="the unit of that volume")
    periods: Whole = Field(ge=1, le=1200, description="how long the model will be used")
    train_cost: Annotated[Literal["ledger"] | Assumed, BeforeValidator(_train_cost)] = Field(
        "ledger", description="ledger: what the jobs really cost; or a figure with its source"
    )
    hosted: Price = Field(description="the price of the model that is called today")
    serving: Price = Field(description="the price of serving the tuned one")
