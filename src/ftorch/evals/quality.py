"""Quality of the tuned model against the hosted one: what the lifetime's verdict needs to know."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ftorch.core.quality import NOT_MEASURED, Quality, QualityState
from ftorch.evals.metrics import row_scores
from ftorch.evals.paired import paired_difference
from ftorch.evals.rows import ScoredRow
from ftorch.manifest.evaluation import Gate

TUNED = "tuned"
HOSTED = "hosted"
DEFAULT_MARGIN = 0.03
"""How far below the hosted model still counts as its quality, where no gate says it."""


def quality(
    scores: Mapping[str, Sequence[ScoredRow]],
    metric: str,
    *,
    labels: Sequence[str] = (),
    gate: Gate | None = None,
) -> Quality:
    """Non-inferiority on one metric: the lower bound of tuned minus hosted lies above minus the margin.

    The margin and the confidence are the gate's where it names the hosted model, else 0.03 at 95 %.
    """
    if HOSTED not in scores:
        return NOT_MEASURED
    tuned, other = (row_scores(metric, scores[model], labels) for model in (TUNED, HOSTED))
    if tuned is None or other is None:
        return Quality(QualityState.NOT_MEASURED, f"{metric} cannot be told of the hosted model")
    is_gates = gate is not None and gate.beats == HOSTED and gate.no_worse_by is not None
    margin = gate.no_worse_by if is_gates and gate and gate.no_worse_by else DEFAULT_MARGIN
    confidence = gate.confidence if gate else 0.95
    interval = paired_difference(tuned, other, confidence=confidence, sides=1)
    words = (
        f"{metric}: tuned minus hosted is {_mean(tuned) - _mean(other):+.3f}, bounds {interval.low:+.3f} and "
        f"{interval.high:+.3f}, on {len(tuned)} rows, margin {margin}"
    )
    if interval.low > -margin:
        return Quality(QualityState.AT_LEAST_HOSTED, words)
    return Quality(QualityState.WORSE if interval.high < -margin else QualityState.INCONCLUSIVE, words)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
