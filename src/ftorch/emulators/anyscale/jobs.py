"""Jobs and their runs: one run for each attempt, all on the job's own cluster."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from ftorch.emulators.anyscale.accounts import Account
from ftorch.emulators.anyscale.clusters import Cluster
from ftorch.emulators.anyscale.schemas import CreateJob, HaState, RunStatus

BOOT_S = 5.0
"""From a machine that is there, and costs, to one that runs the entrypoint."""
STOP_S = 2.0
"""From the wish that a job ends to its end."""
SHUTDOWN_S = 1.0
"""How long machines stay after the end."""
TERMINAL: tuple[HaState, ...] = ("SUCCESS", "TERMINATED", "OUT_OF_RETRIES", "BROKEN")
_CHUNK_LINES = 40


@dataclass(slots=True)
class JobRun:
    """One attempt."""

    id: str
    created_at: datetime
    status: RunStatus = "RUNNING"
    finished_at: datetime | None = None
    lines: list[str] = field(default_factory=list)

    @property
    def chunks(self) -> list[bytes]:
        """The log in pieces of some lines; only the last one grows."""
        parts = [self.lines[first : first + _CHUNK_LINES] for first in range(0, len(self.lines), _CHUNK_LINES)]
        return ["".join(part).encode() for part in parts]


@dataclass(slots=True)
class Job:
    """One production job from its create on."""

    id: str
    account: Account
    cloud_id: str
    project_id: str
    order: CreateJob
    cluster: Cluster
    created_at: datetime
    is_listed_at: datetime
    machines_at: datetime
    """When its machines are there."""
    state: HaState = "PENDING"
    state_at: datetime | None = None
    error: str | None = None
    goal: str = "SUCCESS"
    is_archived: bool = False
    """Somebody has put it away: lists leave it out, unless they are asked not to."""
    tells_changes: bool = True
    """Its record has the time at which its state changed last."""
    tells_run: bool = True
    """Lists have its last run, not its id alone."""
    stops_at: datetime | None = None
    """A terminated job ends then."""
    runs: list[JobRun] = field(default_factory=list)

    @property
    def is_over(self) -> bool:
        return self.state in TERMINAL

    @property
    def run(self) -> JobRun | None:
        return self.runs[-1] if self.runs else None

    @property
    def attempt_id(self) -> str:
        return f"{self.id}-{len(self.runs)}"

    @property
    def starts_at(self) -> datetime:
        return self.machines_at + timedelta(seconds=BOOT_S)

    @property
    def times_out_at(self) -> datetime | None:
        """`timeout_s` is for each run."""
        limit = self.order.config.timeout_s
        return self.run.created_at + timedelta(seconds=limit) if self.run and limit else None

    @property
    def retries_left(self) -> int:
        """Whoever names no number gets one."""
        allowed = self.order.config.max_retries
        return (1 if allowed is None else allowed) + 1 - len(self.runs)

    @property
    def tags(self) -> Mapping[str, str]:
        return self.order.tags or {}

    def to(self, state: HaState, at: datetime, error: str | None = None) -> None:
        self.state, self.state_at, self.error = state, at, error or self.error
