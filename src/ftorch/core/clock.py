"""Time is passed in: code asks a `Clock`, tests hand it a `ManualClock`.

Moments are aware UTC datetimes; in the database they are integer microseconds since 1970. Elapsed time for deadlines
is boot time, which counts the hours a laptop slept.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Protocol

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class Clock(Protocol):
    """What our code knows about time."""

    def now(self) -> datetime:
        """This moment, aware, in UTC."""
        ...

    def boot_s(self) -> float:
        """Seconds since the machine started, sleep included; only differences mean something."""
        ...

    def sleep(self, seconds: float) -> None:
        """Wait. A manual clock moves instead."""
        ...


class SystemClock:
    """The machine's own clocks."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def boot_s(self) -> float:
        # macOS: CLOCK_MONOTONIC_RAW stops in sleep, CLOCK_MONOTONIC goes on; Linux: the reverse, so it has BOOTTIME.
        if hasattr(time, "CLOCK_BOOTTIME"):
            return time.clock_gettime(time.CLOCK_BOOTTIME)
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


class ManualClock:
    """A clock that stands still until it is moved; `sleep` moves it. For tests and emulators."""

    def __init__(self, start: datetime = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)) -> None:
        self._now = start
        self._boot_s = 1000.0

    def now(self) -> datetime:
        return self._now

    def boot_s(self) -> float:
        return self._boot_s

    def sleep(self, seconds: float) -> None:
        self.advance(seconds)

    def advance(self, seconds: float) -> None:
        """Move both clocks forward."""
        self._now += timedelta(seconds=seconds)
        self._boot_s += seconds


def to_micros(moment: datetime) -> int:
    """Microseconds since 1970. Raises ValueError for a naive moment."""
    if moment.tzinfo is None:
        raise ValueError(f"{moment.isoformat()} has no time zone")
    return (moment - _EPOCH) // _MICROSECOND


def from_micros(micros: int) -> datetime:
    return _EPOCH + timedelta(microseconds=micros)


def rfc3339(moment: datetime) -> str:
    """`2026-11-23T20:02:11.250000Z`; whole seconds are written without a fraction."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def parse_rfc3339(text: str) -> datetime:
    """The reverse of `rfc3339`. Raises ValueError for anything naive."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone")
    return moment.astimezone(UTC)
