"""A job's log: its events and the rows of its metrics, in one order that only grows.

Metrics have a step and no time, events have a time and only some a step. So a row of metrics stands before the first
event that is known to be later: one with a larger step, or one of the end.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Self

from ftorch.core.clock import rfc3339
from ftorch.providers.together.api import Event

Row = Mapping[str, float | None]

_SILENT = "job_pending"
_END = frozenset(
    {
        "job_stopped",
        "billing_limit",
        "training_complete",
        "model_compressing",
        "model_uploading",
        "job_complete",
        "job_error",
        "job_user_error",
        "cancel_requested",
        "refund",
        "early_stopped",
    }
)
"""After these no step follows, or hardly one."""
_LOSSES = {"train/loss": "loss", "eval/loss": "eval loss"}


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far somebody has read: events, the last step of metrics, and rows that were seen of it."""

    events: int = 0
    step: int = 0
    rows: int = 0

    @classmethod
    def parse(cls, text: str | None) -> Self:
        return cls(*map(int, text.split(":"))) if text else cls()

    @property
    def text(self) -> str | None:
        """None: nothing was read yet."""
        return f"{self.events}:{self.step}:{self.rows}" if self != Cursor() else None


def page(events: Sequence[Event], rows: Sequence[Row], cursor: Cursor) -> tuple[list[str], Cursor]:
    """The lines behind the cursor, and where it is then. `events` are all, `rows` those from the cursor's step on."""
    rows = [row for row in rows if _step(row) >= cursor.step]
    new = rows[cursor.rows :]
    placed = list(_placed(events))[cursor.events :]
    total = max((event.total_steps or 0 for event in events), default=0)
    return list(_merged(placed, new, total)), _after(cursor, len(events), rows)


def _placed(events: Sequence[Event]) -> Iterator[tuple[float, Event]]:
    """Each event with the step that it comes after."""
    at: float = 0
    for event in events:
        at = inf if event.type.casefold() in _END else max(at, event.step or 0)
        yield at, event


def _merged(placed: Sequence[tuple[float, Event]], rows: Sequence[Row], total: int) -> Iterator[str]:
    waiting = list(rows)
    for at, event in placed:
        while waiting and _step(waiting[0]) <= at:
            yield from _row_lines(waiting.pop(0), total)
        if event.type.casefold() != _SILENT:
            at_time = f"{rfc3339(event.created_at)} " if event.created_at else ""
            yield f"{at_time}{event.type.casefold()}: {event.message}"
    for row in waiting:
        yield from _row_lines(row, total)


def _row_lines(row: Row, total: int) -> Iterator[str]:
    steps = f"{_step(row)}/{total}" if total else f"{_step(row)}"
    for name, word in _LOSSES.items():
        if (loss := row.get(name)) is not None:
            yield f"step {steps} {word} {loss:.4f}"


def _after(cursor: Cursor, events: int, rows: Sequence[Row]) -> Cursor:
    if not rows:
        return Cursor(events, cursor.step, cursor.rows)
    last = _step(rows[-1])
    return Cursor(events, last, sum(_step(row) == last for row in rows))


def _step(row: Row) -> int:
    """An evaluation has a step of its own."""
    return int(row.get("train/global_step") or row.get("eval/global_step") or 0)
