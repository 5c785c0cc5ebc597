"""A run's log, in pieces that Anyscale has signed addresses for. Only the last piece grows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from ftorch.providers.anyscale import api, storage
from ftorch.providers.http import Http

_MOST_CHUNKS = 50


@dataclass(frozen=True, slots=True)
class Cursor:
    """Behind so many whole pieces, and so many bytes of the next one."""

    chunks: int = 0
    size: int = 0

    @property
    def text(self) -> str:
        return f"{self.chunks}/{self.size}"

    @classmethod
    def parse(cls, text: str | None) -> Self:
        if text is None:
            return cls()
        chunks, _, size = text.partition("/")
        return cls(int(chunks), int(size))


def page(http: Http, run_id: str, at: Cursor, *, is_over: bool) -> tuple[list[str], Cursor, bool]:
    """Whole lines behind the cursor, where to go on, and whether that was all. `is_over` was asked before."""
    chunks, bearer = api.log_chunks(http, run_id)
    wanted = chunks[at.chunks : at.chunks + _MOST_CHUNKS]
    pieces = [storage.get(chunk.chunk_url, bearer) for chunk in wanted]
    is_last = is_over and at.chunks + len(wanted) >= len(chunks)
    new = b"".join(pieces)[at.size :]
    whole = new if is_last else new[: new.rfind(b"\n") + 1]
    return whole.decode(errors="replace").splitlines(), _after(at, [*map(len, pieces)], len(whole)), is_last


def _after(at: Cursor, sizes: list[int], read: int) -> Cursor:
    """The place behind what was read. The last piece may still grow, so nobody is ever behind it."""
    chunks, size = at.chunks, at.size + read
    for known in sizes[:-1]:
        if size < known:
            break
        chunks, size = chunks + 1, size - known
    return Cursor(chunks, size)
