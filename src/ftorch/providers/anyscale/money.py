"""What a run cost: the rows of the bill that name its job, once they hold all of it; measured time until then."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from decimal import Decimal

from ftorch.core.money import Money
from ftorch.costs.items import EntryKind, LineItem, SpendSource, Window, time_charge
from ftorch.providers.anyscale.answers import Usage
from ftorch.providers.anyscale.capabilities import SETTLE_LAG_S
from ftorch.providers.base import Observation

_WHOLE = Decimal("0.98")
"""Boot and shutdown are in Anyscale's figure and hardly in ours, so a whole one is not below ours."""


def used(rows: Iterable[Usage], job_id: str) -> Decimal | None:
    """What the rows of a job add up to in USD; None where there is none, or one that names no dollars."""
    amounts = [row.dollar_value for row in rows if row.job_id == job_id]
    known = [usd for usd in amounts if usd is not None]
    return sum(known, Decimal(0)) if amounts and len(known) == len(amounts) else None


def charge(job_id: str, key: str, seen: Observation, recorded: Decimal | None, now: datetime) -> Sequence[LineItem]:
    """One item, or none where nobody names a price."""
    ended_at = seen.billable_to or now
    period = Window(seen.billable_from, max(ended_at, seen.billable_from)) if seen.billable_from else None
    measured = _measured(job_id, key, period, seen.rate) if period and seen.rate is not None else None
    is_settled = now >= ended_at + timedelta(seconds=SETTLE_LAG_S)
    if recorded and (measured is None or is_settled or recorded >= measured.amount.amount * _WHOLE):
        known = period or Window(ended_at, ended_at)
        as_of = ended_at + timedelta(seconds=SETTLE_LAG_S) if is_settled else ended_at
        return (_recorded(job_id, key, known, recorded, as_of),)
    return (measured,) if measured else ()


def charge_as_seen(job_id: str, key: str, history: Sequence[Observation]) -> Sequence[LineItem]:
    """The time that we saw at the rate that we saw, for a job of which nothing is left."""
    for seen in reversed(history):
        if seen.rate is not None and seen.billable_from is not None:
            end = max(seen.billable_to or seen.observed_at, seen.billable_from)
            return (_measured(job_id, key, Window(seen.billable_from, end), seen.rate),)
    return ()


def _recorded(job_id: str, key: str, period: Window, usd: Decimal, as_of: datetime) -> LineItem:
    return LineItem(
        source=SpendSource.RUN_RECORD,
        source_ref=f"{job_id}/usage",
        kind=EntryKind.PROVISIONAL,
        amount=Money(usd),
        quantity=Decimal(1),
        unit="run",
        unit_price=usd,
        period=period,
        as_of=as_of,
        description=f"anyscale's usage rows of job {job_id}",
        run_key=key,
    )


def _measured(job_id: str, key: str, period: Window, rate: Decimal) -> LineItem:
    return LineItem(
        source=SpendSource.MEASURED_TIME,
        source_ref=f"{job_id}/time",
        kind=EntryKind.PROVISIONAL,
        amount=time_charge(rate, period),
        quantity=period.seconds,
        unit="second",
        unit_price=rate / 3600,
        period=period,
        as_of=period.end,
        description=f"time of job {job_id} on anyscale, at {rate} USD per hour",
        run_key=key,
    )
