"""What the Volume and an exit code say about a run, in our words."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime

from ftorch.manifest.schema import RetryEvent
from ftorch.providers import output
from ftorch.providers.base import Observation, RunState
from ftorch.providers.modal.names import out_folder, run_folder
from ftorch.providers.modal.volume import Files

TIMED_OUT, KILLED = 124, 137
"""Exit codes: of a sandbox that ran out of time, and of one that was ended from outside or by the kernel."""


@dataclass(frozen=True, slots=True)
class End:
    """A sandbox that has ended: what Modal says, and what its marks do."""

    exit_code: int
    started_at: datetime | None
    ended_at: datetime | None
    is_cancelled: bool
    said: Callable[[], str] = str
    """Asks for the last that it printed; called where it never began, so that nothing else tells why."""


def reading(files: Files, key: str, operation: str) -> output.Reading:
    """The trainer's output folder as the Volume has it."""
    folder = out_folder(key)
    names = (output.RESULT, output.EVENTS, output.HEARTBEAT)
    result, events, heartbeat = (files.read(f"{folder}/{name}", operation) for name in names)
    return output.parse(events or "", heartbeat, result)


def alive(files: Files, key: str, started_at: datetime | None, now: datetime, *, is_looked_into: bool) -> Observation:
    """A sandbox that waits or runs; it runs once it has left its mark."""
    if started_at is None:
        return Observation(RunState.QUEUED, "waiting", now, detail="waits for a machine, or boots")
    beat = files.read(f"{out_folder(key)}/{output.HEARTBEAT}", "observe") if is_looked_into else None
    seen = output.observation(output.parse("", beat, None), is_alive=True, is_cancelled=False, now=now)
    return replace(seen, billable_from=started_at)


def ended(files: Files, key: str, end: End, now: datetime) -> Observation:
    """A sandbox that has ended."""
    seen = _as_told(files, key, end, now)
    started_at = seen.billable_from or end.started_at
    last = max((one for one in (seen.billable_to, end.ended_at, started_at) if one), default=None)
    return replace(
        seen,
        provider_status=f"exit code {end.exit_code}",
        exit_code=end.exit_code,
        billable_from=started_at,
        billable_to=min(last, now) if last else None,
    )


def _as_told(files: Files, key: str, end: End, now: datetime) -> Observation:
    told = reading(files, key, "observe")
    said = "" if told.started_at else end.said()
    seen = output.observation(
        told,
        is_alive=False,
        is_cancelled=end.is_cancelled,
        now=now,
        was_started=end.started_at is not None,
        said=said,
    )
    if seen.state in (RunState.SUCCEEDED, RunState.FAILED, RunState.TIMED_OUT) or end.is_cancelled:
        return replace(seen, state=RunState.STOPPED) if seen.state is RunState.PROVISIONED else seen
    match end.exit_code:
        case 0:
            words = "the sandbox ended well, and left no result"
            return replace(seen, state=RunState.FAILED, detail=words, retry_event=None)
        case 124:
            words = "the sandbox ran out of its time"
            return replace(seen, state=RunState.TIMED_OUT, detail=words, retry_event=None)
        case _ if end.started_at is None:
            words = f"the sandbox ended before it began, with exit code {end.exit_code}: {said or 'it said nothing'}"
            return replace(seen, state=RunState.STOPPED, detail=words, retry_event=RetryEvent.CAPACITY)
        case code if code == KILLED and _is_out_of_memory(files, key, told):
            words = f"killed at step {_step(told)} again, as the run before: out of memory"
            return replace(
                seen, state=RunState.FAILED, detail=f"{words}; raise provider.modal.memory_gib", retry_event=None
            )
        case _:
            return replace(seen, state=RunState.STOPPED, retry_event=RetryEvent.PREEMPTED)


def _is_out_of_memory(files: Files, key: str, told: output.Reading) -> bool:
    """Killed at the very step at which the run before it was killed: a machine is not taken away so exactly.

    Modal tells a machine that was taken away and the kernel's end of a process by the same exit code.
    """
    before = earlier(files, key)
    if before is None or (step := _step(told)) is None:
        return False
    theirs = reading(files, before, "observe")
    return (
        theirs.result is None
        and _step(theirs) == step
        and theirs.last_event.get("event") not in ("failed", "interrupted")
    )


def earlier(files: Files, key: str) -> str | None:
    """The run that this one goes on from."""
    try:
        order = json.loads(files.read(f"{run_folder(key)}/order.json", "observe") or "{}")
    except ValueError:
        return None
    found = order.get("resume_from")
    return str(found) if found else None


def chain(files: Files, key: str | None) -> Iterator[str]:
    """A run, the one that it goes on from, and so on."""
    seen: set[str] = set()
    while key is not None and key not in seen:
        seen.add(key)
        yield key
        key = earlier(files, key)


def resumable(files: Files, key: str | None) -> str | None:
    """The newest run of the chain that has a whole checkpoint; None where there is nothing to go on from."""
    return next((one for one in chain(files, key) if _has_checkpoint(files, one)), None)


def _has_checkpoint(files: Files, key: str) -> bool:
    found = files.entries(f"{out_folder(key)}/{output.CHECKPOINTS}", "submit", recursive=True)
    return any(entry.path.endswith("/.complete") for entry in found)


def _step(told: output.Reading) -> int | None:
    step = (told.heartbeat or {}).get("step")
    return step if isinstance(step, int) else None
