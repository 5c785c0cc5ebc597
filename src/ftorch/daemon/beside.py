"""What the daemon does beside moving jobs: schedules and notices. What goes wrong there never keeps a job waiting."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import structlog

from ftorch.core.errors import StoreError

log = structlog.get_logger()


class Look(Protocol):
    """What one pass of one of them saw."""

    @property
    def under_way(self) -> int: ...

    @property
    def open(self) -> int: ...

    @property
    def next_at(self) -> datetime | None: ...


class Part(Protocol):
    """One of them: `tick` is quick, slow work is in its own threads."""

    progressed: Callable[[], object]

    def tick(self) -> Look: ...

    @property
    def under_way(self) -> int: ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Outlook:
    """What all of them saw together."""

    under_way: int = 0
    open: int = 0
    """What is not over yet, and keeps a daemon that would leave."""
    next_at: datetime | None = None


class Beside:
    """Ticks the parts one after the other."""

    def __init__(self, *parts: Part) -> None:
        self._parts = parts

    def wakes(self, wake: Callable[[], object]) -> None:
        """What ends the loop's pause when work in a thread has ended."""
        for part in self._parts:
            part.progressed = wake

    @property
    def under_way(self) -> int:
        return sum(part.under_way for part in self._parts)

    def tick(self) -> Outlook:
        looks = [look for part in self._parts if (look := _looked(part))]
        due = [look.next_at for look in looks if look.next_at is not None]
        return Outlook(sum(look.under_way for look in looks), sum(look.open for look in looks), min(due, default=None))

    def close(self) -> None:
        """Wait for what is under way."""
        for part in self._parts:
            part.close()


def _looked(part: Part) -> Look | None:
    try:
        return part.tick()
    except StoreError as error:
        log.warning("the database does not answer", error=error.message)
    except Exception:  # the outer edge: a bad schedule must not leave paid runs without anybody who looks
        log.exception("a part of the daemon raised", part=type(part).__name__)
    return None
