"""structlog, set up once by the daemon.

An event is a short lower-case phrase plus fields; keys and prompts never enter a line.
"""

from __future__ import annotations

import sys
from typing import TextIO

import structlog
from structlog.tracebacks import ExceptionDictTransformer


def configure(stream: TextIO | None = None) -> None:
    """Lines of JSON on `stream` (a file or a pipe), coloured words on a terminal. Calling it twice is harmless."""
    stream = stream or sys.stderr
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            # Never the locals of a frame: keys and prompts live there.
            structlog.processors.ExceptionRenderer(ExceptionDictTransformer(show_locals=False)),
            structlog.dev.ConsoleRenderer() if stream.isatty() else structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.PrintLoggerFactory(stream),
        cache_logger_on_first_use=True,
    )
