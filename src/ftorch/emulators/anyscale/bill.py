"""The organisation's bill: a row for each cluster and UTC day, made from what happened to machines and nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal

from ftorch.emulators.anyscale.accounts import FEE, PER_HOUR
from ftorch.emulators.anyscale.clusters import Event

_DAY = timedelta(days=1)
_NANO = Decimal("1e-9")
_HOUR_MICROS = Decimal(3_600_000_000)


@dataclass(frozen=True, slots=True)
class Row:
    """What a cluster cost on a day. `names` are the fields that say whose it was."""

    day: date
    cluster_id: str
    usd: Decimal | None
    credits: Decimal
    names: Mapping[str, str | None]
    used_until: datetime
    """When the usage in it ended: the lag counts from here. Not shown."""


@dataclass(slots=True)
class Posting:
    """When rows appear, and what was changed in them afterwards."""

    lag_s: float = 3600.0
    """From the end of the usage in a row to the row."""
    late: dict[tuple[str, date], float] = field(default_factory=dict)
    """Other lags of single rows, by cluster and day."""
    corrections: dict[tuple[str, date], Decimal] = field(default_factory=dict)
    without_dollars: bool = False
    """Rows name credits only, as for organisations that have bought some."""

    def posted(self, rows: Sequence[Row], now: datetime) -> list[Row]:
        """The rows that are on the bill by now, as they read now."""
        return [self._as_shown(row) for row in rows if now >= row.used_until + timedelta(seconds=self._lag_s(row))]

    def _lag_s(self, row: Row) -> float:
        return self.late.get((row.cluster_id, row.day), self.lag_s)

    def _as_shown(self, row: Row) -> Row:
        usd = self.corrections.get((row.cluster_id, row.day), row.usd)
        return replace(row, usd=None if self.without_dollars else usd)


def cluster_rows(
    events: Sequence[Event], names: Mapping[str, str | None], now: datetime, *, is_hosted: bool
) -> list[Row]:
    """A cluster's rows by day. Where the machines are the organisation's own, Anyscale's fee alone is in them."""
    days: dict[date, tuple[Decimal, datetime]] = {}
    for start, end, accelerator in _spans(events, now):
        for day, first, last in _by_day(start, end):
            usd, until = days.get(day, (Decimal(0), first))
            days[day] = usd + _cost(accelerator, last - first), max(until, last)
    share = Decimal(1) if is_hosted else FEE
    return [
        Row(day, events[0].cluster_id, _exact(usd * share), _exact(usd * share), names, until)
        for day, (usd, until) in sorted(days.items())
    ]


def _spans(events: Sequence[Event], now: datetime) -> Iterator[tuple[datetime, datetime, str]]:
    """From each `up` of a machine to its `down`, or to now."""
    running: dict[int, datetime] = {}
    for event in events:
        if event.what == "up":
            running[event.machine] = event.at
        else:
            yield running.pop(event.machine), event.at, event.accelerator
    kinds = {event.machine: event.accelerator for event in events}
    yield from ((start, max(now, start), kinds[machine]) for machine, start in running.items())


def _by_day(start: datetime, end: datetime) -> Iterator[tuple[date, datetime, datetime]]:
    while start < end:
        day = start.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        last = min(day + _DAY, end)
        yield day.date(), start, last
        start = last


def _cost(accelerator: str, span: timedelta) -> Decimal:
    return PER_HOUR[accelerator] * (span // timedelta(microseconds=1)) / _HOUR_MICROS


def _exact(usd: Decimal) -> Decimal:
    return usd.quantize(_NANO, rounding=ROUND_HALF_EVEN)
