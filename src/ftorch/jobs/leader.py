"""Leadership of an installation: an OS file lock, given back by the kernel when its holder dies."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from filelock import FileLock, Timeout

from ftorch.core.paths import Home

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
    """True while a daemon leads this installation."""
    if not home.daemon_lock.exists():
        return False
    with leadership(home, wait_s=0.0) as free:
        return not free
