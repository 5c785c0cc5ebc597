"""Everything that is known about one job, for `ftorch jobs show`. Reads rows alone: no provider, no pydantic."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from decimal import Decimal
from typing import Any

from ftorch.core.money import Money
from ftorch.jobs.views import EventView, JobView, RunView, Spend, event_views, job_views
from ftorch.store import EvaluationRow, JobRow, LedgerRow, RunRow, Store


@dataclass(frozen=True, slots=True)
class Charge:
    """One entry of the ledger, with where its amount comes from."""

    recorded_at: datetime
    amount: Spend
    quantity: Decimal
    unit: str
    unit_price: Decimal | None
    source_ref: str
    revision: int
    description: str
    period_start: datetime
    period_end: datetime


@dataclass(frozen=True, slots=True)
class EvaluationView:
    """One look at the adapter on held-out rows."""

    id: str
    at: datetime
    verdict: str | None
    """pass, fail or inconclusive; None where no gate was asked."""
    metric: str | None
    rows: int | None
    against: Sequence[str]


@dataclass(frozen=True, slots=True)
class RunHistory(RunView):
    """A run with every moment of it. A moment that has not come, or that nobody saw, is None."""

    account: str
    placement: str
    place: str | None
    provider_status: str
    """The provider's own word, as it was read last."""
    sends: int
    """How often a create may have left this machine under this key."""
    failures: int
    bad_fetches: int
    """How often its adapter arrived damaged."""
    exit_code: int | None
    retry_event: str | None
    resume_from: str | None
    max_duration_s: int | None
    bounded_by: str | None
    """What set `max_duration_s`: a key of the manifest, or a rule of ftorch.toml in words."""
    agreed_rate: Decimal | None
    """The placement's, in USD per hour; `rate` is what was read back."""
    rate: Decimal | None
    """USD per hour, as the provider said last."""
    hold: Money
    """Reserved from the intent until the cost is in the ledger."""
    created_at: datetime
    sent_at: datetime | None
    observed_at: datetime | None
    billable_from: datetime | None
    billable_to: datetime | None
    cancel_requested_at: datetime | None
    stop_reason: str | None
    """Why the engine stopped a run that was wanted."""
    absent_at: datetime | None
    """The first walk that did not see it any more."""
    fetched_at: datetime | None
    released_at: datetime | None
    charged_at: datetime | None
    settled_at: datetime | None
    charges: Sequence[Charge]


@dataclass(frozen=True, slots=True)
class JobHistory(JobView):
    """`ftorch jobs show JOB --json`: all of the job's view, and its whole history."""

    runs: Sequence[RunHistory]
    manifest: str
    plan_hash: str
    host: str
    desired: str
    """What a person wants of it: run or cancelled."""
    hold: Money
    """Reserved since the submit, until the first run holds for itself."""
    failures: int
    next_at: datetime | None
    """When the engine tries the job's own next step; None once it has ended."""
    events: Sequence[EventView]
    other_charges: Sequence[Charge]
    """Entries of the job that belong to no run, such as calls of a hosted model."""
    evaluations: Sequence[EvaluationView]


def job_history(store: Store, job: JobRow) -> JobHistory:
    """The job as it stands, with six statements."""
    [view] = job_views(store, [job])
    entries = store.ledger_of(job.id)
    runs = [
        _run(seen, run, [_charge(entry) for entry in entries if entry.run_key == run.key])
        for seen, run in _paired(view.runs, store.runs_of(job.id))
    ]
    keys = {run.key for run in runs}
    return JobHistory(
        **{**_values(view), "runs": runs},
        manifest=job.manifest_path,
        plan_hash=job.plan_hash,
        host=job.host,
        desired=job.desired,
        hold=Money.from_micro(job.hold_micro),
        failures=job.failures,
        next_at=None if job.ended_at else job.next_at,
        events=event_views(store.events_of(job.id)),
        other_charges=[_charge(entry) for entry in entries if entry.run_key not in keys],
        evaluations=[_evaluation(row) for row in reversed(store.evaluations_of(job.id))],
    )


def _paired(views: Sequence[RunView], rows: Sequence[RunRow]) -> list[tuple[RunView, RunRow]]:
    """By key: the daemon may have opened a run between the two statements."""
    by_key = {row.key: row for row in rows}
    return [(view, by_key[view.key]) for view in views]


def _run(view: RunView, run: RunRow, charges: Sequence[Charge]) -> RunHistory:
    return RunHistory(
        **_values(view),
        account=run.account,
        placement=str(json.loads(run.placement).get("name", "")),
        place=run.place,
        provider_status=run.provider_status,
        sends=run.sends,
        failures=run.failures,
        bad_fetches=run.bad_fetches,
        exit_code=run.exit_code,
        retry_event=run.retry_event,
        resume_from=run.resume_from,
        max_duration_s=run.max_duration_s,
        bounded_by=run.bounded_by,
        agreed_rate=run.agreed_rate,
        rate=run.rate,
        hold=Money.from_micro(run.hold_micro),
        created_at=run.created_at,
        sent_at=run.sent_at,
        observed_at=run.observed_at,
        billable_from=run.billable_from,
        billable_to=run.billable_to,
        cancel_requested_at=run.cancel_requested_at,
        stop_reason=run.stop_reason,
        absent_at=run.absent_at,
        fetched_at=run.fetched_at,
        released_at=run.released_at,
        charged_at=run.charged_at,
        settled_at=run.settled_at,
        charges=charges,
    )


def _charge(entry: LedgerRow) -> Charge:
    amount = Money.from_micro(entry.amount_micro)
    return Charge(
        recorded_at=entry.recorded_at,
        amount=Spend(amount.amount, amount.currency, entry.source, entry.kind),
        quantity=entry.quantity,
        unit=entry.unit,
        unit_price=entry.unit_price,
        source_ref=entry.source_ref,
        revision=entry.revision,
        description=entry.description,
        period_start=entry.period_start,
        period_end=entry.period_end,
    )


def _evaluation(row: EvaluationRow) -> EvaluationView:
    report: Mapping[str, Any] = json.loads(row.report)
    models = [str(model["name"]) for model in report.get("models", ())]
    return EvaluationView(
        id=row.id,
        at=row.created_at,
        verdict=row.verdict,
        metric=report.get("primary"),
        rows=report.get("rows"),
        against=models[1:],  # the tuned model is always the first
    )


def _values(view: JobView | RunView) -> dict[str, Any]:
    return {field.name: getattr(view, field.name) for field in fields(view)}
