"""The gate: what the manifest asks of the tuned model, held against one-sided bounds. A point estimate never passes.

Every check must pass, so their confidence is not corrected for how many there are: the gate as a whole passes a bad
model no more often than its weakest check does (the intersection-union test). One check that fails makes the gate
fail, else one that is inconclusive makes it inconclusive.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from ftorch.core.errors import UsageError
from ftorch.evals.intervals import (
    FEW_DIFFERING,
    Bounds,
    ClusteredMean,
    Interval,
    clustered_mean,
    exact_rate,
    mean_interval,
    quantile_interval,
    value_range,
)
from ftorch.evals.paired import difference_range, is_binary, paired_difference, shares_clusters
from ftorch.evals.power import rows_for_distance, rows_for_floor
from ftorch.manifest.evaluation import NOT_PER_ROW, Gate, Guardrail

Scores = Mapping[str, Sequence[float]]
"""Metric -> the score of each row."""

_PRIMARY = "eval.gate.primary"
_GUARDRAILS = "eval.gate.guardrails"
_LATENCY = "latency_ms"
_QUANTILES = {"p50_latency_ms": 0.50, "p95_latency_ms": 0.95}
_FEW = 30
_ROUNDING = 1e-9


class Verdict(StrEnum):
    """What a check or a gate says."""

    PASS = "pass"  # noqa: S105  a verdict, not a password
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that the gate asks. With a `reference`, estimate and interval are of the difference, tuned minus it."""

    metric: str
    requirement: str
    estimate: float
    interval: Interval
    """One-sided bounds at the gate's confidence; infinite where the rows are too few for one."""
    verdict: Verdict
    rows: int
    rows_needed: int | None
    """Of an inconclusive check: rows that would decide it with a power of 0.80 if the figures stayed as they are.
    None where no number of rows would, because the estimate is exactly what is asked for."""
    reference: str | None

    def __str__(self) -> str:
        figure = _signed if self.reference else _plain
        bounds = f"bounds {figure(self.interval.low)} and {figure(self.interval.high)}"
        words = f"{self.metric} {self.requirement}: {figure(self.estimate)}, {bounds}, {self.rows} rows: {self.verdict}"
        return words if self.rows_needed is None else f"{words}; about {self.rows_needed} rows would tell"


@dataclass(frozen=True, slots=True)
class GateReport:
    """The verdict and what it rests on."""

    verdict: Verdict
    checks: Sequence[Check]
    confidence: float
    warnings: Sequence[str]


def judge(
    gate: Gate, tuned: Scores, references: Mapping[str, Scores], *, clusters: Sequence[object] | None = None
) -> GateReport:
    """Hold the tuned model's scores, and their differences from a reference's, against the gate.

    All scores are aligned by row; `clusters` names the cluster of each row, where rows of one may resemble each other.
    `p50_latency_ms` and `p95_latency_ms` are quantiles of the metric `latency_ms`. A bound that lies exactly on a
    floor or a ceiling keeps it. To be better, or not worse by a margin, means strictly: a bound of the difference
    exactly on 0, or on minus the margin, is inconclusive.

    Raises UsageError where the gate asks for nothing, or for scores that are not there, ValueError where the scores
    are not aligned.
    """
    rows = _Rows(gate.confidence, tuned, references, clusters)
    checks = (*_primary(gate, rows), *(check for rail in gate.guardrails for check in _guardrail(rail, rows)))
    if not checks:
        raise UsageError(
            "the gate asks for nothing, so everything would pass",
            hint="give eval.gate at_least, beats or guardrails, then run `ftorch eval`",
        )
    _check_aligned(checks, clusters)
    return GateReport(_all_of(checks), checks, gate.confidence, _warnings(checks, rows))


@dataclass(frozen=True, slots=True)
class _Rows:
    confidence: float
    tuned: Scores
    references: Mapping[str, Scores]
    clusters: Sequence[object] | None

    def of_tuned(self, metric: str, key: str) -> Sequence[float]:
        if metric in NOT_PER_ROW:
            raise UsageError(
                f"{key} names {metric}, which has no score per row and so no interval; label_accuracy has both",
                hint=f"name label_accuracy in {key}, then run `ftorch eval`",
            )
        if not (scores := self.tuned.get(metric)):
            raise UsageError(
                f"the tuned model has no scores of {metric}, which {key} asks for",
                hint=f"change {key}, or run `ftorch eval` where {metric} is measured",
            )
        return scores

    def of_reference(self, name: str, metric: str) -> Sequence[float]:
        if name not in self.references:
            raise UsageError(
                f"{name} was not evaluated, and eval.gate.beats asks to compare with it",
                hint=f"name {name} in eval.compare_to, then run `ftorch eval`",
            )
        if not (scores := self.references[name].get(metric)):
            raise UsageError(
                f"{name} has no scores of {metric}, which {_PRIMARY} asks for",
                hint=f"change {_PRIMARY} or eval.compare_to, then run `ftorch eval`",
            )
        return scores


def _primary(gate: Gate, rows: _Rows) -> list[Check]:
    checks = []
    if gate.at_least is not None:
        checks.append(_at_least(gate.primary, gate.at_least, rows, _PRIMARY))
    if gate.beats is not None:
        checks.append(_beats(gate.primary, gate.beats, gate.no_worse_by, rows))
    return checks


def _guardrail(rail: Guardrail, rows: _Rows) -> list[Check]:
    checks = []
    if rail.at_least is not None:
        checks.append(_at_least(rail.metric, rail.at_least, rows, _GUARDRAILS))
    if rail.at_most is not None:
        checks.append(_at_most(rail.metric, rail.at_most, rows, _GUARDRAILS))
    return checks


def _at_least(metric: str, floor: float, rows: _Rows, key: str) -> Check:
    figure = _figure(metric, rows, key)
    verdict = _verdict(passes=figure.interval.low >= floor, fails=figure.interval.high < floor)
    return figure.check(f"at least {_asked(floor)}", floor, verdict)


def _at_most(metric: str, ceiling: float, rows: _Rows, key: str) -> Check:
    figure = _figure(metric, rows, key)
    verdict = _verdict(passes=figure.interval.high <= ceiling, fails=figure.interval.low > ceiling)
    return figure.check(f"at most {_asked(ceiling)}", ceiling, verdict)


def _beats(metric: str, name: str, margin: float | None, rows: _Rows) -> Check:
    figure = _difference(metric, name, rows)
    limit = -(margin or 0.0)
    verdict = _verdict(passes=figure.interval.low > limit, fails=figure.interval.high < limit)
    words = f"better than {name}" if margin is None else f"at most {_asked(margin)} below {name}"
    return figure.check(words, limit, verdict)


@dataclass(frozen=True, slots=True)
class _Figure:
    """A figure of the tuned model, and the way to tell how many rows would part it from a limit."""

    metric: str
    estimate: float
    interval: Interval
    rows: int
    rows_for: Callable[[float], int | None]
    reference: str | None = None

    def check(self, requirement: str, limit: float, verdict: Verdict) -> Check:
        needed = self.rows_for(limit) if verdict is Verdict.INCONCLUSIVE else None
        # The formulas are approximations, and these rows were not enough.
        needed = needed and max(needed, self.rows + 1)
        return Check(self.metric, requirement, self.estimate, self.interval, verdict, self.rows, needed, self.reference)


def _figure(metric: str, rows: _Rows, key: str) -> _Figure:
    if metric in _QUANTILES:
        return _quantile(metric, _QUANTILES[metric], rows, key)
    scores, confidence = rows.of_tuned(metric, key), rows.confidence
    if not is_binary(scores) or shares_clusters(rows.clusters):
        interval = mean_interval(scores, clusters=rows.clusters, confidence=confidence, sides=1)
        return _mean(metric, scores, interval, value_range(scores), rows)
    right, count = int(sum(scores)), len(scores)
    interval = exact_rate(right, count, confidence=confidence, sides=1)
    rate = right / count
    return _Figure(metric, rate, interval, count, lambda limit: _rows_for_rate(rate, limit, confidence))


def _quantile(metric: str, q: float, rows: _Rows, key: str) -> _Figure:
    scores = sorted(rows.of_tuned(_LATENCY, key))
    whole, part = divmod((len(scores) - 1) * q, 1)
    here, after = scores[int(whole)], scores[min(int(whole) + 1, len(scores) - 1)]
    interval = quantile_interval(scores, q, confidence=rows.confidence, sides=1)

    def rows_for(limit: float) -> int | None:
        # The quantile is below the limit where more than this share of the rows is.
        within = bisect_right(scores, limit) / len(scores)
        needed = _rows_for_rate(within, q, rows.confidence)
        unseen = q if within > q else 1 - q
        return needed and max(needed, math.ceil(math.log(1 - rows.confidence) / math.log(unseen)))

    return _Figure(metric, here + part * (after - here), interval, len(scores), rows_for)


def _difference(metric: str, name: str, rows: _Rows) -> _Figure:
    tuned, reference = rows.of_tuned(metric, _PRIMARY), rows.of_reference(name, metric)
    interval = paired_difference(tuned, reference, clusters=rows.clusters, confidence=rows.confidence, sides=1)
    differences = [one - other for one, other in zip(tuned, reference, strict=True)]
    figure = _mean(metric, differences, interval, difference_range(tuned, reference), rows)
    return replace(figure, reference=name)


def _mean(metric: str, values: Sequence[float], interval: Interval, bounds: Bounds, rows: _Rows) -> _Figure:
    found = clustered_mean(values, rows.clusters)
    count = len(values)
    return _Figure(
        metric, found.mean, interval, count, lambda limit: _rows_for_mean(found, count, bounds, limit, rows.confidence)
    )


def _rows_for_rate(rate: float, limit: float, confidence: float) -> int | None:
    if rate == limit:
        return None
    floor, expected = (limit, rate) if rate > limit else (1 - limit, 1 - rate)
    return rows_for_floor(floor, expected, confidence=confidence)


def _rows_for_mean(found: ClusteredMean, rows: int, bounds: Bounds, limit: float, confidence: float) -> int | None:
    distance = abs(found.mean - limit)
    if found.units < 2 or distance < _ROUNDING:
        return None
    needed = rows_for_distance(distance, found.error**2 * rows, confidence=confidence) if found.error > 0 else 0
    room = found.mean - bounds[0] if found.mean > limit else bounds[1] - found.mean
    if found.differing < FEW_DIFFERING and distance < room < math.inf:
        units = math.log(1 - confidence) / math.log(1 - distance / room)
        needed = max(needed, math.ceil(units * rows / found.units))
    return needed or None


def _verdict(*, passes: bool, fails: bool) -> Verdict:
    if passes:
        return Verdict.PASS
    return Verdict.FAIL if fails else Verdict.INCONCLUSIVE


def _check_aligned(checks: Sequence[Check], clusters: Sequence[object] | None) -> None:
    counts = {check.metric: check.rows for check in checks}
    if clusters is not None:
        counts["clusters"] = len(clusters)
    if len(set(counts.values())) > 1:
        raise ValueError("not of the same rows: " + ", ".join(f"{count} of {what}" for what, count in counts.items()))


def _all_of(checks: Sequence[Check]) -> Verdict:
    verdicts = {check.verdict for check in checks}
    order = (Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.PASS)
    return next(verdict for verdict in order if verdict in verdicts)


def _warnings(checks: Sequence[Check], rows: _Rows) -> list[str]:
    found = []
    units = len(set(rows.clusters)) if rows.clusters is not None else min(check.rows for check in checks)
    if units < _FEW:
        what = "rows" if rows.clusters is None else "clusters of rows"
        found.append(f"the gate rests on {units} {what}; below {_FEW} its bounds are rough")
    quantiles = [check.metric for check in checks if check.metric in _QUANTILES]
    if quantiles and shares_clusters(rows.clusters):
        found.append(f"{', '.join(dict.fromkeys(quantiles))}: rows of one cluster are counted as independent")
    return found


def _asked(value: float) -> str:
    """What the manifest says, in full."""
    return f"{value:.2f}" if abs(value) < 1 and round(value, 2) == value else f"{value:.12g}"


def _plain(value: float) -> str:
    if math.isinf(value):
        return "none"
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"


def _signed(value: float) -> str:
    return _plain(value) if math.isinf(value) else f"{value:+.3f}"
