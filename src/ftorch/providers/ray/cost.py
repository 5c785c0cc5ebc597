"""What a run costs on a cluster of the user's: its own time at the rate that he declared."""

from __future__ import annotations

from collections.abc import Sequence

from ftorch.costs.items import LineItem, SpendSource, time_item
from ftorch.providers.base import Observation, RunRef
from ftorch.providers.sightings import last_rate, paid_time


def charge(ref: RunRef, history: Sequence[Observation]) -> Sequence[LineItem]:
    """The line of a run that has a rate and has begun: to its end, or to the last moment at which it was seen."""
    rate, period = last_rate(history), paid_time(history)
    if rate is None or period is None:
        return ()
    words = f"training on a Ray cluster at the declared rate of {rate} USD per hour"
    return (time_item(SpendSource.DECLARED, f"{ref.key}/time", rate, period, words, run_key=ref.key),)
