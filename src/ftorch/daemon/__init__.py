"""The daemon: the process that moves jobs forward, alone or beside others.

It shows nothing and colours nothing, so what httpx and structlog bring for that is left out of its process: rich and
pygments, 9 MB of the 100 that it may have with ten thousand jobs.
"""

from __future__ import annotations

import sys
from types import ModuleType


def _without_httpx_command_line() -> None:
    """`import httpx` also imports its command `httpx`, where click, pygments and rich are there."""
    stub = ModuleType("httpx._main")
    stub.main = lambda: None  # type: ignore[attr-defined]  # httpx names it as its own
    sys.modules.setdefault("httpx._main", stub)


def _without_coloured_tracebacks() -> None:
    """structlog colours tracebacks with rich where it can be imported, and says so at its own import alone."""
    if "rich" in sys.modules or "structlog" in sys.modules:
        return
    sys.modules["rich"] = None  # type: ignore[assignment]  # how Python is told that there is no such module
    try:
        import structlog  # noqa: F401, PLC0415  here, while rich is away
    finally:
        del sys.modules["rich"]


_without_httpx_command_line()
_without_coloured_tracebacks()
