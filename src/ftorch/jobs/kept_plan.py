"""The plan that was kept with a job, for everybody who reads it again."""

from __future__ import annotations

from ftorch.core.errors import StoreError
from ftorch.manifest.plan import Plan
from ftorch.store import Store


def kept_plan(store: Store, job_id: str) -> Plan:
    """The job's plan. Raises StoreError for one that this version cannot read."""
    try:
        return Plan.from_json(store.plan_text(job_id))
    except ValueError as error:
        raise StoreError(
            f"the plan of job {job_id} cannot be read: it was written by another version of ftorch, or is damaged",
            hint="use the version that submitted it, or cancel it there",
        ) from error
