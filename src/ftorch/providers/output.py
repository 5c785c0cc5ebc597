"""The trainer's output folder, read from outside: what its files say about a run.

Works on text, so that it serves a folder on this disk, one read over ssh, and one on a shared volume. The protocol is
described in `ftorch/trainer/__init__.py`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ftorch.core.clock import parse_rfc3339
from ftorch.manifest.schema import RetryEvent
from ftorch.providers.base import Observation, Progress, RunState

EVENTS = "events.jsonl"
HEARTBEAT = "heartbeat.json"
RESULT = "result.json"
ADAPTER = "adapter"
CHECKPOINTS = "checkpoints"
_LAST_WORDS = ("succeeded", "failed", "interrupted")


@dataclass(frozen=True, slots=True)
class Reading:
    """What the folder says. Moments are None where the file is not there yet."""

    events: Sequence[Mapping[str, Any]]
    heartbeat: Mapping[str, Any] | None
    result: Mapping[str, Any] | None

    @property
    def started_at(self) -> datetime | None:
        """When the work of the first attempt began."""
        return next((moment(e) for e in self.events if e.get("event") == "started"), None)

    @property
    def last_sign(self) -> datetime | None:
        """The last sign of life: an event or a heartbeat."""
        signs = [moment(e) for e in self.events[-1:]] + ([moment(self.heartbeat)] if self.heartbeat else [])
        return max(signs, default=None)

    @property
    def ended_at(self) -> datetime | None:
        """When the last attempt ended: its last word, or the last sign of life of one that was killed.

        The heartbeat beats once more while the process leaves, which must not move an end that was told.
        """
        is_told = self.last_event.get("event") in _LAST_WORDS
        return moment(self.last_event) if is_told else self.last_sign

    @property
    def last_event(self) -> Mapping[str, Any]:
        return self.events[-1] if self.events else {}


def parse(events: str, heartbeat: str | None, result: str | None) -> Reading:
    """Read the three texts. A half last line, or a file caught while it was replaced, counts as not there yet.

    The result must have been read first: the events have the end that it tells of.
    """
    lines = [_object(line) for line in events.splitlines()]
    return Reading(
        events=[line for line in lines if line],
        heartbeat=_object(heartbeat or ""),
        result=_object(result or ""),
    )


def moment(line: Mapping[str, Any]) -> datetime:
    """The time of an event or a heartbeat."""
    return parse_rfc3339(line["t"])


def observation(
    reading: Reading, *, is_alive: bool, is_cancelled: bool, now: datetime, was_started: bool = False, said: str = ""
) -> Observation:
    """What the folder and the process say together. `is_alive` must have been asked before the folder was read.

    `was_started`, asked before `is_alive`: a process was there; `said` is the end of what it printed.
    """
    if reading.result is not None:
        return _ended(reading, RunState.SUCCEEDED, now, exit_code=0)
    if is_alive:
        return _alive(reading, now)
    if reading.started_at is None:
        return _never_began(said, now) if was_started and not is_cancelled else _not_started(is_cancelled, now)
    return _dead(reading, is_cancelled=is_cancelled, now=now)


def _alive(reading: Reading, now: datetime) -> Observation:
    beat = reading.heartbeat or {}
    phase = str(beat.get("phase", "starting"))
    state = RunState.FINALIZING if phase == "save" else RunState.RUNNING
    return Observation(
        state=state,
        provider_status=phase,
        observed_at=now,
        billable_from=reading.started_at,
        progress=_progress(beat),
    )


def _never_began(said: str, now: datetime) -> Observation:
    """Started and gone without a word: waiting for it would start it for ever. The next run has the same cause to fail,
    or not, so the manifest's `retry` decides."""
    detail = f"the trainer ended before it began: {said or 'it printed nothing'}"
    return Observation(RunState.STOPPED, "ended", now, detail=detail, retry_event=RetryEvent.PREEMPTED)


def _not_started(is_cancelled: bool, now: datetime) -> Observation:
    if is_cancelled:
        return Observation(RunState.STOPPED, "cancelled", now, detail="cancelled before it started")
    return Observation(RunState.PROVISIONED, "waiting", now, detail="waits for a free slot on this machine")


def _dead(reading: Reading, *, is_cancelled: bool, now: datetime) -> Observation:
    last = reading.last_event
    match last.get("event"):
        case "failed":
            code = int(last.get("exit_code", 70))
            words = f"{last.get('type', 'error')}: {last.get('message', 'no message')}"
            return _ended(reading, RunState.FAILED, now, exit_code=code, detail=words)
        case "interrupted" if last.get("reason") == "deadline":
            return _ended(reading, RunState.TIMED_OUT, now, exit_code=75, detail="the run's deadline was reached")
        case _ if is_cancelled:
            return _ended(reading, RunState.STOPPED, now, detail="cancelled")
        case _:
            return _ended(
                reading,
                RunState.STOPPED,
                now,
                detail="the trainer ended without a result; it can go on from its last checkpoint",
                retry_event=RetryEvent.PREEMPTED,
            )


def _ended(
    reading: Reading,
    state: RunState,
    now: datetime,
    *,
    exit_code: int | None = None,
    detail: str = "",
    retry_event: RetryEvent | None = None,
) -> Observation:
    result = reading.result or {}
    return Observation(
        state=state,
        provider_status=str(reading.last_event.get("event", "ended")),
        observed_at=now,
        exit_code=exit_code,
        billable_from=reading.started_at,
        billable_to=reading.ended_at,
        trained_tokens=result.get("trained_tokens"),
        detail=detail,
        retry_event=retry_event,
        progress=_progress(reading.heartbeat or {}),
    )


def _progress(beat: Mapping[str, Any]) -> Progress | None:
    step, total = beat.get("step"), beat.get("total_steps")
    if not isinstance(step, int) or not isinstance(total, int) or total < 1:
        return None
    per_step, loss = beat.get("seconds_per_step"), beat.get("loss")
    left = round((total - step) * per_step) if isinstance(per_step, int | float) else None
    return Progress(step, total, f"{loss:.4f}" if isinstance(loss, int | float) else None, left)


def _object(text: str) -> dict[str, Any] | None:
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None
