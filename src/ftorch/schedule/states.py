"""The words of a schedule's life."""

from __future__ import annotations

from enum import StrEnum


class ScheduleState(StrEnum):
    """Whether a schedule's times count."""

    ACTIVE = "active"
    PAUSED = "paused"
    REMOVED = "removed"


class Kind(StrEnum):
    """Why there is an occurrence."""

    ON_TIME = "on_time"
    LATE = "late"
    """Its time passed while nobody watched, and is made up for."""
    MANUAL = "manual"


class State(StrEnum):
    """Where an occurrence is."""

    WAITING = "waiting"
    STARTED = "started"
    """It has its job."""
    JUDGING = "judging"
    """The job has succeeded; its adapter is held against the one in service."""
    PROMOTED = "promoted"
    REFUSED = "refused"
    SKIPPED = "skipped"
    OVER_BUDGET = "over_budget"
    FAILED = "failed"


ENDED = frozenset({State.PROMOTED, State.REFUSED, State.SKIPPED, State.OVER_BUDGET, State.FAILED})


class Reason(StrEnum):
    """Why an occurrence started nothing, or came to nothing."""

    SLEPT_THROUGH = "slept_through"
    OVERLAP = "overlap"
    UNCHANGED = "unchanged"
    SCHEDULE_PAUSED = "schedule_paused"
    MANIFEST = "manifest"
    """The manifest, its data or its credentials are wrong."""
    TRIES = "tries"
    """It was tried for as long as it is worth."""
    JOB = "job"
    """Its job ended without an adapter."""
    GATE = "gate"
    INCONCLUSIVE = "inconclusive"
    NOT_COMPARABLE = "not_comparable"
