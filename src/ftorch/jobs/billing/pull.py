"""Reading bills: every line of every provider that has one, window by window, as often as one likes.

A pull begins two months before what was read last, because providers correct their bills, and ends now. Each window is
kept by itself: what was read stays when the next one fails. `data_through` is how far a bill has settled, which is the
provider's `settle_lag_s` before now: usage until then does not change by itself any more.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import pairwise
from typing import cast

from ftorch.core.clock import from_micros
from ftorch.core.errors import BillNotEnabledError, CredentialsError, FtorchError, MissingExtraError
from ftorch.core.money import Money
from ftorch.costs.items import Place, SpendSource, Window
from ftorch.costs.months import Month, months
from ftorch.jobs.billing.lines import Tally, note_through, post_lines, settle_unexplained
from ftorch.jobs.billing.place import Bill
from ftorch.jobs.context import Context
from ftorch.jobs.notices import Notice, NoticeKind, tell
from ftorch.providers.base import Bills, Provider
from ftorch.store import BillRow, LedgerRow, Transaction, bill_sql, sql

_FIRST_LOOK = timedelta(days=31)
"""How far back a bill is read that was never read, where no run of ours is older."""
_READ_AGAIN = timedelta(days=62)
"""How far back a bill is read again: lines that were corrected later need `since`."""


class Outcome(StrEnum):
    """What came of asking a provider for its bill."""

    PULLED = "pulled"
    NO_BILL = "no_bill"
    NOT_ENABLED = "not_enabled"
    NOT_CONFIGURED = "not_configured"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Pulled:
    """One provider's answer."""

    provider: str
    account: str | None
    outcome: Outcome
    words: str
    start: datetime | None = None
    data_through: datetime | None = None
    run: int = 0
    assigned: int = 0
    outside: int = 0
    unexplained: int = 0
    appended: int = 0
    """Entries of the ledger that the lines took: none where everything was known."""


def pull(context: Context, providers: Sequence[str], *, is_asked: bool, since: datetime | None = None) -> list[Pulled]:
    """Bring the bills of these providers up to date. `is_asked`: one that cannot be opened or read is an error."""
    found = [_pulled(context, name, since=since, is_asked=is_asked) for name in providers]
    settle_unexplained(context)
    return found


def not_enabled_mark(provider: str) -> str:
    """The row of meta that remembers that a provider's bill may not be read."""
    return f"bill-not-enabled/{provider}"


def _pulled(context: Context, name: str, *, since: datetime | None, is_asked: bool) -> Pulled:
    try:
        provider = context.open_provider(name)
        if not hasattr(provider, "line_items"):
            words = f"{name} has no bill that can be read; its spend is {_SOURCES[provider.capabilities.spend_source]}"
            return Pulled(name, None, Outcome.NO_BILL, words)
        return _read(context, provider, since)
    except BillNotEnabledError as error:
        context.store.write(lambda tx: tx.put_meta(not_enabled_mark(name), "yes"))
        return Pulled(name, None, Outcome.NOT_ENABLED, error.message)
    except (CredentialsError, MissingExtraError) as error:
        if is_asked:
            raise
        return Pulled(name, None, Outcome.NOT_CONFIGURED, error.message)
    except FtorchError as error:
        if is_asked:
            raise
        return Pulled(name, None, Outcome.FAILED, error.message)


def _read(context: Context, provider: Provider, since: datetime | None) -> Pulled:
    bill = Bill(provider.name, context.account(provider.name), context.installation)
    now = context.clock.now()
    # From further back when asked, never from later on: a gap would be taken for days without usage.
    start = min(since or now, _start(context, bill, now))
    settled = now - timedelta(seconds=provider.capabilities.settle_lag_s)
    tally = Tally()
    context.store.write(lambda tx: _begin_to_tell(tx, bill))
    try:
        for window in _windows(start, now):
            tally.add(post_lines(context, bill, cast(Bills, provider).line_items(window)))
            note_through(context, bill, SpendSource.BILLING_API, min(window.end, settled))
    finally:
        # Also when a later window fails: what was read before is in the books.
        context.store.write(lambda tx: _tell(context, tx, bill))
    context.store.write(lambda tx: tx.put_meta(not_enabled_mark(provider.name), ""))
    known = context.store.read().one(BillRow, bill_sql.BILL, provider=bill.provider, account=bill.account)
    return Pulled(
        bill.provider,
        bill.account,
        Outcome.PULLED,
        "",
        start=start,
        data_through=known.data_through if known else None,
        run=tally.lines[Place.RUN],
        assigned=tally.lines[Place.ASSIGNED],
        outside=tally.lines[Place.OUTSIDE],
        unexplained=tally.lines[Place.UNEXPLAINED],
        appended=tally.appended,
    )


def _begin_to_tell(tx: Transaction, bill: Bill) -> None:
    """The first time: what is in the ledger already came from elsewhere."""
    if tx.scalar(sql.GET_META, key=_told_mark(bill)) is None:
        tx.put_meta(_told_mark(bill), str(tx.scalar(bill_sql.LAST_ENTRY)))


def _tell(context: Context, tx: Transaction, bill: Bill) -> None:
    """People are told that a bill has changed the books, with all that it has changed since they were told last.

    Once a day, for it is read every six hours: what comes later in the day is told on the next one. It is read from the
    ledger, so that nothing is lost with a pull that fails or dies.
    """
    whose = {"provider": bill.provider, "account": bill.account}
    after = int(tx.scalar(sql.GET_META, key=_told_mark(bill)))
    [(lines, micro, newest)] = tx.counts(bill_sql.BILLED_SINCE, **whose, after=after)
    if not lines:
        return
    total = int(tx.scalar(bill_sql.SPEND_OF_ACCOUNT, **whose))
    unexplained = sum(
        (entry.provider, entry.account) == (bill.provider, bill.account)
        for entry in tx.many(LedgerRow, bill_sql.UNEXPLAINED)
    )
    notice = Notice(
        kind=NoticeKind.BILL,
        subject=f"bill/{bill.provider}/{bill.account}/{context.clock.now().date()}",
        title=f"the bill of {bill.provider} has arrived",
        text=f"lines that are new or have changed: {lines}; that nobody can explain: {unexplained}",
        hint="ftorch bill" if not unexplained else "ftorch bill explain LINE",
        dollars={"changed_by": Money.from_micro(int(micro)), "account_total": Money.from_micro(total)},
        about=whose,
    )
    if tell(context, tx, notice):
        tx.put_meta(_told_mark(bill), str(newest))


def _told_mark(bill: Bill) -> str:
    """The row of meta that remembers the last entry of the ledger that people were told of."""
    return f"bill-told/{bill.provider}/{bill.account}"


def _start(context: Context, bill: Bill, now: datetime) -> datetime:
    """Two months before what was read last; at first the month of the first run there."""
    reader = context.store.read()
    whose = {"provider": bill.provider, "account": bill.account}
    if known := reader.one(BillRow, bill_sql.BILL, **whose):
        return Month.of(known.data_through - _READ_AGAIN).start
    first = reader.scalar(bill_sql.FIRST_RUN, **whose)
    return Month.of(min(from_micros(int(first)), now) if first is not None else now - _FIRST_LOOK).start


def _windows(start: datetime, now: datetime) -> Iterator[Window]:
    """Calendar months, the first and the last of them cut."""
    cuts = [start, *(month.end for month in months(start, now) if month.end < now), now]
    return (Window(before, after) for before, after in pairwise(cuts) if before < after)


_SOURCES = {
    SpendSource.BILLING_API: "billing",
    SpendSource.INVOICE: "its invoice",
    SpendSource.RUN_RECORD: "the price that it keeps with each run",
    SpendSource.MEASURED_TIME: "measured time at its price",
    SpendSource.DECLARED: "measured time at the rate that you declare",
    SpendSource.NONE: "unknown",
}
