"""For how long a run is paid of which nothing is left but what we have seen of it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal

from ftorch.costs.items import Window
from ftorch.providers.base import Observation, RunState


def paid_time(history: Sequence[Observation]) -> Window | None:
    """From the beginning of a run to its end where that was told, else to the last moment at which it was seen.

    A reading that missed it is no such moment: it may have come days later, when somebody opened a laptop. What a run
    did after it was seen last is therefore not in the figure. None: nobody has seen it cost anything.
    """
    began = next((seen.billable_from for seen in history if seen.billable_from is not None), None)
    end = next((end for seen in reversed(history) if (end := _end(seen)) is not None), None)
    return Window(began, max(end, began)) if began is not None and end is not None else None


def last_rate(history: Sequence[Observation]) -> Decimal | None:
    """USD per hour as it was read last; None: never."""
    return next((seen.rate for seen in reversed(history) if seen.rate is not None), None)


def _end(seen: Observation) -> datetime | None:
    if seen.billable_to is not None or seen.state is RunState.ABSENT:
        return seen.billable_to
    return seen.observed_at
