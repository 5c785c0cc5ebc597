"""What the scheduler has done in its threads: the real thing, on this installation."""

from __future__ import annotations

from dataclasses import dataclass

from ftorch.jobs.context import Context
from ftorch.schedule import gate
from ftorch.schedule import start as starting
from ftorch.store import OccurrenceRow, ScheduleRow


@dataclass(frozen=True, slots=True)
class Retrain:
    """Submits jobs and judges their adapters. See `scheduler.Work`."""

    context: Context

    def start(self, schedule: ScheduleRow, occurrence: OccurrenceRow) -> None:
        """Submit the occurrence's job, or end it with the reason why there is none."""
        starting.start(self.context, schedule, occurrence)

    def judge(self, schedule: ScheduleRow, occurrence: OccurrenceRow) -> None:
        """Promote or refuse the occurrence's adapter."""
        gate.judge(self.context, schedule, occurrence)
