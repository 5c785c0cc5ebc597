"""Waiting for a job's end in another process than the one that works on it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from ftorch.core.clock import Clock
from ftorch.core.errors import NotFinishedError, UsageError
from ftorch.jobs.states import JobState
from ftorch.jobs.views import EventView, JobView, event_views, job_views
from ftorch.store import Store

_POLL_S = 0.5
_WAKE_S = 5.0
_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def wait(
    store: Store,
    clock: Clock,
    job_id: str,
    *,
    timeout: str | float | None,
    on_change: Callable[[JobView, Sequence[EventView]], None],
    wake: Callable[[], object],
) -> JobView:
    """Look until the job has ended; `on_change` is told what is new each time, `wake` sees that a daemon works.

    Raises NotFinishedError after `timeout` (seconds, or text such as `4h`) and for a job that waits for a person.
    """
    deadline_s = None if timeout is None else clock.boot_s() + _seconds(timeout)
    seen, next_wake_s = 0, 0.0
    while True:
        job = store.job(job_id)
        assert job is not None
        view = job_views(store, [job])[0]
        events = store.events_of(job_id, after=seen)
        seen = events[-1].seq if events else seen
        on_change(view, event_views(events))
        if view.ended_at is not None:
            return view
        _stop_when_pointless(view, is_late=deadline_s is not None and clock.boot_s() >= deadline_s)
        if clock.boot_s() >= next_wake_s:
            wake()
            next_wake_s = clock.boot_s() + _WAKE_S
        clock.sleep(_POLL_S)


def _stop_when_pointless(view: JobView, *, is_late: bool) -> None:
    if view.state == JobState.UNKNOWN:
        raise NotFinishedError(
            f"job {view.id} waits for you: nobody can tell whether its run was created",
            hint=f"look at the provider for {view.runs[-1].key}; if it is not there, `ftorch jobs retry {view.id}` "
            f"sends a new run and `ftorch cancel {view.id}` gives up",
        )
    if is_late:
        raise NotFinishedError(
            f"job {view.id} is still {view.state}", hint=f"it goes on; run `ftorch wait {view.id}` to come back"
        )


def _seconds(timeout: str | float) -> float:
    """`90s`, `30m`, `4h`, `2d`, or a bare number of seconds."""
    text = str(timeout)
    number, unit = (text[:-1], text[-1]) if text[-1:] in _UNITS_S else (text, "s")
    try:
        seconds = float(number) * _UNITS_S[unit]
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise UsageError(f"{text!r} is not a duration", hint="write a number and s, m, h or d, such as 4h")
    return seconds
