"""Leaving when told to: at once where that works, and within seconds whatever hangs."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Self

import structlog

LEAVE_S = 10.0
"""After a signal the process is gone, also when a commit or a farewell hangs."""

log = structlog.get_logger()


class Leaving:
    """Hears SIGTERM and SIGINT for the length of the block.

    A handler runs between any two steps of the main thread, which may hold just the lock that an event needs: it only
    writes to a pipe, and a thread that waits there does the rest.
    """

    def __init__(self, asked: threading.Event, end: Callable[[int], object] = os._exit) -> None:
        self._asked = asked
        self._end = end
        self._wake: Callable[[], object] = asked.set
        self._before: dict[signal.Signals, Any] = {}
        self._thread = threading.Thread(target=self._listen, name="ftorch-leave", daemon=True)

    def __enter__(self) -> Self:
        self._ears, self._mouth = os.pipe()
        self._thread.start()
        for number in (signal.SIGTERM, signal.SIGINT):
            self._before[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        os.close(self._mouth)

    def wakes(self, wake: Callable[[], object]) -> None:
        """What ends the loop's pause, so that it sees at once that it was asked."""
        self._wake = wake

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        os.write(self._mouth, b"!")

    def _listen(self) -> None:
        heard = os.read(self._ears, 1)
        os.close(self._ears)
        if heard:
            self._asked.set()
            self._wake()
            time.sleep(LEAVE_S)
            log.error("daemon leaves although something hangs", pid=os.getpid(), seconds=LEAVE_S)
            self._end(0)
