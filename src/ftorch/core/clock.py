"""Time is passed in: code asks a `Clock`, tests hand it a `ManualClock`.

Moments are aware UTC datetimes; in the database they are integer microseconds since 1970. Elapsed time for deadlines
is boot time, which counts the hours a laptop slept.
"""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Protocol, Self

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_SMALL_OFFSET = timedelta(seconds=2)
_TAKEN_OVER_S = 3600.0
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class Clock(Protocol):
    """What our code knows about time."""

    def now(self) -> datetime:
        """This moment, aware, in UTC."""
        ...

    def boot_s(self) -> float:
        """Seconds since the machine started, sleep included; only differences mean something."""
        ...

    def boot_id(self) -> str:
        """Which start of which machine `boot_s` counts from: readings under two names cannot be compared."""
        ...

    def sleep(self, seconds: float) -> None:
        """Wait. A manual clock moves instead."""
        ...


@dataclass(frozen=True, slots=True)
class Reading:
    """What a clock that nobody sets showed. Kept with a row, it tells another process how long ago that was."""

    clock: str
    seconds: float

    @classmethod
    def of(cls, clock: Clock) -> Self:
        """The boot time of this machine."""
        return cls(clock.boot_id(), clock.boot_s())

    @classmethod
    def parse(cls, text: str) -> Self:
        """The reverse of `str`."""
        clock, _, seconds = text.rpartition(" ")
        return cls(clock, float(seconds))

    def __str__(self) -> str:
        return f"{self.clock} {self.seconds:.6f}"

    def since(self, earlier: Reading) -> timedelta | None:
        """How long ago that was; None where it was read from another clock, or this one was set back after all."""
        if self.clock != earlier.clock or self.seconds < earlier.seconds:
            return None
        return timedelta(seconds=self.seconds - earlier.seconds)


@cache
def _boot_id() -> str:
    """Linux names each boot. Elsewhere a process knows its own readings alone."""
    try:
        return f"boot-{_BOOT_ID.read_text().strip()}"
    except OSError:
        return f"process-{os.urandom(8).hex()}"


class SystemClock:
    """The machine's own clocks."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def boot_s(self) -> float:
        # macOS: CLOCK_MONOTONIC_RAW stops in sleep, CLOCK_MONOTONIC goes on; Linux: the reverse, so it has BOOTTIME.
        if hasattr(time, "CLOCK_BOOTTIME"):
            return time.clock_gettime(time.CLOCK_BOOTTIME)
        return time.monotonic()

    def boot_id(self) -> str:
        return _boot_id()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


class SteadyClock:
    """A clock whose moments never jump: a wall clock that is set forward must not cut short the time in which a create
    may still become visible.

    It goes with boot time from the moment it was made. An offset that the wall clock has kept for an hour is taken
    over; small ones, as time servers make them, at once.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._anchor, self._boot_s = clock.now(), clock.boot_s()
        self._offset = timedelta(0)
        self._since_s = clock.boot_s()
        self._lock = threading.Lock()

    def now(self) -> datetime:
        with self._lock:
            steady = self._anchor + timedelta(seconds=self._clock.boot_s() - self._boot_s)
            offset = self._clock.now() - steady
            if abs(offset - self._offset) > _SMALL_OFFSET:
                self._offset, self._since_s = offset, self._clock.boot_s()
            if abs(offset) <= _SMALL_OFFSET or self._clock.boot_s() - self._since_s >= _TAKEN_OVER_S:
                # Never backwards: a moment that was told stays in the past.
                self._anchor, self._boot_s = max(steady, steady + offset), self._clock.boot_s()
                return self._anchor
            return steady

    def boot_s(self) -> float:
        return self._clock.boot_s()

    def boot_id(self) -> str:
        return self._clock.boot_id()

    def sleep(self, seconds: float) -> None:
        self._clock.sleep(seconds)


class ManualClock:
    """A clock that stands still until it is moved; `sleep` moves it. For tests and emulators."""

    def __init__(self, start: datetime = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)) -> None:
        self._now = start
        self._boot_s = 1000.0
        self._boots = 1

    def now(self) -> datetime:
        return self._now

    def boot_s(self) -> float:
        return self._boot_s

    def boot_id(self) -> str:
        return f"boot-{self._boots}"

    def sleep(self, seconds: float) -> None:
        self.advance(seconds)

    def advance(self, seconds: float) -> None:
        """Move both clocks forward."""
        self._now += timedelta(seconds=seconds)
        self._boot_s += seconds

    def jump(self, seconds: float) -> None:
        """Set the wall clock, as a person or a time server does; boot time does not know."""
        self._now += timedelta(seconds=seconds)

    def reboot(self) -> None:
        """Start the machine anew: boot time begins again, under another name."""
        self._boots += 1
        self._boot_s = 0.0


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
