"""The manifest's block `schedule`: when the job runs again by itself, why, and what its adapter must show."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from ftorch.core import cron
from ftorch.manifest.evaluation import DecidingMetric
from ftorch.manifest.fields import Amount, Duration, Frozen, Number, Whole

ALWAYS: Literal["always"] = "always"
DATASET_CHANGED: Literal["dataset_changed"] = "dataset_changed"
HOSTED_CHANGED: Literal["hosted_changed"] = "hosted_changed"
_WORDS = (ALWAYS, DATASET_CHANGED, HOSTED_CHANGED)


class NewRows(Frozen):
    """Enough rows that the newest training of this name has not seen."""

    new_rows: Whole = Field(ge=1, description="how many rows must be new since the newest training")


class EvaluationBelow(Frozen):
    """The adapter in service answers rows that came after its training, and is surely worse than a floor."""

    evaluation_below: Number = Field(description="the floor: fires where the whole interval lies below it")
    metric: DecidingMetric | None = Field(None, description="what is measured; the gate's primary one when not given")
    fresh_rows: Whole = Field(30, ge=10, description="how many rows must have come since its training")


_BLOCKS: Mapping[str, type[Frozen]] = {"new_rows": NewRows, "evaluation_below": EvaluationBelow}


def _trigger(value: object) -> object:
    if isinstance(value, Frozen) or value in _WORDS:
        return value
    if isinstance(value, Mapping):
        for key, block in _BLOCKS.items():
            if key in value:
                return block.model_validate(value)
    known = f"{', '.join(_WORDS)}, {{new_rows: N}} or {{evaluation_below: X}}"
    raise ValueError(f"{value!r} is not a trigger; there are {known}")


def _triggers(value: object) -> object:
    found = value if isinstance(value, list | tuple) else (value,)
    if not found:
        raise ValueError("names no trigger, so that nothing would ever start; leave it out for dataset_changed")
    return tuple(_trigger(one) for one in found)


Trigger = Literal["always", "dataset_changed", "hosted_changed"] | NewRows | EvaluationBelow


class PeriodBudget(Frozen):
    """What the jobs of one schedule may cost together in a period."""

    limit: Amount = Field(description="with its currency: 100.00 USD")
    period: Literal["day", "week", "month", "year"] = Field("month", description="how long the limit holds, in UTC")


class Promote(Frozen):
    """What a retrained adapter must show against the one in service, beside `eval.gate`, to take its place."""

    no_worse_by: Number = Field(0.03, ge=0, lt=1, description="how far below it may lie; 0: it must be better")
    metric: DecidingMetric | None = Field(None, description="what is compared; the gate's primary one when not given")


class Schedule(Frozen):
    """When the job runs again by itself."""

    cron: str = Field(description="five fields, or @hourly, @daily, @weekly, @monthly, @yearly")
    timezone: str = Field("UTC", description="the IANA zone that the five fields mean")
    when: Annotated[
        tuple[Trigger, ...],
        BeforeValidator(_triggers, json_schema_input_type=Trigger | tuple[Trigger, ...]),
    ] = Field((DATASET_CHANGED,), description="what starts a job: one of these, or a list of them")
    misfire: Literal["skip", "once", "all"] = Field(
        "once", description="what to do about times that were slept through: nothing, one job, or one for each"
    )
    misfire_max: Whole = Field(10, ge=1, le=100, description="with misfire: all, how many are made up for")
    grace: Duration = Field(
        timedelta(minutes=5),
        description="how late a time may be seen and still be on time",
        json_schema_extra={"default": "5m"},
    )
    overlap: Literal["skip", "queue_one"] = Field("skip", description="what to do while the last job still runs")
    jitter: Duration = Field(
        timedelta(0),
        description="start up to this much later, each time by its own fixed part",
        json_schema_extra={"default": "0s"},
    )
    budget: PeriodBudget | None = Field(None, description="what its jobs may cost in a period")
    promote: Promote = Field(Promote(), description="what the new adapter must show to take the old one's place")

    @field_validator("cron")
    @classmethod
    def _is_cron(cls, value: str) -> str:
        cron.check(value)
        return value

    @field_validator("timezone")
    @classmethod
    def _is_zone(cls, value: str) -> str:
        cron.zone_of(value)
        return value

    @model_validator(mode="after")
    def _asks_once(self) -> Self:
        if ALWAYS in self.when and len(self.when) > 1:
            raise ValueError("when: always needs no other trigger beside it")
        return self

    @property
    def always(self) -> bool:
        """It trains at each of its times, also on the same rows."""
        return ALWAYS in self.when
