"""What a run cost: Modal's own statistics once they hold all of it, measured time at the rate until then."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal

from ftorch.core.money import Money
from ftorch.costs.items import EntryKind, LineItem, SpendSource, Window, time_charge
from ftorch.providers.base import Observation
from ftorch.providers.modal.capabilities import SETTLE_LAG_S

_WHOLE = Decimal("0.98")
"""Boot and shutdown are in Modal's figure and not in ours, so a whole one is not below ours."""


def charge(
    key: str, seen: Observation, rate: Decimal | None, recorded: Decimal | None, now: datetime
) -> Sequence[LineItem]:
    """One item, or none where nobody names a price."""
    ended_at = seen.billable_to or now
    period = Window(seen.billable_from, max(ended_at, seen.billable_from)) if seen.billable_from else None
    measured = _measured(key, period, rate) if period and rate is not None else None
    is_settled = now >= ended_at + timedelta(seconds=SETTLE_LAG_S)
    if recorded and (measured is None or is_settled or recorded >= measured.amount.amount * _WHOLE):
        known = period or Window(ended_at, ended_at)
        as_of = ended_at + timedelta(seconds=SETTLE_LAG_S) if is_settled else ended_at
        return (_recorded(key, known, recorded, as_of),)
    return (measured,) if measured else ()


def charge_as_seen(key: str, history: Sequence[Observation]) -> Sequence[LineItem]:
    """The time that we saw at the rate that we saw, for a run of which nothing is left."""
    for seen in reversed(history):
        if seen.rate is not None and seen.billable_from is not None:
            end = max(seen.billable_to or seen.observed_at, seen.billable_from)
            return (_measured(key, Window(seen.billable_from, end), seen.rate),)
    return ()


def _recorded(key: str, period: Window, usd: Decimal, as_of: datetime) -> LineItem:
    return LineItem(
        source=SpendSource.RUN_RECORD,
        source_ref=f"{key}/stats",
        kind=EntryKind.PROVISIONAL,
        amount=Money(usd),
        quantity=Decimal(1),
        unit="run",
        unit_price=usd,
        period=period,
        as_of=as_of,
        description=f"modal's statistics of the sandboxes tagged {key}",
        run_key=key,
    )


def _measured(key: str, period: Window, rate: Decimal) -> LineItem:
    return LineItem(
        source=SpendSource.MEASURED_TIME,
        source_ref=f"{key}/time",
        kind=EntryKind.PROVISIONAL,
        amount=time_charge(rate, period),
        quantity=period.seconds,
        unit="second",
        unit_price=rate / 3600,
        period=period,
        as_of=period.end,
        description=f"time of run {key} on modal, at {rate} USD per hour",
        run_key=key,
    )
