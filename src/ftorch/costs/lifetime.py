"""Does the fine-tune pay over its life? The two formulas, the crossover, and one rule.

    hosted_lifetime    = hosted_cost_per_call x calls x periods
    fine_tune_lifetime = train_cost + serving_cost_per_call x calls x periods

A GPU that is always on costs the same whether it is called or not: its price counts per period, not per call.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import ROUND_CEILING, ROUND_HALF_EVEN, Decimal
from enum import StrEnum
from typing import assert_never

from ftorch.core.money import Money
from ftorch.core.quality import Quality, QualityState
from ftorch.manifest.lifetime import GpuHours, Lifetime, PerCall, PerToken, Price

RULE = (
    "pays when quality on held-out rows is at least the hosted model's, the saving is positive with a probability of "
    "0.9 or more, and the crossover comes within half the horizon"
)
_MILLION = Decimal(1_000_000)
_HOURS: Mapping[str, Decimal] = {
    "day": Decimal(24),
    "week": Decimal(168),
    "month": Decimal(730),  # a twelfth of 8,760, as providers bill an always-on machine
    "year": Decimal(8760),
}
_NOTHING = Money(Decimal(0))


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


@dataclass(frozen=True, slots=True)
class PriceLine:
    """One price that went into the answer."""

    what: str
    amount: Money
    unit: str
    source: str


@dataclass(frozen=True, slots=True)
class Side:
    """What one of the two models costs to call: per call, and per period whether it is called or not."""

    per_call: Money
    fixed_per_period: Money
    replicas: int | None
    """GPUs that are always on; None where the price has none."""
    prices: tuple[PriceLine, ...]

    def cost(self, calls: Decimal, periods: Decimal) -> Money:
        return self.per_call * calls * periods + self.fixed_per_period * periods


@dataclass(frozen=True, slots=True)
class Crossover:
    """Where the two lines meet."""

    calls: Decimal
    periods: Decimal
    months: Decimal
    on: date | None
    """None where it lies beyond the calendar."""


@dataclass(frozen=True, slots=True)
class LifetimeReport:
    """The answer with all that it rests on. What is unknown is None, never 0."""

    calls_per_period: int
    period: str
    periods: int
    start: date
    hosted: Side
    tuned: Side
    train: TrainCost | None
    hosted_lifetime: Money
    fine_tune_lifetime: Money | None
    saving: Money | None
    saving_percent: Decimal | None
    crossover: Crossover | None
    """None: the lines never meet, or the train cost is not known."""
    quality: Quality
    verdict: PayVerdict
    reason: str
    rule: str = RULE

    @property
    def months(self) -> Decimal:
        """The horizon in months."""
        return self.periods * months_of(self.period)

    def line(self, side: Side, months: Decimal) -> Money:
        """What one side has cost after so many months, training not included."""
        return side.cost(Decimal(self.calls_per_period), months / months_of(self.period))


def lifetime(block: Lifetime, train: TrainCost | None, quality: Quality, *, start: date) -> LifetimeReport:
    """Compare the two lives. `train` is None when nobody named a price for the runs that were made."""
    calls, periods = Decimal(block.calls_per_period), Decimal(block.periods)
    hosted = side(block.hosted, "hosted model", block.calls_per_period, block.period)
    tuned = side(block.serving, "serving the tuned model", block.calls_per_period, block.period)
    hosted_lifetime = hosted.cost(calls, periods)
    total = train.amount + tuned.cost(calls, periods) if train else None
    saving = hosted_lifetime - total if total else None
    crossover = _crossover(hosted, tuned, train, block, start) if train else None
    verdict, reason = _judge(block, hosted, tuned, saving, crossover, quality)
    return LifetimeReport(
        calls_per_period=block.calls_per_period,
        period=block.period,
        periods=block.periods,
        start=start,
        hosted=hosted,
        tuned=tuned,
        train=train,
        hosted_lifetime=hosted_lifetime,
        fine_tune_lifetime=total,
        saving=saving,
        saving_percent=_percent(saving, hosted_lifetime),
        crossover=crossover,
        quality=quality,
        verdict=verdict,
        reason=reason,
    )


def months_of(period: str) -> Decimal:
    """Months in one period; a month is a twelfth of a year of 365 days."""
    return _HOURS[period] / _HOURS["month"]


def side(price: Price, what: str, calls_per_period: int, period: str) -> Side:
    """What a price of any kind means per call and per period."""
    match price:
        case PerCall():
            line = PriceLine(what, price.per_call, "call", price.source)
            return Side(price.per_call, _NOTHING, None, (line,))
        case PerToken():
            return _per_token(price, what)
        case GpuHours():
            return _per_gpu_hour(price, what, calls_per_period, period)
        case unreachable:
            assert_never(unreachable)


def _per_token(price: PerToken, what: str) -> Side:
    read = price.per_million_input * (Decimal(price.input_tokens) / _MILLION)
    written = price.per_million_output * (Decimal(price.output_tokens) / _MILLION)
    lines = (
        PriceLine(f"{what}, {price.input_tokens} tokens read", price.per_million_input, "million tokens", price.source),
        PriceLine(
            f"{what}, {price.output_tokens} tokens written", price.per_million_output, "million tokens", price.source
        ),
    )
    return Side(read + written, _NOTHING, None, lines)


def _per_gpu_hour(price: GpuHours, what: str, calls_per_period: int, period: str) -> Side:
    """A GPU carries `calls_per_hour x utilisation`; always on, as many as that takes, and never less than one."""
    capacity = price.calls_per_hour * Decimal(str(price.utilisation))
    if not price.always_on:
        line = PriceLine(
            f"{what}, {capacity.normalize():f} calls an hour", price.per_gpu_hour, "GPU-hour", price.source
        )
        return Side(Money(price.per_gpu_hour.amount / capacity), _NOTHING, None, (line,))
    busy = Decimal(calls_per_period) / _HOURS[period] / capacity
    replicas = max(1, int(busy.to_integral_value(ROUND_CEILING)))
    line = PriceLine(f"{what}, {replicas} always on", price.per_gpu_hour, "GPU-hour", price.source)
    return Side(_NOTHING, price.per_gpu_hour * _HOURS[period] * replicas, replicas, (line,))


def _crossover(hosted: Side, tuned: Side, train: TrainCost, block: Lifetime, start: date) -> Crossover | None:
    calls = Decimal(block.calls_per_period)
    gain = hosted.cost(calls, Decimal(1)) - tuned.cost(calls, Decimal(1))
    if gain.amount <= 0:
        return None
    periods = train.amount.amount / gain.amount
    days = periods * _HOURS[block.period] / 24
    return Crossover(periods * calls, periods, periods * months_of(block.period), _day(start, days))


def _day(start: date, days: Decimal) -> date | None:
    try:
        return start + timedelta(days=int(days.to_integral_value(ROUND_CEILING)))
    except OverflowError:
        return None


def _percent(saving: Money | None, hosted: Money) -> Decimal | None:
    if saving is None or not hosted.amount:
        return None
    return (100 * saving.amount / hosted.amount).quantize(Decimal("0.1"), rounding=ROUND_HALF_EVEN)


def _judge(
    block: Lifetime, hosted: Side, tuned: Side, saving: Money | None, crossover: Crossover | None, quality: Quality
) -> tuple[PayVerdict, str]:
    """The rule. With point prices the probability of a saving is 1 or 0."""
    if lost := _loses(block, hosted, tuned, saving, crossover):
        return PayVerdict.DOES_NOT_PAY, lost
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
            return PayVerdict.PAYS, f"it saves {saving}, and quality is at least the hosted model's: {quality.words}"
        case unreachable:
            assert_never(unreachable)


def _loses(block: Lifetime, hosted: Side, tuned: Side, saving: Money | None, crossover: Crossover | None) -> str | None:
    """Why the money alone says no; None while it may say yes."""
    calls = Decimal(block.calls_per_period)
    if not block.calls_per_period:
        return "nobody calls it"
    if tuned.cost(calls, Decimal(1)) >= hosted.cost(calls, Decimal(1)):
        return "serving the tuned model costs as much as the hosted one, or more: the lines never cross"
    if saving is None or crossover is None:
        return None
    if saving.amount <= 0:
        return f"training is not earned back within {block.periods} {block.period}s"
    if 2 * crossover.periods > block.periods:
        when = crossover.periods.quantize(Decimal("0.01"))
        return f"the crossover comes after {when} {block.period}s, later than half the horizon of {block.periods}"
    return None
