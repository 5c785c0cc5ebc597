"""Leadership of an installation: an OS file lock, given back by the kernel when its holder dies."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from filelock import FileLock, Timeout

from ftorch.core.paths import Home

if sys.platform != "win32":
    import fcntl

_PROBE_S = 0.5


@contextmanager
def leadership(home: Home, *, wait_s: float = _PROBE_S) -> Iterator[bool]:
    """True for the length of the block when we lead; False when another process does.

    Who only looks holds the lock for a moment too (`is_led`), so one refusal proves nothing yet.
    """
    lock = FileLock(home.daemon_lock)
    try:
        lock.acquire(timeout=wait_s, poll_interval=0.01)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def is_led(home: Home) -> bool:
    """True while a process leads this installation: a daemon, or a command that keeps daemons away.

    Many may look at once: their locks are shared ones, and none is taken for a leader.
    """
    if not home.daemon_lock.exists():
        return False
    if sys.platform == "win32":
        # There is no shared lock; another that looks is gone after a moment.
        with leadership(home) as is_free:
            return not is_free
    descriptor = os.open(home.daemon_lock, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(descriptor)
