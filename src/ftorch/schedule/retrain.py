"""What the scheduler has done in its threads: the real thing, on this installation.

Loaded when the first occurrence is due: a daemon without schedules does not carry 5 MB of data rules and statistics.
"""

from __future__ import annotations

from dataclasses import dataclass

from ftorch.jobs.context import Context
from ftorch.store.schedule_rows import OccurrenceRow, ScheduleRow


@dataclass(frozen=True, slots=True)
class Retrain:
    """Submits jobs and judges their adapters. See `scheduler.Work`."""

    context: Context

    def start(self, schedule: ScheduleRow, occurrence: OccurrenceRow) -> None:
        """Submit the occurrence's job, or end it with the reason why there is none."""
        from ftorch.schedule.start import start

        start(self.context, schedule, occurrence)

    def judge(self, schedule: ScheduleRow, occurrence: OccurrenceRow) -> None:
        """Promote or refuse the occurrence's adapter."""
        from ftorch.schedule.gate import judge

        judge(self.context, schedule, occurrence)
