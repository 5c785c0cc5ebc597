"""The ledger: append-only, unique by (provider, account, source, reference, revision), right at any moment.

A row of a bill that changed is not edited: its exact reversal is appended, then the new row, in one transaction. So
the sum over a reference is always its newest amount, and yesterday's report can be repeated.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from ftorch.core.money import Money
from ftorch.costs.items import LineItem
from ftorch.store import LedgerRow, Transaction, sql


def post(tx: Transaction, item: LineItem, *, provider: str, account: str, job_id: str | None, now: datetime) -> int:
    """Bring one line item into the ledger; returns how many entries were appended.

    The same item again, or an older reading of it, appends nothing.
    """
    earlier = tx.many(
        LedgerRow,
        sql.LEDGER_OF_REF,
        provider=provider,
        account=account,
        source=item.source.value,
        source_ref=item.source_ref,
    )
    entry = _entry(item, provider=provider, account=account, job_id=job_id, now=now)
    if not earlier:
        tx.add_entry(entry)
        return 1
    standing = earlier[-1]
    if standing.as_of >= item.as_of or _same(standing, entry):
        return 0
    reversal = replace(
        standing,
        revision=standing.revision + 1,
        amount_micro=-standing.amount_micro,
        quantity=-standing.quantity,
        description=f"reversal: {standing.description}",
        as_of=item.as_of,
        recorded_at=now,
    )
    tx.add_entry(reversal)
    tx.add_entry(replace(entry, revision=standing.revision + 2))
    return 2


def spent_micro(tx: Transaction, job_id: str) -> int:
    """The job's spend so far, in micro-USD: provisional, billed and adjusted entries of all its runs."""
    return int(tx.scalar(sql.SPEND_OF_JOB, job_id=job_id))


def held_micro(tx: Transaction, job_id: str) -> int:
    """What is reserved for runs of the job whose cost is not in the ledger yet."""
    return int(tx.scalar(sql.HELD_BY_JOB, job_id=job_id))


def total(entries: list[LedgerRow]) -> Money:
    return Money.from_micro(sum(entry.amount_micro for entry in entries))


def _entry(item: LineItem, *, provider: str, account: str, job_id: str | None, now: datetime) -> LedgerRow:
    return LedgerRow(
        provider=provider,
        account=account,
        source=item.source.value,
        source_ref=item.source_ref,
        revision=1,
        run_key=item.run_key,
        job_id=job_id,
        kind=item.kind.value,
        amount_micro=item.amount.micro,
        quantity=item.quantity,
        unit=item.unit,
        unit_price=item.unit_price,
        description=item.description,
        period_start=item.period.start,
        period_end=item.period.end,
        as_of=item.as_of,
        recorded_at=now,
    )


def _same(standing: LedgerRow, entry: LedgerRow) -> bool:
    return (standing.amount_micro, standing.kind) == (entry.amount_micro, entry.kind)
