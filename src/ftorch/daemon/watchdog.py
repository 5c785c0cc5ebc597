"""The watchdog: a daemon that hangs is worse than one that is dead, because nobody takes over from it."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

import structlog

from ftorch.core.clock import Clock

HUNG_S = 180.0
"""Without a tick, or with one commit under way, for so long: the process is ended, and the next daemon goes on."""
_LOOK_S = 5.0
_EXIT_CODE = 70

log = structlog.get_logger()


class Watchdog:
    """Ends the process when the loop is not fed, or when the store's writer is stuck.

    Elapsed time is boot time. A laptop that slept is not hung: a look that comes late starts the count anew.
    """

    def __init__(
        self, clock: Clock, is_stuck: Callable[[float], bool], end: Callable[[int], object] = os._exit
    ) -> None:
        self._clock = clock
        self._is_stuck = is_stuck
        self._end = end
        self._fed_s = clock.boot_s()
        self._looked_s = clock.boot_s()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="ftorch-watchdog", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def feed(self) -> None:
        """The loop goes round."""
        self._fed_s = self._clock.boot_s()

    def look(self) -> None:
        """One look; ends the process when something hangs."""
        now_s = self._clock.boot_s()
        if now_s - self._looked_s > 4 * _LOOK_S:
            self._fed_s = now_s
        self._looked_s = now_s
        if now_s - self._fed_s > HUNG_S:
            self._bite("the loop has not gone round")
        elif self._is_stuck(HUNG_S):
            self._bite("the store's writer hangs")

    def _bite(self, why: str) -> None:
        log.error("daemon hangs, ends itself", why=why, seconds=HUNG_S, pid=os.getpid())
        self._end(_EXIT_CODE)

    def _watch(self) -> None:
        while not self._over.wait(_LOOK_S):
            self.look()
