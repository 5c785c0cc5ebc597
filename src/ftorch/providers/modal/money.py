"""What a run cost: Modal's own statistics once they hold all of it, measured time at the rate until then."""

from __future__ import annotations

from ftorch.providers.late_records import Subject


def subject(key: str) -> Subject:
    """How a run's two lines are called."""
    return Subject(
        key=key,
        record_ref=f"{key}/stats",
        record=f"modal's statistics of the sandboxes tagged {key}",
        time_ref=f"{key}/time",
        time=f"time of run {key} on modal",
    )
