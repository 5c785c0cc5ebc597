"""When the loop last went round."""

from __future__ import annotations

from ftorch.core.clock import Clock


class Pulse:
    """What the loop leaves behind each time it has gone round and nothing was raised. Read by another thread."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._at_s = clock.boot_s()

    def beat(self) -> None:
        self._at_s = self._clock.boot_s()

    def age_s(self) -> float:
        return self._clock.boot_s() - self._at_s
