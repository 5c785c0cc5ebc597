"""A real clock that goes as many times faster as it is told, and can be moved forward by hand."""

from __future__ import annotations

import time
import uuid
from datetime import UTC, datetime, timedelta


class FastClock:
    """Begins at the present moment. An hour takes a minute at a speed of 60."""

    def __init__(self, speed: float = 1.0) -> None:
        self._speed = speed
        self._start, self._began_s = datetime.now(UTC), time.monotonic()
        self._moved_s = 0.0
        self._id = f"fast-{uuid.uuid4()}"

    def now(self) -> datetime:
        return self._start + timedelta(seconds=self.boot_s())

    def boot_s(self) -> float:
        return (time.monotonic() - self._began_s) * self._speed + self._moved_s

    def boot_id(self) -> str:
        """Its own: no other clock goes like it."""
        return self._id

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds / self._speed)

    def advance(self, seconds: float) -> None:
        """Move forward. What was to happen meanwhile has happened."""
        self._moved_s += seconds
