"""Spend: the sum of ledger entries, grouped, every amount with its source. Estimates and credits are not in it."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from ftorch.core.errors import UsageError
from ftorch.core.money import Money
from ftorch.store import JobRow, LedgerRow, sql

UNLABELLED = "(unlabelled)"
OUTSIDE = "(no job)"


@dataclass(frozen=True, slots=True)
class SpendRow:
    """What one group spent, with all sources and statuses that are in it."""

    key: str
    amount: Decimal
    currency: str
    source: str
    status: str
    entries: int
    jobs: int


@dataclass(frozen=True, slots=True)
class SpendReport:
    """Spend by group, largest first, and in all."""

    by: str
    start: datetime | None
    end: datetime | None
    total: Decimal
    currency: str
    rows: Sequence[SpendRow]
    unpriced_runs: int
    """Runs that nobody named a price for: their cost is unknown, not 0."""


def spend_report(
    entries: Sequence[LedgerRow],
    jobs: Mapping[str, JobRow],
    *,
    by: str,
    start: datetime | None = None,
    end: datetime | None = None,
    unpriced_runs: int = 0,
) -> SpendReport:
    """Group the spend entries whose period begins in `[start, end)`.

    `by` is job, name, provider, model, method, month, or `label:KEY`.
    """
    key_of = _grouping(by, jobs)
    counted = [entry for entry in entries if entry.kind in sql.SPEND_KINDS and _within(entry.period_start, start, end)]
    groups: dict[str, list[LedgerRow]] = defaultdict(list)
    for entry in counted:
        groups[key_of(entry)].append(entry)
    rows = sorted((_row(key, group) for key, group in groups.items()), key=lambda row: (-row.amount, row.key))
    total = Money.from_micro(sum(entry.amount_micro for entry in counted))
    return SpendReport(by, start, end, total.amount, total.currency, rows, unpriced_runs)


def month_window(text: str | None) -> tuple[datetime | None, datetime | None]:
    """The first moment of a month (`2026-10`) and of the next one, UTC. Raises UsageError for anything else."""
    if text is None:
        return None, None
    try:
        start = datetime.strptime(text, "%Y-%m").replace(tzinfo=UTC)
    except ValueError:
        raise UsageError(f"{text!r} is not a month", hint="write it as 2026-10") from None
    return start, (start + timedelta(days=32)).replace(day=1)


def _grouping(by: str, jobs: Mapping[str, JobRow]) -> Callable[[LedgerRow], str]:
    def of_job(read: Callable[[JobRow], str]) -> Callable[[LedgerRow], str]:
        return lambda entry: read(jobs[entry.job_id]) if entry.job_id and entry.job_id in jobs else OUTSIDE

    if by.startswith("label:"):
        label = by.removeprefix("label:")
        return of_job(lambda job: str(json.loads(job.labels).get(label, UNLABELLED)))
    table: Mapping[str, Callable[[LedgerRow], str]] = {
        "job": lambda entry: entry.job_id or OUTSIDE,
        "provider": lambda entry: entry.provider,
        "month": lambda entry: f"{entry.period_start:%Y-%m}",
        "name": of_job(lambda job: job.name),
        "model": of_job(lambda job: job.base_model),
        "method": of_job(lambda job: job.method),
    }
    return table[by]


def _row(key: str, group: Sequence[LedgerRow]) -> SpendRow:
    amount = Money.from_micro(sum(entry.amount_micro for entry in group))
    return SpendRow(
        key=key,
        amount=amount.amount,
        currency=amount.currency,
        source="+".join(sorted({entry.source for entry in group})),
        status="+".join(sorted({entry.kind for entry in group})),
        entries=len(group),
        jobs=len({entry.job_id for entry in group}),
    )


def _within(moment: datetime, start: datetime | None, end: datetime | None) -> bool:
    return (start is None or moment >= start) and (end is None or moment < end)
