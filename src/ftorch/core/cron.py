"""The times that a cron expression means in a time zone, as Debian's cron has them across a change of the clocks.

A job at a fixed time runs once a day: at the first of two 02:30, and right after the gap where there is no 02:30. One
whose minute or hour begins with `*` runs whenever the clock on the wall shows a time that fits.

cronsim reads the five fields and knows which days fit. The times of a day are ours: cronsim counts forward in hours,
and where the clocks change by half an hour (Australia/Lord_Howe) it misses one and finds one too many. See ADR 0017.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

ALIASES: Mapping[str, str] = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
}
_FIELDS = 5
_DAY, _MINUTE = timedelta(days=1), timedelta(minutes=1)


def check(expression: str) -> None:
    """Raises ValueError, in words, for what is neither five fields nor one of the aliases."""
    fields = ALIASES.get(expression, expression)
    if fields.startswith("@"):
        raise ValueError(f"{expression!r} is not an alias; there are {', '.join(ALIASES)}")
    if len(fields.split()) != _FIELDS:
        words = "minute, hour, day of the month, month, day of the week"
        raise ValueError(f"{expression!r} has {len(fields.split())} fields; a cron expression has five: {words}")
    try:
        next(CronSim(fields, datetime(2026, 1, 1, tzinfo=UTC)))
    except CronSimError as error:
        raise ValueError(f"{expression!r} is not a cron expression: {error}") from error
    except StopIteration:
        raise ValueError(f"{expression!r} names a day that never comes") from None


def zone_of(name: str) -> ZoneInfo:
    """Raises ValueError, in words, for what is no IANA time zone."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise ValueError(f"{name!r} is not a time zone; use an IANA name such as Europe/Paris") from error


def times(expression: str, zone: ZoneInfo, after: datetime) -> Iterator[datetime]:
    """The moments that the expression means, in UTC, in order, all of them later than `after`. There is no end."""
    fields = ALIASES.get(expression, expression)
    spec = CronSim(fields, datetime(2026, 1, 1, tzinfo=UTC))
    moves = any(field.startswith("*") for field in fields.split()[:2])
    walls = [time(hour, minute) for hour in sorted(spec.hours) for minute in sorted(spec.minutes)]
    last = after
    # A day earlier: a time that a gap has pushed past midnight is the evening's.
    for day in _days(spec, after.astimezone(zone).date() - _DAY):
        found = {moment for wall in walls for moment in _moments(datetime.combine(day, wall), zone, moves=moves)}
        for moment in sorted(found):
            if moment > last:
                last = moment
                yield moment


def _days(spec: CronSim, day: date) -> Iterator[date]:
    while True:
        if day.month in spec.months and spec.match_day(day):
            yield day
        day += _DAY


def _moments(wall: datetime, zone: ZoneInfo, *, moves: bool) -> Iterator[datetime]:
    """When a clock on the wall shows this time: never, once or twice. A fixed one comes once, after a gap if need."""
    shown = [moment for fold in (0, 1) if (moment := _shown(wall, zone, fold)) is not None]
    while not shown and not moves:
        wall += _MINUTE
        shown = [moment for fold in (0, 1) if (moment := _shown(wall, zone, fold)) is not None]
    yield from shown if moves else shown[:1]


def _shown(wall: datetime, zone: ZoneInfo, fold: int) -> datetime | None:
    """None where the clock is set forward over this time."""
    moment = wall.replace(tzinfo=zone, fold=fold).astimezone(UTC)
    return moment if moment.astimezone(zone).replace(tzinfo=None) == wall else None
