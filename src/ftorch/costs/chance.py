"""How likely the saving is: the figures drawn again and again from their uncertainty, by a printed seed.

A share s means: with 90 % the true figure lies between value / (1 + s) and value x (1 + s). It is drawn log-normally,
value x exp(z ln(1 + s) / 1.645) with z standard normal; growth and decline, which are shares themselves, normally, plus
or minus s / 1.645 x z. All are drawn independently of each other. `random.Random(seed)` draws, so the same question has
the same answer everywhere.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import lru_cache
from math import exp, floor, inf, isinf, log

from ftorch.core.money import Money
from ftorch.costs.course import Terms, crossover, in_floats, scaled, totals

_NINETY = 1.6448536269514722
"""Standard deviations on either side that hold 90 % of a normal distribution."""
_DRAWS, _DRAWS_WITH_GPUS, _CROSSOVERS = 10_000, 1_000, 1_000
"""Where GPUs are added one by one each draw walks through all periods, so there are fewer of them."""
_CENT = Decimal("0.01")

INPUTS = ("calls_per_period", "hosted", "serving", "train_cost", "growth", "hosted_price_decline")
Draw = tuple[float, ...]
"""One standard normal per input, in their order."""


@dataclass(frozen=True, slots=True)
class Chance:
    """What the draws say. Intervals hold 90 %."""

    seed: int
    draws: int
    p_saving: float
    """How often the saving was positive."""
    saving_low: Money
    saving_median: Money
    saving_high: Money
    crossover_low: Decimal | None
    """In periods; None where it never comes."""
    crossover_median: Decimal | None
    crossover_high: Decimal | None
    never: float
    """How often the lines never met."""


@dataclass(frozen=True, slots=True)
class Swing:
    """What one input does to the saving, from its low to its high figure, all others as they are."""

    input: str
    share: float
    low: Decimal
    """The input's own low figure; of prices, over the figure that was given."""
    high: Decimal
    saving_at_low: Money
    saving_at_high: Money
    flips: bool
    """The saving changes its sign in between."""

    @property
    def width(self) -> Decimal:
        return abs(self.saving_at_high.amount - self.saving_at_low.amount)


def chance(terms: Terms[Decimal], shares: Mapping[str, float], seed: int) -> Chance:
    """Draw the saving and the crossover."""
    numbers = in_floats(terms)
    count = count_of(numbers, shares)
    drawn = draws(seed, count)
    found = sorted(savings(numbers, shares, seed, count))
    meetings = sorted(_meeting(at(numbers, shares, one)) for one in drawn[:_CROSSOVERS])
    low, middle, high = (_money(_quantile(found, share)) for share in (0.05, 0.5, 0.95))
    first, usual, last = (_periods(_quantile(meetings, share)) for share in (0.05, 0.5, 0.95))
    return Chance(
        seed=seed,
        draws=len(drawn),
        p_saving=sum(saving > 0 for saving in found) / len(found),
        saving_low=low,
        saving_median=middle,
        saving_high=high,
        crossover_low=first,
        crossover_median=usual,
        crossover_high=last,
        never=sum(map(isinf, meetings)) / len(meetings),
    )


def p_saving(terms: Terms[Decimal], shares: Mapping[str, float], seed: int) -> float:
    """How likely the saving is positive: the same figure as `chance` has, without the rest."""
    numbers = in_floats(terms)
    found = savings(numbers, shares, seed, count_of(numbers, shares))
    return sum(saving > 0 for saving in found) / len(found)


def tornado(terms: Terms[Decimal], shares: Mapping[str, float]) -> list[Swing]:
    """The inputs by how much they move the saving, the widest first; those that are taken for exact are left out."""
    numbers = in_floats(terms)
    found = [_swing(numbers, name, share) for name, share in shares.items() if share > 0]
    return sorted((swing for swing in found if swing.width), key=lambda swing: (-swing.width, swing.input))


def count_of(terms: Terms[float], shares: Mapping[str, float]) -> int:
    if not any(shares.values()):
        return 1  # all draws would be the same
    return _DRAWS_WITH_GPUS if terms.tuned.calls_per_gpu or terms.hosted.calls_per_gpu else _DRAWS


@lru_cache(maxsize=4)
def draws(seed: int, count: int) -> Sequence[Draw]:
    """The draws of a seed. Kept: thresholds ask the same ones again and again."""
    source = random.Random(seed)  # noqa: S311  chance in a forecast, not a secret
    return tuple(tuple(source.gauss(0, 1) for _ in INPUTS) for _ in range(count))


def savings(terms: Terms[float], shares: Mapping[str, float], seed: int, count: int) -> list[float]:
    """The saving of every draw."""
    if terms.tuned.calls_per_gpu or terms.hosted.calls_per_gpu or shares["growth"] or shares["hosted_price_decline"]:
        return [totals(at(terms, shares, one)).saving for one in draws(seed, count)]
    # Everything is linear in the factors, so the periods are added up once.
    whole = totals(terms)
    kept = terms.storage * terms.periods
    served = whole.tuned - terms.train - whole.retrains - kept
    trained = terms.train + whole.retrains
    factors = _factors(tuple(_scale(shares[name]) for name in INPUTS[:4]), seed, count)
    return [host * whole.hosted - serve * served - train * trained - kept for host, serve, train in factors]


@lru_cache(maxsize=4)
def _factors(scales: tuple[float, ...], seed: int, count: int) -> Sequence[tuple[float, float, float]]:
    """What every draw multiplies the hosted, the serving and the train cost with. Kept, as the draws are."""
    calls, hosted, serving, train = scales
    return [
        (exp(calls * c + hosted * h), exp(calls * c + serving * s), exp(train * t))
        for c, h, s, t, *_ in draws(seed, count)
    ]


def at(terms: Terms[float], shares: Mapping[str, float], draw: Draw) -> Terms[float]:
    """The terms of one draw."""
    for name, z in zip(INPUTS, draw, strict=True):
        if shares[name]:
            terms = _MOVES[name](terms, shares[name], z)
    return terms


def _swing(terms: Terms[float], name: str, share: float) -> Swing:
    ends = [_MOVES[name](terms, share, z) for z in (-_NINETY, _NINETY)]
    low, high = (totals(end).saving for end in ends)
    figures = [_FIGURES[name](terms, end) for end in ends]
    first, last = (Decimal(str(round(figure, 6))) for figure in figures)
    return Swing(name, share, first, last, _money(low), _money(high), flips=(low > 0) != (high > 0))


def _scale(share: float) -> float:
    return log(1 + share) / _NINETY


def _factor(share: float, z: float) -> float:
    return exp(_scale(share) * z)


_Move = Callable[[Terms[float], float, float], Terms[float]]


def _trained(terms: Terms[float], factor: float) -> Terms[float]:
    return replace(terms, train=terms.train * factor, retrain=terms.retrain * factor)


def _growing(terms: Terms[float], share: float, z: float) -> Terms[float]:
    return replace(terms, growth=max(-0.99, terms.growth + share * z / _NINETY))


def _declining(terms: Terms[float], share: float, z: float) -> Terms[float]:
    decline = min(0.99, max(0.0, terms.hosted.decline + share * z / _NINETY))
    return replace(terms, hosted=replace(terms.hosted, decline=decline))


_MOVES: Mapping[str, _Move] = {
    "calls_per_period": lambda terms, share, z: replace(terms, calls=terms.calls * _factor(share, z)),
    "hosted": lambda terms, share, z: replace(terms, hosted=scaled(terms.hosted, _factor(share, z))),
    "serving": lambda terms, share, z: replace(terms, tuned=scaled(terms.tuned, _factor(share, z))),
    "train_cost": lambda terms, share, z: _trained(terms, _factor(share, z)),
    "growth": _growing,
    "hosted_price_decline": _declining,
}


def _ratio(now: float, then: float) -> float:
    return now / then if then else 1.0


_FIGURES: Mapping[str, Callable[[Terms[float], Terms[float]], float]] = {
    "calls_per_period": lambda _terms, end: end.calls,
    "hosted": lambda terms, end: _ratio(
        end.hosted.per_call + end.hosted.per_gpu, terms.hosted.per_call + terms.hosted.per_gpu
    ),
    "serving": lambda terms, end: _ratio(
        end.tuned.per_call + end.tuned.per_gpu, terms.tuned.per_call + terms.tuned.per_gpu
    ),
    "train_cost": lambda _terms, end: end.train,
    "growth": lambda _terms, end: end.growth,
    "hosted_price_decline": lambda _terms, end: end.hosted.decline,
}


def _meeting(terms: Terms[float]) -> float:
    found = crossover(terms)
    return inf if found is None else found


def _quantile(ordered: Sequence[float], share: float) -> float:
    rank = share * (len(ordered) - 1)
    below = floor(rank)
    above = min(below + 1, len(ordered) - 1)
    if isinf(ordered[above]):
        return ordered[above] if above > below and rank > below else ordered[below]
    return ordered[below] + (rank - below) * (ordered[above] - ordered[below])


def _money(value: float) -> Money:
    return Money(Decimal(str(value)).quantize(_CENT))


def _periods(value: float) -> Decimal | None:
    return None if isinf(value) else Decimal(str(value)).quantize(_CENT)
