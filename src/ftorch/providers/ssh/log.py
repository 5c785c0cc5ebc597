"""A run's log in pages, read on the box by offset."""

from __future__ import annotations

from ftorch.providers.base import LogPage
from ftorch.providers.ssh.box import Box

PAGE = 1 << 16


def log_page(box: Box, key: str, cursor: str | None) -> LogPage:
    """The page behind `cursor`."""
    content, may_grow = box.log(key, int(cursor or 0), PAGE)
    return page(content, int(cursor or 0), is_over=not may_grow)


def page(content: bytes, start: int, *, is_over: bool, size: int = PAGE) -> LogPage:
    """Whole lines, and whatever is left once nothing more comes."""
    is_last = is_over and len(content) < size
    end = len(content) if is_last else content.rfind(b"\n") + 1
    if not end and len(content) == size:
        end = len(content)  # one line longer than a page: in pieces, or the log would end here
    return LogPage(content[:end].decode(errors="replace").splitlines(), str(start + end), is_last)
