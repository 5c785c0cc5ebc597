"""Which times of a schedule have passed, and what becomes of each: pure, on the rule and two moments."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from hashlib import blake2b
from itertools import takewhile

from ftorch.core import cron
from ftorch.core.clock import to_micros
from ftorch.manifest.schedule import Schedule
from ftorch.schedule.states import Kind, Reason, State
from ftorch.store.schedule_rows import OccurrenceRow

_MOST_AT_ONCE = 1000
"""Of a longer time in which nobody watched only the newest are noted: they are all that could be made up for."""
_MICROSECOND = timedelta(microseconds=1)


def times(rule: Schedule, after: datetime) -> Iterator[datetime]:
    """The schedule's times from then on."""
    return cron.times(rule.cron, cron.zone_of(rule.timezone), after)


def next_time(rule: Schedule, after: datetime) -> datetime | None:
    """The first time later than `after`."""
    return next(times(rule, after), None)


def passed(rule: Schedule, after: datetime, until: datetime) -> Sequence[datetime]:
    """The times in (after, until], oldest first."""
    return deque(takewhile(lambda moment: moment <= until, times(rule, after)), maxlen=_MOST_AT_ONCE)


def occurrences(rule: Schedule, schedule_id: str, fires: Sequence[datetime], now: datetime) -> list[OccurrenceRow]:
    """A row for every time: those that wait for their turn, and those that were slept through.

    Within `grace` a time is on time, whatever the policy. Of the others `misfire` makes up for none, for the newest
    unless a later time is here already, or for the newest `misfire_max`.
    """
    late = [moment for moment in fires if now - moment > rule.grace]
    kept = set(_made_up_for(rule, late, has_newer=len(late) < len(fires)))
    return [
        _row(rule, schedule_id, moment, now, is_late=moment in late, waits=moment not in late or moment in kept)
        for moment in fires
    ]


def _made_up_for(rule: Schedule, late: Sequence[datetime], *, has_newer: bool) -> Sequence[datetime]:
    match rule.misfire:
        case "skip":
            return ()
        case "once":
            return () if has_newer else late[-1:]
        case "all":
            return late[-rule.misfire_max :]


def _row(
    rule: Schedule, schedule_id: str, moment: datetime, now: datetime, *, is_late: bool, waits: bool
) -> OccurrenceRow:
    return OccurrenceRow(
        id=occurrence_id(schedule_id, moment),
        schedule_id=schedule_id,
        fire_at=moment,
        kind=Kind.LATE if is_late else Kind.ON_TIME,
        state=State.WAITING if waits else State.SKIPPED,
        reason=None if waits else Reason.SLEPT_THROUGH,
        noted_at=now,
        next_at=moment + delay(rule, schedule_id, moment),
        ended_at=None if waits else now,
    )


def occurrence_id(schedule_id: str, moment: datetime) -> str:
    """One name for one time of one schedule, whoever notes it."""
    return f"{schedule_id}/{to_micros(moment)}"


def delay(rule: Schedule, schedule_id: str, moment: datetime) -> timedelta:
    """The part of `jitter` that this time has: the same for every process, spread evenly over many schedules."""
    window = rule.jitter // _MICROSECOND
    if not window:
        return timedelta(0)
    digest = blake2b(occurrence_id(schedule_id, moment).encode(), digest_size=8).digest()
    return timedelta(microseconds=int.from_bytes(digest, "big") % window)
