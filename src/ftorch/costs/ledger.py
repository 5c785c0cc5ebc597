"""The ledger: append-only, unique by (provider, account, source, reference, revision), right at any moment.

A row of a bill that changed is not edited: its exact reversal is appended, then the new row, in one transaction. So
the sum over a reference is always its newest amount, and yesterday's report can be repeated.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from ftorch.core.clock import from_micros
from ftorch.core.money import Money
from ftorch.costs import cover
from ftorch.costs.items import LineItem, Place
from ftorch.costs.months import counted
from ftorch.store import LedgerRow, RunRow, Transaction, bill_sql, sql


def post(
    tx: Transaction,
    item: LineItem,
    *,
    provider: str,
    account: str,
    job_id: str | None,
    now: datetime,
    place: Place = Place.RUN,
    labels: str | None = None,
) -> int:
    """Bring one line item into the ledger; returns how many entries were appended.

    The same item again, or an older reading of it, appends nothing. The same amount in another place moves; its scope
    stays what it was at first, for a provider may not be able to tell it any more.
    """
    entry = _entry(item, provider=provider, account=account, job_id=job_id, now=now)
    entry = counted(tx, replace(entry, place=place.value, labels=labels), now)
    earlier = tx.many(LedgerRow, sql.LEDGER_OF_REF, **_reference(entry))
    if not earlier:
        tx.add_entry(entry)
        return 1
    standing, net_micro = earlier[-1], sum(one.amount_micro for one in earlier)
    entry = replace(entry, scope=standing.scope)
    if _is_older(entry, standing, net_micro, _last_reading(tx, entry)):
        return 0
    if (net_micro, _what(standing)) == (entry.amount_micro, _what(entry)):
        _remember(tx, entry)
        return 0
    if net_micro == 0:
        tx.add_entry(replace(entry, revision=standing.revision + 1))
        return 1
    tx.add_entry(counted(tx, _reversal(standing, entry.as_of, now), now))
    tx.add_entry(replace(entry, revision=standing.revision + 2))
    return 2


def payer(tx: Transaction, item: LineItem, *, provider: str, account: str) -> str | None:
    """The job that this item is booked to; None where it is not in the ledger, or no job's."""
    reference = {"source": item.source.value, "source_ref": item.source_ref}
    earlier = tx.many(LedgerRow, sql.LEDGER_OF_REF, provider=provider, account=account, **reference)
    return earlier[-1].job_id if earlier else None


def post_charges(tx: Transaction, run: RunRow, items: Sequence[LineItem], *, now: datetime) -> None:
    """Bring a provider's whole answer to what a run cost into the ledger.

    It takes the place of its earlier answers: one that it does not repeat (time that was measured, where there is a
    record now) is reversed. No answer at all changes nothing; rows of the bill are no answers of this kind, and where
    the bill has come, it stays the last word.
    """
    for item in items:
        ours = replace(item, run_key=run.key)
        post(tx, ours, provider=run.provider, account=run.account, job_id=run.job_id, now=now)
    given = {(item.source.value, item.source_ref) for item in items}
    for standing in _answers(tx, run) if items else ():
        if (standing.source, standing.source_ref) not in given:
            tx.add_entry(counted(tx, _reversal(standing, max(item.as_of for item in items), now), now))
    cover.cover(tx, run.key, now=now)


def spent_micro(tx: Transaction, job_id: str) -> int:
    """The job's spend so far, in micro-USD: provisional, billed and adjusted entries of all its runs."""
    return int(tx.scalar(sql.SPEND_OF_JOB, job_id=job_id))


def held_micro(tx: Transaction, job_id: str) -> int:
    """What is reserved for runs of the job whose cost is not in the ledger yet."""
    return int(tx.scalar(sql.HELD_BY_RUNS_OF_JOB, job_id=job_id))


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
        list_micro=item.list_amount.micro,
        counted_at=item.period.start,
        scope=item.scope.value,
    )


def _reference(entry: LedgerRow) -> dict[str, object]:
    return {name: getattr(entry, name) for name in ("provider", "account", "source", "source_ref")}


def _what(entry: LedgerRow) -> tuple[object, ...]:
    return entry.kind, entry.place, entry.job_id, entry.run_key, entry.labels


def _is_older(entry: LedgerRow, standing: LedgerRow, net_micro: int, seen_at: datetime | None) -> bool:
    """Of two readings of one moment the dearer counts, whichever came first; an equal amount may still move."""
    newest = max(standing.as_of, seen_at or standing.as_of)
    if entry.as_of != newest:
        return entry.as_of < newest
    return (entry.amount_micro, entry.kind) < (net_micro, standing.kind)


def _last_reading(tx: Transaction, entry: LedgerRow) -> datetime | None:
    micros = tx.scalar(bill_sql.READING, **_reference(entry))
    return None if micros is None else from_micros(int(micros))


def _remember(tx: Transaction, entry: LedgerRow) -> None:
    """Note how new the amount is that stands: an older one that differs may still be on its way."""
    tx.run(bill_sql.PUT_READING, **_reference(entry), as_of=entry.as_of)


def _answers(tx: Transaction, run: RunRow) -> list[LedgerRow]:
    """The newest entry of each reference that came with an earlier answer about this run and still counts."""
    net_micro: Counter[tuple[str, str]] = Counter()
    newest: dict[tuple[str, str], LedgerRow] = {}
    for entry in tx.many(LedgerRow, sql.LEDGER_OF_RUN, run_key=run.key):
        if cover.is_charge(entry):
            net_micro[entry.source, entry.source_ref] += entry.amount_micro
            newest[entry.source, entry.source_ref] = entry
    return [entry for of_ref, entry in newest.items() if net_micro[of_ref]]


def _reversal(standing: LedgerRow, as_of: datetime, now: datetime) -> LedgerRow:
    return replace(
        standing,
        revision=standing.revision + 1,
        amount_micro=-standing.amount_micro,
        list_micro=-standing.list_micro,
        quantity=-standing.quantity,
        description=f"reversal: {standing.description}",
        as_of=as_of,
        recorded_at=now,
    )
