"""Months: which one an entry counts in, where one begins in a time zone, and whether it is closed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from ftorch.core.clock import from_micros
from ftorch.core.errors import UsageError
from ftorch.store import LedgerRow, Transaction, bill_sql


@dataclass(frozen=True, slots=True)
class Month:
    """A calendar month of a time zone."""

    name: str
    """As `2026-10`."""
    start: datetime
    end: datetime

    @classmethod
    def parse(cls, text: str, zone: tzinfo = UTC) -> Month:
        """Raises UsageError for a text that is no month."""
        try:
            first = datetime.strptime(text, "%Y-%m").replace(tzinfo=zone)
        except ValueError:
            raise UsageError(f"{text!r} is not a month", hint="write it as 2026-10") from None
        return cls.of(first)

    @classmethod
    def of(cls, moment: datetime) -> Month:
        """The month that holds a moment, in the moment's own time zone."""
        start = moment.replace(day=1, hour=0, minute=0, second=0, microsecond=0, fold=0)
        end = (start + timedelta(days=32)).replace(day=1)
        return cls(f"{start:%Y-%m}", start.astimezone(UTC), end.astimezone(UTC))

    def next(self, zone: tzinfo = UTC) -> Month:
        return Month.of(self.end.astimezone(zone))


def months(first: datetime, last: datetime, zone: tzinfo = UTC) -> list[Month]:
    """All months from the one that holds `first` to the one that holds `last`."""
    found = [Month.of(first.astimezone(zone))]
    while found[-1].end <= last:
        found.append(found[-1].next(zone))
    return found


def time_zone(name: str) -> tzinfo:
    """A time zone of the IANA database. Raises UsageError for one that it does not have."""
    try:
        return UTC if name == "UTC" else ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise UsageError(f"no time zone is called {name!r}", hint="write it as Europe/Paris, or UTC") from None


def closed_until(tx: Transaction) -> datetime | None:
    """The end of the newest month that is closed: everything before it is frozen."""
    micros = tx.scalar(bill_sql.CLOSED_UNTIL)
    return None if micros is None else from_micros(int(micros))


def counted(tx: Transaction, entry: LedgerRow, now: datetime) -> LedgerRow:
    """The entry with the moment that decides its month: its own, or now where that month is closed already."""
    frozen = closed_until(tx)
    if frozen is None or entry.period_start >= frozen:
        return replace(entry, counted_at=entry.period_start, corrects=None)
    return replace(entry, counted_at=max(now, frozen), corrects=f"{entry.period_start:%Y-%m}")
