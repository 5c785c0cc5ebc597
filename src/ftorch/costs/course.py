"""The two lives period by period: volume grows, prices fall, GPUs are added, training is repeated.

    calls(t)  = calls x (1 + growth)^t                                   t = 0, 1, ... while t < periods
    hosted(t) = hosted per call x (1 - decline)^t x calls(t) + GPUs(t)
    tuned(t)  = serving per call x (1 - decline)^t x calls(t) + GPUs(t) + storage + retrains(t)
    GPUs(t)   = price of one x max(1, ceil(calls(t) / what one carries)) where they are always on
    retrains  are due at the start of period t >= 1: floor(t / every) - floor((t - 1) / every) of them

A last period that is cut short (by the hosted model's shutdown) counts by its length. With no growth and no decline
this is the plain pair of formulas, exact in Decimal; the same code runs in float for the draws of chance.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from decimal import Decimal
from math import ceil, floor
from typing import Generic, TypeVar

N = TypeVar("N", Decimal, float)
_FARTHEST = 1200
"""Periods that are looked at for a crossover beyond the horizon."""


@dataclass(frozen=True, slots=True)
class Rates(Generic[N]):
    """What one side costs: per call, per GPU that is always on, and how its price falls."""

    per_call: N
    per_gpu: N
    calls_per_gpu: N | None
    decline: N

    def cost(self, calls: N, falling: N, fully: N) -> N:
        """In one period: `falling` is what is left of the price, `fully` the period's length."""
        gpus = self.per_gpu * max(1, ceil(calls / self.calls_per_gpu)) if self.calls_per_gpu else self.per_gpu
        return (self.per_call * calls + gpus) * falling * fully


@dataclass(frozen=True, slots=True)
class Terms(Generic[N]):
    """All that the two lives are computed from."""

    calls: N
    growth: N
    periods: N
    """The horizon, cut where the hosted model is switched off."""
    hosted: Rates[N]
    tuned: Rates[N]
    train: N
    retrain: N
    """What one repeated training costs."""
    retrain_every: N | None
    storage: N
    ends: bool
    """Nothing comes after the horizon: the hosted model is switched off."""

    @property
    def is_even(self) -> bool:
        """Every period is like the first, and training is not repeated."""
        moves = (self.growth, self.hosted.decline, self.tuned.decline)
        return not any(moves) and self.retrain_every is None


@dataclass(frozen=True, slots=True)
class Period(Generic[N]):
    """One period of both lives."""

    start: int
    length: N
    hosted: N
    tuned: N
    """With storage; without retrains."""
    retrains: N
    """What training again cost at its start."""


@dataclass(frozen=True, slots=True)
class Totals(Generic[N]):
    """The whole of both lives."""

    hosted: N
    tuned: N
    """Everything, the first training included."""
    retrains: N

    @property
    def saving(self) -> N:
        return self.hosted - self.tuned


def walk(terms: Terms[N], *, beyond: bool = False) -> Iterator[Period[N]]:
    """The periods in order; `beyond` goes on after the horizon, as far as it makes sense."""
    horizon = _FARTHEST if beyond and not terms.ends else ceil(terms.periods)
    one = terms.train - terms.train + 1
    calls, hosted, tuned = terms.calls, one, one
    for start in range(horizon):
        length = min(one, terms.periods - start) if terms.ends else one
        yield Period(
            start=start,
            length=length,
            hosted=terms.hosted.cost(calls, hosted, length),
            tuned=terms.tuned.cost(calls, tuned, length) + terms.storage * length,
            retrains=terms.retrain * _due(start, terms.retrain_every),
        )
        calls *= 1 + terms.growth
        hosted *= 1 - terms.hosted.decline
        tuned *= 1 - terms.tuned.decline


def totals(terms: Terms[N]) -> Totals[N]:
    """Both lives to the end of the horizon."""
    nothing = terms.train - terms.train
    hosted, tuned, retrains = nothing, nothing, nothing
    for period in walk(terms):
        hosted += period.hosted
        tuned += period.tuned
        retrains += period.retrains
    return Totals(hosted, terms.train + tuned + retrains, retrains)


def crossover(terms: Terms[N]) -> N | None:
    """Periods until the tuned life is the cheaper one and stays so to the horizon's end; None: never.

    Where every period is like the first it may lie any distance beyond the horizon.
    """
    if terms.is_even and not terms.ends:
        first = next(walk(terms))
        gain = first.hosted - first.tuned
        return terms.train / gain if gain > 0 else None
    return _met(terms)


def points(terms: Terms[N]) -> Iterator[tuple[N, N, N]]:
    """(periods gone, hosted so far, tuned so far) at the start and after each period, with both sides of a jump."""
    gone = hosted = terms.train - terms.train
    tuned = terms.train
    yield gone, hosted, tuned
    for period in walk(terms):
        if period.retrains:
            tuned += period.retrains
            yield gone, hosted, tuned
        gone, hosted, tuned = gone + period.length, hosted + period.hosted, tuned + period.tuned
        yield gone, hosted, tuned


def _met(terms: Terms[N]) -> N | None:
    """A repeated training may lift the tuned line over the hosted one again: the last meeting counts."""
    behind, found = terms.train, None
    if behind <= 0:
        found = behind - behind
    for period in walk(terms, beyond=True):
        if found is not None and period.start >= terms.periods:
            break
        behind += period.retrains
        if behind > 0:
            found = None
        gain = period.hosted - period.tuned
        if found is None and behind <= gain and gain > 0:
            found = period.start + period.length * (behind / gain)
        behind -= gain
        if behind > 0:
            found = None
    return found


def _due(start: int, every: N | None) -> int:
    return floor(start / every) - floor((start - 1) / every) if every and start else 0


def in_floats(terms: Terms[Decimal]) -> Terms[float]:
    """The same terms for statistics."""

    def rates(one: Rates[Decimal]) -> Rates[float]:
        carried = float(one.calls_per_gpu) if one.calls_per_gpu is not None else None
        return Rates(float(one.per_call), float(one.per_gpu), carried, float(one.decline))

    return Terms(
        calls=float(terms.calls),
        growth=float(terms.growth),
        periods=float(terms.periods),
        hosted=rates(terms.hosted),
        tuned=rates(terms.tuned),
        train=float(terms.train),
        retrain=float(terms.retrain),
        retrain_every=float(terms.retrain_every) if terms.retrain_every is not None else None,
        storage=float(terms.storage),
        ends=terms.ends,
    )


def scaled(rates: Rates[N], factor: N) -> Rates[N]:
    """The same side at prices that differ by a factor."""
    return replace(rates, per_call=rates.per_call * factor, per_gpu=rates.per_gpu * factor)
