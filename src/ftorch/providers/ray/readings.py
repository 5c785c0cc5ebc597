"""What Ray and the run itself say about a job, in our words."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

import structlog

from ftorch.manifest.schema import RetryEvent
from ftorch.providers.base import Observation, RunState
from ftorch.providers.ray.api import Job
from ftorch.providers.ray.orders import rate_of
from ftorch.providers.ray_jobs import status
from ftorch.providers.ray_jobs.states import HINTS, RAY_STATES
from ftorch.providers.ray_jobs.status import Status

_SAID = 600

log = structlog.get_logger()


def state_of(job: Job) -> RunState:
    """An unknown word stays unknown, and is logged."""
    if job.status not in RAY_STATES:
        log.warning("unknown status", provider="ray", status=job.status)
    return RAY_STATES.get(job.status, RunState.UNKNOWN)


def observation(job: Job, told: Status | None, now: datetime) -> Observation:
    """One reading. `told` is the run's own status, where it was looked for and is there."""
    seen = _observation(job, told, now)
    return replace(seen, provider_status=job.status, rate=rate_of(job))


def absent(session: str, place: str | None, now: datetime) -> Observation:
    """A job that the session has not: the head was started anew, or somebody has deleted it."""
    if place is not None and place != session:
        words = f"the cluster was started anew: the run was in {place}, now there is {session}"
        return Observation(RunState.ABSENT, "another session", now, detail=words, retry_event=RetryEvent.PREEMPTED)
    words = f"{session} has no such job: somebody has deleted it"
    return Observation(RunState.ABSENT, "not found", now, detail=words)


def with_detail(seen: Observation, words: str) -> Observation:
    return replace(seen, detail=words)


def _observation(job: Job, told: Status | None, now: datetime) -> Observation:
    match state := state_of(job):
        case RunState.QUEUED:
            return Observation(state, job.status, now, detail=job.message or "waits for the cluster")
        case RunState.RUNNING:
            return status.alive(told, now)
        case RunState.SUCCEEDED | RunState.FAILED | RunState.STOPPED:
            return _ended(job, state, told, now)
        case _:
            return Observation(state, job.status, now)


def _ended(job: Job, state: RunState, told: Status | None, now: datetime) -> Observation:
    if told is None:
        return _without_a_word(job, state, now)
    seen = status.ended(told, is_cancelled=state is RunState.STOPPED, now=now)
    if status.is_decided(seen) or state is RunState.STOPPED:
        return seen if status.is_decided(seen) else replace(seen, state=RunState.STOPPED, retry_event=None)
    if state is RunState.SUCCEEDED:
        return replace(seen, state=RunState.FAILED, detail="the job ended well, and left no result", retry_event=None)
    return replace(seen, exit_code=job.driver_exit_code)


def _without_a_word(job: Job, state: RunState, now: datetime) -> Observation:
    """A job that never began, or whose node is gone: Ray's own words are all there is."""
    words, event = HINTS.get(job.error_type or "", ("", None))
    said = " ".join((job.message or "").strip().split())[-_SAID:]
    detail = f"{words}: {said}" if words else said
    if state is RunState.FAILED and event is RetryEvent.PREEMPTED:
        state = RunState.STOPPED
    return Observation(state, job.status, now, exit_code=job.driver_exit_code, detail=detail, retry_event=event)
