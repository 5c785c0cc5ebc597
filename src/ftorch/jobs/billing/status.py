"""How bills stand: read until when, what is in them, and what nobody can explain."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from ftorch.core.clock import from_micros
from ftorch.core.money import Money
from ftorch.costs.items import EntryKind, Place, SpendSource
from ftorch.store import BillRow, LedgerRow, RunRow, Store, Transaction, bill_sql, sql

_CENT = Decimal("0.01")
_TOLERATED: Mapping[str, Decimal] = {
    SpendSource.RUN_RECORD: Decimal("0.01"),
    SpendSource.MEASURED_TIME: Decimal("0.10"),
}
"""By how much of our own figure a bill may differ. A rate that the user declared says nothing about a bill."""


@dataclass(frozen=True, slots=True)
class AccountBill:
    """The bill of one account."""

    provider: str
    account: str
    source: str
    data_through: datetime
    """Usage until then does not change by itself any more."""
    pulled_at: datetime
    lines_run: int
    lines_assigned: int
    lines_outside: int
    lines_unexplained: int
    run: Money
    assigned: Money
    outside: Money
    unexplained: Money
    credits: Money
    tax: Money


@dataclass(frozen=True, slots=True)
class UnexplainedLine:
    """A line that carries our mark and that no row answers for."""

    id: int
    provider: str
    account: str
    source_ref: str
    amount: Money
    period_start: datetime
    run: str | None
    description: str


@dataclass(frozen=True, slots=True)
class DifferingRun:
    """A run whose bill is further from our own figure than is usual."""

    run: str
    job: str | None
    provider: str
    account: str
    billed: Money
    charged: Money
    source: str
    """Where our own figure comes from."""

    @property
    def difference(self) -> Money:
        return self.billed - self.charged


@dataclass(frozen=True, slots=True)
class BillStatus:
    """All bills, and all that nobody can explain."""

    bills: Sequence[AccountBill]
    unexplained: Sequence[UnexplainedLine]
    differing: Sequence[DifferingRun]

    @property
    def is_explained(self) -> bool:
        return not self.unexplained and not self.differing


def bill_status(store: Store) -> BillStatus:
    """Reads the ledger once, with a statement for each of the three."""
    return status_in(store.read())


def status_in(tx: Transaction) -> BillStatus:
    sums: dict[tuple[str, str], list[tuple[str, str, int, int]]] = defaultdict(list)
    for provider, account, place, kind, micro, lines in tx.counts(bill_sql.LINE_SUMS):
        sums[provider, account].append((place, kind, micro, lines))
    bills = [_account_bill(bill, sums[bill.provider, bill.account]) for bill in tx.many(BillRow, bill_sql.BILLS)]
    lines = [_unexplained(entry) for entry in tx.many(LedgerRow, bill_sql.UNEXPLAINED)]
    return BillStatus(bills, lines, differing_runs(tx))


def differing_runs(tx: Transaction) -> list[DifferingRun]:
    """Runs whose whole bill is there and differs from what we had charged, unless a person has accepted it."""
    accepted = tx.pairs(bill_sql.ACCEPTED_RUNS)
    through = {(bill.provider, bill.account): bill.data_through for bill in tx.many(BillRow, bill_sql.BILLS)}
    found: list[DifferingRun] = []
    for run, job, provider, account, billed, charged, source, ends_at in tx.counts(bill_sql.BILLED_RUNS):
        one = DifferingRun(run, job, provider, account, Money.from_micro(billed), Money.from_micro(charged), source)
        is_whole = (provider, account) in through and through[provider, account] >= _end(tx, run, from_micros(ends_at))
        if is_whole and run not in accepted and _is_far(one):
            found.append(one)
    return found


def _is_far(run: DifferingRun) -> bool:
    tolerated = _TOLERATED.get(run.source)
    if tolerated is None or not run.charged.amount:
        return False
    return abs(run.difference.amount) > max(_CENT, tolerated * abs(run.charged.amount))


def _end(tx: Transaction, run: str, last_period: datetime) -> datetime:
    row = tx.one(RunRow, bill_sql.RUNS_OF_KEY, key=run)
    end = (row.billable_to or row.ended_at) if row else None
    return max(end, last_period) if end else last_period


def _account_bill(bill: BillRow, sums: Sequence[tuple[str, str, int, int]]) -> AccountBill:
    def lines(place: Place) -> int:
        return sum(count for where, _, _, count in sums if where == place)

    def money(place: Place) -> Money:
        return _money(micro for where, kind, micro, _ in sums if where == place and kind in sql.SPEND_KINDS)

    def of_kind(kind: EntryKind) -> Money:
        return _money(micro for _, what, micro, _ in sums if what == kind)

    return AccountBill(
        provider=bill.provider,
        account=bill.account,
        source=bill.source,
        data_through=bill.data_through,
        pulled_at=bill.pulled_at,
        lines_run=lines(Place.RUN),
        lines_assigned=lines(Place.ASSIGNED),
        lines_outside=lines(Place.OUTSIDE),
        lines_unexplained=lines(Place.UNEXPLAINED),
        run=money(Place.RUN),
        assigned=money(Place.ASSIGNED),
        outside=money(Place.OUTSIDE),
        unexplained=money(Place.UNEXPLAINED),
        credits=of_kind(EntryKind.CREDIT),
        tax=of_kind(EntryKind.TAX),
    )


def _money(micros: Iterable[int]) -> Money:
    return Money.from_micro(sum(micros))


def _unexplained(entry: LedgerRow) -> UnexplainedLine:
    return UnexplainedLine(
        id=entry.id,
        provider=entry.provider,
        account=entry.account,
        source_ref=entry.source_ref,
        amount=Money.from_micro(entry.amount_micro),
        period_start=entry.period_start,
        run=entry.run_key,
        description=entry.description,
    )
