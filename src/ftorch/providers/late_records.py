"""What a run cost where the provider's own record comes late: measured time at the rate, until the record is whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from ftorch.core.money import Money
from ftorch.costs.items import EntryKind, LineItem, Scope, SpendSource, Window, time_item
from ftorch.providers.base import Observation
from ftorch.providers.sightings import last_rate, paid_time

_WHOLE = Decimal("0.98")
"""Boot and shutdown are in a provider's figure and hardly in ours, so a whole one is not below ours."""


@dataclass(frozen=True, slots=True)
class Subject:
    """The run, and what its two lines are called."""

    key: str
    record_ref: str
    record: str
    time_ref: str
    time: str
    """`at N USD per hour` comes behind it."""
    scope: Scope = Scope.RUN
    """Of the record. One that is the price of the run takes the place of measured time; a fee comes on top of it."""


def charge(
    run: Subject,
    seen: Observation,
    rate: Decimal | None,
    recorded: Decimal | None,
    *,
    now: datetime,
    settle_lag_s: float,
) -> Sequence[LineItem]:
    """Measured time or the record, both where the record has a fee alone, or none where nobody names a price.

    `recorded` is the provider's figure in USD so far. Asked again it gives the same items with newer amounts.
    """
    ended_at = seen.billable_to or now
    period = Window(seen.billable_from, max(ended_at, seen.billable_from)) if seen.billable_from else None
    measured = _measured(run, period, rate) if period and rate is not None else None
    is_settled = now >= ended_at + timedelta(seconds=settle_lag_s)
    if not recorded:
        return (measured,) if measured else ()
    as_of = ended_at + timedelta(seconds=settle_lag_s) if is_settled else ended_at
    record = _recorded(run, period or Window(ended_at, ended_at), recorded, as_of)
    if measured is None or (run.scope is Scope.RUN and _is_whole(recorded, measured, is_settled=is_settled)):
        return (record,)
    return (measured,) if run.scope is Scope.RUN else (measured, record)


def charge_as_seen(run: Subject, history: Sequence[Observation]) -> Sequence[LineItem]:
    """The time that we saw (`paid_time`) at the rate that we saw, for a run of which nothing is left."""
    rate, period = last_rate(history), paid_time(history)
    return (_measured(run, period, rate),) if rate is not None and period is not None else ()


def _is_whole(recorded: Decimal, measured: LineItem, *, is_settled: bool) -> bool:
    return is_settled or recorded >= measured.amount.amount * _WHOLE


def _recorded(run: Subject, period: Window, usd: Decimal, as_of: datetime) -> LineItem:
    return LineItem(
        source=SpendSource.RUN_RECORD,
        source_ref=run.record_ref,
        kind=EntryKind.PROVISIONAL,
        amount=Money(usd),
        quantity=Decimal(1),
        unit="run",
        unit_price=usd,
        period=period,
        as_of=as_of,
        description=run.record,
        run_key=run.key,
        scope=run.scope,
    )


def _measured(run: Subject, period: Window, rate: Decimal) -> LineItem:
    words = f"{run.time}, at {rate} USD per hour"
    return time_item(SpendSource.MEASURED_TIME, run.time_ref, rate, period, words, run_key=run.key)
