"""One job: what was asked for, and its life as a few moments.

submitted --1 s--> room? --> running --1 s--> training --60 s--> trained --1 s--> ended
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from ftorch.core.clock import to_micros
from ftorch.emulators.training import Outcome, Work

START_S, READY_S, TRAIN_S, SAVE_S, STOP_S = 1, 1, 60, 1, 1
STEPS = 12
ENDED = ("SUCCEEDED", "FAILED", "STOPPED")
_RUNNING_WORDS = "Job is currently running."
_PENDING_WORDS = "Job has not started yet. It may be waiting for resources (CPUs, GPUs, memory, custom resources)."


@dataclass(frozen=True, slots=True)
class Ending:
    """How a job ends, or has ended."""

    at: datetime
    status: str
    message: str
    error_type: str | None = None
    exit_code: int | None = None
    said: str = ""
    """The last event of the trainer: succeeded, failed, interrupted; nothing when it was killed."""
    why: str = ""


@dataclass(slots=True)
class Job:
    """A job of the session. `order` is the body that made it; `work` is None where it runs something else."""

    order: Mapping[str, Any]
    created_at: datetime
    spec: Mapping[str, Any] | None
    work: Work | None
    left_s: float = TRAIN_S
    """How much of the training an earlier run has not done."""
    started_at: datetime | None = None
    ending: Ending | None = None
    """Known from the start on, and moved forward by whoever ends the job early."""
    stop_asked: bool = False
    outcome: Outcome | None = None
    is_damaged: bool = False
    fails_with: str = ""
    notes: list[str] = field(default_factory=list)

    @property
    def id(self) -> str:
        return str(self.order["submission_id"])

    @property
    def env(self) -> Mapping[str, str]:
        found: Mapping[str, str] = self.order.get("runtime_env", {}).get("env_vars", {})
        return found

    @property
    def changes(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = json.loads(self.env.get("FTORCH_CHANGES", "{}"))
        return found

    @property
    def cpus(self) -> float:
        return float(self.order.get("entrypoint_num_cpus") or 0)

    @property
    def gpus(self) -> float:
        return float(self.order.get("entrypoint_num_gpus") or 0)

    def status(self, now: datetime) -> str:
        if self.ending and now >= self.ending.at:
            return self.ending.status
        return "RUNNING" if self.started_at and now >= self.started_at else "PENDING"

    def is_over(self, now: datetime) -> bool:
        return self.status(now) in ENDED

    def step(self, now: datetime) -> int:
        """Steps done, of this run and of the one it goes on from."""
        if self.started_at is None:
            return 0
        until = min(now, self.ending.at) if self.ending else now
        trained_s = (until - self.started_at).total_seconds() - READY_S + (TRAIN_S - self.left_s)
        return min(max(int(STEPS * trained_s / TRAIN_S), 0), STEPS)

    def view(self, now: datetime, node_id: str) -> dict[str, Any]:
        """The job as Ray tells it."""
        status, is_over = self.status(now), self.is_over(now)
        waits = _RUNNING_WORDS if status == "RUNNING" else _PENDING_WORDS
        ending = self.ending if is_over else None
        return {
            "type": "SUBMISSION",
            "job_id": None,
            "submission_id": self.id,
            "driver_info": None,
            "status": status,
            "entrypoint": self.order["entrypoint"],
            "message": ending.message if ending else waits,
            "error_type": ending.error_type if ending else None,
            "start_time": to_micros(self.created_at) // 1000,
            "end_time": to_micros(ending.at) // 1000 if ending else None,
            "metadata": self.order.get("metadata"),
            "runtime_env": self.order.get("runtime_env"),
            "driver_agent_http_address": "http://127.0.0.1:52365" if self.started_at else None,
            "driver_node_id": node_id if self.started_at and now >= self.started_at else None,
            "driver_exit_code": ending.exit_code if ending else None,
        }

    def natural_ending(self) -> Ending:
        """How a job ends that nobody disturbs."""
        assert self.started_at is not None
        limit, needed = self.changes.get("max_duration_s"), self.left_s + SAVE_S
        if self.fails_with:
            at = self.started_at + timedelta(seconds=READY_S)
            return Ending(at, "FAILED", *_failed(65), said="failed", why=self.fails_with)
        if limit is not None and limit < needed:
            at = self.started_at + timedelta(seconds=READY_S + limit)
            return Ending(at, "FAILED", *_failed(75), said="interrupted", why="deadline")
        at = self.started_at + timedelta(seconds=READY_S + needed)
        return Ending(at, "SUCCEEDED", "Job finished successfully.", None, 0, said="succeeded")


def killed(at: datetime) -> Ending:
    """The kernel or somebody else has ended the driver."""
    return Ending(at, "FAILED", *_failed(137))


def failed(at: datetime, code: int, why: str) -> Ending:
    """The trainer has ended by itself."""
    return Ending(at, "FAILED", *_failed(code), said="failed", why=why)


def stopped(at: datetime) -> Ending:
    return Ending(at, "STOPPED", "Job was intentionally stopped.", said="interrupted", why="signal")


def _failed(code: int) -> tuple[str, str, int]:
    words = f"Job entrypoint command failed with exit code {code}, last available logs (truncated to 20,000 chars):\n"
    return words, "JOB_ENTRYPOINT_COMMAND_ERROR", code
