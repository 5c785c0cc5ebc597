"""Before a run: bring the bundle to the provider, then open a run within the budget."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from ftorch.core.errors import BudgetError, RunRejectedError
from ftorch.core.ids import run_key
from ftorch.core.money import Money
from ftorch.costs import budget, ledger
from ftorch.costs.estimate import Estimate, for_machine_here
from ftorch.jobs.bundle import make_bundle
from ftorch.jobs.context import Context
from ftorch.jobs.serial import placement_text, staged_text, staged_value
from ftorch.jobs.states import JobReason, JobState, Purpose
from ftorch.manifest.plan import Plan
from ftorch.providers.base import Placement
from ftorch.store import JobRow, RunRow, Transaction

_ASK_AGAIN = timedelta(seconds=5)


def stage(context: Context, job: JobRow) -> None:
    """Bring the bundle to the job's provider; again until the provider has it ready."""
    plan = context.plan(job)
    provider = context.open_provider(job.provider)
    try:
        account = provider.check().id
        staged = provider.stage(plan, make_bundle(plan, Path(job.dataset)))
    except RunRejectedError as error:
        end_job(context, job, JobState.FAILED, JobReason.REJECTED, error.message)
        return
    if staged.ready:
        context.change_job(job, "staged", staged=staged_text(staged, account), failures=0, detail="")
    else:
        context.change_job(job, detail=staged.waiting_for or "", next_at=context.clock.now() + _ASK_AGAIN)


def open_run(context: Context, job: JobRow, runs: Sequence[RunRow]) -> None:
    """Insert the next run's row with its placement, deadline and hold. Nothing is sent yet."""
    plan = context.plan(job)
    _, account = staged_value(job.staged or "")
    placement = context.open_provider(job.provider).placements(plan)[0]
    try:
        bound = _bound(context, job, plan, placement)
    except BudgetError as error:
        end_job(context, job, JobState.FAILED, JobReason.OVER_BUDGET, error.message)
        return
    now = context.clock.now()
    run = RunRow(
        key=run_key(context.installation, context.ids.ulid(now)),
        job_id=job.id,
        number=len(runs) + 1,
        purpose=Purpose.TRAIN,
        provider=job.provider,
        account=account,
        placement=placement_text(placement),
        rate=placement.rate,
        max_duration_s=bound.max_duration_s,
        resume_from=runs[-1].key if runs else None,
        hold_micro=bound.hold.micro,
        created_at=now,
        next_at=now,
    )
    _insert(context, job, run)


def end_job(context: Context, job: JobRow, state: JobState, reason: JobReason, detail: str) -> None:
    """Close a job that has no open run."""
    now = context.clock.now()
    context.change_job(job, state.value, detail, state=state.value, reason=reason.value, detail=detail, ended_at=now)


def estimate(plan: Plan, placement: Placement) -> Estimate:
    """Our own estimate for a plan on a placement."""
    return for_machine_here(plan, cores=os.cpu_count() or 1, rate=placement.rate)


def _bound(context: Context, job: JobRow, plan: Plan, placement: Placement) -> budget.Bound:
    reader = context.store.read()
    committed = Money.from_micro(ledger.spent_micro(reader, job.id) + ledger.held_micro(reader, job.id))
    return budget.bound(plan, estimate(plan, placement), rate=placement.rate, committed=committed)


def _insert(context: Context, job: JobRow, run: RunRow) -> None:
    """The run and the job's new version in one commit: of two attempts to open a run, one wins."""

    def change(tx: Transaction) -> None:
        if context.change_job_in(tx, job, "", "", failures=0):
            tx.insert_run(run)
            tx.add_event(context.event(job.id, run.key, "run opened", f"run {run.number}"))

    context.store.write(change)
