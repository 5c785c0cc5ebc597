"""structlog, set up once by the daemon: one JSON line per event in a file, words on a terminal.

An event is a short lower-case phrase plus fields; keys and prompts never enter a line. What the packages that we use
have to say through the standard library's logging goes the same way, from WARNING up.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Collection, Sequence
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import TextIO

import structlog
from structlog.stdlib import ProcessorFormatter
from structlog.tracebacks import ExceptionDictTransformer
from structlog.typing import Processor

from ftorch.core.redact import Redactor

MOST_BYTES = 10_000_000
OLD_FILES = 2
"""With the one that is written: three files of 10 MB."""

_OURS = "ftorch"
_STREAM, _FILE = "ftorch-stream", "ftorch-file"

_COMMON: Sequence[Processor] = (
    structlog.contextvars.merge_contextvars,
    structlog.processors.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
)


def configure(stream: TextIO | None = None, *, file: Path | None = None, secrets: Collection[str] = ()) -> Redactor:
    """Write to `file` as JSON, and to `stream`: words on a terminal, JSON elsewhere. Calling it again replaces both.

    With a file and no stream, stderr is written to only when it is a terminal. `secrets` are values that no line may
    hold, whatever the field is called; the answer is told of those that become known later.
    """
    redact = Redactor(secrets)
    if stream is None and (file is None or sys.stderr.isatty()):
        stream = sys.stderr
    handlers: list[logging.Handler] = []
    if stream is not None:
        handlers.append(_handler(_Stream(stream), _STREAM, _words(redact) if stream.isatty() else _json(redact)))
    if file is not None:
        # Opened at the first line: a daemon that finds another at work must not touch that one's file.
        rotating = _File(file, maxBytes=MOST_BYTES, backupCount=OLD_FILES, encoding="utf-8", delay=True)
        handlers.append(_handler(rotating, _FILE, _json(redact)))
    _install(handlers)
    structlog.configure(
        processors=[*_COMMON, ProcessorFormatter.wrap_for_formatter],
        logger_factory=lambda *_: logging.getLogger(_OURS),
    )
    return redact


def silence() -> None:
    """Undo `configure`: close the file and forget the stream. Twice is harmless."""
    _install([])
    structlog.reset_defaults()


def _install(handlers: Sequence[logging.Handler]) -> None:
    root = logging.getLogger()
    for old in [handler for handler in root.handlers if handler.name in (_STREAM, _FILE)]:
        root.removeHandler(old)
        old.close()
    for handler in handlers:
        root.addHandler(handler)
    root.setLevel(logging.WARNING)
    logging.getLogger(_OURS).setLevel(logging.DEBUG if handlers else logging.NOTSET)
    logging.captureWarnings(bool(handlers))


def _handler(handler: logging.Handler, name: str, processors: Sequence[Processor]) -> logging.Handler:
    handler.set_name(name)
    handler.setFormatter(
        ProcessorFormatter(
            processors=[ProcessorFormatter.remove_processors_meta, *processors],
            foreign_pre_chain=[*_COMMON, structlog.stdlib.add_logger_name],
        )
    )
    return handler


def _json(redact: Redactor) -> Sequence[Processor]:
    # Never the locals of a frame: keys and prompts live there.
    render = structlog.processors.ExceptionRenderer(ExceptionDictTransformer(show_locals=False))
    return (render, redact, structlog.processors.JSONRenderer())


def _words(redact: Redactor) -> Sequence[Processor]:
    # The traceback is text before it is redacted, and plain: the pretty ones print the locals of every frame.
    console = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    return (structlog.processors.format_exc_info, redact, console)


class _Discreet(logging.Handler):
    """When a line cannot be written, `logging` prints its arguments to stderr: they have not been redacted."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  the name is the standard library's
        error = sys.exc_info()[0]
        sys.stderr.write(f"a line of the log was lost: {error.__name__ if error else record.levelname}\n")


class _Stream(_Discreet, logging.StreamHandler[TextIO]):
    pass


class _File(_Discreet, RotatingFileHandler):
    pass
