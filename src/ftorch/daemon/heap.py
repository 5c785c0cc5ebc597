"""Memory that threads share: two dozen threads with a heap of their own each keep 10 MB more than they need."""

from __future__ import annotations

import ctypes
import sys

_M_ARENA_MAX = -8  # malloc.h of glibc


def share_heap() -> None:
    """Let all threads that start from now on use two heaps. Does nothing where the C library is not glibc."""
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "mallopt"):
        libc.mallopt(_M_ARENA_MAX, 2)
