"""What would change the verdict in money: for each input the exact figure at which it flips, all others as they are.

Found by halving over a grid (one call, a ten-millionth of a dollar per call, a cent), with the very rule and the very
draws of the verdict: at the printed figure the answer is the other one, and one step before it is not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal

from ftorch.costs.chance import p_saving
from ftorch.costs.course import Rates, Terms, crossover, totals
from ftorch.costs.lifetime import Case, loses, shares_of

_CENT, _FINE = Decimal("0.01"), Decimal("0.0000001")
_FARTHEST = 10_000
"""Times the figure of today: what lies beyond is no advice."""


@dataclass(frozen=True, slots=True)
class Threshold:
    """Where the verdict flips."""

    input: str
    unit: str
    now: Decimal
    pays_at: Decimal
    """The last figure at which it pays."""
    loses_at: Decimal
    """The next one, one step away, at which it does not."""

    def words_when(self, *, pays: bool) -> str:
        """Which figures make it pay, or not."""
        at = self.pays_at if pays else self.loses_at
        way = "at least" if (self.pays_at > self.loses_at) == pays else "at most"
        return f"{self.input.replace('_', ' ')} {way} {at:,f} {self.unit} (now {self.now:,f})"


@dataclass(frozen=True, slots=True)
class _Lever:
    """An input that can be set."""

    unit: str
    step: Decimal
    helps: bool
    """More of it makes the fine-tune pay."""
    now: Decimal
    set: Callable[[Terms[Decimal], Decimal], Terms[Decimal]]


def pays(case: Case) -> bool:
    """The rule without quality; the costly part only where the figures themselves say yes."""
    whole, meets = totals(case.terms), crossover(case.terms)
    if loses(case, whole, meets, 1.0) is not None:
        return False
    return loses(case, whole, meets, p_saving(case.terms, shares_of(case), case.block.seed)) is None


def at(case: Case, name: str, value: Decimal) -> Case:
    """The same question with one figure set."""
    return replace(case, terms=_levers(case.terms)[name].set(case.terms, value))


def thresholds(case: Case) -> list[Threshold]:
    """The inputs that alone can flip the verdict. Empty where no train cost is known."""
    if case.train is None:
        return []
    found = ((name, lever, _flip(case, lever)) for name, lever in _levers(case.terms).items())
    return [Threshold(name, lever.unit, lever.now, *edge) for name, lever, edge in found if edge is not None]


def _flip(case: Case, lever: _Lever) -> tuple[Decimal, Decimal] | None:
    """The last figure that pays and the first that does not; None where none, or all of them, pay."""
    top = int(lever.now / lever.step + 1) * _FARTHEST

    def pays_at(steps: int) -> bool:
        return pays(replace(case, terms=lever.set(case.terms, steps * lever.step)))

    low, high = 0, top
    best, worst = (high, low) if lever.helps else (low, high)
    if not pays_at(best) or pays_at(worst):
        return None
    while abs(best - worst) > 1:
        middle = (best + worst) // 2
        best, worst = (middle, worst) if pays_at(middle) else (best, middle)
    return best * lever.step, worst * lever.step


def _levers(terms: Terms[Decimal]) -> Mapping[str, _Lever]:
    hosted, tuned = (_rate_lever(terms, side) for side in ("hosted", "tuned"))
    return {
        "calls_per_period": _Lever(
            "calls", Decimal(1), True, terms.calls, lambda known, new: replace(known, calls=new)
        ),
        "hosted": hosted,
        "serving": tuned,
        "train_cost": _Lever("USD", _CENT, False, terms.train, _train),
    }


def _rate_lever(terms: Terms[Decimal], side: str) -> _Lever:
    rates: Rates[Decimal] = getattr(terms, side)
    name, step = ("per_gpu", _CENT) if rates.calls_per_gpu else ("per_call", _FINE)

    def change(known: Terms[Decimal], new: Decimal) -> Terms[Decimal]:
        changed = replace(getattr(known, side), **{name: new})
        return replace(known, **{side: changed})

    unit = "USD a GPU and period" if name == "per_gpu" else "USD a call"
    return _Lever(unit, step, side == "hosted", getattr(rates, name), change)


def _train(known: Terms[Decimal], new: Decimal) -> Terms[Decimal]:
    """Where training again costs as much as the first time, it moves along."""
    again = new if known.retrain == known.train else known.retrain
    return replace(known, train=new, retrain=again)
