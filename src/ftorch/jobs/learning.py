"""What earlier jobs came to, against what was estimated for them: read from the ledger, used in the next estimate.

Holds do not learn: a hold is the worst case, and one of ten runs lies outside an interval of 90 %.
"""

from __future__ import annotations

from collections.abc import Sequence

from ftorch.costs.estimate import Estimate
from ftorch.costs.learned import Outcome, apply
from ftorch.manifest.plan import Plan
from ftorch.store import EstimateRow, JobRow, OutcomeRow, Transaction, sql

_MICRO = 1_000_000


def corrected(tx: Transaction | None, plan: Plan, provider: str, estimate: Estimate) -> Estimate:
    """The estimate, by what earlier jobs of the same provider and base model really cost."""
    if tx is None:
        return estimate
    rows = tx.many(OutcomeRow, sql.OUTCOMES_OF, provider=provider, base_model=plan.base_model.id)
    return apply(estimate, _amounts(rows), _seconds(rows))


def estimate_row(job: JobRow, estimate: Estimate) -> EstimateRow:
    """The estimate as it is kept with the job: without what was learned, or errors would be learned from twice."""
    learned = estimate.learned
    amount = learned.unlearned if learned else estimate.amount
    return EstimateRow(
        job_id=job.id,
        provider=job.provider,
        amount_micro=amount.micro if amount else None,
        growing_micro=estimate.growing.micro if estimate.growing else None,
        seconds=learned.unlearned_seconds if learned else estimate.seconds,
        growing_seconds=estimate.growing_seconds,
        basis=estimate.basis,
        made_at=job.created_at,
    )


def _amounts(rows: Sequence[OutcomeRow]) -> list[Outcome]:
    return [
        Outcome(row.growing_micro / _MICRO, row.actual_micro / _MICRO)
        for row in rows
        if row.growing_micro and row.actual_micro
    ]


def _seconds(rows: Sequence[OutcomeRow]) -> list[Outcome]:
    return [
        Outcome(row.growing_seconds, (row.billable_to - row.billable_from).total_seconds())
        for row in rows
        if row.growing_seconds and row.billable_from and row.billable_to
    ]
