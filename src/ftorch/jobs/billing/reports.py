"""Spend reports over the store: what was asked for becomes a scope, the ledger answers."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta, tzinfo

from ftorch.core.clock import parse_rfc3339
from ftorch.core.errors import UsageError
from ftorch.costs.months import Month, time_zone
from ftorch.costs.report import Scope

_DAY = re.compile(r"^\d{4}-\d{2}-\d{2}$")


def scope(*, month: str | None, as_of: str | None, timezone: str, job_id: str | None, now: datetime) -> Scope:
    """What a report looks at. Raises UsageError for a month, date or time zone that is none."""
    zone = time_zone(timezone)
    span = Month.parse(month, zone) if month else None
    return Scope(
        as_of=known_at(as_of, zone) if as_of else now,
        start=span.start if span else None,
        end=span.end if span else None,
        job_id=job_id,
        zone=zone,
    )


def known_at(text: str, zone: tzinfo) -> datetime:
    """The moment that `--as-of` means: itself, or the end of a day. Raises UsageError for anything else."""
    try:
        if _DAY.match(text):
            following = date.fromisoformat(text) + timedelta(days=1)
            return datetime.combine(following, time(), zone).astimezone(UTC) - timedelta(microseconds=1)
        return parse_rfc3339(text)
    except (ValueError, OverflowError):
        raise UsageError(
            f"{text!r} is not a date", hint="write 2026-11-05 for all of that day, or 2026-11-05T15:00:00Z"
        ) from None


def first_moment(text: str) -> datetime:
    """The moment that `--since` means: itself, or the beginning of a day in UTC. Raises UsageError for another text."""
    try:
        return datetime.combine(date.fromisoformat(text), time(), UTC) if _DAY.match(text) else parse_rfc3339(text)
    except ValueError:
        raise UsageError(f"{text!r} is not a date", hint="write it as 2026-08-01") from None
