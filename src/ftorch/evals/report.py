"""The comparison: every model's figure with its interval, every difference paired by row, and the gate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ftorch.evals.gate import GateReport, judge
from ftorch.evals.intervals import Interval, mean_interval, wilson
from ftorch.evals.metrics import confusion, macro_f1, row_scores
from ftorch.evals.paired import Discordance, holm, is_binary, mcnemar, paired_difference
from ftorch.evals.quality import TUNED
from ftorch.evals.rows import ScoredRow
from ftorch.manifest.evaluation import MEASURES, NOT_PER_ROW, Gate

_MEASURED = "latency_ms"


@dataclass(frozen=True, slots=True)
class Figure:
    """One model's figure on one metric. `interval` is two-sided; None for a figure that has no score per row."""

    model: str
    metric: str
    value: float
    interval: Interval | None
    rows: int


@dataclass(frozen=True, slots=True)
class Difference:
    """The tuned model against another one on the same rows.

    `p_value` is McNemar's exact two-sided one, Holm-adjusted over all differences shown; None for scores that are not
    0 or 1. `better` and `worse` count the rows where only one of the two is right.
    """

    metric: str
    reference: str
    difference: float
    interval: Interval
    better: int | None
    worse: int | None
    p_value: float | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """All that the scores say. Models in the order in which they were given, the tuned one first."""

    rows: int
    figures: Sequence[Figure]
    differences: Sequence[Difference]
    confusion: Mapping[str, Mapping[str, int]] | None
    """Of the tuned model, where there are labels: reference -> answer -> rows."""
    gate: GateReport | None

    def figure(self, model: str, metric: str) -> Figure | None:
        return next((one for one in self.figures if (one.model, one.metric) == (model, metric)), None)


def compare(
    scores: Mapping[str, Sequence[ScoredRow]],
    metrics: Sequence[str],
    *,
    labels: Sequence[str] = (),
    gate: Gate | None = None,
    confidence: float = 0.95,
) -> Comparison:
    """Compare `scores["tuned"]` with every other model, row by row. All are in the order of the same rows.

    Raises UsageError where the gate asks for a metric or a model that the scores do not have.
    """
    per_row = {model: _per_row(rows, (*metrics, *_asked_by(gate)), labels) for model, rows in scores.items()}
    others = {model: values for model, values in per_row.items() if model != TUNED}
    return Comparison(
        rows=len(scores[TUNED]),
        figures=[
            figure
            for metric in metrics
            for model, rows in scores.items()
            if (figure := _figure(model, metric, rows, per_row[model], labels, confidence))
        ],
        differences=_holm(
            [
                _difference(metric, name, per_row[TUNED][metric], values[metric], confidence)
                for metric in metrics
                for name, values in others.items()
                if metric in values and metric in per_row[TUNED]
            ]
        ),
        confusion=confusion(scores[TUNED], labels) if labels else None,
        gate=judge(gate, per_row[TUNED], others) if gate else None,
    )


def _asked_by(gate: Gate | None) -> tuple[str, ...]:
    if gate is None:
        return ()
    asked = (gate.primary, *(rail.metric for rail in gate.guardrails))
    return tuple(_MEASURED if metric in MEASURES else metric for metric in asked)


def _per_row(rows: Sequence[ScoredRow], metrics: Sequence[str], labels: Sequence[str]) -> dict[str, Sequence[float]]:
    found = {metric: row_scores(metric, rows, labels) for metric in dict.fromkeys(metrics)}
    return {metric: values for metric, values in found.items() if values is not None}


def _figure(
    model: str,
    metric: str,
    rows: Sequence[ScoredRow],
    per_row: Mapping[str, Sequence[float]],
    labels: Sequence[str],
    confidence: float,
) -> Figure | None:
    if metric in NOT_PER_ROW:
        return Figure(model, metric, macro_f1(rows, labels), None, len(rows)) if labels else None
    if (values := per_row.get(metric)) is None:
        return None
    return Figure(model, metric, sum(values) / len(values), _interval(values, confidence), len(rows))


def _interval(values: Sequence[float], confidence: float) -> Interval:
    if is_binary(values):
        return wilson(int(sum(values)), len(values), confidence=confidence)
    return mean_interval(values, confidence=confidence)


def _difference(
    metric: str, name: str, tuned: Sequence[float], reference: Sequence[float], confidence: float
) -> Difference:
    mean = (sum(tuned) - sum(reference)) / len(tuned)
    interval = paired_difference(tuned, reference, confidence=confidence)
    if not (is_binary(tuned) and is_binary(reference)):
        return Difference(metric, name, mean, interval, None, None, None)
    found = Discordance.of(tuned, reference)
    return Difference(metric, name, mean, interval, found.better, found.worse, mcnemar(found.better, found.worse))


def _holm(differences: Sequence[Difference]) -> list[Difference]:
    """The same differences with their p values adjusted for how many are shown."""
    tested = [one.p_value for one in differences if one.p_value is not None]
    adjusted = iter(holm(tested))
    return [replace(one, p_value=next(adjusted)) if one.p_value is not None else one for one in differences]
