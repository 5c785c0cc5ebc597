"""What a run costs on a cluster of the user's: its own time at the rate that he declared."""

from __future__ import annotations

from ftorch.costs.items import EntryKind, LineItem, SpendSource, Window, time_charge
from ftorch.providers.base import Observation, RunRef


def charge(ref: RunRef, seen: Observation) -> LineItem:
    """The line of a run that has a rate and has begun."""
    assert seen.rate is not None
    assert seen.billable_from is not None
    period = Window(seen.billable_from, max(seen.billable_to or seen.observed_at, seen.billable_from))
    return LineItem(
        source=SpendSource.DECLARED,
        source_ref=f"{ref.key}/time",
        kind=EntryKind.PROVISIONAL,
        amount=time_charge(seen.rate, period),
        quantity=period.seconds,
        unit="second",
        unit_price=seen.rate / 3600,
        period=period,
        as_of=period.end,
        description=f"training on a Ray cluster at the declared rate of {seen.rate} USD per hour",
        run_key=ref.key,
    )
