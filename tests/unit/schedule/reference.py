"""The times of a cron expression by brute force: every minute of the calendar is held against the five fields.

Written from the manual of Debian's cron, without the library that ftorch uses. A job at a fixed hour and minute runs
once for each such time on the wall's calendar: the first where there are two, right after the gap where there is none.
One whose minute or hour begins with `*` runs whenever the clock on the wall shows a time that fits.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

_MINUTE = timedelta(minutes=1)
_RANGES = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))


def reference(expression: str, zone: str, start: datetime, end: datetime) -> list[datetime]:
    """All moments in (start, end], in UTC, in order."""
    fields = expression.split()
    fits = _matcher(fields)
    walk = _moving if fields[0].startswith("*") or fields[1].startswith("*") else _fixed
    return sorted(moment for moment in walk(fits, ZoneInfo(zone), start, end) if start < moment <= end)


def _moving(fits: Callable[[datetime], bool], zone: ZoneInfo, start: datetime, end: datetime) -> set[datetime]:
    """Every minute that really passes, by what the wall shows then."""
    found, moment = set(), start.replace(second=0, microsecond=0)
    while moment <= end:
        if fits(moment.astimezone(zone)):
            found.add(moment)
        moment += _MINUTE
    return found


def _fixed(fits: Callable[[datetime], bool], zone: ZoneInfo, start: datetime, end: datetime) -> set[datetime]:
    """Every minute of the wall's calendar, whether the wall ever shows it or not."""
    found = set()
    wall = (start - timedelta(days=1)).replace(tzinfo=None, second=0, microsecond=0)
    while wall <= (end + timedelta(days=1)).replace(tzinfo=None):
        if fits(wall):
            found.add(_first_shown(wall, zone))
        wall += _MINUTE
    return found


def _first_shown(wall: datetime, zone: ZoneInfo) -> datetime:
    """When the wall shows this time for the first time; in a gap, the first minute after it."""
    while True:
        moment = wall.replace(tzinfo=zone, fold=0).astimezone(UTC)
        if moment.astimezone(zone).replace(tzinfo=None) == wall:
            return moment
        wall += _MINUTE


def _matcher(fields: list[str]) -> Callable[[datetime], bool]:
    minutes, hours, days, months, weekdays = (
        _values(field, *bounds) for field, bounds in zip(fields, _RANGES, strict=True)
    )
    either = not fields[2].startswith("*") and not fields[4].startswith("*")

    def fits(wall: datetime) -> bool:
        if wall.minute not in minutes or wall.hour not in hours or wall.month not in months:
            return False
        weekday = wall.isoweekday()
        in_month, in_week = wall.day in days, bool({weekday, weekday % 7} & weekdays)
        return in_month or in_week if either else in_month and in_week

    return fits


def _values(field: str, low: int, high: int) -> set[int]:
    found: set[int] = set()
    for part in field.split(","):
        span, _, step = part.partition("/")
        first, _, last = (f"{low}-{high}" if span == "*" else span).partition("-")
        found |= set(range(int(first), int(last or first) + 1, int(step or 1)))
    return found
