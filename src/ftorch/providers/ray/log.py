"""A run's log: Ray's while it has the job, our copy after that. Marker lines are for us, and not shown."""

from __future__ import annotations

from pathlib import Path

from ftorch.core.files import write_text
from ftorch.providers.base import LogPage
from ftorch.providers.ray_jobs.inside.settings import MARKER

_PAGE = 1 << 20


def page(text: str, cursor: str | None, *, is_over: bool) -> LogPage:
    """What comes behind byte `cursor`; whole lines only while more may come."""
    content = text.encode()
    start = int(cursor or 0)
    rest = content[start : start + _PAGE]
    is_end = start + len(rest) >= len(content)
    taken = rest if is_over and is_end else rest[: rest.rfind(b"\n") + 1]
    if not taken and len(rest) == _PAGE:
        taken = rest  # one line longer than a page: in pieces, or the log would end here
    lines = [line for line in taken.decode(errors="replace").splitlines() if MARKER not in line]
    end = start + len(taken)
    return LogPage(lines, str(end) if end else cursor, is_over and end >= len(content))


class KeptLogs:
    """Logs of jobs that Ray has been told to forget."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def keep(self, key: str, text: str) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        write_text(self._path(key), text)

    def read(self, key: str) -> str | None:
        return self._path(key).read_text(errors="replace") if self._path(key).exists() else None

    def _path(self, key: str) -> Path:
        return self._folder / f"{key}.log"
