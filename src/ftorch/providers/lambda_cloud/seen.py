"""A run as an observation: what Lambda says of its machine and what its folder says, together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from decimal import Decimal

import structlog

from ftorch.manifest.schema import RetryEvent
from ftorch.providers import output
from ftorch.providers.base import ENDED, Observation, RunState
from ftorch.providers.lambda_cloud.api import Instance
from ftorch.providers.lambda_cloud.records import Record
from ftorch.providers.ssh.box import Reading

_STATES: Mapping[str, RunState] = {
    "booting": RunState.PROVISIONED,
    "active": RunState.PROVISIONED,
    "unhealthy": RunState.PROVISIONED,
    "terminating": RunState.STOPPED,
    "terminated": RunState.STOPPED,
    "preempted": RunState.STOPPED,
}
_DETAILS: Mapping[str, str] = {
    "booting": "the machine boots",
    "active": "the machine is there; the work has not begun",
    "unhealthy": "Lambda's health check failed",
}
_FROM_OUTSIDE = "its machine was ended from outside: by Lambda, by its own switch, or by a person"

log = structlog.get_logger()


def of_machine(instance: Instance, record: Record | None, now: datetime) -> Observation:
    """What Lambda alone says: before the work has begun, and after the machine's end."""
    state = _STATES.get(instance.status, RunState.UNKNOWN)
    if state is RunState.UNKNOWN:
        log.warning("unknown status", provider="lambda", status=instance.status)
    if state is RunState.STOPPED:
        return _paid(_stopped(instance.status, record, now), instance, record)
    seen = Observation(state, instance.status, now, detail=_DETAILS.get(instance.status, ""))
    return _paid(seen, instance, record)


def of_folder(instance: Instance, reading: Reading, record: Record | None, now: datetime) -> Observation:
    """What the run's folder says, with the machine's time and price in the place of the trainer's."""
    seen = output.observation(
        reading.folder,
        is_alive=reading.is_alive,
        is_cancelled=reading.is_cancelled,
        now=now,
        was_started=reading.was_started,
        said=reading.said,
    )
    if seen.state is RunState.PROVISIONED:
        return of_machine(instance, record, now)
    if seen.state is RunState.STOPPED and seen.retry_event is not None:
        seen = replace(seen, detail=f"{seen.detail}; its machine is given back, so the next run begins anew")
    return _paid(seen, instance, record)


def of_nothing(record: Record | None, now: datetime) -> Observation:
    """Lambda does not know the machine."""
    if record is not None and record.cancelled_at is not None:
        return _ended_by_record(_stopped("terminated", record, now), record)
    gone = Observation(RunState.ABSENT, "not found", now, detail=_FROM_OUTSIDE, retry_event=RetryEvent.PREEMPTED)
    return gone if record is None else _ended_by_record(gone, record)


def _stopped(status: str, record: Record | None, now: datetime) -> Observation:
    if record is not None and record.cancelled_at is not None:
        return Observation(RunState.STOPPED, "cancelled", now, detail="cancelled")
    return Observation(RunState.STOPPED, status, now, detail=_FROM_OUTSIDE, retry_event=RetryEvent.PREEMPTED)


def _paid(seen: Observation, instance: Instance, record: Record | None) -> Observation:
    """With its price, and its billed time: what has ended goes on costing until its machine is gone."""
    healthy_at = instance.first_healthy or (record.healthy_at if record else None)
    is_over = healthy_at is not None and seen.state in ENDED
    ended_at = (record.ended_at if record else None) or seen.observed_at
    return replace(
        seen,
        rate=Decimal(instance.instance_type.price_cents_per_hour) / 100,
        billable_from=healthy_at,
        billable_to=ended_at if is_over else None,
    )


def _ended_by_record(seen: Observation, record: Record) -> Observation:
    healthy_at, ended_at = record.healthy_at, record.ended_at or seen.observed_at
    return replace(
        seen,
        rate=Decimal(record.cents_per_hour) / 100 if record.cents_per_hour else None,
        billable_from=healthy_at,
        billable_to=max(ended_at, healthy_at) if healthy_at else None,
    )
