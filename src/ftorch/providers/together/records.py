"""What a job's record says, in our words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from math import ceil
from typing import Any

import structlog
from pydantic import ValidationError

from ftorch.core.ids import installation_of
from ftorch.core.money import Money
from ftorch.costs.items import EntryKind, LineItem, SpendSource, Window
from ftorch.manifest.schema import RetryEvent
from ftorch.providers.base import ENDED, Observation, Progress, RunState
from ftorch.providers.sightings import paid_time
from ftorch.providers.together.api import Event, Job

STATES: Mapping[str, RunState] = {
    "pending": RunState.QUEUED,
    "queued": RunState.QUEUED,
    "running": RunState.RUNNING,
    "compressing": RunState.FINALIZING,
    "uploading": RunState.FINALIZING,
    "cancel_requested": RunState.FINALIZING,
    "completed": RunState.SUCCEEDED,
    "cancelled": RunState.STOPPED,
    "error": RunState.FAILED,
    "user_error": RunState.FAILED,
}
_RETRY_EVENTS: Mapping[str, RetryEvent] = {"error": RetryEvent.PROVIDER_ERROR}
UNREADABLE = "unreadable record"
_LAST = datetime.max.replace(tzinfo=UTC)
_NANO = Decimal("1e-9")
_MINUTE_S = 60

log = structlog.get_logger()


def readable(records: Sequence[Any]) -> Iterator[Job]:
    """The records one by one. One that nobody can read is passed over, unless its suffix is a key of ours."""
    for record in records:
        try:
            yield Job.model_validate(record)
        except ValidationError as error:
            kept = _kept(record)
            faults = [".".join(map(str, fault["loc"])) for fault in error.errors()]
            log.warning("a job's record cannot be read", provider="together", job=kept and kept.id, fields=faults)
            if kept is not None:
                yield kept


def state(job: Job) -> RunState:
    """A word that is not in the table is unknown, and logged."""
    found = STATES.get(job.status.casefold(), RunState.UNKNOWN)
    if found is RunState.UNKNOWN:
        log.warning("unknown status", provider="together", status=job.status)
    return found


def observation(job: Job, now: datetime, why: str = "") -> Observation:
    """One reading. `why` is what the job's events say about its end."""
    its_state = state(job)
    return Observation(
        state=its_state,
        provider_status=job.status,
        observed_at=now,
        billable_from=job.started_at,
        billable_to=_ended_at(job) if job.started_at and its_state in ENDED else None,
        trained_tokens=job.token_count,
        accrual=price(job),
        detail=why,
        retry_event=_RETRY_EVENTS.get(job.status.casefold()),
        progress=_progress(job),
    )


def price(job: Job) -> Money | None:
    """What the job costs as far as Together has said; nothing and 0 are no price."""
    return Money(job.total_price * _NANO) if job.total_price else None


def charge(job: Job, key: str) -> LineItem | None:
    """The price that Together keeps with the job; a later one has a later `as_of`. None: none is named yet."""
    amount = price(job)
    if amount is None:
        return None
    start = job.started_at or job.created_at
    last = max((event.created_at for event in job.events or () if event.created_at), default=start)
    as_of = max(_ended_at(job), last)
    return line(job.id, key, amount, job.token_count, Window(start, _ended_at(job)), as_of)


def charge_as_seen(job_id: str, key: str, history: Sequence[Observation]) -> LineItem | None:
    """The price as it was when we last saw the job, for one whose record is gone."""
    for seen in reversed(history):
        if seen.accrual is not None:
            period = paid_time(history) or Window(seen.observed_at, seen.observed_at)
            return line(job_id, key, seen.accrual, seen.trained_tokens, period, seen.observed_at)
    return None


def line(job_id: str, key: str, amount: Money, tokens: int | None, period: Window, as_of: datetime) -> LineItem:
    """A job's price per token; the minimum is in it, so this is not the list's."""
    return LineItem(
        source=SpendSource.RUN_RECORD,
        source_ref=f"{job_id}/total_price",
        kind=EntryKind.PROVISIONAL,
        amount=amount,
        quantity=Decimal(tokens or 1),
        unit="token" if tokens else "run",
        unit_price=amount.amount / (tokens or 1),
        period=period,
        as_of=as_of,
        description=f"total_price of together's job {job_id}",
        run_key=key,
    )


def why(events: Sequence[Event]) -> str:
    """What the last event says: the end, its error, or who stopped it."""
    told = [event.message for event in events if event.message]
    return told[-1] if told else ""


def _ended_at(job: Job) -> datetime:
    start = job.started_at or job.created_at
    return max(job.updated_at or start, start)


def _progress(job: Job) -> Progress | None:
    """The list tells no steps, only the time that is left: to the minute, or every look would be news."""
    if job.progress is None or not job.progress.estimate_available:
        return None
    return Progress(0, 0, seconds_left=ceil(job.progress.seconds_remaining / _MINUTE_S) * _MINUTE_S)


def _kept(record: Any) -> Job | None:
    """As much of a record of ours as it takes not to lose the run."""
    match record:
        case {"id": str(job_id), "suffix": str(suffix)} if installation_of(suffix):
            # It comes after all that can be read: of two runs under one key the other one is kept.
            return Job(id=job_id, suffix=suffix, status=UNREADABLE, created_at=_LAST)
        case _:
            return None
