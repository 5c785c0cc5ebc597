"""The manifest's block `eval`: what is measured on the held-out rows, against whom, and what must hold."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from ftorch.core.suggest import did_you_mean
from ftorch.manifest.fields import Frozen, Number, SecretPlace, Whole

METRICS: Mapping[str, str] = {
    "exact_match": "the answer is the reference, spaces around it aside",
    "normalised_match": "the same after case, punctuation at the ends and runs of spaces are evened out",
    "label_accuracy": "the most likely of the closed set of labels is the right one; a free answer must be a label",
    "macro_f1": "F1 per label, averaged; a figure without a paired test, so never a gate",
    "json_valid": "the answer is JSON",
    "json_fields": "F1 over the fields of the reference's JSON object; lists in any order, numbers within 1e-6",
    "preference_accuracy": "the chosen answer is the likelier one; for dpo",
}
"""Name -> what one row scores. `regex:PATTERN` is one more: the whole answer matches."""
NOT_PER_ROW = frozenset({"macro_f1"})
"""Figures over all rows: without a score per row there is no interval, so that nothing can be decided by them."""
REGEX = "regex:"
MEASURES: Mapping[str, str] = {
    "latency_ms": "the mean of all answers, in milliseconds",
    "p50_latency_ms": "half of the answers come sooner",
    "p95_latency_ms": "19 of 20 answers come sooner",
}
"""What a guardrail may bound beside the metrics, where the answers came from an endpoint."""


def _metric(value: str) -> str:
    if value in METRICS:
        return value
    if not value.startswith(REGEX):
        words = f"{value!r} is not a metric{did_you_mean(value, METRICS)}"
        raise ValueError(f"{words}; there are {', '.join(METRICS)} and regex:PATTERN")
    try:
        re.compile(value.removeprefix(REGEX))
    except re.error as error:
        raise ValueError(f"{value!r} is not a regular expression: {error}") from error
    return value


def _decisive(value: str) -> str:
    if value in NOT_PER_ROW:
        raise ValueError(f"{value} has no score per row, so nothing can be decided by it; label_accuracy has one")
    return _metric(value)


def _guarded(value: str) -> str:
    return value if value in MEASURES else _decisive(value)


Metric = Annotated[str, AfterValidator(_metric)]
DecidingMetric = Annotated[str, AfterValidator(_decisive)]


class Guardrail(Frozen):
    """A figure that must hold beside the primary one."""

    metric: Annotated[str, AfterValidator(_guarded)] = Field(
        description="its name, as under eval.metrics, or latency_ms, p50_latency_ms, p95_latency_ms"
    )
    at_least: Number | None = Field(None, description="fails below")
    at_most: Number | None = Field(None, description="fails above")

    @model_validator(mode="after")
    def _asks(self) -> Self:
        if self.at_least is None and self.at_most is None:
            raise ValueError("asks for nothing: give at_least or at_most")
        return self


class Gate(Frozen):
    """What the tuned model must show on held-out rows. A point estimate never passes."""

    primary: DecidingMetric = Field("exact_match", description="the metric that decides")
    at_least: Number | None = Field(None, description="the tuned model's figure must be this or better")
    beats: str | None = Field(None, description="a model of compare_to that it must be better than")
    no_worse_by: Number | None = Field(
        None, gt=0, description="with beats: it may lie this far below that model, and need not be better"
    )
    confidence: Number = Field(0.95, gt=0.5, lt=1, description="of the interval that must hold all this")
    guardrails: tuple[Guardrail, ...] = Field((), description="further figures that must hold")

    @model_validator(mode="after")
    def _asks(self) -> Self:
        if self.no_worse_by is not None and self.beats is None:
            raise ValueError("no_worse_by needs beats: the model that it is measured against")
        if self.at_least is None and self.beats is None and not self.guardrails:
            raise ValueError("asks for nothing, so everything would pass: give at_least, beats or guardrails")
        return self


class Hosted(Frozen):
    """The model that is called today, behind an OpenAI-compatible endpoint."""

    url: Annotated[str, Field(pattern=r"^https?://[^\s]+$")] = Field(
        description="base of the endpoint, such as https://api.example.com/v1"
    )
    model: str = Field(min_length=1, description="its name there")
    api_key: SecretPlace | None = Field(None, description="env:NAME of the variable that holds the key")
    max_tokens: Whole = Field(256, ge=1, description="longest answer; one that is cut is flagged")
    concurrency: Whole = Field(8, ge=1, le=64, description="questions under way at once")


class Eval(Frozen):
    """How the adapter is judged on the held-out split."""

    compare_to: tuple[str, ...] = Field(
        ("base",), description="the models to compare with: base, hosted, an adapter; base when not given"
    )
    metrics: tuple[Metric, ...] = Field(
        (), description="what is measured; when not given exact_match, and label_accuracy with labels"
    )
    gate: Gate | None = Field(None, description="what must hold for the adapter to be promoted")
    hosted: Hosted | None = Field(None, description="where `hosted` of compare_to answers")
    where: Literal["auto", "here"] = Field("auto", description="where the adapter answers: on this machine")

    @model_validator(mode="after")
    def _names_are_known(self) -> Self:
        if "hosted" in self.compare_to and self.hosted is None:
            raise ValueError("compare_to names hosted: say where it answers, hosted: {url: ..., model: ...}")
        if self.gate and self.gate.beats and self.gate.beats not in self.compare_to:
            known = ", ".join(self.compare_to)
            raise ValueError(f"gate.beats names {self.gate.beats!r}, which is not in compare_to: {known}")
        return self
