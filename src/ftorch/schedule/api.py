"""`client.schedules`: schedules in Python, with the words of `ftorch schedule`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftorch.core.errors import UsageError
from ftorch.store import Store

if TYPE_CHECKING:
    from ftorch.jobs.context import Context
    from ftorch.schedule.verbs import OccurrenceView, ScheduleView


class Schedules:
    """What a client knows of schedules. Looking needs a store alone; it is a daemon that starts jobs."""

    def __init__(self, open_context: Callable[[], Context], open_store: Callable[[], Store | None], cwd: Path) -> None:
        self._context = open_context
        self._store = open_store
        self._cwd = cwd

    def add(self, manifest: Path | str, **changes: Any) -> ScheduleView:
        """Add the schedule of a manifest, or take over its changed rule; keywords stand over the manifest's block.

        Raises ManifestError or UsageError. Times before now are not made up for.
        """
        from ftorch.schedule.verbs import add

        return add(self._context(), (self._cwd / manifest).absolute(), changes)

    def list(self) -> Sequence[ScheduleView]:
        """All schedules by name, each with its newest occurrence."""
        from ftorch.schedule.verbs import schedules

        store = self._store()
        return schedules(store) if store else []

    def show(self, name: str) -> ScheduleView:
        """One schedule with its newest occurrences, newest first."""
        from ftorch.schedule.verbs import show

        store = self._store()
        if store is None:
            raise UsageError(f"no schedule is called {name!r}", hint="run `ftorch schedule add MANIFEST`")
        return show(store, name)

    def pause(self, name: str) -> ScheduleView:
        """No more times count until `resume`. Twice is harmless."""
        from ftorch.schedule.verbs import pause

        return pause(self._context(), name)

    def resume(self, name: str) -> ScheduleView:
        """Times count again, from now on."""
        from ftorch.schedule.verbs import resume

        return resume(self._context(), name)

    def trigger(self, name: str) -> OccurrenceView:
        """One occurrence now, whatever the triggers say. A daemon starts it."""
        from ftorch.schedule.verbs import trigger

        return trigger(self._context(), name)

    def remove(self, name: str) -> None:
        """The schedule is gone; its jobs, adapters and history stay."""
        from ftorch.schedule.verbs import remove

        remove(self._context(), name)

    def next(self, cron: str, *, timezone: str = "UTC", after: datetime, count: int = 5) -> Sequence[datetime]:
        """The times that an expression means, from `after` on, in UTC. Asks no database."""
        from ftorch.schedule.verbs import next_times

        return next_times(cron, timezone, after, count)
