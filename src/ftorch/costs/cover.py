"""The bill takes the place of what we had charged for a run, exactly once and in whatever order the two come.

Charges and lines of the bill are kept apart, each right by itself. Between them stands a cover: entries that take off
the charges as much as the bill has. While the bill does not reach the end of the run yet, that is what it has so far,
so that the run's sum is the larger of the two; afterwards it is all of them, so that the sum is the bill's. The cover
follows from what is there, never from what happened: any order of arrival ends in the same sum.

Each scope has a cover of its own. A bill that has a fee alone says nothing about the machines, whatever it settles.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal

from ftorch.costs.items import BILL_SOURCES, Place, Scope
from ftorch.costs.months import counted
from ftorch.store import BillRow, LedgerRow, RunRow, Transaction, bill_sql, sql

MARK = "bill/"
"""How the references of covers begin."""


def cover(tx: Transaction, key: str, *, now: datetime) -> int:
    """Bring the cover of a run, its duplicates included, in line with its charges and its bill.

    Returns how many entries that took; a second call appends nothing.
    """
    base = key.partition("/")[0]
    entries = tx.many(LedgerRow, sql.LEDGER_OF_KEY, key=base)
    scopes = sorted({entry.scope for entry in entries})
    return sum(_cover(tx, base, [one for one in entries if one.scope == scope], now) for scope in scopes)


def is_charge(entry: LedgerRow) -> bool:
    """What we charged for a run ourselves, from a record, measured time or a declared rate."""
    return entry.source not in BILL_SOURCES and not _is_cover(entry)


def _cover(tx: Transaction, base: str, entries: Sequence[LedgerRow], now: datetime) -> int:
    bill = [entry for entry in entries if _is_billed(entry)]
    charges = [entry for entry in entries if is_charge(entry)]
    if not charges or not (bill or any(map(_is_cover, entries))):
        return 0
    left = [_micro(bill), _list_micro(bill)]
    is_whole = bool(bill) and _reaches(tx, bill[-1], _ends_at(tx, base, charges))
    appended = 0
    for source in sorted({entry.source for entry in charges}):
        ours = [entry for entry in charges if entry.source == source]
        standing = [entry for entry in entries if entry.source == source and _is_cover(entry)]
        wanted = [_taken(_micro(ours), left[0], is_whole), _taken(_list_micro(ours), left[1], is_whole)]
        left = [left[0] - wanted[0], left[1] - wanted[1]]
        appended += _append(tx, ours[-1], standing, base, wanted, now)
    return appended


def _is_cover(entry: LedgerRow) -> bool:
    return entry.source_ref.startswith(MARK) and entry.source not in BILL_SOURCES


def _is_billed(entry: LedgerRow) -> bool:
    """A credit beside the bill of a run, or its tax, says nothing about what it cost."""
    return entry.source in BILL_SOURCES and entry.kind in sql.SPEND_KINDS and entry.place == Place.RUN


def _taken(charged: int, billed: int, is_whole: bool) -> int:
    return charged if is_whole else max(min(charged, billed), 0)


def _append(
    tx: Transaction, charge: LedgerRow, standing: Sequence[LedgerRow], base: str, wanted: Sequence[int], now: datetime
) -> int:
    """One entry for the difference between what is taken off and what should be."""
    amount_micro = -wanted[0] - _micro(standing)
    list_micro = -wanted[1] - _list_micro(standing)
    if not amount_micro and not list_micro:
        return 0
    entry = replace(
        charge,
        source_ref=f"{MARK}{base}" if charge.scope == Scope.RUN else f"{MARK}{base}/{charge.scope}",
        revision=len(standing) + 1,
        run_key=base,
        amount_micro=amount_micro,
        list_micro=list_micro,
        quantity=Decimal(0),
        unit="run",
        unit_price=None,
        description="on the bill now" if amount_micro <= 0 else "not on the bill after all",
        recorded_at=now,
    )
    tx.add_entry(counted(tx, entry, now))
    return 1


def _ends_at(tx: Transaction, base: str, charges: Sequence[LedgerRow]) -> datetime | None:
    """When the last run under a key ended; None while one goes on. One that was reaped is known by its charge alone."""
    runs = tx.many(RunRow, bill_sql.RUNS_OF_KEY, key=base)
    ends = [run.billable_to or run.ended_at for run in runs] or [charge.period_end for charge in charges]
    known = [end for end in ends if end is not None]
    return max(known) if len(known) == len(ends) else None


def _reaches(tx: Transaction, line: LedgerRow, end: datetime | None) -> bool:
    bill = tx.one(BillRow, bill_sql.BILL, provider=line.provider, account=line.account)
    return end is not None and bill is not None and bill.data_through >= end


def _micro(entries: Sequence[LedgerRow]) -> int:
    return sum(entry.amount_micro for entry in entries)


def _list_micro(entries: Sequence[LedgerRow]) -> int:
    return sum(entry.list_micro for entry in entries)
