"""Two models on the same rows: counts of disagreement, tests and intervals of the difference."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ftorch.evals.intervals import UNBOUNDED, Bounds, Interval, Sides, critical_z, mean_interval, value_range

_PRECISION = 1e-12


@dataclass(frozen=True, slots=True)
class Discordance:
    """Rows that only the tuned model gets right (`better`), that only the reference does (`worse`), and all rows."""

    better: int
    worse: int
    rows: int

    @classmethod
    def of(cls, tuned: Sequence[float], reference: Sequence[float]) -> Discordance:
        """Count two aligned sequences of 0 and 1."""
        _check_aligned(tuned, reference)
        if not (is_binary(tuned) and is_binary(reference)):
            raise ValueError("only scores of 0 and 1 can be counted")
        pairs = list(zip(tuned, reference, strict=True))
        return cls(sum(one > other for one, other in pairs), sum(one < other for one, other in pairs), len(pairs))


def is_binary(scores: Sequence[float]) -> bool:
    return all(score in (0, 1) for score in scores)


def mcnemar(better: int, worse: int) -> float:
    """McNemar's exact two-sided p value: the chance of so uneven a split when neither model is better."""
    discordant, rarer = better + worse, min(better, worse)
    ways = term = 1
    for count in range(rarer):
        term = term * (discordant - count) // (count + 1)
        ways += term
    # Whole numbers until the last step: Python divides integers of any size with one rounding.
    return min(1.0, 2 * ways / (1 << discordant))


def holm(p_values: Sequence[float]) -> list[float]:
    """The p values adjusted by Holm's method for how many they are, in the order given."""
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def tango(better: int, worse: int, rows: int, *, confidence: float = 0.95, sides: Sides = 2) -> Interval:
    """Tango's score interval of the difference of two paired rates (Statistics in Medicine 17, 1998, 891-908).

    Without any discordance the lower limit is -z*z / (rows + z*z). Of no rows at all the interval is -1 to 1. An
    approximation: where about 3 discordant rows are expected, a one-sided 95 % bound can be wrong in 7 % of cases.
    """
    if better < 0 or worse < 0 or better + worse > rows:
        raise ValueError(f"{better} better and {worse} worse in {rows} rows")
    z = critical_z(confidence, sides)
    if rows == 0:
        return Interval(-1.0, 1.0, confidence)
    return Interval(_lower_limit(better, worse, rows, z), -_lower_limit(worse, better, rows, z), confidence)


def paired_difference(
    tuned: Sequence[float],
    reference: Sequence[float],
    *,
    clusters: Sequence[object] | None = None,
    confidence: float = 0.95,
    sides: Sides = 2,
) -> Interval:
    """The interval of the mean difference, tuned minus reference, of aligned scores.

    Tango's where all scores are 0 or 1 and no two rows share a cluster, else the t interval of the differences,
    which is told their range: equal scores on few rows prove nothing.
    """
    _check_aligned(tuned, reference)
    if is_binary(tuned) and is_binary(reference) and not shares_clusters(clusters):
        found = Discordance.of(tuned, reference)
        return tango(found.better, found.worse, found.rows, confidence=confidence, sides=sides)
    differences = [one - other for one, other in zip(tuned, reference, strict=True)]
    bounds = difference_range(tuned, reference)
    return mean_interval(differences, clusters=clusters, bounds=bounds, confidence=confidence, sides=sides)


def difference_range(tuned: Sequence[float], reference: Sequence[float]) -> Bounds:
    """-1 to 1 where all scores lie between 0 and 1, else `UNBOUNDED`."""
    return UNBOUNDED if UNBOUNDED in (value_range(tuned), value_range(reference)) else (-1.0, 1.0)


def shares_clusters(clusters: Sequence[object] | None) -> bool:
    """Whether two rows are of one cluster, so that rows cannot be counted as independent."""
    return clusters is not None and len(set(clusters)) < len(clusters)


def _lower_limit(better: int, worse: int, rows: int, z: float) -> float:
    """The difference below the estimate at which the score statistic is z, by bisection."""
    low, high = -1.0, (better - worse) / rows
    while high - low > _PRECISION:
        middle = (low + high) / 2
        is_rejected = better - worse - rows * middle > z * _score_error(better, worse, rows, middle)
        low, high = (middle, high) if is_rejected else (low, middle)
    return (low + high) / 2


def _score_error(better: int, worse: int, rows: int, difference: float) -> float:
    """The standard error of better - worse if the true difference were this one.

    The share of worse rows is then its maximum likelihood estimate, the larger root of A x^2 + B x + C.
    """
    a = 2 * rows
    b = (2 * rows - better + worse) * difference - better - worse
    c = -worse * difference * (1 - difference)
    root = math.sqrt(max(0.0, b * b - 4 * a * c))
    share = -2 * c / (b + root) if b > 0 else (root - b) / (2 * a)  # whichever form does not cancel
    return math.sqrt(max(0.0, rows * (2 * share + difference * (1 - difference))))


def _check_aligned(tuned: Sequence[float], reference: Sequence[float]) -> None:
    if len(tuned) != len(reference):
        raise ValueError(f"{len(tuned)} scores of the tuned model, but {len(reference)} of the reference")
