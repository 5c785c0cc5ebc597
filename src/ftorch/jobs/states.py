"""The words of a job's life: states, reasons, steps. What follows from what is in `decide`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from ftorch.store import RunRow

RUN = "run"
CANCELLED = "cancelled"
"""The two values of `jobs.desired`."""


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
    RATE_ABOVE_PLAN = "rate_above_plan"
    """The machine that came costs more per hour than the placement said."""
    HARDWARE = "hardware"
    """The machine that came cannot do the work, or has not begun it in time."""
    PRICE_ABOVE_HOLD = "price_above_hold"
    """The provider's own price for the run is above what was held for it."""
    CAPACITY = "capacity"
    PREEMPTED = "preempted"
    PROVIDER_ERROR = "provider_error"
    ARTIFACT = "artifact"
    RUN_LOST = "run_lost"
    SUBMIT_UNKNOWN = "submit_unknown"


STOP_WORDS: Mapping[JobReason, str] = {
    JobReason.RATE_ABOVE_PLAN: "it costs more per hour than its placement said",
    JobReason.PRICE_ABOVE_HOLD: "its provider says that it costs more than was held for it",
    JobReason.HARDWARE: "the machine that came cannot do the work, or has not begun it in time",
    JobReason.CAPACITY: "its provider had no room for it in time",
    JobReason.DEADLINE: "it ran past its deadline, and neither provider nor trainer has ended it",
    JobReason.OVER_BUDGET: "it ran past what its budget pays for, and neither provider nor trainer has ended it",
}
"""Why the engine stops a run that was wanted."""


class StepKind(StrEnum):
    """What can be done for a job or one of its runs. Each step is one call and one transition."""

    STAGE = "stage"
    OPEN_RUN = "open_run"
    SUBMIT = "submit"
    FIND = "find"
    NEXT_PROVIDER = "next_provider"
    ABANDON = "abandon"
    """Close a run that was never sent."""
    INTERRUPT = "interrupt"
    """Ask, by its key, to end a run whose create may still be under way."""
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
        if self.kind is StepKind.INTERRUPT and self.run:
            # The create that it is to end blocks, and is under way.
            return f"{self.run.key}/{self.kind}"
        return self.run.key if self.run else "job"


@dataclass(frozen=True, slots=True)
class Decision:
    """The state that the rows add up to, and the steps that are due."""

    state: JobState
    reason: JobReason | None
    steps: tuple[Step, ...] = ()
