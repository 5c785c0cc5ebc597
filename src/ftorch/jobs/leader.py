"""Leadership of an installation: an OS file lock, given back by the kernel when its holder dies."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from filelock import FileLock, Timeout

from ftorch.core.paths import Home


@contextmanager
def leadership(home: Home) -> Iterator[bool]:
    """True for the length of the block when we lead; False when another process does."""
    lock = FileLock(home.daemon_lock)
    try:
        lock.acquire(timeout=0)
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
    with leadership(home) as free:
        return not free
