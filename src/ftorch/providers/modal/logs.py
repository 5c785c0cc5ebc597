"""A run's log: Modal's while it has it, our copy after that. What was printed to both streams comes in one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Self

import modal
from modal.exception import ExecutionError

from ftorch.core.errors import ProviderError
from ftorch.core.files import write_text
from ftorch.core.ids import made_at
from ftorch.providers.base import LogPage
from ftorch.providers.modal.names import Mark
from ftorch.providers.modal.sdk import Sdk

_PAGE = 5000
_LAST_WORDS = 600
_ASTRAY = timedelta(hours=1)
"""By so much our clock may differ from Modal's, which stamps the log, and nothing of it is missed."""
_LONGEST = timedelta(days=34)
"""Modal takes no longer spans."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What was printed at a moment."""

    at: datetime
    text: str


@dataclass(frozen=True, slots=True)
class Cursor:
    """Behind so many entries of one moment."""

    at: datetime
    count: int

    @property
    def text(self) -> str:
        return f"{self.at.isoformat()}/{self.count}"

    @classmethod
    def parse(cls, text: str | None, key: str, now: datetime) -> Self:
        """Where to go on; the beginning is well before the key was made."""
        if text is None:
            return cls(min(made_at(key) or now, now) - _ASTRAY, 0)
        at, _, count = text.rpartition("/")
        return cls(datetime.fromisoformat(at), int(count))


class Logs:
    """Logs by sandbox. Once a run is released its log lies in `folder`: Modal keeps it for days only."""

    def __init__(self, sdk: Sdk, folder: Path) -> None:
        self._sdk = sdk
        self._folder = folder

    def page(self, mark: Mark, cursor: str | None, now: datetime, *, is_over: bool) -> LogPage:
        """Whole lines behind the cursor; of an ended run also one that has no end."""
        at = Cursor.parse(cursor, mark.key, now)
        new = _behind(self._entries(mark, at.at, now), at)
        taken = new[:_PAGE]
        is_last = is_over and len(taken) == len(new)
        if not is_last:
            taken = _whole(taken)
        lines = "".join(entry.text for entry in taken).splitlines()
        return LogPage(lines, _after(taken, at).text if taken or cursor else None, is_last)

    def last_words(self, mark: Mark, now: datetime) -> str:
        """The end of what was printed; empty where it cannot be had, for it explains and decides nothing."""
        with suppress(ProviderError):
            entries = self._entries(mark, Cursor.parse(None, mark.key, now).at, now)
            return "".join(entry.text for entry in entries).strip()[-_LAST_WORDS:]
        return ""

    def bring_home(self, mark: Mark, now: datetime) -> None:
        """Keep the log of an ended run. What cannot be had now is no reason to hold the run."""
        path = self._path(mark)
        if path.exists() or not mark.sandbox_id:
            return
        with suppress(ProviderError):
            entries = self._fetched(mark.sandbox_id, Cursor.parse(None, mark.key, now).at, now)
            path.parent.mkdir(parents=True, exist_ok=True)
            write_text(path, "".join(f"{json.dumps([one.at.isoformat(), one.text])}\n" for one in entries))

    def _entries(self, mark: Mark, since: datetime, now: datetime) -> list[Entry]:
        if self._path(mark).exists():
            rows = map(json.loads, self._path(mark).read_text().splitlines())
            kept = [Entry(datetime.fromisoformat(at), text) for at, text in rows]
            return [entry for entry in kept if entry.at >= since]
        return self._fetched(mark.sandbox_id, since, now) if mark.sandbox_id else []

    def _fetched(self, sandbox_id: str, since: datetime, now: datetime) -> list[Entry]:
        until = min(now + _ASTRAY, since + _LONGEST)

        async def call(client: modal.Client) -> list[Entry]:
            sandbox = await modal.Sandbox.from_id.aio(sandbox_id, client=client)
            try:
                found = sandbox.logs.fetch.aio(since=since, until=until)
                return [Entry(one.timestamp, one.message) async for one in found if one.source != "system"]
            except ExecutionError:
                # It has no container yet.
                return []

        return self._sdk.run("logs", call)

    def _path(self, mark: Mark) -> Path:
        return self._folder / f"{mark.name}.jsonl"


def _behind(entries: Sequence[Entry], cursor: Cursor) -> list[Entry]:
    same = [entry for entry in entries if entry.at == cursor.at]
    return [*same[cursor.count :], *(entry for entry in entries if entry.at > cursor.at)]


def _whole(entries: Sequence[Entry]) -> list[Entry]:
    """Up to the last end of a line: what comes behind it is not a line yet."""
    ends = [place for place, entry in enumerate(entries) if entry.text.endswith("\n")]
    return list(entries[: ends[-1] + 1]) if ends else []


def _after(taken: Sequence[Entry], cursor: Cursor) -> Cursor:
    if not taken:
        return cursor
    last = taken[-1].at
    count = sum(entry.at == last for entry in taken)
    return Cursor(last, count + (cursor.count if last == cursor.at else 0))
