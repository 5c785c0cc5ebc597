"""What one of the two models costs to call: from prices per call, per token or per GPU-hour.

A GPU that is always on costs the same whether it is called or not: its price counts per period, not per call.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal
from typing import assert_never

from ftorch.core.money import Money
from ftorch.manifest.lifetime import GpuHours, PerCall, PerToken

_MILLION = Decimal(1_000_000)
HOURS: Mapping[str, Decimal] = {
    "day": Decimal(24),
    "week": Decimal(168),
    "month": Decimal(730),  # a twelfth of 8,760, as providers bill an always-on machine
    "year": Decimal(8760),
}
_NOTHING = Money(Decimal(0))


@dataclass(frozen=True, slots=True)
class PriceLine:
    """One price that went into the answer."""

    what: str
    amount: Money
    unit: str
    source: str


@dataclass(frozen=True, slots=True)
class Side:
    """What one of the two models costs to call in the first period: per call, and whether it is called or not."""

    per_call: Money
    fixed_per_period: Money
    replicas: int | None
    """GPUs that are always on; None where the price has none."""
    calls_per_replica: Decimal | None
    """What one of them carries in a period."""
    prices: tuple[PriceLine, ...]

    def cost(self, calls: Decimal, periods: Decimal) -> Money:
        """For so many periods that are all like the first."""
        return self.per_call * calls * periods + self.fixed_per_period * periods

    @property
    def per_replica(self) -> Money:
        """What one GPU costs in a period."""
        return Money(self.fixed_per_period.amount / self.replicas) if self.replicas else _NOTHING


def months_of(period: str) -> Decimal:
    """Months in one period; a month is a twelfth of a year of 365 days."""
    return HOURS[period] / HOURS["month"]


def side(price: PerCall | PerToken | GpuHours, what: str, calls_per_period: int, period: str) -> Side:
    """What a price of any kind means per call and per period."""
    match price:
        case PerCall():
            line = PriceLine(what, price.per_call, "call", price.source)
            return Side(price.per_call, _NOTHING, None, None, (line,))
        case PerToken():
            return _per_token(price, what)
        case GpuHours():
            return _per_gpu_hour(price, what, calls_per_period, period)
        case unreachable:
            assert_never(unreachable)


def _per_token(price: PerToken, what: str) -> Side:
    cached_price = price.per_million_cached_input or price.per_million_input
    parts = (
        ("read", price.input_tokens - price.cached_tokens, price.per_million_input),
        ("read from the cache", price.cached_tokens, cached_price),
        ("written", price.output_tokens, price.per_million_output),
    )
    told = [part for part in parts if part[1] or part[0] != "read from the cache"]
    per_call = sum((amount * (Decimal(tokens) / _MILLION) for _, tokens, amount in told), _NOTHING)
    lines = tuple(
        PriceLine(f"{what}, {tokens} tokens {verb}", amount, "million tokens", price.source)
        for verb, tokens, amount in told
    )
    return Side(per_call, _NOTHING, None, None, lines)


def _per_gpu_hour(price: GpuHours, what: str, calls_per_period: int, period: str) -> Side:
    """A GPU carries `calls_per_hour x utilisation`; always on, as many as that takes, and never less than one."""
    capacity = price.calls_per_hour * Decimal(str(price.utilisation))
    if not price.always_on:
        words = f"{what}, {capacity.normalize():f} calls an hour"
        line = PriceLine(words, price.per_gpu_hour, "GPU-hour", price.source)
        return Side(Money(price.per_gpu_hour.amount / capacity), _NOTHING, None, None, (line,))
    carried = capacity * HOURS[period]
    replicas = max(1, int((Decimal(calls_per_period) / carried).to_integral_value(ROUND_CEILING)))
    line = PriceLine(f"{what}, {replicas} always on", price.per_gpu_hour, "GPU-hour", price.source)
    return Side(_NOTHING, price.per_gpu_hour * HOURS[period] * replicas, replicas, carried, (line,))
