"""What a job's record and the run's own folder say together, in our words."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import structlog
from pydantic import ValidationError

from ftorch.core.errors import CredentialsError, RunRejectedError
from ftorch.core.ids import installation_of
from ftorch.manifest.schema import RetryEvent
from ftorch.providers.anyscale.answers import Job, State
from ftorch.providers.anyscale.orders import Note
from ftorch.providers.base import Observation, RunState
from ftorch.providers.ray_jobs import status
from ftorch.providers.ray_jobs.files import RunFiles
from ftorch.providers.ray_jobs.inside.settings import STATUS
from ftorch.providers.ray_jobs.states import ANYSCALE_STATES
from ftorch.providers.ray_jobs.status import Status

UNREADABLE = "unreadable record"
_LAST = datetime.max.replace(tzinfo=UTC)

log = structlog.get_logger()


def readable(records: Iterable[Any]) -> Iterator[Job]:
    """The records one by one. One that nobody can read is passed over, unless its name is a key of ours."""
    for record in records:
        try:
            yield Job.model_validate(record)
        except ValidationError as error:
            kept = _kept(record)
            faults = [".".join(map(str, fault["loc"])) for fault in error.errors()]
            log.warning("a job's record cannot be read", provider="anyscale", job=kept and kept.id, fields=faults)
            if kept is not None:
                yield kept


def state(job: Job) -> RunState:
    """A word that is not in the table is unknown, and logged."""
    found = ANYSCALE_STATES.get(job.state.current_state.upper(), RunState.UNKNOWN)
    if found is RunState.UNKNOWN:
        log.warning("unknown status", provider="anyscale", status=job.state.current_state)
    return found


def told(opened: Callable[[], RunFiles | None]) -> Status | None:
    """What the run itself has left. Raises ProviderUnavailableError where nobody can tell now.

    Where its storage may not be read from here, Anyscale's own word is all there is.
    """
    with suppress(CredentialsError, RunRejectedError):
        files = opened()
        return Status.parse(files.read(STATUS)) if files else None
    log.warning("the run's folder may not be read from here", provider="anyscale")
    return None


def alive(job: Job, said: Status | None, now: datetime, *, seen_began: datetime | None = None) -> Observation:
    """A job that waits or runs, or of which nobody knows what it does."""
    its_state = state(job)
    began = None
    if its_state is not RunState.QUEUED:
        began = _began(job, said, seen_began) or (now if its_state is RunState.RUNNING else None)
    seen = Observation(its_state, job.state.current_state, now, detail=job.state.operation_message or "")
    if its_state is RunState.RUNNING:
        known = status.alive(said, now)
        seen = replace(seen, state=known.state, progress=known.progress, detail=seen.detail or known.detail)
    return replace(seen, billable_from=began, rate=rate(job))


def ended(
    job: Job,
    said: Status | None,
    now: datetime,
    *,
    seen_began: datetime | None = None,
    seen_end: datetime | None = None,
) -> Observation:
    """A job that has ended: how, the run knows best; for how long it is paid, Anyscale.

    What its record does not tell of its beginning and its end is what was seen before, or what the run itself has left.
    """
    its_state = state(job)
    words = job.state.error or job.state.operation_message or ""
    began = (_began(job, said, seen_began) or job.created_at) if job.last_job_run_id else None
    end = job.state.state_transitioned_at or seen_end or (said.ended_at if said else None) or now
    seen = _by_the_run(job, said, its_state, now) or _by_anyscale(job, its_state, words, now)
    return replace(
        seen,
        provider_status=job.state.current_state,
        billable_from=began,
        billable_to=min(max(end, began), now) if began else None,
        rate=rate(job),
    )


def note(job: Job) -> Note | None:
    """What its description says of it."""
    return Note.parse(job.description)


def rate(job: Job) -> Decimal | None:
    found = note(job)
    return found.rate if found else None


def is_hosted(job: Job) -> bool | None:
    """Whether its machines are Anyscale's own, as it was noted at the create; None: it was not."""
    found = note(job)
    return found.is_hosted if found else None


def _by_the_run(job: Job, said: Status | None, its_state: RunState, now: datetime) -> Observation | None:
    """None where the run has left nothing, or Anyscale knows more: that its time was up, or that all is well."""
    if said is None:
        return None
    seen = status.ended(said, is_cancelled=its_state is RunState.STOPPED, now=now)
    if status.is_decided(seen):
        return seen
    return None if its_state is RunState.SUCCEEDED or _is_timed_out(job) else seen


def _by_anyscale(job: Job, its_state: RunState, words: str, now: datetime) -> Observation:
    seen = Observation(its_state, job.state.current_state, now, detail=words)
    if its_state is RunState.STOPPED:
        return replace(seen, detail=words or "cancelled")
    if its_state is RunState.SUCCEEDED:
        return seen
    if _is_timed_out(job):
        return replace(seen, state=RunState.TIMED_OUT, detail=words or "the job ran out of its time")
    if job.last_job_run_id is None:
        # It never ran: the machines did not come, or its environment could not be made. Another try may fare better.
        return replace(seen, detail=words or "the cluster did not start", retry_event=RetryEvent.PROVIDER_ERROR)
    return replace(seen, detail=words or "the job failed without a word")


def _is_timed_out(job: Job) -> bool:
    """Anyscale has no state of its own for it."""
    limit, end = job.config.timeout_s, job.state.state_transitioned_at
    if limit is None or end is None or state(job) is not RunState.FAILED:
        return False
    return "timed out" in (job.state.error or "").lower() and end - job.created_at >= timedelta(seconds=limit)


def _began(job: Job, said: Status | None, seen_began: datetime | None) -> datetime | None:
    """When its run began: the time for which it waits for machines costs nothing. None: nobody tells."""
    told = job.last_job_run.created_at if job.last_job_run else None
    return told or seen_began or (said.started_at if said else None)


def _kept(record: Any) -> Job | None:
    """As much of a record of ours as it takes not to lose the run."""
    match record:
        case {"id": str(job_id), "name": str(name)} if installation_of(name):
            # It comes after all that can be read: of two runs under one key the other one is kept.
            return Job(id=job_id, name=name, created_at=_LAST, state=State(current_state=UNREADABLE))
        case _:
            return None
