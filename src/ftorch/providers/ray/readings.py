"""What Ray and the run itself say about a job, in our words."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

import structlog

from ftorch.core.clock import from_micros
from ftorch.manifest.schema import RetryEvent
from ftorch.providers.base import Observation, RunState
from ftorch.providers.ray.api import Job
from ftorch.providers.ray.orders import rate_of
from ftorch.providers.ray_jobs import status
from ftorch.providers.ray_jobs.markers import Marked
from ftorch.providers.ray_jobs.states import HINTS, RAY_STATES
from ftorch.providers.ray_jobs.status import Status

_SAID = 600

log = structlog.get_logger()


def state_of(job: Job) -> RunState:
    """An unknown word stays unknown, and is logged."""
    if job.status not in RAY_STATES:
        log.warning("unknown status", provider="ray", status=job.status)
    return RAY_STATES.get(job.status, RunState.UNKNOWN)


def observation(
    job: Job, told: Status | None, now: datetime, *, said: Marked | None = None, began: datetime | None = None
) -> Observation:
    """One reading. `told` is the run's own status, where it was looked for and is there; else `said` is what its log
    tells of it, and `began` what an earlier look has told of its beginning."""
    seen = _observation(job, told, now, said, began)
    return replace(seen, provider_status=job.status, rate=rate_of(job), billable_from=seen.billable_from or began)


def absent(session: str, place: str | None, now: datetime) -> Observation:
    """A job that the session has not: the head was started anew, or somebody has deleted it."""
    if place is not None and place != session:
        words = f"the cluster was started anew: the run was in {place}, now there is {session}"
        return Observation(RunState.ABSENT, "another session", now, detail=words, retry_event=RetryEvent.PREEMPTED)
    words = f"{session} has no such job: somebody has deleted it"
    return Observation(RunState.ABSENT, "not found", now, detail=words)


def _observation(
    job: Job, told: Status | None, now: datetime, said: Marked | None, began: datetime | None
) -> Observation:
    match state := state_of(job):
        case RunState.QUEUED:
            return Observation(state, job.status, now, detail=job.message or "waits for the cluster")
        case RunState.RUNNING:
            return status.alive(told, now) if told or not began else Observation(state, job.status, now)
        case RunState.SUCCEEDED | RunState.FAILED | RunState.STOPPED:
            return _told_end(job, state, told, now) if told else _untold_end(job, state, said, now)
        case _:
            return Observation(state, job.status, now)


def _told_end(job: Job, state: RunState, told: Status, now: datetime) -> Observation:
    seen = status.ended(told, is_cancelled=state is RunState.STOPPED, now=now)
    if status.is_decided(seen) or state is RunState.STOPPED:
        return seen if status.is_decided(seen) else replace(seen, state=RunState.STOPPED, retry_event=None)
    if state is RunState.SUCCEEDED:
        return replace(seen, state=RunState.FAILED, detail="the job ended well, and left no result", retry_event=None)
    return replace(seen, exit_code=job.driver_exit_code)


def _untold_end(job: Job, state: RunState, said: Marked | None, now: datetime) -> Observation:
    """A job that never began, or whose folder nobody can read: how it ended is told by Ray, and for how long it ran by
    its log."""
    words, event = HINTS.get(job.error_type or "", ("", None))
    if state is RunState.FAILED and event is None and said is not None and said.is_cut:
        words, event = "its process was ended from outside", RetryEvent.PREEMPTED
    if state is RunState.FAILED and event is RetryEvent.PREEMPTED:
        state = RunState.STOPPED
    printed = " ".join((job.message or "").strip().split())[-_SAID:]
    return Observation(
        state,
        job.status,
        now,
        exit_code=said.exit_code if said and job.driver_exit_code is None else job.driver_exit_code,
        billable_from=said.started_at if said else None,
        billable_to=_ended_at(job, said, now),
        detail=f"{words}: {printed}" if words else printed,
        retry_event=event,
    )


def _ended_at(job: Job, said: Marked | None, now: datetime) -> datetime | None:
    """By the run's clock, else by Ray's, and never after now: a job may be looked at days after its end."""
    moments = [said.ended_at] if said else []
    moments += [from_micros(job.end_time * 1000)] if job.end_time else []
    ended_at = next((moment for moment in moments if moment is not None), None)
    return min(ended_at, now) if ended_at else None
