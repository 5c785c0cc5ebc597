"""Estimates that learn: what earlier jobs of the same provider and base model cost, against what was estimated.

A bill grows with the tokens, plus what is paid once per run (boot), or with a least amount: so the part of our estimate
that grows, g, is kept with each job beside the whole. With the actual amounts y of the newest 200 jobs:

1. Curve: max(floor, once + each x g). With fewer than 8 jobs `each` alone, the median of y / g. From 8 on also the
   lines through every pair of jobs (the newest 60) that fall nowhere, and a floor at the least y with the median y / g
   of those above it; the one with the least mean |ln y - ln curve| is taken: least absolute deviations, which a third
   of odd jobs cannot move far.
2. Shrinkage: the new estimate is moved by n / (n + v / 0.45) of the way (in logarithms) to the curve, where
   v = (4 x 0.3^2 + n x d^2) / (4 + n) and d is the median absolute residual x 1.4826: a prior worth four jobs that vary
   by 30 %; 0.45 is the variance of a factor of three either way in 90 of 100.
3. Interval of 90 %: the 0.05 and 0.95 quantiles of the residuals of the jobs above the floor, at ranks (n + 1) x 0.05
   and (n + 1) x 0.95 as split conformal prediction takes them (Vovk et al. 2005); then 3 / (n + 3) of the way out to
   the estimate's own interval, or to a factor of 1.65 either way where that is narrower: the quantiles of 50 jobs are
   themselves uncertain, and those of 5 hardly known.

So one job moves an estimate, ten narrow it, and a single odd one does neither. Floats: these are statistics, and the
result is rounded to money once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import lru_cache
from itertools import combinations
from math import ceil, exp, floor, log
from statistics import fmean, median

from ftorch.core.money import Money
from ftorch.costs.estimate import Estimate, Learned

_NEWEST = 200
_CURVE_FROM = 8
_PAIRS_FROM = 60
"""Pairs of the newest so many: their number grows with the square."""
_ABOVE_FLOOR = 1.05
_PRIOR_VARIANCE = 0.45
_PRIOR_JOBS = 4
_PRIOR_NOISE = 0.3
_BLEND = 3
_TAIL = 0.05
_UNSURE = 0.5
"""In logarithms: an interval that only counts tokens says nothing about prices."""
_MICRO = Decimal("0.000001")


@dataclass(frozen=True, slots=True)
class Outcome:
    """One earlier job: the part of its estimate that grows with the tokens, and what it was in the end."""

    growing: float
    actual: float


@dataclass(frozen=True, slots=True)
class Curve:
    """What a job costs by the part of its estimate that grows."""

    each: float
    once: float = 0.0
    floor: float = 0.0

    def at(self, growing: float) -> float:
        return max(self.floor, self.once + self.each * growing)

    def above_floor(self, outcomes: Sequence[Outcome]) -> Sequence[Outcome]:
        """Those that tell how much costs vary: at the floor they do not."""
        return [one for one in outcomes if one.actual > _ABOVE_FLOOR * self.floor] or outcomes

    def residuals(self, outcomes: Sequence[Outcome]) -> list[float]:
        return [log(one.actual / self.at(one.growing)) for one in outcomes]

    def loss(self, outcomes: Sequence[Outcome]) -> float:
        return fmean(map(abs, self.residuals(outcomes)))


@dataclass(frozen=True, slots=True)
class Correction:
    """What a new estimate is multiplied with: the likely factor and the bounds of its 90 % interval."""

    jobs: int
    likely: float
    low: float
    high: float


def correction(
    outcomes: Sequence[Outcome], *, estimate: float, growing: float, spread: tuple[float, float]
) -> Correction | None:
    """How to correct an estimate; `outcomes` are newest first. None where there is nothing to learn from.

    `spread` is the estimate's own interval over the estimate, such as (0.4, 3.0).
    """
    seen = tuple(one for one in outcomes if one.growing > 0 and one.actual > 0)[:_NEWEST]
    if not seen or estimate <= 0 or growing <= 0:
        return None
    curve = fit(seen)
    residuals = sorted(curve.residuals(curve.above_floor(seen)))
    centre = _weight(residuals) * log(curve.at(growing) / estimate)
    low, high = min(_quantile(residuals, _TAIL), 0.0), max(_quantile(residuals, 1 - _TAIL), 0.0)
    own = _BLEND / (len(residuals) + _BLEND)
    low += own * min(log(spread[0]) - low, -_UNSURE - low, 0.0)
    high += own * max(log(spread[1]) - high, _UNSURE - high, 0.0)
    return Correction(len(seen), exp(centre), exp(centre + low), exp(centre + high))


@lru_cache(maxsize=64)
def fit(outcomes: tuple[Outcome, ...]) -> Curve:
    """The curve with the least absolute deviations, in logarithms. Kept: all placements of a provider share it."""
    plain = Curve(median(one.actual / one.growing for one in outcomes))
    if len(outcomes) < _CURVE_FROM:
        return plain
    return min((plain, *_floors(outcomes), *_lines(outcomes)), key=lambda curve: curve.loss(outcomes))


def apply(estimate: Estimate, amounts: Sequence[Outcome], seconds: Sequence[Outcome]) -> Estimate:
    """The estimate as corrected by earlier jobs: money by money, time by time."""
    money, time = _of_amount(estimate, amounts), _of_seconds(estimate, seconds)
    told = money or time
    if told is None:
        return estimate
    learned = Learned(
        jobs=told.jobs,
        factor=Decimal(str(round(told.likely, 4))),
        unlearned=estimate.amount,
        unlearned_seconds=estimate.seconds,
    )
    many = f"{told.jobs} job{'s' if told.jobs > 1 else ''}"
    changed = replace(estimate, learned=learned, basis=f"{estimate.basis}; learned from {many}")
    return _with_seconds(_with_amount(changed, money), time)


def _floors(outcomes: Sequence[Outcome]) -> Iterator[Curve]:
    least = min(one.actual for one in outcomes)
    above = Curve(1.0, floor=least).above_floor(outcomes)
    yield Curve(median(one.actual / one.growing for one in above), floor=least)


def _lines(outcomes: Sequence[Outcome]) -> Iterator[Curve]:
    """An optimum of least absolute deviations goes through two of the points."""
    for one, other in combinations(outcomes[:_PAIRS_FROM], 2):
        if one.growing == other.growing:
            continue
        each = (other.actual - one.actual) / (other.growing - one.growing)
        once = one.actual - each * one.growing
        if each >= 0 and once >= 0 and each + once > 0:
            yield Curve(each, once)


def _of_amount(estimate: Estimate, outcomes: Sequence[Outcome]) -> Correction | None:
    likely, low, high, growing = estimate.amount, estimate.amount_low, estimate.amount_high, estimate.growing
    if likely is None or low is None or high is None or growing is None or likely.amount <= 0 or low.amount <= 0:
        return None
    spread = (float(low.amount / likely.amount), float(high.amount / likely.amount))
    return correction(outcomes, estimate=float(likely.amount), growing=float(growing.amount), spread=spread)


def _of_seconds(estimate: Estimate, outcomes: Sequence[Outcome]) -> Correction | None:
    likely, low, high, growing = (
        estimate.seconds,
        estimate.seconds_low,
        estimate.seconds_high,
        estimate.growing_seconds,
    )
    if not likely or not low or not high or not growing:
        return None
    return correction(outcomes, estimate=likely, growing=growing, spread=(low / likely, high / likely))


def _with_amount(estimate: Estimate, found: Correction | None) -> Estimate:
    if found is None or estimate.amount is None:
        return estimate
    likely, low, high = (_times(estimate.amount, factor) for factor in (found.likely, found.low, found.high))
    return replace(estimate, amount=likely, amount_low=low, amount_high=high)


def _with_seconds(estimate: Estimate, found: Correction | None) -> Estimate:
    if found is None or estimate.seconds is None:
        return estimate
    likely, low, high = (ceil(estimate.seconds * factor) for factor in (found.likely, found.low, found.high))
    return replace(estimate, seconds=likely, seconds_low=low, seconds_high=high)


def _times(amount: Money, factor: float) -> Money:
    return Money((amount.amount * Decimal(str(factor))).quantize(_MICRO))


def _weight(residuals: Sequence[float]) -> float:
    n = len(residuals)
    deviation = 1.4826 * median(map(abs, residuals))
    noise = (_PRIOR_JOBS * _PRIOR_NOISE**2 + n * deviation**2) / (_PRIOR_JOBS + n)
    return n / (n + noise / _PRIOR_VARIANCE)


def _quantile(ordered: Sequence[float], share: float) -> float:
    """By rank (n + 1) x share, linear between neighbours, the ends beyond them."""
    rank = (len(ordered) + 1) * share - 1
    if rank <= 0:
        return ordered[0]
    if rank >= len(ordered) - 1:
        return ordered[-1]
    below = floor(rank)
    return ordered[below] + (rank - below) * (ordered[below + 1] - ordered[below])
