"""Does the fine-tune pay over its life? The two formulas, the crossover, and one rule.

    hosted_lifetime    = hosted_cost_per_call x calls x periods
    fine_tune_lifetime = train_cost + serving_cost_per_call x calls x periods

`course` has them period by period, with growth, falling prices, retrains and storage; `chance` how likely it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import ROUND_CEILING, ROUND_HALF_EVEN, Decimal
from enum import StrEnum
from typing import assert_never

from ftorch.core.money import Money
from ftorch.core.quality import Quality, QualityState
from ftorch.costs.chance import Chance, Swing, chance, tornado
from ftorch.costs.course import Rates, Terms, Totals, crossover, points, totals
from ftorch.costs.sides import HOURS, PriceLine, Side, months_of, side
from ftorch.manifest.lifetime import Assumed, Lifetime, OfLogs, OfModel

P_SAVING = 0.9
"""How likely the saving must be positive."""
SHARE_OF_HORIZON = Decimal("0.5")
"""How much of the horizon may pass before the lines meet."""
RULE = (
    "pays when quality on held-out rows is at least the hosted model's, the saving is positive with a probability of "
    f"{P_SAVING} or more, and the crossover comes within half the horizon"
)
_ASSUMED_SHARE = 0.2
_FINAL = frozenset({"billed", "adjusted"})
_MOST_POINTS = 240


class PayVerdict(StrEnum):
    """The answer to the question that this all is for."""

    PAYS = "pays"
    DOES_NOT_PAY = "does_not_pay"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class TrainCost:
    """What training costs once, and who says so."""

    amount: Money
    source: str
    is_assumed: bool
    status: str = "assumed"
    """`assumed`, or the kinds of ledger entries that it is the sum of."""

    @property
    def share(self) -> float:
        """By how much it may be off: a billed figure is what it is."""
        return 0.0 if set(self.status.split("+")) <= _FINAL else _ASSUMED_SHARE


@dataclass(frozen=True, slots=True)
class Crossover:
    """Where the two lines meet."""

    calls: Decimal
    periods: Decimal
    months: Decimal
    on: date | None
    """None where it lies beyond the calendar."""


@dataclass(frozen=True, slots=True)
class Point:
    """How far both lives have come: one corner of each line."""

    months: Decimal
    hosted: Money
    tuned: Money


@dataclass(frozen=True, slots=True)
class LifetimeReport:
    """The answer with all that it rests on. What is unknown is None, never 0."""

    calls_per_period: int
    growth: Decimal
    period: str
    periods: int
    start: date
    shutdown: date | None
    """The day on which the hosted model is switched off, where it cuts the horizon."""
    horizon_periods: Decimal
    """The periods that count: those asked for, or fewer up to the shutdown."""
    hosted: Side
    hosted_price_decline: Decimal
    tuned: Side
    serving_price_decline: Decimal
    train_cost: TrainCost | None
    retrain_every: Decimal | None
    retrains: Money | None
    """What all repeated trainings cost."""
    storage: Money
    hosted_lifetime: Money
    fine_tune_lifetime: Money | None
    saving: Money | None
    saving_percent: Decimal | None
    crossover: Crossover | None
    """None: the lines never meet, or the train cost is not known."""
    chance: Chance | None
    tornado: Sequence[Swing]
    """Which input moves the saving most; empty where the train cost is not known."""
    uncertainty: Mapping[str, float]
    """The share by which each input may be off, in 90 of 100 cases."""
    course: Sequence[Point]
    quality: Quality
    pays_in_money: bool | None
    """The rule without quality; None where the train cost is not known."""
    loss: str | None
    """Why the money alone says no; None while it may say yes."""
    verdict: PayVerdict
    reason: str
    warnings: Sequence[str]
    rule: str = RULE

    @property
    def loses_anyway(self) -> bool:
        """It does not pay whatever training costs."""
        return self.train_cost is None and self.verdict is PayVerdict.DOES_NOT_PAY and self.loss is not None

    @property
    def money_words(self) -> str:
        """The money alone, in a sentence."""
        if self.loss is not None or self.chance is None or self.saving is None:
            return self.loss or "train cost not known"
        meets = f", crossover after {_plain(self.crossover.periods)} {self.period}s" if self.crossover else ""
        return f"saves {self.saving.cents}, positive with a probability of {self.chance.p_saving:.3f}{meets}"

    @property
    def months(self) -> Decimal:
        """The horizon in months."""
        return self.horizon_periods * months_of(self.period)


@dataclass(frozen=True, slots=True)
class Case:
    """A question ready to be computed: terms in numbers, beside what they came from."""

    block: Lifetime
    hosted: Side
    tuned: Side
    train: TrainCost | None
    terms: Terms[Decimal]
    start: date


def case_of(block: Lifetime, train: TrainCost | None, *, start: date) -> Case:
    """The terms of a block whose hosted price and volume are figures (`OfModel` and `OfLogs` are looked up before)."""
    assert not isinstance(block.hosted, OfModel | OfLogs)
    assert block.calls_per_period is not None
    hosted = side(block.hosted, "hosted model", block.calls_per_period, block.period)
    tuned = side(block.serving, "serving the tuned model", block.calls_per_period, block.period)
    horizon = _horizon(block, start)
    cost = train.amount.amount if train else Decimal(0)
    terms = Terms(
        calls=Decimal(block.calls_per_period),
        growth=_exact(block.growth),
        periods=horizon,
        hosted=_rates(hosted, block.hosted_price_decline),
        tuned=_rates(tuned, block.serving_price_decline),
        train=cost,
        retrain=_retrain(block, cost),
        retrain_every=_exact(block.retrain.every) if block.retrain else None,
        storage=block.storage.per_period.amount if block.storage else Decimal(0),
        ends=horizon < block.periods,
    )
    return Case(block, hosted, tuned, train, terms, start)


def lifetime(
    block: Lifetime, train: TrainCost | None, quality: Quality, *, start: date, warnings: Sequence[str] = ()
) -> LifetimeReport:
    """Compare the two lives. `train` is None when nobody named a price for the runs that were made."""
    case = case_of(block, train, start=start)
    terms, whole = case.terms, totals(case.terms)
    shares = shares_of(case)
    meets = _crossover(case) if train else None
    drawn = chance(terms, shares, block.seed) if train else None
    loss = loses(case, whole, meets.periods if meets else None, drawn.p_saving if drawn else None)
    saving = _usd(whole.saving, train) if train else None
    verdict, reason = _judge(loss, saving, quality)
    return LifetimeReport(
        calls_per_period=int(terms.calls),
        growth=terms.growth,
        period=block.period,
        periods=block.periods,
        start=start,
        shutdown=block.hosted_shutdown if terms.ends else None,
        horizon_periods=terms.periods,
        hosted=case.hosted,
        hosted_price_decline=terms.hosted.decline,
        tuned=case.tuned,
        serving_price_decline=terms.tuned.decline,
        train_cost=train,
        retrain_every=terms.retrain_every,
        retrains=Money(whole.retrains) if train else None,
        storage=Money(terms.storage * terms.periods),
        hosted_lifetime=Money(whole.hosted),
        fine_tune_lifetime=_usd(whole.tuned, train) if train else None,
        saving=saving,
        saving_percent=_percent(saving, whole.hosted),
        crossover=meets,
        chance=drawn,
        tornado=tornado(terms, shares) if train else (),
        uncertainty=shares,
        course=_course(case) if train else (),
        quality=quality,
        pays_in_money=loss is None if train else None,
        loss=loss,
        verdict=verdict,
        reason=reason,
        warnings=warnings,
    )


def shares_of(case: Case) -> dict[str, float]:
    """By which share each input may be off."""
    said = case.block.uncertainty
    train = said.train_cost
    if train is None:
        train = case.train.share if case.train else 0.0
    return {
        "calls_per_period": said.calls_per_period,
        "hosted": said.hosted,
        "serving": said.serving,
        "train_cost": train,
        "growth": said.growth,
        "hosted_price_decline": said.hosted_price_decline,
    }


def loses(case: Case, whole: Totals[Decimal], meets: Decimal | None, p_saving: float | None) -> str | None:
    """Why the money alone says no; None while it may say yes. `p_saving` is None where no train cost is known."""
    block, terms = case.block, case.terms
    if not terms.calls:
        return "nobody calls it"
    if terms.periods <= 0:
        return f"the hosted model is switched off on {block.hosted_shutdown}, before this begins"
    if whole.saving + terms.train + whole.retrains <= 0:
        return "serving the tuned model costs as much as the hosted one, or more: the lines never cross"
    if p_saving is None:
        return None
    horizon = f"{_plain(terms.periods)} {block.period}s"
    if whole.saving <= 0:
        return f"training is not earned back within {horizon}"
    if meets is None:
        return f"the lines do not stay crossed within {horizon}"
    if meets > SHARE_OF_HORIZON * terms.periods:
        when = meets.quantize(Decimal("0.01"))
        return (
            f"the crossover comes after {when} {block.period}s, later than half the horizon of {_plain(terms.periods)}"
        )
    if p_saving < P_SAVING:
        return f"the saving is positive with a probability of {p_saving:.3f} only, less than {P_SAVING}"
    return None


def _judge(loss: str | None, saving: Money | None, quality: Quality) -> tuple[PayVerdict, str]:
    if loss is not None:
        return PayVerdict.DOES_NOT_PAY, loss
    if quality.state is QualityState.WORSE:
        return PayVerdict.DOES_NOT_PAY, f"quality is below the hosted model's: {quality.words}"
    if saving is None:
        return PayVerdict.UNKNOWN, "train cost not known"
    match quality.state:
        case QualityState.NOT_MEASURED:
            return PayVerdict.UNKNOWN, "quality not measured"
        case QualityState.INCONCLUSIVE:
            return PayVerdict.UNKNOWN, f"quality inconclusive: {quality.words}"
        case QualityState.AT_LEAST_HOSTED:
            return (
                PayVerdict.PAYS,
                f"it saves {saving.cents}, and quality is at least the hosted model's: {quality.words}",
            )
        case unreachable:
            assert_never(unreachable)


def _horizon(block: Lifetime, start: date) -> Decimal:
    asked = Decimal(block.periods)
    if block.hosted_shutdown is None:
        return asked
    days = Decimal((block.hosted_shutdown - start).days)
    return max(Decimal(0), min(asked, days * 24 / HOURS[block.period]))


def _rates(one: Side, decline: float) -> Rates[Decimal]:
    return Rates(one.per_call.amount, one.per_replica.amount, one.calls_per_replica, _exact(decline))


def _retrain(block: Lifetime, train: Decimal) -> Decimal:
    if block.retrain is None:
        return Decimal(0)
    return block.retrain.cost.assumed.amount if isinstance(block.retrain.cost, Assumed) else train


def _crossover(case: Case) -> Crossover | None:
    periods = crossover(case.terms) if case.terms.calls else None
    if periods is None:
        return None
    block = case.block
    days = periods * HOURS[block.period] / 24
    return Crossover(_calls(case.terms, periods), periods, periods * months_of(block.period), _day(case.start, days))


def _calls(terms: Terms[Decimal], periods: Decimal) -> Decimal:
    """Calls in so many periods."""
    if not terms.growth:
        return periods * terms.calls
    whole, calls, made = int(periods), terms.calls, Decimal(0)
    for _ in range(whole):
        made += calls
        calls *= 1 + terms.growth
    return made + calls * (periods - whole)


def _course(case: Case) -> list[Point]:
    corners = [
        Point(gone * months_of(case.block.period), Money(hosted), Money(tuned))
        for gone, hosted, tuned in points(case.terms)
    ]
    if len(corners) <= _MOST_POINTS:
        return corners
    step = -(-len(corners) // _MOST_POINTS)
    return [*corners[:-1:step], corners[-1]]


def _day(start: date, days: Decimal) -> date | None:
    try:
        return start + timedelta(days=int(days.to_integral_value(ROUND_CEILING)))
    except OverflowError:
        return None


def _percent(saving: Money | None, hosted: Decimal) -> Decimal | None:
    if saving is None or not hosted:
        return None
    return (100 * saving.amount / hosted).quantize(Decimal("0.1"), rounding=ROUND_HALF_EVEN)


def _usd(amount: Decimal, train: TrainCost) -> Money:
    """In the currency of the books. Raises ValueError for a train cost in another one."""
    return Money(amount) + train.amount - train.amount


def _exact(share: float) -> Decimal:
    return Decimal(str(share))


def _plain(value: Decimal) -> str:
    return f"{value.quantize(Decimal('0.01')).normalize():f}"


__all__ = [
    "P_SAVING",
    "RULE",
    "SHARE_OF_HORIZON",
    "Case",
    "Crossover",
    "LifetimeReport",
    "PayVerdict",
    "Point",
    "PriceLine",
    "Side",
    "TrainCost",
    "case_of",
    "lifetime",
    "loses",
    "months_of",
    "shares_of",
    "side",
]
