"""Confidence intervals for a rate, a mean and a quantile, and the quantiles of chance that they need.

Standard library only. An interval is never of no width because the rows happened to be equal: what was not seen in n
independent rows may still be a share of 1 - alpha**(1/n) of all rows (the rule of three, without its rounding).
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

Sides = Literal[1, 2]
Bounds = tuple[float, float]

UNBOUNDED: Bounds = (-math.inf, math.inf)
FEW_DIFFERING = 5
_UNIT: Bounds = (0.0, 1.0)
_NO_SPREAD = 1e-12
_LONGEST_FRACTION = 100_000


_PRECISION = 1e-13


@dataclass(frozen=True, slots=True)
class Interval:
    """Two bounds. With one-sided bounds each of them, taken alone, holds at `confidence`; infinite: no bound known."""

    low: float
    high: float
    confidence: float


@dataclass(frozen=True, slots=True)
class ClusteredMean:
    """A mean with its standard error. `units` counts what is independent: clusters, or rows where there are none."""

    mean: float
    error: float
    """Infinite below two units."""
    units: int
    differing: int
    """Units whose own mean is not the commonest one: below `FEW_DIFFERING` the error is a guess."""


def wilson(successes: int, rows: int, *, confidence: float = 0.95, sides: Sides = 2) -> Interval:
    """Wilson's score interval of a rate; of no rows at all it is 0 to 1.

    An approximation: on 100 rows and more a one-sided 95 % bound is wrong in up to 7 % of cases (a true rate of 0.99 on
    268 rows is the worst), 5 % on average.
    """
    if not 0 <= successes <= rows:
        raise ValueError(f"{successes} successes in {rows} rows")
    z = critical_z(confidence, sides)
    if rows == 0:
        return Interval(*_UNIT, confidence)
    low, high = _score_limits(successes / rows, rows, z)
    return Interval(0.0 if successes == 0 else low, 1.0 if successes == rows else high, confidence)


def exact_rate(successes: int, rows: int, *, confidence: float = 0.95, sides: Sides = 2) -> Interval:
    """Clopper and Pearson's interval of a rate (Biometrika 26, 1934): never wrong more often than its confidence says.

    Wider than Wilson's, for which that holds only on average; a bound that decides something must hold always.
    """
    if not 0 <= successes <= rows:
        raise ValueError(f"{successes} successes in {rows} rows")
    tail = _tail(confidence, sides)
    low = 0.0 if successes == 0 else 1 - _rate_of_tail(rows - successes, rows, tail)
    high = 1.0 if successes == rows else _rate_of_tail(successes, rows, tail)
    return Interval(low, high, confidence)


def _rate_of_tail(count: int, rows: int, tail: float) -> float:
    """The rate at which at most `count` successes are as rare as `tail`, by bisection."""
    low, high = count / rows, 1.0
    while high - low > _PRECISION:
        middle = (low + high) / 2
        low, high = (middle, high) if binomial_cdf(count, rows, middle) > tail else (low, middle)
    return (low + high) / 2


def mean_interval(
    values: Sequence[float],
    *,
    clusters: Sequence[object] | None = None,
    bounds: Bounds | None = None,
    confidence: float = 0.95,
    sides: Sides = 2,
) -> Interval:
    """Student's t interval of a mean, with the cluster-robust error of `clustered_mean` and units - 1 degrees.

    `bounds` is the range that the values can have, `value_range` when not given. In a range t is too narrow in two
    cases, and there the wider bound is taken. Near an end, where values are skewed: Wilson's limits on as many rows as
    would give a binary score this error. Where fewer than 5 units differ from the commonest value, all the same
    included: room for a share of 1 - alpha**(1/units) of rows at that end, none of which was seen. So the one-sided
    95 % lower bound of 3 rows of 1.0 is 0.37 and of 30 rows 0.905, the exact binomial bounds of 3 of 3 and 30 of 30.

    Of fewer than two units the interval is the whole range. Without a range (`UNBOUNDED`), equal values or fewer than
    two units say nothing: both bounds are infinite.
    """
    tail = _tail(confidence, sides)
    found = clustered_mean(values, clusters)
    least, most = bounds or value_range(values)
    if not all(least <= value <= most for value in values):
        raise ValueError(f"a value does not lie between {least} and {most}")
    if found.units < 2:
        return Interval(least, most, confidence)
    t = t_quantile(1 - tail, found.units - 1)
    if (least, most) == UNBOUNDED:
        half = t * found.error if found.error > _NO_SPREAD * max(map(abs, values)) else math.inf
        return Interval(found.mean - half, found.mean + half, confidence)
    low, high = _in_range(found, (least, most), t, tail)
    return Interval(max(low, least), min(high, most), confidence)


def value_range(values: Sequence[float]) -> Bounds:
    """The range that the values are taken to have: 0 to 1 where all of them lie there, else `UNBOUNDED`."""
    return _UNIT if values and all(0 <= value <= 1 for value in values) else UNBOUNDED


def clustered_mean(values: Sequence[float], clusters: Sequence[object] | None = None) -> ClusteredMean:
    """The mean, and its error when rows of one cluster may resemble each other (Miller 2024, arXiv 2411.00640).

    The error is the root of the sum over the clusters of the squared sum of their residuals, over the rows, with the
    small-sample factor G / (G - 1). Each row in its own cluster gives the usual s / sqrt(n).
    The mean of no rows is nan.
    """
    if clusters is not None and len(clusters) != len(values):
        raise ValueError(f"{len(values)} values, but clusters of {len(clusters)} rows")
    if not all(map(math.isfinite, values)):
        raise ValueError("a value is not a finite number")
    rows = len(values)
    if rows == 0:
        return ClusteredMean(math.nan, math.inf, 0, 0)
    mean = math.fsum(values) / rows
    residuals: dict[object, list[float]] = {}
    for row, value in enumerate(values):
        residuals.setdefault(row if clusters is None else clusters[row], []).append(value - mean)
    units = len(residuals)
    # Differences that are equal on paper differ in their last bits.
    commonest = Counter(round(math.fsum(own) / len(own), 9) for own in residuals.values()).most_common(1)[0][1]
    if units < 2:
        return ClusteredMean(mean, math.inf, units, units - commonest)
    squares = math.fsum(math.fsum(own) ** 2 for own in residuals.values())
    return ClusteredMean(mean, math.sqrt(squares * units / (units - 1)) / rows, units, units - commonest)


def quantile_interval(values: Sequence[float], q: float, *, confidence: float = 0.95, sides: Sides = 2) -> Interval:
    """The interval of the q-quantile between two of the sorted values, exact for any distribution (binomial counts).

    Too few rows for a bound make it infinite: a one-sided 95 % bound above the 95 % quantile takes 59 of them. Enough
    equal values do give an interval of no width, and that is exact too: 19 of 20 answers are known to be that value.
    """
    if not 0 < q < 1:
        raise ValueError(f"the quantile {q} does not lie between 0 and 1")
    if not all(map(math.isfinite, values)):
        raise ValueError("a value is not a finite number")
    tail, rows = _tail(confidence, sides), len(values)
    ordered = sorted(values)
    counts = range(rows)
    below = bisect_left(counts, True, key=lambda count: binomial_cdf(count, rows, q) > tail)
    above = bisect_left(counts, True, key=lambda count: binomial_cdf(rows - count - 1, rows, 1 - q) <= tail)
    low = ordered[below - 1] if below > 0 else -math.inf
    high = ordered[above] if above < rows else math.inf
    return Interval(low, high, confidence)


def critical_z(confidence: float, sides: Sides = 1) -> float:
    """How many standard errors a bound lies from the estimate: 1.645 for 95 % on one side, 1.960 on two."""
    return -NormalDist().inv_cdf(_tail(confidence, sides))


def t_quantile(probability: float, degrees: int) -> float:
    """The quantile of Student's t. Bisection on its tail, to the last bits that the tail can tell apart."""
    if not 0 < probability < 1 or degrees < 1:
        raise ValueError(f"no t quantile at {probability} with {degrees} degrees of freedom")
    if probability < 0.5:
        return -t_quantile(1 - probability, degrees)
    low, high = 0.0, 1.0
    while _t_tail(high, degrees) > 1 - probability:
        low, high = high, 2 * high
    while low < (middle := (low + high) / 2) < high:
        low, high = (middle, high) if _t_tail(middle, degrees) > 1 - probability else (low, middle)
    return middle


def binomial_cdf(count: int, rows: int, rate: float) -> float:
    """The probability of at most `count` successes in `rows` trials."""
    if count < 0:
        return 0.0
    return 1.0 if count >= rows else _incomplete_beta(rows - count, count + 1, 1 - rate, rate)


def _in_range(found: ClusteredMean, bounds: Bounds, t: float, tail: float) -> Bounds:
    """The bounds of a mean whose values lie in a range, before they are cut to it."""
    (least, most), span = bounds, bounds[1] - bounds[0]
    low, high = found.mean - t * found.error, found.mean + t * found.error
    if found.error > _NO_SPREAD * span:
        share = (found.mean - least) / span
        limits = _score_limits(share, share * (1 - share) * (span / found.error) ** 2, t)
        low, high = min(low, least + span * limits[0]), max(high, least + span * limits[1])
    if found.differing < FEW_DIFFERING:
        unseen = 1 - tail ** (1 / found.units)
        low = min(low, found.mean - unseen * (found.mean - least))
        high = max(high, found.mean + unseen * (most - found.mean))
    return low, high


def _score_limits(rate: float, rows: float, z: float) -> Bounds:
    """Where a rate would have to lie for the observed one to be z of its own standard errors away."""
    centre = (rate * rows + z * z / 2) / (rows + z * z)
    half = z / (rows + z * z) * math.sqrt(rows * rate * (1 - rate) + z * z / 4)
    return centre - half, centre + half


def _tail(confidence: float, sides: Sides) -> float:
    if not 0 < confidence < 1:
        raise ValueError(f"a confidence lies between 0 and 1, not at {confidence}")
    if sides not in (1, 2):
        raise ValueError(f"an interval has 1 or 2 sides, not {sides}")
    return (1 - confidence) / sides


def _t_tail(t: float, degrees: int) -> float:
    """The probability that Student's t is above `t`, for t >= 0."""
    square = t * t
    return _incomplete_beta(degrees / 2, 0.5, degrees / (degrees + square), square / (degrees + square)) / 2


def _incomplete_beta(a: float, b: float, x: float, rest: float) -> float:
    """The regularised incomplete beta function at x = 1 - rest; both are given because their difference loses digits.

    The continued fraction is DLMF 8.17.22 (https://dlmf.nist.gov/8.17), which converges fast below the mean.
    """
    if x > (a + 1) / (a + b + 2):
        return 1 - _incomplete_beta(b, a, rest, x)
    if x <= 0:
        return 0.0
    front = a * math.log(x) + b * math.log(rest) + math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    return math.exp(front) / (a * _fraction(a, b, x))


def _fraction(a: float, b: float, x: float) -> float:
    """1 + d1/(1 + d2/(1 + ...)) by Lentz's method, until a factor changes nothing."""
    value = numerator = 1.0
    denominator = 0.0
    for step in range(1, _LONGEST_FRACTION):
        m, is_odd = divmod(step, 2)
        d = -(a + m) * (a + b + m) * x / (a + 2 * m + 1) if is_odd else m * (b - m) * x / (a + 2 * m - 1)
        d /= a + 2 * m
        denominator = 1 / (1 + d * denominator)
        numerator = 1 + d / numerator
        value *= numerator * denominator
        if abs(numerator * denominator - 1) < 1e-15:
            return value
    raise ArithmeticError(f"the incomplete beta function does not converge at a={a}, b={b}, x={x}")
