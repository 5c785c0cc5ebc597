"""Spend: the sum of ledger entries, grouped, every amount with its source. Estimates and credits are not in it.

The database adds up; here its sums are put under the key that was asked for. What a report shows follows from entries
recorded until `as_of` alone, so that an earlier report can be repeated.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from decimal import ROUND_HALF_EVEN, Decimal

from ftorch.core.clock import from_micros
from ftorch.core.money import USD, Money
from ftorch.costs.items import EntryKind
from ftorch.costs.months import Month, months
from ftorch.store import Transaction, bill_sql, sql

UNLABELLED = "(unlabelled)"
OUTSIDE = "(no job)"
NO_RUN = "(no run)"
GROUPS = ("job", "name", "provider", "model", "method", "owner", "state", "month")
"""What spend can be grouped by, besides `label:KEY`."""
_OWNER_LABELS = ("owner", "user")
_NOT_WASTE = ("succeeded", "open")
_EVER = (datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC))
_PERMILLE = Decimal("0.001")


@dataclass(frozen=True, slots=True)
class SpendRow:
    """What one group spent, with all sources and statuses that are in it."""

    key: str
    amount: Decimal
    """Spend: provisional and billed. Credits and tax are beside it."""
    currency: str
    source: str
    status: str
    entries: int
    jobs: int
    list_price: Decimal
    """At unit prices, before discounts."""
    provisional: Decimal
    billed: Decimal
    """On a bill, refunds and corrections included."""
    credits: Decimal
    tax: Decimal
    waste: Decimal
    """The part of spend that went into runs that failed, were cancelled or killed."""
    estimate: Decimal | None = None
    """What was told at the submits of those of its jobs that are in no other group."""
    error: Decimal | None = None
    """By how much those jobs cost more than that, as a part of it."""


@dataclass(frozen=True, slots=True)
class SpendReport:
    """Spend by group, largest first, and in all."""

    by: str
    start: datetime | None
    end: datetime | None
    as_of: datetime
    timezone: str
    total: Decimal
    currency: str
    rows: Sequence[SpendRow]
    in_all: SpendRow
    unpriced_runs: int
    """Runs that nobody named a price for: their cost is unknown, not 0."""


@dataclass(frozen=True, slots=True)
class Scope:
    """What a report looks at."""

    as_of: datetime
    start: datetime | None = None
    end: datetime | None = None
    job_id: str | None = None
    zone: tzinfo = UTC

    @property
    def parameters(self) -> dict[str, object]:
        span = {"start": self.start or _EVER[0], "end": self.end or _EVER[1], "as_of": self.as_of}
        return span | ({"job_id": self.job_id} if self.job_id else {})


@dataclass(frozen=True, slots=True)
class JobFacts:
    """What of a job a report groups by."""

    id: str
    name: str
    base_model: str
    method: str
    labels: Mapping[str, str]
    host: str
    estimate_micro: int | None

    @property
    def owner(self) -> str:
        """The label `owner` or `user`, else the host that submitted it."""
        return next((self.labels[name] for name in _OWNER_LABELS if name in self.labels), self.host)


@dataclass(frozen=True, slots=True)
class _Sum:
    """A sum that the database made."""

    job_id: str | None
    provider: str
    kind: str
    source: str
    micro: int
    list_micro: int
    entries: int
    outcome: str | None = None
    labels: str | None = None
    month: str | None = None
    jobs: int | None = None
    """How many, where they are not told one by one."""
    month_waste: int = 0

    @property
    def waste_micro(self) -> int:
        is_waste = self.kind in sql.SPEND_KINDS and self.outcome is not None and self.outcome not in _NOT_WASTE
        return self.micro if is_waste else self.month_waste


@dataclass(slots=True)
class _Group:
    """What gathers under one key."""

    by_kind: Counter[str] = field(default_factory=Counter)
    by_source: Counter[str] = field(default_factory=Counter)
    list_micro: int = 0
    waste_micro: int = 0
    entries: int = 0
    jobs: set[str | None] = field(default_factory=set)
    more_jobs: int = 0

    def add(self, one: _Sum) -> None:
        self.by_kind[one.kind] += one.micro
        self.by_source[one.source] += one.micro if one.kind in sql.SPEND_KINDS else 0
        self.list_micro += one.list_micro
        self.waste_micro += one.waste_micro
        self.entries += one.entries
        self.more_jobs += one.jobs or 0
        if one.jobs is None:
            self.jobs.add(one.job_id)

    @property
    def spend_micro(self) -> int:
        return sum(self.by_kind[kind] for kind in sql.SPEND_KINDS)


def spend_report(tx: Transaction, scope: Scope, *, by: str, timezone: str = "UTC") -> SpendReport:
    """Group what counts in the scope. `by` is one of GROUPS, or `label:KEY`."""
    jobs = facts_of(tx)
    groups: dict[str, _Group] = defaultdict(_Group)
    in_all = _Group()
    key_of = _grouping(by, jobs)
    spent: Counter[str] = Counter()
    for one in _by_month(tx, scope) if by == "month" else _by_job(tx, scope):
        groups[key_of(one)].add(one)
        in_all.add(one)
        if one.job_id and one.kind in sql.SPEND_KINDS:
            spent[one.job_id] += one.micro
    told = {} if by == "month" or scope.start or scope.end else _told(groups, jobs, spent)
    rows = [_row(key, group, told.get(key)) for key, group in groups.items()]
    rows.sort(key=lambda row: (Decimal(0) if by == "month" else -row.amount, row.key))
    whole = _row("(all)", in_all, _both(told.values()))
    unpriced = tx.pairs(bill_sql.UNPRICED, as_of=scope.as_of)
    count = unpriced.get(scope.job_id, 0) if scope.job_id else sum(unpriced.values())
    return SpendReport(
        by, scope.start, scope.end, scope.as_of, timezone, whole.amount, USD, rows, whole, unpriced_runs=int(count)
    )


def facts_of(tx: Transaction) -> dict[str, JobFacts]:
    """What reports tell of every job."""
    return {one.id: one for one in map(_facts, tx.counts(bill_sql.JOB_FACTS))}


def _by_job(tx: Transaction, scope: Scope) -> Iterator[_Sum]:
    groups = tx.each(bill_sql.spend_groups(one_job=scope.job_id is not None), **scope.parameters)
    for job, provider, kind, source, place, outcome, micro, list_micro, entries in groups:
        if place != "assigned" or job is not None:
            yield _Sum(job, provider, kind, source, micro, list_micro, entries, outcome=outcome)
    if scope.job_id is None:
        for labels, provider, kind, source, micro, list_micro, entries in tx.counts(
            bill_sql.ASSIGNED_GROUPS, **scope.parameters
        ):
            yield _Sum(None, provider, kind, source, micro, list_micro, entries, labels=labels or "{}")


def _by_month(tx: Transaction, scope: Scope) -> Iterator[_Sum]:
    spans = _months(tx, scope)
    if not spans:
        return
    asked = scope.parameters | {f"m{i}": month.start for i, month in enumerate(spans) if i}
    one_job = scope.job_id is not None
    sums = tx.counts(bill_sql.spend_months(len(spans), one_job=one_job), **asked)
    for i, kind, source, micro, list_micro, entries in sums:
        yield _Sum(None, "", kind, source, micro, list_micro, entries, month=spans[i].name, jobs=0)
    jobs = tx.pairs(bill_sql.jobs_months(len(spans), one_job=one_job), **asked)
    waste = tx.pairs(bill_sql.waste_months(len(spans), one_job=one_job), **asked)
    for i, count in jobs.items():
        yield _Sum(None, "", "", "", 0, 0, 0, month=spans[i].name, jobs=count, month_waste=waste.get(i, 0))


def _months(tx: Transaction, scope: Scope) -> Sequence[Month]:
    first, last = next(iter(tx.counts(bill_sql.SPAN, as_of=scope.as_of)), (None, None))
    if first is None or last is None:
        return ()
    start = max(from_micros(int(first)), scope.start or _EVER[0])
    end = min(from_micros(int(last)), scope.end or _EVER[1])
    return months(start, end, scope.zone) if start <= end else ()


def _grouping(by: str, jobs: Mapping[str, JobFacts]) -> Callable[[_Sum], str]:
    def of_job(read: Callable[[JobFacts], str]) -> Callable[[_Sum], str]:
        return lambda one: read(known) if (known := jobs.get(one.job_id or "")) else OUTSIDE

    if by.startswith("label:"):
        return _by_label(by.removeprefix("label:"), of_job)
    table: Mapping[str, Callable[[_Sum], str]] = {
        "job": lambda one: one.job_id or OUTSIDE,
        "provider": lambda one: one.provider,
        "month": lambda one: one.month or "",
        "state": lambda one: one.outcome or NO_RUN,
        "name": of_job(lambda job: job.name),
        "model": of_job(lambda job: job.base_model),
        "method": of_job(lambda job: job.method),
        "owner": of_job(lambda job: job.owner),
    }
    return table[by]


def _by_label(
    label: str, of_job: Callable[[Callable[[JobFacts], str]], Callable[[_Sum], str]]
) -> Callable[[_Sum], str]:
    """By a label of the job, or of a line that a person gave labels instead of a job."""
    by_job = of_job(lambda job: job.labels.get(label, UNLABELLED))

    def key_of(one: _Sum) -> str:
        return by_job(one) if one.labels is None else str(json.loads(one.labels).get(label, UNLABELLED))

    return key_of


def _facts(row: tuple[object, ...]) -> JobFacts:
    job_id, name, base_model, method, labels, host, estimate_micro, _source = row
    kept: Mapping[str, str] = json.loads(str(labels))
    micro = None if estimate_micro is None else int(str(estimate_micro))
    return JobFacts(str(job_id), str(name), str(base_model), str(method), kept, str(host), micro)


def _told(
    groups: Mapping[str, _Group], jobs: Mapping[str, JobFacts], spent: Mapping[str, int]
) -> dict[str, tuple[int, int]]:
    """Key -> what was estimated for its jobs and what they cost. A job that is in two groups tells about neither."""
    seen = Counter(job for group in groups.values() for job in group.jobs)
    told: dict[str, tuple[int, int]] = {}
    for key, group in groups.items():
        alone = [jobs[job] for job in group.jobs if job and job in jobs and seen[job] == 1 and job in spent]
        pairs = [(job.estimate_micro, spent[job.id]) for job in alone if job.estimate_micro is not None]
        if pairs:
            told[key] = (sum(estimate for estimate, _ in pairs), sum(actual for _, actual in pairs))
    return told


def _both(pairs: Iterable[tuple[int, int]]) -> tuple[int, int] | None:
    kept = list(pairs)
    return (sum(estimate for estimate, _ in kept), sum(actual for _, actual in kept)) if kept else None


def _row(key: str, group: _Group, told: tuple[int, int] | None) -> SpendRow:
    return SpendRow(
        key=key,
        amount=_usd(group.spend_micro),
        currency=USD,
        source="+".join(sorted(source for source, micro in group.by_source.items() if micro)),
        status="+".join(sorted(kind for kind in sql.SPEND_KINDS if group.by_kind[kind])) or "none",
        entries=group.entries,
        jobs=len(group.jobs - {None}) or group.more_jobs,
        list_price=_usd(group.list_micro),
        provisional=_usd(group.by_kind[EntryKind.PROVISIONAL]),
        billed=_usd(group.by_kind[EntryKind.BILLED] + group.by_kind[EntryKind.ADJUSTED]),
        credits=_usd(group.by_kind[EntryKind.CREDIT]),
        tax=_usd(group.by_kind[EntryKind.TAX]),
        waste=_usd(group.waste_micro),
        estimate=_usd(told[0]) if told else None,
        error=_error(*told) if told else None,
    )


def _error(estimate_micro: int, actual_micro: int) -> Decimal | None:
    if not estimate_micro:
        return None
    ratio = Decimal(actual_micro) / Decimal(estimate_micro) - 1
    return ratio.quantize(_PERMILLE, rounding=ROUND_HALF_EVEN)


def _usd(micro: int) -> Decimal:
    return Money.from_micro(micro).amount
