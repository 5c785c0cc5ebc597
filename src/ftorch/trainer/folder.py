"""The output folder: its names, its lock, and what its events say about earlier attempts."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ftorch.trainer.errors import LockedError, SpecError
from ftorch.trainer.files import read_object, seconds_between

LOCK_VARIABLE = "FTORCH_LOCK_FD"
_NO_LOCKS_HERE = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)
"""Some network file systems know no locks; there, who starts us must do so once."""


@dataclass(frozen=True, slots=True)
class Folder:
    """Where everything of one run lies."""

    root: Path

    @property
    def events(self) -> Path:
        return self.root / "events.jsonl"

    @property
    def heartbeat(self) -> Path:
        return self.root / "heartbeat.json"

    @property
    def metrics(self) -> Path:
        return self.root / "metrics.jsonl"

    @property
    def checkpoints(self) -> Path:
        return self.root / "checkpoints"

    @property
    def adapter(self) -> Path:
        return self.root / "adapter"

    @property
    def partial(self) -> Path:
        return self.root / "partial.jsonl"

    @property
    def scores(self) -> Path:
        return self.root / "scores.jsonl"

    @property
    def result(self) -> Path:
        return self.root / "result.json"

    def is_done(self, fingerprint: str) -> bool:
        """Whether this job already ended well here. Raises SpecError when another job did."""
        result = read_object(self.result)
        if result is None:
            return False
        if result.get("fingerprint") != fingerprint:
            raise SpecError(f"{self.root} holds the result of another job", hint="give another --out")
        return True

    @contextmanager
    def locked(self, env: Mapping[str, str]) -> Iterator[None]:
        """Hold the lock. Raises LockedError at once when another process has it."""
        if LOCK_VARIABLE in env:
            _keep(env[LOCK_VARIABLE])
            yield
            return
        descriptor = os.open(self.root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            self._lock(descriptor)
            yield
        finally:
            os.close(descriptor)

    def _lock(self, descriptor: int) -> None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise LockedError(f"{self.root} is in use by another process") from error
        except OSError as error:
            if error.errno not in _NO_LOCKS_HERE:
                raise


def _keep(descriptor: str) -> None:
    """Take over a lock from who started us: the open file is the lock, and stays open until the process ends."""
    try:
        # A child of ours that lives on must not keep the folder locked.
        os.set_inheritable(int(descriptor), False)
    except (ValueError, OSError) as error:
        raise SpecError(f"{LOCK_VARIABLE}={descriptor} is no open file") from error


@dataclass(frozen=True, slots=True)
class Attempt:
    """One process that worked on the run, and the time it is to be paid for."""

    attempt: int
    started_at: str
    ended_at: str
    seconds: float
    from_step: int
    to_step: int
    how: str
    """succeeded, interrupted, failed, killed; running for one that has not ended."""


def attempts(events: Iterable[Mapping[str, Any]]) -> list[Attempt]:
    """The attempts that the events tell of; one that was killed ended when it was last seen."""
    return [_attempt(group) for group in _by_attempt(events)]


def seconds_per_phase(events: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """Wall time by phase, over all attempts."""
    spent: dict[str, float] = {}
    for group in _by_attempt(events):
        phases = [event for event in group if event["event"] == "phase"]
        ends = [event["t"] for event in phases[1:]] + [_attempt(group).ended_at]
        for phase, end in zip(phases, ends, strict=False):
            name = str(phase.get("phase"))
            spent[name] = round(spent.get(name, 0.0) + max(0.0, seconds_between(phase["t"], end)), 3)
    return spent


def _by_attempt(events: Iterable[Mapping[str, Any]]) -> list[list[Mapping[str, Any]]]:
    groups: list[list[Mapping[str, Any]]] = []
    for event in events:
        if event.get("event") == "started":
            groups.append([])
        if groups and "event" in event and "t" in event:
            groups[-1].append(event)
    return groups


_ENDINGS = {"succeeded": "succeeded", "interrupted": "interrupted", "failed": "failed", "lost": "killed"}


def _attempt(group: list[Mapping[str, Any]]) -> Attempt:
    first, last = group[0], group[-1]
    ended_at = str(last.get("last_seen") or last["t"])
    begun = next((event["from_step"] for event in group if event["event"] == "train_begin"), 0)
    steps = [event["step"] for event in group if isinstance(event.get("step"), int)]
    return Attempt(
        attempt=int(first["attempt"]),
        started_at=str(first["t"]),
        ended_at=ended_at,
        seconds=round(max(0.0, seconds_between(first["t"], ended_at)), 3),
        from_step=int(begun),
        to_step=max([int(begun), *steps]),
        how=_ENDINGS.get(str(last["event"]), "running"),
    )
