"""Lines of bills on their way into the ledger: a few at a time, each run's cover with them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice

from ftorch.core.clock import from_micros
from ftorch.core.money import Money
from ftorch.costs.cover import cover
from ftorch.costs.items import EntryKind, LineItem, Place, Scope, SpendSource, Window
from ftorch.jobs.billing.place import Bill, post_line
from ftorch.jobs.context import Context
from ftorch.store import BillRow, LedgerRow, RunRow, Transaction, bill_sql

_CHUNK = 200
"""Lines per transaction: the engine writes to the same database."""


@dataclass(slots=True)
class Tally:
    """Lines that were read, by where they went, and how many entries of the ledger that took."""

    lines: dict[Place, int] = field(default_factory=lambda: dict.fromkeys(Place, 0))
    appended: int = 0

    def add(self, part: Tally) -> None:
        for place, count in part.lines.items():
            self.lines[place] += count
        self.appended += part.appended


def post_lines(context: Context, bill: Bill, items: Iterator[LineItem]) -> Tally:
    """Bring lines into the ledger, some at a time, each run's cover with them."""
    tally = Tally()
    while chunk := list(islice(items, _CHUNK)):
        tally.add(_post(context, bill, chunk))
    return tally


def note_through(context: Context, bill: Bill, source: SpendSource, through: datetime) -> None:
    """Note how far the bill has settled, and let it have the last word on runs that it now reaches."""

    def change(tx: Transaction) -> None:
        known = tx.one(BillRow, bill_sql.BILL, provider=bill.provider, account=bill.account)
        now = context.clock.now()
        row = BillRow(
            provider=bill.provider, account=bill.account, source=source.value, data_through=through, pulled_at=now
        )
        tx.insert(bill_sql.PUT_BILL, row)
        before = known.data_through if known else from_micros(0)
        whose = {"provider": bill.provider, "account": bill.account}
        for run in tx.many(RunRow, bill_sql.RUNS_COVERED, **whose, before=before, through=through):
            cover(tx, run.key, now=now)

    context.store.write(change)


def settle_unexplained(context: Context) -> int:
    """Look again at lines that nobody could explain: their runs may have been adopted meanwhile."""

    def change(tx: Transaction) -> int:
        moved = 0
        for entry in tx.many(LedgerRow, bill_sql.UNEXPLAINED):
            bill = Bill(entry.provider, entry.account, context.installation)
            placed, appended = post_line(tx, bill, item_of(tx, entry), context.clock.now())
            if placed.run_key and placed.place is Place.RUN:
                cover(tx, placed.run_key, now=context.clock.now())
            moved += appended > 0
        return moved

    return context.store.write(change)


def item_of(tx: Transaction, entry: LedgerRow) -> LineItem:
    """The line of a bill that an entry stands for, as new as it was seen last."""
    names = ("provider", "account", "source", "source_ref")
    seen = tx.scalar(bill_sql.READING, **{name: getattr(entry, name) for name in names})
    return LineItem(
        source=SpendSource(entry.source),
        source_ref=entry.source_ref,
        kind=EntryKind(entry.kind),
        amount=Money.from_micro(entry.amount_micro),
        quantity=entry.quantity,
        unit=entry.unit,
        unit_price=entry.unit_price,
        period=Window(entry.period_start, entry.period_end),
        as_of=max(entry.as_of, from_micros(int(seen or 0))),
        description=entry.description,
        run_key=entry.run_key,
        scope=Scope(entry.scope),
    )


def _post(context: Context, bill: Bill, items: Sequence[LineItem]) -> Tally:
    # A change may be carried out more than once, of which one is kept: it counts for itself.
    return context.store.write(lambda tx: _post_chunk(context, tx, bill, items))


def _post_chunk(context: Context, tx: Transaction, bill: Bill, items: Sequence[LineItem]) -> Tally:
    tally, now = Tally(), context.clock.now()
    keys: set[str] = set()
    for item in items:
        placed, appended = post_line(tx, bill, item, now)
        tally.lines[placed.place] += 1
        tally.appended += appended
        if placed.run_key is not None and placed.place is Place.RUN:
            keys.add(placed.run_key.partition("/")[0])
    for key in sorted(keys):
        tally.appended += cover(tx, key, now=now)
    return tally
