"""What a run costs on a cluster of the user's: its own time at the rate that he declared."""

from __future__ import annotations

from ftorch.costs.items import LineItem, SpendSource, Window, time_item
from ftorch.providers.base import Observation, RunRef


def charge(ref: RunRef, seen: Observation) -> LineItem:
    """The line of a run that has a rate and has begun."""
    assert seen.rate is not None
    assert seen.billable_from is not None
    period = Window(seen.billable_from, max(seen.billable_to or seen.observed_at, seen.billable_from))
    words = f"training on a Ray cluster at the declared rate of {seen.rate} USD per hour"
    return time_item(SpendSource.DECLARED, f"{ref.key}/time", seen.rate, period, words, run_key=ref.key)
