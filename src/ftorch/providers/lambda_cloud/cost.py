"""What a machine cost: whole minutes from its first healthy moment to its end, at the price read back at its launch.

Lambda has no billing API, so this is derived, with an interval: its end may not be known to the second, and how the
last minute is rounded is said nowhere. Sales tax is outside.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

from ftorch.core.money import Money
from ftorch.costs.items import Window

_MINUTE = Decimal(60)


@dataclass(frozen=True, slots=True)
class Life:
    """One machine's time. `ended_from` and `ended_to` enclose its end; the same moment where it is known."""

    cents_per_hour: int
    launched_at: datetime
    healthy_at: datetime | None
    """None: it never passed a health check, and Lambda's rules say that it is not billed."""
    ended_from: datetime
    ended_to: datetime


@dataclass(frozen=True, slots=True)
class Cost:
    """The figure, and what it may be at least and at most."""

    amount: Money
    low: Money
    high: Money
    minutes: int
    window: Window


def cost(life: Life) -> Cost:
    """The cost of a life."""
    start = life.healthy_at or life.launched_at
    window = Window(start, max(start, life.ended_to))
    whole = _minutes(start, life.ended_to, ROUND_CEILING)
    high = _price(whole + 1, life.cents_per_hour)
    if life.healthy_at is None:
        return Cost(_price(0, 0), _price(0, 0), high, 0, window)
    low = _price(_minutes(start, life.ended_from, ROUND_FLOOR), life.cents_per_hour)
    return Cost(_price(whole, life.cents_per_hour), low, high, whole, window)


def words(cost: Cost, cents_per_hour: int, machine: str) -> str:
    """The cost as a line of the ledger says it."""
    usd = Decimal(cents_per_hour) / 100
    return (
        f"derived, not billed: {cost.minutes} min of {machine} at {usd} USD per hour; between {cost.low} and "
        f"{cost.high}, tax not included"
    )


def _minutes(start: datetime, end: datetime, rounding: str) -> int:
    seconds = Window(start, max(start, end)).seconds
    return int((seconds / _MINUTE).to_integral_value(rounding))


def _price(minutes: int, cents_per_hour: int) -> Money:
    return Money(Decimal(minutes) * Decimal(cents_per_hour) / 6000)
