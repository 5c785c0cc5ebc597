"""Before a run: bring the bundle to the provider, then open a run within the budget."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

from ftorch.core.errors import BudgetError, RunRejectedError
from ftorch.core.ids import run_key
from ftorch.costs.budget import HeldError
from ftorch.costs.items import Quote
from ftorch.jobs.allowance import bound
from ftorch.jobs.bundle import make_bundle
from ftorch.jobs.caps import has_place
from ftorch.jobs.context import Context
from ftorch.jobs.decide import Policy
from ftorch.jobs.outcomes import words_of
from ftorch.jobs.serial import placement_text, staged_text, staged_value
from ftorch.jobs.states import JobReason, JobState, Purpose
from ftorch.manifest.plan import Plan
from ftorch.providers.base import Placement
from ftorch.store import JobRow, RunRow, Transaction

_ASK_AGAIN = timedelta(seconds=5)


def stage(context: Context, job: JobRow) -> None:
    """Bring the bundle to the job's provider, again until it has it ready; then ask for its own price, once."""
    plan = context.plan(job)
    provider = context.open_provider(job.provider)
    try:
        account = context.account(job.provider)
        staged = provider.stage(plan, make_bundle(plan, Path(job.dataset)))
        quote = provider.quote(plan, staged) if staged.ready else None
    except RunRejectedError as error:
        end_job(context, job, JobState.FAILED, JobReason.REJECTED, words_of(error))
        return
    if staged.ready:
        words = f"quote: {quote.amount}, {quote.source}" if quote else ""
        told = _told(job, quote)
        context.change_job(
            job, "staged", words, staged=staged_text(staged, account, quote), failures=0, detail="", **told
        )
    else:
        context.change_job(job, detail=staged.waiting_for or "", next_at=context.clock.now() + _ASK_AGAIN)


def _told(job: JobRow, quote: Quote | None) -> dict[str, object]:
    """The provider's own price takes the place of our estimate in reports: the first one, whatever comes of it."""
    if quote is None or job.estimate_source == "quote":
        return {}
    return {"estimate_micro": quote.amount.micro, "estimate_source": "quote"}


def open_run(context: Context, job: JobRow, runs: Sequence[RunRow]) -> None:
    """Insert the next run's row with its placement, deadline and hold. Nothing is sent yet."""
    plan = context.plan(job)
    _, account = staged_value(job.staged or "")
    provider = context.open_provider(job.provider)
    placement = provider.placements(plan)[0]
    now = context.clock.now()
    try:
        context.store.write(lambda tx: _insert(context, tx, job, plan, runs, placement, account, now))
    except HeldError:
        raise
    except BudgetError as error:
        end_job(context, job, JobState.FAILED, JobReason.OVER_BUDGET, error.message)


def next_provider(context: Context, job: JobRow) -> None:
    """Move the job to the next provider of its list; it is staged there from the beginning."""
    following = Policy.of(context.plan(job)).next_provider(job.provider)
    if following is None:
        raise LookupError(f"no provider follows {job.provider} in the plan of job {job.id}")
    words = f"{job.provider} -> {following}"
    context.change_job(job, "next provider", words, provider=following, staged=None, failures=0, detail="")


def end_job(context: Context, job: JobRow, state: JobState, reason: JobReason, detail: str) -> None:
    """Close a job that has no open run."""
    now = context.clock.now()
    changes = {"state": state.value, "reason": reason.value, "detail": detail, "ended_at": now, "hold_micro": 0}
    context.change_job(job, state.value, detail, **changes)


def _insert(
    context: Context,
    tx: Transaction,
    job: JobRow,
    plan: Plan,
    runs: Sequence[RunRow],
    placement: Placement,
    account: str,
    now: datetime,
) -> None:
    """The run, its hold and the job's new version in one commit: of two attempts to open a run, one wins."""
    capabilities = context.open_provider(job.provider).capabilities
    allowed = bound(tx, job, plan, placement, now, capabilities)
    run = RunRow(
        key=run_key(context.installation, context.ids.ulid(now)),
        job_id=job.id,
        number=len(runs) + 1,
        purpose=Purpose.TRAIN,
        provider=job.provider,
        account=account,
        placement=placement_text(placement),
        rate=placement.rate,
        agreed_rate=placement.rate,
        max_duration_s=allowed.max_duration_s,
        bounded_by=allowed.bounded_by,
        resume_from=_resume_from(job, runs),
        hold_micro=allowed.hold.micro,
        created_at=now,
        next_at=now,
    )
    if not has_place(tx, context.caps, job):
        return
    # From here on the run holds; what the job held since its submit is part of it.
    if context.change_job_in(tx, job, "", "", failures=0, detail="", hold_micro=0):
        tx.insert_run(run)
        tx.add_event(context.event(job.id, run.key, "run opened", f"run {run.number} at {placement.name}"))


def _resume_from(job: JobRow, runs: Sequence[RunRow]) -> str | None:
    """The newest earlier run at the same provider that began to train; its checkpoints hold those before it."""
    began = [
        run
        for run in runs
        if run.purpose == Purpose.TRAIN and run.provider == job.provider and (run.started_at or run.billable_from)
    ]
    return began[-1].key if began else None
