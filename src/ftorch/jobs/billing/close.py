"""Closing a month: everything before its end is frozen, and what comes later counts in the month in which it comes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta

from ftorch.core.clock import from_micros
from ftorch.core.errors import BillDiffersError, FtorchError, NotFinishedError, UsageError
from ftorch.core.money import Money
from ftorch.costs.items import SpendSource
from ftorch.costs.months import Month, closed_until
from ftorch.jobs.billing.pull import not_enabled_mark
from ftorch.jobs.billing.status import status_in
from ftorch.jobs.context import Context
from ftorch.providers.base import Capabilities
from ftorch.providers.registry import provider_class
from ftorch.store import BillRow, CloseRow, RunRow, Transaction, bill_sql

_MOST_WORDS = 20
_FORCE = "settle them, or close with --force --note and why"


@dataclass(frozen=True, slots=True)
class Missing:
    """Something that stands against closing a month."""

    kind: str
    """unexplained, differs, not_read, unsettled or not_billed."""
    words: str
    id: str | None = None
    """The entry or run that it is about."""


@dataclass(frozen=True, slots=True)
class Closed:
    """A month that is closed."""

    month: str
    closed_at: datetime
    is_new: bool
    """False: it was closed before, and nothing was done."""
    note: str | None
    missing: Sequence[Missing]
    """What was missing when it was closed by force."""


def close(context: Context, name: str, *, force: bool, note: str | None) -> Closed:
    """Freeze a month, and with it all before. Closing twice is harmless.

    Raises NotFinishedError before its bills have settled, and, unless by `force` with a note, BillDiffersError for
    what nobody can explain, and NotFinishedError for what is still to come.
    """
    month = Month.parse(name)
    if force and not (note or "").strip():
        raise UsageError("why? closing by force needs a note", hint="add --note and what you know about it")
    lags = _lags(context)

    def change(tx: Transaction) -> Closed:
        closes = tx.many(CloseRow, bill_sql.CLOSES)
        if known := next((row for row in closes if row.month >= month.name), None):
            return _known(known)
        now = context.clock.now()
        _check_settled(month, lags, now)
        missing = list(_missing(tx, month, lags))
        if missing and not force:
            raise _refusal(month, missing)
        row = CloseRow(
            month=month.name,
            ends_at=month.end,
            closed_at=now,
            note=note,
            findings=json.dumps([asdict(one) for one in missing]),
        )
        tx.insert(bill_sql.INSERT_CLOSE, row)
        return Closed(month.name, now, is_new=True, note=note, missing=missing)

    return context.store.write(change)


def closed_months(tx: Transaction) -> list[Closed]:
    """All that were closed, oldest first."""
    return [_known(row) for row in tx.many(CloseRow, bill_sql.CLOSES)]


def _known(row: CloseRow) -> Closed:
    missing = [Missing(**one) for one in json.loads(row.findings)]
    return Closed(row.month, row.closed_at, is_new=False, note=row.note, missing=missing)


@dataclass(frozen=True, slots=True)
class _Lag:
    """How an account's amounts settle."""

    provider: str
    account: str
    seconds: float
    has_bill: bool


def _lags(context: Context) -> list[_Lag]:
    """Every account in which something of ours ran."""
    found = []
    for provider, account in context.store.read().counts(bill_sql.ACCOUNTS_USED):
        can = _capabilities(context, provider)
        has_bill = can is not None and can.spend_source is SpendSource.BILLING_API
        is_off = context.store.meta(not_enabled_mark(provider)) == "yes"
        found.append(_Lag(provider, account, can.settle_lag_s if can else 0.0, has_bill and not is_off))
    return found


def _capabilities(context: Context, provider: str) -> Capabilities | None:
    """None for a provider that this installation has not any more: then nothing of it can change either."""
    try:
        return provider_class(provider).capabilities
    except FtorchError:
        pass
    try:
        return context.open_provider(provider).capabilities
    except FtorchError:
        return None


def _check_settled(month: Month, lags: Sequence[_Lag], now: datetime) -> None:
    """No force helps here: what is still to come is not known."""
    slowest = max(lags, key=lambda lag: lag.seconds, default=None)
    until = month.end + timedelta(seconds=slowest.seconds if slowest else 0)
    if now >= until:
        return
    words = f"{month.name} has not ended" if now < month.end else f"{month.name} has not settled"
    why = f": {slowest.provider} may change its amounts until then" if slowest and slowest.seconds else ""
    raise NotFinishedError(words, hint=f"close it after {until:%Y-%m-%d %H:%M} UTC{why}")


def _missing(tx: Transaction, month: Month, lags: Sequence[_Lag]) -> Iterator[Missing]:
    status = status_in(tx)
    for line in status.unexplained:
        if line.period_start < month.end:
            words = f"line {line.id} of {line.provider}, {line.amount}: {line.description}"
            yield Missing("unexplained", words, str(line.id))
    for run in status.differing:
        words = f"run {run.run} was billed {run.billed}, its {run.source.replace('_', ' ')} says {run.charged}"
        yield Missing("differs", words, run.run)
    yield from _unread(tx, month, lags)
    for row in tx.many(RunRow, bill_sql.UNSETTLED_RUNS, end=month.end):
        yield Missing("unsettled", f"run {row.key} has no final price yet", row.key)
    with_bill = {(lag.provider, lag.account) for lag in lags if lag.has_bill}
    span = {"start": closed_until(tx) or from_micros(0), "end": month.end}
    for key, _job, provider, account, micro in tx.counts(bill_sql.UNBILLED_RUNS, **span):
        if (provider, account) in with_bill:
            words = f"run {key} cost {Money.from_micro(micro)} by our own figure, and is on no bill"
            yield Missing("not_billed", words, key)


def _unread(tx: Transaction, month: Month, lags: Sequence[_Lag]) -> Iterator[Missing]:
    for lag in lags:
        bill = tx.one(BillRow, bill_sql.BILL, provider=lag.provider, account=lag.account)
        if lag.has_bill and (bill is None or bill.data_through < month.end):
            until = f"read until {bill.data_through:%Y-%m-%d %H:%M} UTC" if bill else "never read"
            yield Missing("not_read", f"the bill of {lag.provider} was {until}: run `ftorch bill pull {lag.provider}`")


def _refusal(month: Month, missing: Sequence[Missing]) -> FtorchError:
    lines = [one.words for one in missing[:_MOST_WORDS]]
    if len(missing) > _MOST_WORDS:
        lines.append(f"... and {len(missing) - _MOST_WORDS} more")
    message = "\n".join([f"{month.name} cannot be closed yet:", *lines])
    if any(one.kind in ("unexplained", "differs") for one in missing):
        return BillDiffersError(message, hint=f"run `ftorch bill explain ID` and `ftorch bill assign ID`: {_FORCE}")
    return NotFinishedError(message, hint=_FORCE)
