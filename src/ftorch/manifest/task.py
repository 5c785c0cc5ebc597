"""The manifest's block `task`: what is to be done, and what is known about doing it without a fine-tune."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from ftorch.manifest.evaluation import Metric
from ftorch.manifest.fields import Frozen, Number, Whole

_SOURCE = "who measured it, where and when"


class TaskKind(StrEnum):
    """What the model does."""

    ROUTER = "router"
    CLASSIFIER = "classifier"
    EXTRACTOR = "extractor"
    REWRITER = "rewriter"
    JUDGE = "judge"
    GENERATOR = "generator"


class Target(Frozen):
    """What is good enough."""

    metric: Metric = Field("exact_match", description="the figure that decides, as under eval.metrics")
    at_least: Number = Field(gt=0, lt=1, description="the share of rows that must be right")


class Measured(Frozen):
    """What somebody measured on held-out rows, outside of ftorch."""

    correct: Whole = Field(ge=0, description="rows that were right")
    rows: Whole = Field(ge=1, description="rows that were asked")
    source: str = Field(min_length=1, description=_SOURCE)

    @model_validator(mode="after")
    def _no_more_than_all(self) -> Self:
        if self.correct > self.rows:
            raise ValueError(f"{self.correct} of {self.rows} rows cannot be right")
        return self


class NotApplicable(Frozen):
    """Why retrieval or tools cannot help: the task needs no knowledge that could be looked up."""

    not_applicable: str = Field(min_length=1, description="the reason, in a sentence")


class LabelledErrors(Frozen):
    """Errors of the prompted model that a person has looked at."""

    missing_knowledge: Whole = Field(ge=0, description="those where a fact was missing or old")
    errors: Whole = Field(ge=1, description="all that were looked at")
    source: str = Field(min_length=1, description=_SOURCE)


def _which_retrieval(value: object) -> object:
    if not isinstance(value, Mapping):
        return value
    return (NotApplicable if "not_applicable" in value else Measured).model_validate(value)


Retrieval = Annotated[Measured | NotApplicable, BeforeValidator(_which_retrieval)]


class Task(Frozen):
    """What `ftorch decide` goes by, beside evaluations and the lifetime."""

    kind: TaskKind = Field(description="router, classifier, extractor, rewriter, judge, or generator")
    audience: Literal["inner", "outer"] | None = Field(
        None, description="outer: people read what it writes; when not given outer for a generator, else inner"
    )
    allow_outer: bool = Field(False, description="tune it although people read what it writes")
    symptoms: tuple[str, ...] = Field((), description="what is wrong today, as `ftorch decide --symptoms` names it")
    target: Target | None = Field(None, description="what is good enough; eval.gate's at_least when not given")
    prompted: Measured | None = Field(
        None, description="the hosted model with its best prompt; the newest evaluation when not given"
    )
    retrieval: Retrieval | None = Field(None, description="the same with retrieval or tools")
    errors: LabelledErrors | None = Field(None, description="what the prompted model's errors are")

    @property
    def is_outer(self) -> bool:
        """People read what it writes."""
        return self.audience == "outer" or (self.audience is None and self.kind is TaskKind.GENERATOR)
