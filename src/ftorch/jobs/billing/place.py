"""Where a line of a bill goes: to a run of ours, outside, or to the lines that nobody can explain yet."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import datetime

from ftorch.core.ids import installation_of
from ftorch.costs import ledger
from ftorch.costs.cover import is_charge
from ftorch.costs.items import EntryKind, LineItem, Place
from ftorch.store import AssignmentRow, LedgerRow, RunRow, Transaction, bill_sql, sql

_KEY = re.compile(r"ft-[0-9a-z]{6}-[0-9a-z]{26}")
_WHOLE_ACCOUNT = {
    EntryKind.CREDIT: "a credit of the whole account",
    EntryKind.TAX: "tax of the whole account",
}


@dataclass(frozen=True, slots=True)
class Bill:
    """Whose bill it is, and which runs on it are ours."""

    provider: str
    account: str
    installation: str


@dataclass(frozen=True, slots=True)
class Placed:
    """Where a line goes, and why, in words."""

    place: Place
    why: str
    run_key: str | None = None
    job_id: str | None = None
    labels: str | None = None


def place(tx: Transaction, bill: Bill, item: LineItem) -> Placed:
    """Find the line's place. A person's word comes first, then the run's key, then the provider's own id of it."""
    words = tx.many(AssignmentRow, bill_sql.ASSIGNMENTS_OF, **_reference(bill, item))
    key = item.run_key or _named(item)
    if words:
        return _assigned(words[-1], key)
    if run := _run(tx, bill, key, item.remote_id):
        return Placed(Place.RUN, "its run is here", run.key, run.job_id)
    if key is not None and installation_of(key) == bill.installation:
        if any(map(is_charge, tx.many(LedgerRow, sql.LEDGER_OF_KEY, key=key))):
            return Placed(Place.RUN, "a stray of ours that was reaped", key)
        return Placed(Place.UNEXPLAINED, "it carries our mark, and no job of this database knows its run", key)
    return Placed(Place.OUTSIDE, _foreign(item, key), key)


def post_line(tx: Transaction, bill: Bill, item: LineItem, now: datetime) -> tuple[Placed, int]:
    """Bring a line into the ledger where it belongs; returns its place and how many entries that took.

    The covers of its run are the caller's: one look at a run is enough for all its lines.
    """
    placed = place(tx, bill, item)
    appended = ledger.post(
        tx,
        replace(item, run_key=placed.run_key),
        provider=bill.provider,
        account=bill.account,
        job_id=placed.job_id,
        now=now,
        place=placed.place,
        labels=placed.labels,
    )
    return placed, appended


def _run(tx: Transaction, bill: Bill, key: str | None, remote_id: str | None) -> RunRow | None:
    """The run by its key, the duplicate that the remote id names before the others; else by the remote id alone."""
    if key is not None:
        runs = tx.many(RunRow, bill_sql.RUNS_OF_KEY, key=key)
        return next((run for run in runs if remote_id and run.remote_id == remote_id), next(iter(runs), None))
    if remote_id is None:
        return None
    runs = tx.many(RunRow, bill_sql.RUNS_OF_REMOTE, provider=bill.provider, remote_id=remote_id)
    return next((run for run in runs if run.account == bill.account), None)


def _assigned(word: AssignmentRow, key: str | None) -> Placed:
    return Placed(Place(word.place), f"by a person's word: {word.note}", key, word.job_id, word.labels)


def _named(item: LineItem) -> str | None:
    """A key of ours in the words of the line: some bills have no better place for a name."""
    found = _KEY.search(f"{item.description} {item.source_ref}")
    return found[0] if found else None


def _foreign(item: LineItem, key: str | None) -> str:
    if key is not None:
        return f"a run of the installation {installation_of(key)!r}"
    return _WHOLE_ACCOUNT.get(item.kind, "nothing in it is ours")


def _reference(bill: Bill, item: LineItem) -> dict[str, str]:
    return {
        "provider": bill.provider,
        "account": bill.account,
        "source": item.source.value,
        "source_ref": item.source_ref,
    }
