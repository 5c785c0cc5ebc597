"""What a run cost: the rows of the bill that name its job, once they hold all of it; measured time until then.

In a cloud of the user's own they never hold the machines, whose measured time stays; the fee comes on top.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from ftorch.costs.items import Scope
from ftorch.providers.anyscale.answers import Usage
from ftorch.providers.late_records import Subject

FEE_ALONE = "; scope: platform_fee, its machines are on the bill of your own cloud"


def used(rows: Sequence[Usage]) -> Decimal | None:
    """What the rows of a job add up to in USD; None where there is none, or one that names no dollars."""
    known = [row.dollar_value for row in rows if row.dollar_value is not None]
    return sum(known, Decimal(0)) if rows and len(known) == len(rows) else None


def subject(job_id: str, key: str, *, is_hosted: bool = True) -> Subject:
    """How a run's two lines are called. In a cloud of the user's own the rows hold Anyscale's fee alone."""
    return Subject(
        key=key,
        record_ref=f"{job_id}/usage",
        record=f"anyscale's usage rows of job {job_id}{'' if is_hosted else FEE_ALONE}",
        time_ref=f"{job_id}/time",
        time=f"time of job {job_id} on anyscale",
        scope=Scope.RUN if is_hosted else Scope.PLATFORM_FEE,
    )
