"""`status.json` read: what the runner and the trainer knew when they last wrote it, in our words."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Self

from ftorch.core.clock import parse_rfc3339
from ftorch.providers import output
from ftorch.providers.base import Observation, RunState

_DECIDED = (RunState.SUCCEEDED, RunState.FAILED, RunState.TIMED_OUT)


@dataclass(frozen=True, slots=True)
class Status:
    """One reading of the file."""

    reading: output.Reading
    started_at: datetime
    """When the runner began: the base model and the packages come before the trainer."""
    written_at: datetime
    ended_at: datetime | None
    exit_code: int | None
    resume_from: str | None

    @classmethod
    def parse(cls, text: str | bytes | None) -> Self | None:
        """None for what is not there, or cannot be read: whoever asks comes again."""
        try:
            value: Mapping[str, Any] = json.loads(text or "null")
            ended_at = value["ended_at"]
            return cls(
                reading=output.Reading(value["events"], value["heartbeat"], value["result"]),
                started_at=parse_rfc3339(value["started_at"]),
                written_at=parse_rfc3339(value["t"]),
                ended_at=parse_rfc3339(ended_at) if ended_at else None,
                exit_code=value["exit_code"],
                resume_from=value["resume_from"],
            )
        except (ValueError, KeyError, TypeError):
            return None


def alive(status: Status | None, now: datetime) -> Observation:
    """A job that the service says is running: what the trainer has finished may still be on its way to the storage."""
    if status is None:
        return Observation(RunState.RUNNING, "starting", now, detail="the job begins")
    reading = replace(status.reading, result=None)
    seen = output.observation(reading, is_alive=True, is_cancelled=False, now=now)
    return replace(seen, billable_from=status.started_at)


def ended(status: Status, *, is_cancelled: bool, now: datetime) -> Observation:
    """A job that the service says has ended, by what the run itself has told."""
    seen = output.observation(status.reading, is_alive=False, is_cancelled=is_cancelled, now=now, was_started=True)
    last = status.ended_at or max(status.written_at, seen.billable_to or status.started_at)
    return replace(
        seen,
        exit_code=seen.exit_code if seen.exit_code is not None else status.exit_code,
        billable_from=status.started_at,
        billable_to=min(max(last, status.started_at), now),
    )


def is_decided(seen: Observation) -> bool:
    """The run's own word stands, whatever the service calls its end."""
    return seen.state in _DECIDED
