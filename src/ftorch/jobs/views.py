"""Jobs, runs and events as people and programs see them. Reads rows alone: no provider, no pydantic."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from ftorch.core.clock import from_micros
from ftorch.core.errors import UsageError
from ftorch.core.money import MICRO, USD, Money
from ftorch.store import EventRow, JobRow, LedgerRow, RunRow, Store, sql


@dataclass(frozen=True, slots=True)
class Spend:
    """An amount with its source and status; `amount` is None while nobody has named a price."""

    amount: Decimal | None
    currency: str
    source: str | None
    status: str
    """`none` before any charge, then the kind of the newest entries: provisional, billed, adjusted; or `accrual`."""

    @property
    def money(self) -> Money | None:
        return None if self.amount is None else Money(self.amount, self.currency)


@dataclass(frozen=True, slots=True)
class RunView:
    """One run of a job."""

    key: str
    number: int
    purpose: str
    provider: str
    remote_id: str | None
    state: str | None
    detail: str
    step: int | None
    total_steps: int | None
    loss: str | None
    seconds_left: int | None
    trained_tokens: int | None
    started_at: datetime | None
    ended_at: datetime | None
    paid_seconds: Decimal | None
    accrual: Spend | None
    """Probably spent when it was last observed, while the run is not in the ledger: the provider's own figure, else its
    rate and time."""
    spend: Spend


@dataclass(frozen=True, slots=True)
class JobView:
    """One manifest submitted, with its runs and its spend."""

    id: str
    name: str
    state: str
    reason: str | None
    detail: str
    provider: str
    base_model: str
    method: str
    labels: Mapping[str, str]
    created_at: datetime
    ended_at: datetime | None
    adapter: str | None
    verdict: str | None
    """Of the newest evaluation with a gate: pass, fail or inconclusive; None where none was asked."""
    spend: Spend
    runs: Sequence[RunView]


@dataclass(frozen=True, slots=True)
class EventView:
    """A line of a job's history."""

    at: datetime
    run: str | None
    event: str
    detail: str


@dataclass(frozen=True, slots=True)
class JobLine:
    """A job as the table of all jobs shows it."""

    id: str
    name: str
    state: str
    reason: str | None
    provider: str
    created_at: datetime
    progress: str | None
    """`step/total` of its newest run, while the job is open."""
    spend: Spend


@dataclass(frozen=True, slots=True)
class Submitted:
    """What `submit` did."""

    job: JobView
    is_new: bool


def spend_of(entries: Iterable[LedgerRow]) -> Spend:
    """The sum of spend entries, naming every source that contributed."""
    groups: dict[tuple[str, str], tuple[int, int]] = {}
    for entry in entries:
        if entry.kind in sql.SPEND_KINDS:
            newest, micro = groups.get((entry.source, entry.kind), (0, 0))
            groups[entry.source, entry.kind] = max(newest, entry.id), micro + entry.amount_micro
    if not groups:
        return Spend(None, "USD", None, "none")
    return _spend([(newest, kind, source, micro) for (source, kind), (newest, micro) in groups.items()])


def job_lines(store: Store) -> list[JobLine]:
    """All jobs, newest first, with three statements."""
    reader = store.read()
    spends = _spends(reader.counts(sql.SPEND_LINES))
    progress = {job: _steps(text) for job, text in reader.pairs(sql.PROGRESS).items()}
    nothing = spend_of(())
    return [
        JobLine(job, name, state, reason, provider, from_micros(at), progress.get(job), spends.get(job, nothing))
        for job, name, state, reason, provider, at in reader.counts(sql.JOB_LINES)
    ]


def _spends(groups: Iterable[tuple[str, str, str, int, int]]) -> dict[str, Spend]:
    """Sums by job, source and kind, put together as `spend_of` does it."""
    of_job: dict[str, list[tuple[int, str, str, int]]] = {}
    for job, source, kind, micro, newest in groups:
        of_job.setdefault(job, []).append((newest, kind, source, micro))
    return {job: _spend(some) for job, some in of_job.items()}


def _spend(groups: Sequence[tuple[int, str, str, int]]) -> Spend:
    if len(groups) == 1:
        _, kind, source, micro = groups[0]
        return Spend(Decimal(micro) / MICRO, USD, source, kind)
    # What was taken back, such as our own charges once the bill has come, is not where the rest comes from.
    standing = [group for group in groups if group[3]] or groups
    total = sum(micro for *_, micro in standing)
    sources = sorted({source for _, _, source, _ in standing})
    return Spend(Decimal(total) / MICRO, USD, "+".join(sources), max(standing)[1])


def _steps(text: str) -> str | None:
    progress = json.loads(text)
    return f"{progress['step']}/{progress['total_steps']}" if progress.get("total_steps") else None


def job_views(store: Store, jobs: Sequence[JobRow]) -> list[JobView]:
    """Views of these jobs, in their order, with four statements however many there are."""
    wanted = {job.id for job in jobs}
    runs: dict[str, list[RunRow]] = defaultdict(list)
    entries: dict[str | None, list[LedgerRow]] = defaultdict(list)
    for run in store.read().many(RunRow, sql.RUNS) if len(jobs) > 1 else store.runs_of(jobs[0].id) if jobs else ():
        if run.job_id in wanted:
            runs[run.job_id].append(run)
    for entry in store.ledger() if len(jobs) > 1 else store.ledger_of(jobs[0].id) if jobs else ():
        entries[entry.job_id].append(entry)
    verdicts = store.read().verdicts() if jobs else {}
    return [_job_view(job, runs[job.id], entries[job.id], verdicts.get(job.id)) for job in jobs]


def event_views(rows: Sequence[EventRow]) -> list[EventView]:
    return [EventView(row.at, row.run_key, row.event, row.detail) for row in rows]


def pick(store: Store, reference: str) -> JobRow:
    """The job that a person means: an id, a unique prefix of one, or a manifest's name (its newest job)."""
    if not reference:
        raise UsageError("which job? the name is empty", hint="run `ftorch jobs` to see them")
    reader = store.read()
    if exact := reader.one(JobRow, sql.JOB, id=reference):
        return exact
    if named := reader.many(JobRow, sql.JOBS_BY_NAME, name=reference):
        return named[0]
    found = reader.many(JobRow, sql.JOBS_BY_PREFIX, prefix=reference) if reference.isalnum() else []
    if len(found) == 1:
        return found[0]
    if found:
        some = ", ".join(job.id for job in found[:5])
        raise UsageError(f"{reference!r} is the start of {len(found)} job ids: {some}", hint="give more of it")
    raise UsageError(f"no job is called {reference!r}", hint="run `ftorch jobs` to see them")


def _job_view(job: JobRow, runs: Sequence[RunRow], entries: Sequence[LedgerRow], verdict: str | None) -> JobView:
    return JobView(
        id=job.id,
        name=job.name,
        state=job.state,
        reason=job.reason,
        detail=job.detail or next((run.detail for run in reversed(runs) if run.detail), ""),
        provider=job.provider,
        base_model=job.base_model,
        method=job.method,
        labels=json.loads(job.labels),
        created_at=job.created_at,
        ended_at=job.ended_at,
        adapter=job.adapter,
        verdict=verdict,
        spend=spend_of(entries),
        runs=[_run_view(run, [entry for entry in entries if entry.run_key == run.key]) for run in runs],
    )


def _run_view(run: RunRow, entries: Sequence[LedgerRow]) -> RunView:
    progress: Mapping[str, object] = json.loads(run.progress) if run.progress else {}
    return RunView(
        key=run.key,
        number=run.number,
        purpose=run.purpose,
        provider=run.provider,
        remote_id=run.remote_id,
        state=run.state,
        detail=run.detail,
        step=_int(progress.get("step")),
        total_steps=_int(progress.get("total_steps")),
        loss=str(progress["loss"]) if progress.get("loss") else None,
        seconds_left=_int(progress.get("seconds_left")),
        trained_tokens=run.trained_tokens,
        started_at=run.started_at or run.billable_from,
        ended_at=run.ended_at,
        paid_seconds=_seconds(run),
        accrual=_accrual(run),
        spend=spend_of(entries),
    )


def _accrual(run: RunRow) -> Spend | None:
    if run.charged_at is not None:
        return None
    if run.accrual_micro is not None:
        return Spend(Decimal(run.accrual_micro) / MICRO, USD, "run_record", "accrual")
    until = run.billable_to or run.observed_at
    if run.rate is None or run.billable_from is None or until is None:
        return None
    micro = Money(run.rate * Decimal((until - run.billable_from).total_seconds()) / 3600).micro
    return Spend(Decimal(micro) / MICRO, USD, "measured_time", "accrual")


def _seconds(run: RunRow) -> Decimal | None:
    if run.billable_from is None or run.billable_to is None:
        return None
    span = run.billable_to - run.billable_from
    return Decimal(span.days * 86_400 + span.seconds) + Decimal(span.microseconds).scaleb(-6)


def _int(value: object) -> int | None:
    return value if isinstance(value, int) else None
