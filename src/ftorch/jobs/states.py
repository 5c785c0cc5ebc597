"""The life of a job in one place: `decide` looks at rows and a clock and says what is wanted next. It does nothing.

Every run is worked on until it is ended, released and charged, whatever the job's state says. A new run of a job
starts only when all its earlier runs are ended and released.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import assert_never

from ftorch.manifest.schema import Retry, RetryEvent
from ftorch.providers.base import Capabilities, Find, RunState
from ftorch.store import JobRow, RunRow

RUN = "run"
CANCELLED = "cancelled"
"""The two values of `jobs.desired`."""

CANCEL_AGAIN = timedelta(seconds=20)
_FIRST_PAUSE = timedelta(seconds=30)
_LONGEST_PAUSE = timedelta(minutes=10)
FETCH_TRIES = 5


class Purpose(StrEnum):
    """Why a run exists."""

    TRAIN = "train"
    EVALUATE = "evaluate"
    DUPLICATE = "duplicate"
    """A second run found under one key: cancelled and booked, never used."""


class JobState(StrEnum):
    """Where a job is."""

    PLANNED = "planned"
    STAGING = "staging"
    SUBMITTING = "submitting"
    QUEUED = "queued"
    RUNNING = "running"
    CANCELLING = "cancelling"
    FETCHING = "fetching"
    EVALUATING = "evaluating"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    UNKNOWN = "unknown"
    """A create may or may not have happened, and nobody can find out by machine. The hold stays."""
    LOST = "lost"


TERMINAL = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED, JobState.LOST})
"""States that only an explicit retry reopens."""


class JobReason(StrEnum):
    """Why a job ended, or waits for a person."""

    COMPLETED = "completed"
    CANCELLED_BY_USER = "cancelled_by_user"
    REJECTED = "rejected"
    TRAINING_FAILED = "training_failed"
    DEADLINE = "deadline"
    OVER_BUDGET = "over_budget"
    CAPACITY = "capacity"
    PREEMPTED = "preempted"
    PROVIDER_ERROR = "provider_error"
    ARTIFACT = "artifact"
    RUN_LOST = "run_lost"
    SUBMIT_UNKNOWN = "submit_unknown"


class StepKind(StrEnum):
    """What can be done for a job or one of its runs. Each step is one call and one transition."""

    STAGE = "stage"
    OPEN_RUN = "open_run"
    SUBMIT = "submit"
    FIND = "find"
    ABANDON = "abandon"
    """Close a run that was never sent."""
    START = "start"
    CANCEL = "cancel"
    FETCH = "fetch"
    RELEASE = "release"
    CHARGE = "charge"
    SETTLE = "settle"


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to do; `run` is None for steps of the job itself."""

    kind: StepKind
    run: RunRow | None = None

    @property
    def worker_key(self) -> str:
        """Two steps with one worker key are never under way at once."""
        return self.run.key if self.run else "job"


@dataclass(frozen=True, slots=True)
class Decision:
    """The state that the rows add up to, and the steps that are due."""

    state: JobState
    reason: JobReason | None
    steps: tuple[Step, ...] = ()


def decide(job: JobRow, runs: Sequence[RunRow], now: datetime, retry: Retry, capabilities: Capabilities) -> Decision:
    """What the job is and what is due. `runs` are all of the job's, in the order of their numbers."""
    steps = tuple(Step(kind, run) for run in runs if (kind := _run_step(job, run, now, capabilities)))
    if JobState(job.state) in TERMINAL:
        return Decision(JobState(job.state), JobReason(job.reason) if job.reason else None, steps)
    if not runs:
        return _before_the_first_run(job, now)
    last = [run for run in runs if run.purpose != Purpose.DUPLICATE][-1]
    if last.ended_at is None:
        state = _open_state(job, last)
        return Decision(state, JobReason.SUBMIT_UNKNOWN if state is JobState.UNKNOWN else None, steps)
    if RunState(last.state or RunState.FAILED) is RunState.SUCCEEDED:
        return _after_success(job, last, runs, steps)
    return _after_a_bad_end(job, last, runs, steps, retry, now)


def _before_the_first_run(job: JobRow, now: datetime) -> Decision:
    if job.desired == CANCELLED:
        return Decision(JobState.CANCELLED, JobReason.CANCELLED_BY_USER)
    if job.next_at > now:
        return Decision(JobState(job.state), JobReason(job.reason) if job.reason else None)
    if job.staged is None:
        return Decision(JobState.STAGING, None, (Step(StepKind.STAGE),))
    return Decision(JobState.SUBMITTING, None, (Step(StepKind.OPEN_RUN),))


def _run_step(job: JobRow, run: RunRow, now: datetime, capabilities: Capabilities) -> StepKind | None:
    """The next call for one run; None while there is only to observe and wait."""
    if run.next_at > now:
        return None
    if run.ended_at is None:
        return _open_run_step(job, run, now)
    if _is_to_fetch(run):
        # An adapter whose training finished is not given up: without it nothing is released.
        return StepKind.FETCH if run.failures < FETCH_TRIES else None
    if run.released_at is None:
        return StepKind.RELEASE
    if run.charged_at is None:
        return StepKind.CHARGE
    if run.settled_at is None and now >= run.ended_at + timedelta(seconds=capabilities.settle_lag_s):
        return StepKind.SETTLE
    return None


def _is_to_fetch(run: RunRow) -> bool:
    return run.purpose == Purpose.TRAIN and run.state == RunState.SUCCEEDED and run.fetched_at is None


def _open_run_step(job: JobRow, run: RunRow, now: datetime) -> StepKind | None:
    wanted = job.desired == RUN and run.purpose != Purpose.DUPLICATE
    if run.sent_at is None:
        return StepKind.SUBMIT if wanted else StepKind.ABANDON
    if run.state is None:
        # What waits for a person is looked for again when the person says that it is not wanted.
        return StepKind.FIND if run.detail != JobReason.SUBMIT_UNKNOWN or not wanted else None
    if not wanted:
        asked = run.cancel_requested_at
        return StepKind.CANCEL if asked is None or now >= asked + CANCEL_AGAIN else None
    return StepKind.START if run.state == RunState.PROVISIONED else None


def may_send_again(run: RunRow, now: datetime, capabilities: Capabilities) -> bool:
    """After a complete search that found nothing: a second create under the same key cannot make a second run.

    Either the provider refuses it, or the first create has ended by now and there was only one.
    """
    if capabilities.client_chosen_id:
        return True
    if capabilities.find is Find.NONE or run.sends > 1:
        return False
    return now >= quiet_until(run, capabilities)


def quiet_until(run: RunRow, capabilities: Capabilities) -> datetime:
    """Until then a create that was sent may still become visible."""
    if run.send_before is None:
        return run.created_at
    return run.send_before + timedelta(seconds=capabilities.create_timeout_s + capabilities.visibility_lag_s)


def _open_state(job: JobRow, run: RunRow) -> JobState:
    if job.desired == CANCELLED:
        return JobState.CANCELLING
    if run.state is None and run.detail == JobReason.SUBMIT_UNKNOWN:
        return JobState.UNKNOWN
    if run.state is None:
        return JobState.SUBMITTING
    match RunState(run.state):
        case RunState.PROVISIONED | RunState.QUEUED:
            return JobState.QUEUED
        case _:
            return JobState.RUNNING


def _after_success(job: JobRow, last: RunRow, runs: Sequence[RunRow], steps: tuple[Step, ...]) -> Decision:
    if _is_to_fetch(last) and last.failures >= FETCH_TRIES:
        return Decision(JobState.FAILED, JobReason.ARTIFACT, steps)
    if job.adapter is None or not _all_done(runs):
        return Decision(JobState.FETCHING, None, steps)
    return Decision(JobState.SUCCEEDED, JobReason.COMPLETED, steps)


def _after_a_bad_end(
    job: JobRow, last: RunRow, runs: Sequence[RunRow], steps: tuple[Step, ...], retry: Retry, now: datetime
) -> Decision:
    if not _all_done(runs):
        waiting = JobState.CANCELLING if job.desired == CANCELLED else JobState(job.state)
        return Decision(waiting, None, steps)
    if job.desired == CANCELLED:
        return Decision(JobState.CANCELLED, JobReason.CANCELLED_BY_USER, steps)
    attempts = [run for run in runs if run.purpose != Purpose.DUPLICATE]
    is_asked_for = len(runs) < job.granted
    if is_asked_for or _may_retry(last, attempts, retry):
        is_due = job.next_at <= now and (is_asked_for or _next_run_at(last, len(attempts)) <= now)
        return Decision(JobState.SUBMITTING, None, (*steps, Step(StepKind.OPEN_RUN)) if is_due else steps)
    state = JobState.LOST if last.state == RunState.ABSENT else JobState.FAILED
    return Decision(state, _reason(last), steps)


def _next_run_at(last: RunRow, runs: int) -> datetime:
    """At once after a run that had begun its work; capacity that is not there now is not there a second later."""
    ended_at = last.ended_at or last.created_at
    if last.started_at is not None or last.billable_from is not None:
        return ended_at
    pause: timedelta = _FIRST_PAUSE * (1 << min(runs - 1, 10))
    return ended_at + min(pause, _LONGEST_PAUSE)


def _all_done(runs: Sequence[RunRow]) -> bool:
    """Ended, released, and with a first charge in the ledger: the job's spend is known when it ends."""
    return all(run.ended_at and run.released_at and run.charged_at for run in runs)


def _may_retry(last: RunRow, runs: Sequence[RunRow], retry: Retry) -> bool:
    return (
        last.retry_event is not None and RetryEvent(last.retry_event) in retry.on_events and len(runs) < retry.max_runs
    )


def _reason(run: RunRow) -> JobReason:
    if run.retry_event:
        return JobReason(run.retry_event)
    match RunState(run.state) if run.state else None:
        case None:
            return JobReason.REJECTED
        case RunState.TIMED_OUT:
            return JobReason.DEADLINE
        case RunState.ABSENT:
            return JobReason.RUN_LOST
        case RunState.FAILED:
            return JobReason.TRAINING_FAILED
        case RunState.STOPPED:
            return JobReason.PREEMPTED
        case (
            RunState.PROVISIONED
            | RunState.QUEUED
            | RunState.RUNNING
            | RunState.FINALIZING
            | RunState.SUCCEEDED
            | RunState.UNKNOWN
        ) as open_state:
            raise ValueError(f"a run that is {open_state} has not ended badly")
        case unreachable:
            assert_never(unreachable)
