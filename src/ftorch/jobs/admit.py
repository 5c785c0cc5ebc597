"""Taking a plan in: the dataset frozen, the job's row inserted once however many shells submit it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from ftorch.core.errors import UsageError
from ftorch.core.host import host_id
from ftorch.costs import budget
from ftorch.costs.budget import Limit
from ftorch.costs.estimate import Estimate
from ftorch.jobs.allowance import rules
from ftorch.jobs.context import Context
from ftorch.jobs.kept_plan import kept_plan
from ftorch.jobs.learning import estimate_row
from ftorch.jobs.plan import Resolved
from ftorch.jobs.serving import find_version, folder_of
from ftorch.jobs.states import CANCELLED, RUN, TERMINAL, JobReason, JobState, Purpose
from ftorch.jobs.submit import never_was_in
from ftorch.manifest.plan import Plan
from ftorch.providers.base import RunState
from ftorch.store import JobRow, RunRow, Store, Transaction, sql


@dataclass(frozen=True, slots=True)
class Admitted:
    """The job that stands for a plan, and whether this call made it."""

    job: JobRow
    is_new: bool


class Along(Protocol):
    """What else belongs to taking a job in, within the same commit."""

    def limits(self, tx: Transaction) -> Sequence[Limit]:
        """Limits beside those of the job and of `ftorch.toml`."""
        ...

    def admitted(self, tx: Transaction, job: JobRow) -> None:
        """The new job is in. What is raised here undoes it."""
        ...


def admit(
    context: Context,
    resolved: Resolved,
    estimate: Estimate | None = None,
    *,
    again: bool,
    along: Along | None = None,
) -> Admitted:
    """Insert the job, unless one with the same plan is open or has succeeded. `again` starts a new one regardless.

    Its estimate is held until its first run holds for itself: ten jobs that are submitted in a row cannot all be the
    one for which there was money. Raises BudgetError where it does not fit any more.
    """
    plan = resolved.plan
    amount = estimate.amount if estimate else None
    job = job_row(context, resolved, resolved.freeze(context.home), hold_micro=amount.micro if amount else 0)
    job = replace(job, estimate_micro=amount.micro if amount else None, estimate_source="estimate" if amount else None)

    def change(tx: Transaction) -> Admitted:
        earlier = tx.many(JobRow, sql.JOBS_BY_PLAN, plan_hash=plan.hash)
        if not again and (standing := stands_for(earlier)):
            return Admitted(standing, is_new=False)
        if estimate is not None:
            limits = [*rules(tx, plan, context.clock.now()), *(along.limits(tx) if along else ())]
            budget.check(plan, estimate, limits)
        tx.insert_job(job, plan.to_json())
        if estimate is not None:
            tx.add_estimate(estimate_row(job, estimate))
        tx.add_event(context.event(job.id, None, "submitted", str(resolved.manifest_path)))
        if along is not None:
            along.admitted(tx, job)
        return Admitted(job, is_new=True)

    return context.store.write(change)


def job_row(context: Context, resolved: Resolved, dataset: Path, *, hold_micro: int = 0) -> JobRow:
    """A new job for a plan; nothing is written."""
    plan = resolved.plan
    now = context.clock.now()
    return JobRow(
        id=context.ids.ulid(now),
        name=plan.name,
        plan_hash=plan.hash,
        manifest_path=str(resolved.manifest_path),
        dataset=str(dataset),
        base_model=plan.base_model.id,
        method=plan.method.type,
        provider=plan.providers[0],
        state=JobState.PLANNED,
        desired=RUN,
        limit_micro=plan.budget.limit.micro if plan.budget else None,
        hold_micro=hold_micro,
        labels=json.dumps(dict(plan.labels), sort_keys=True),
        host=host_id(context.home),
        created_at=now,
        next_at=now,
    )


def stands_for(jobs: Sequence[JobRow]) -> JobRow | None:
    """The newest job of a plan that is open or has succeeded: submitting the plan again means this one."""
    wanted = (job for job in jobs if job.state == JobState.SUCCEEDED or JobState(job.state) not in TERMINAL)
    return next((job for job in wanted if job.desired == RUN), None)


def ask_cancel(context: Context, job_id: str) -> JobRow:
    """Note that the job is no longer wanted; the engine makes it so. Twice is harmless, an ended job stays.

    A job whose adapter could not be fetched gives it up: what was kept for another try is released.
    """
    job = _must(context, job_id)
    is_kept = job.reason == JobReason.ARTIFACT and job.adapter is None
    if (JobState(job.state) in TERMINAL and not is_kept) or job.desired == CANCELLED:
        return job
    now = context.clock.now()

    def change(tx: Transaction) -> bool:
        for run in tx.many(RunRow, sql.RUNS_OF_JOB, job_id=job.id):
            # What failed before and waits for its next try makes way for the person's word.
            if run.released_at is None:
                tx.update_run(run, next_at=now, failures=0)
        return context.change_job_in(tx, job, "cancel asked", "", desired=CANCELLED, next_at=now)

    if not context.store.write(change):
        return ask_cancel(context, job_id)
    return _must(context, job_id)


def ask_retry(context: Context, job_id: str) -> JobRow:
    """Reopen an ended job: one more run, or one more try to fetch what its run has made.

    For a job that is unknown it is the person's word that its run does not exist: a new one is sent.
    """
    job = _must(context, job_id)
    if JobState(job.state) not in TERMINAL and job.state != JobState.UNKNOWN:
        raise UsageError(f"job {job.id} has not ended: it is {job.state}", hint=f"run `ftorch wait {job.id}`")
    if job.state == JobState.SUCCEEDED:
        raise UsageError(f"job {job.id} has succeeded", hint="to train once more run `ftorch submit MANIFEST --again`")
    runs = context.store.runs_of(job.id)
    now = context.clock.now()

    def change(tx: Transaction) -> bool:
        for run in runs:
            if run.state is None and run.sent_at is not None:
                never_was_in(context, tx, run, RunState.ABSENT, "a person says that it does not exist")
            elif run.ended_at is None or run.fetched_at is None:
                tx.update_run(run, failures=0, bad_fetches=0, next_at=now)
        return context.change_job_in(
            tx,
            job,
            "retry asked",
            "",
            state=JobState.SUBMITTING if job.staged else JobState.PLANNED,
            reason=None,
            desired=RUN,
            ended_at=None,
            granted=sum(run.purpose == Purpose.TRAIN for run in runs) + 1,
            failures=0,
            next_at=now,
        )

    if not context.store.write(change):
        return ask_retry(context, job_id)
    return _must(context, job_id)


def difference(store: Store, plan: Plan) -> list[tuple[str, str, str]]:
    """What changed since the newest job of the same name: (key, then, now); empty when there is none or nothing."""
    earlier = store.read().many(JobRow, sql.JOBS_BY_NAME, name=plan.name)
    if not earlier or earlier[0].plan_hash == plan.hash:
        return []
    return compare_plans(kept_plan(store, earlier[0].id), plan)


def compare_plans(then: Plan, now: Plan) -> list[tuple[str, str, str]]:
    """The keys in which two plans differ, with both values as text."""
    left, right = (dict(_flat("", plan.model_dump(mode="json"))) for plan in (then, now))
    return [
        (key, left.get(key, "-"), right.get(key, "-"))
        for key in sorted(left.keys() | right.keys())
        if left.get(key) != right.get(key)
    ]


def adapter_folder(store: Store | None, reference: str, folder: Path) -> Path:
    """The adapter that `from_adapter` means: a folder, a job, `name@latest` or `name/3`. Raises UsageError for none."""
    if (folder / reference).is_dir():
        return (folder / reference).resolve()
    version = find_version(store, reference) if store else None
    if store is not None and version is not None:
        return folder_of(store, version)
    raise UsageError(f"no adapter is called {reference!r}", hint="run `ftorch adapters` to see those that came home")


def _must(context: Context, job_id: str) -> JobRow:
    job = context.store.job(job_id)
    if job is None:
        raise UsageError(f"no job {job_id}", hint="run `ftorch jobs` to see them")
    return job


def _flat(prefix: str, value: object) -> list[tuple[str, str]]:
    if isinstance(value, dict):
        return [pair for key, inner in value.items() for pair in _flat(f"{prefix}.{key}" if prefix else key, inner)]
    return [(prefix, json.dumps(value) if not isinstance(value, str) else value)]
