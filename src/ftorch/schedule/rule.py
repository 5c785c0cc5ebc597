"""A schedule's rule as its row has it."""

from __future__ import annotations

from pydantic import ValidationError

from ftorch.core.errors import StoreError
from ftorch.manifest.schedule import Schedule
from ftorch.store.schedule_rows import ScheduleRow


class UnreadableError(StoreError):
    """The rule of one schedule; the database as a whole is well."""


def rule_in(row: ScheduleRow) -> Schedule:
    """Raises UnreadableError for a rule that this version does not know."""
    try:
        return Schedule.model_validate_json(row.rule)
    except ValidationError as error:
        raise UnreadableError(
            f"the rule of schedule {row.name} cannot be read: another version of ftorch wrote it, or it is damaged",
            hint=f"use that version, or write it anew: ftorch schedule add {row.manifest_path}",
        ) from error
