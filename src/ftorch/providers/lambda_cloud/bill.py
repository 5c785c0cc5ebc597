"""The charge of one machine: its life from the best that is known of each end, and that as a line item."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from ftorch.core.clock import Clock
from ftorch.core.errors import FtorchError
from ftorch.core.ids import made_at
from ftorch.costs.items import EntryKind, LineItem, SpendSource
from ftorch.providers.base import Observation, RunRef, RunState
from ftorch.providers.lambda_cloud.api import Api, Instance
from ftorch.providers.lambda_cloud.cost import Cost, Life, cost, words
from ftorch.providers.lambda_cloud.machines import GONE
from ftorch.providers.lambda_cloud.records import Record

_MARGIN = timedelta(hours=1)
_MINUTE = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of one machine, from the service, from our records and from the run's row."""

    ref: RunRef
    instance_id: str
    instance: Instance | None
    record: Record | None
    history: Sequence[Observation]

    @property
    def last(self) -> Observation | None:
        return next((seen for seen in reversed(self.history) if seen.billable_from is not None), None)

    @property
    def cents(self) -> int | None:
        """The price as it was read at the launch, where anybody remembers it."""
        if self.record is not None and self.record.cents_per_hour:
            return self.record.cents_per_hour
        if self.instance is not None:
            return self.instance.instance_type.price_cents_per_hour
        rate = next((seen.rate for seen in reversed(self.history) if seen.rate is not None), None)
        return None if rate is None else int(rate * 100)

    @property
    def healthy_at(self) -> datetime | None:
        if self.instance is not None and self.instance.first_healthy is not None:
            return self.instance.first_healthy
        if self.record is not None and self.record.healthy_at is not None:
            return self.record.healthy_at
        return self.last.billable_from if self.last else None

    @property
    def seen_at(self) -> datetime | None:
        """Last seen alive. A look that missed the machine is none; without a record the row knows the one before it."""
        looks = [seen.observed_at for seen in self.history if seen.state is not RunState.ABSENT]
        kept = [self.record.seen_at] if self.record else [seen.billable_to for seen in self.history]
        return max((moment for moment in (*looks, *kept) if moment is not None), default=None)

    @property
    def gone_at(self) -> datetime | None:
        """Found gone: it cost nothing after that, whenever it is charged."""
        if self.record is not None and self.record.ended_at is not None:
            return self.record.ended_at
        return next((seen.observed_at for seen in self.history if seen.state is RunState.ABSENT), None)


def item(known: Known, api: Api, clock: Clock) -> LineItem | None:
    """What the machine cost, or has cost until it was seen last; None where nobody knows of one."""
    cents = known.cents
    if cents is None:
        return None
    life = _life(known, cents, api, clock)
    found = cost(life)
    machine = known.record.machine if known.record else (known.ref.place or "a machine")
    return _line(known, found, words(found, cents, machine), Decimal(cents) / 6000)


def _life(known: Known, cents: int, api: Api, clock: Clock) -> Life:
    start = known.healthy_at
    launched_at = (known.record.launched_at if known.record else None) or made_at(known.ref.key) or clock.now()
    ended_from, ended_to = _end(known, api, clock, start or launched_at)
    return Life(cents, launched_at, start, ended_from, max(ended_from, ended_to))


def _end(known: Known, api: Api, clock: Clock, start: datetime) -> tuple[datetime, datetime]:
    """The moments that enclose the machine's end."""
    if known.instance is not None and known.instance.status not in GONE:
        until = known.history[-1].observed_at if known.history else clock.now()
        return until, until
    record = known.record
    ended_to = known.gone_at or clock.now()
    ended_from = min((record.ending_from if record else None) or known.seen_at or start, ended_to)
    if _is_one_minute(start, ended_from, ended_to):
        return ended_from, ended_to
    told = _told(known, api, ended_from - _MARGIN, ended_to + _MARGIN)
    return (told, told) if told else (ended_from, ended_to)


def _is_one_minute(start: datetime, ended_from: datetime, ended_to: datetime) -> bool:
    """Both moments lie in the same minute of the bill: it does not matter which one is true."""
    return -((start - ended_from) // _MINUTE) == -((start - ended_to) // _MINUTE)


def _told(known: Known, api: Api, start: datetime, end: datetime) -> datetime | None:
    """The machine's end as the audit log tells it. A log that cannot be read tells nothing."""
    try:
        found = [
            event.event_time
            for event in api.events(start, end, "charges")
            if "terminat" in event.action.lower() and any(known.instance_id in lrn for lrn in event.resource_lrns)
        ]
    except FtorchError:
        return None
    return min(found, default=None)


def _line(known: Known, found: Cost, description: str, per_minute: Decimal) -> LineItem:
    return LineItem(
        source=SpendSource.MEASURED_TIME,
        source_ref=f"{known.instance_id}/time",
        kind=EntryKind.PROVISIONAL,
        amount=found.amount,
        quantity=Decimal(found.minutes),
        unit="minute",
        unit_price=per_minute,
        period=found.window,
        as_of=found.window.end,
        description=description,
        run_key=known.ref.key,
        between=(found.low, found.high),
    )
