"""One line of a bill: where it went and why, its revisions and its run; and a person's word about it."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from ftorch.core.errors import UsageError
from ftorch.core.ids import made_at
from ftorch.core.money import Money
from ftorch.costs.cover import cover, is_charge
from ftorch.costs.items import BILL_SOURCES, Place
from ftorch.jobs.billing.lines import item_of
from ftorch.jobs.billing.place import Bill, place, post_line
from ftorch.jobs.billing.status import differing_runs
from ftorch.jobs.context import Context
from ftorch.jobs.views import pick
from ftorch.store import AssignmentRow, JobRow, LedgerRow, RunRow, Store, Transaction, bill_sql, sql

_LIST = "run `ftorch bill` for what is unexplained, or `ftorch ledger` for every entry"


@dataclass(frozen=True, slots=True)
class Revision:
    """One entry of the ledger under a line's reference."""

    id: int
    revision: int
    recorded_at: datetime
    amount: Money
    place: str
    description: str
    counted_at: datetime
    corrects: str | None
    """The month that it corrects, where that was closed when it came."""


@dataclass(frozen=True, slots=True)
class Word:
    """What a person said about a line."""

    at: datetime
    host: str
    place: str
    job: str | None
    labels: Mapping[str, str]
    note: str


@dataclass(frozen=True, slots=True)
class LineRun:
    """The run of a line, with its two sums."""

    key: str
    job: str | None
    name: str | None
    state: str | None
    remote_id: str | None
    billed: Money
    charged: Money
    """What we had charged ourselves; the bill has taken its place."""


@dataclass(frozen=True, slots=True)
class LineView:
    """Everything that is known about one line."""

    id: int
    provider: str
    account: str
    source: str
    source_ref: str
    kind: str
    amount: Money
    """As it stands."""
    quantity: Decimal
    unit: str
    unit_price: Decimal | None
    description: str
    period_start: datetime
    period_end: datetime
    place: str
    why: str
    run: LineRun | None
    revisions: Sequence[Revision]
    words: Sequence[Word]


def explain(store: Store, reference: str, installation: str) -> LineView:
    """Look a line up by the id of one of its entries, or by its reference. Raises UsageError when there is none."""
    return _view(store.read(), _find(store.read(), reference), installation)


def assign(
    context: Context, reference: str, *, job: str | None, labels: Mapping[str, str], is_outside: bool, note: str
) -> LineView | None:
    """Settle a line by a person's word: it belongs to a job, to labels, or is not ours at all.

    With the key of a run whose bill differs, the note accepts the bill; None then. Raises UsageError for a line whose
    run is here, and where it is not said exactly once where the line belongs.
    """
    if not note.strip():
        raise UsageError("why? a person's word needs a note", hint="add --note and what you know about it")
    store = context.store
    if made_at(reference) is not None:
        _accept(context, reference, note)
        return None
    if sum((job is not None, bool(labels), is_outside)) != 1:
        raise UsageError("where does the line belong?", hint="give --job JOB, or --label KEY=VALUE, or --outside")
    chosen = pick(store, job) if job else None
    where = Place.RUN if chosen else Place.ASSIGNED if labels else Place.OUTSIDE

    def change(tx: Transaction) -> LedgerRow:
        entry = _find(tx, reference)
        bill = Bill(entry.provider, entry.account, context.installation)
        _check_open(tx, entry)
        word = _word(context, entry, where, note, job_id=chosen.id if chosen else None, labels=labels)
        tx.insert(bill_sql.INSERT_ASSIGNMENT, word, without="id")
        post_line(tx, bill, item_of(tx, entry), context.clock.now())
        if entry.run_key is not None:
            cover(tx, entry.run_key, now=context.clock.now())
        return entry

    return explain(store, str(store.write(change).id), context.installation)


def _accept(context: Context, key: str, note: str) -> None:
    """Note that a run's bill is right although it differs from our own figure."""

    def change(tx: Transaction) -> None:
        run = next((run for run in differing_runs(tx) if run.run == key), None)
        if run is None:
            raise UsageError(f"the bill of run {key} does not differ from what was charged for it", hint=_LIST)
        word = AssignmentRow(
            provider=run.provider,
            account=run.account,
            source="run",
            source_ref=key,
            place=Place.RUN.value,
            job_id=run.job,
            labels=None,
            note=note,
            host=platform.node(),
            at=context.clock.now(),
        )
        tx.insert(bill_sql.INSERT_ASSIGNMENT, word, without="id")

    context.store.write(change)


def _check_open(tx: Transaction, entry: LedgerRow) -> None:
    """A run that answers for its line is no matter of opinion."""
    is_said = tx.many(AssignmentRow, bill_sql.ASSIGNMENTS_OF, **_reference(entry))
    if entry.place == Place.RUN and not is_said:
        where = f"job {entry.job_id}" if entry.job_id else f"run {entry.run_key}"
        raise UsageError(f"the line belongs to {where}: its run is here", hint=f"run `ftorch bill explain {entry.id}`")


def _word(
    context: Context, entry: LedgerRow, where: Place, note: str, *, job_id: str | None, labels: Mapping[str, str]
) -> AssignmentRow:
    return AssignmentRow(
        provider=entry.provider,
        account=entry.account,
        source=entry.source,
        source_ref=entry.source_ref,
        place=where.value,
        job_id=job_id,
        labels=json.dumps(dict(labels), sort_keys=True) if labels else None,
        note=note,
        host=platform.node(),
        at=context.clock.now(),
    )


def _find(tx: Transaction, reference: str) -> LedgerRow:
    """The newest entry of a line."""
    found = _entries(tx, reference)
    if not found:
        raise UsageError(f"no line of a bill is called {reference!r}", hint=_LIST)
    lines = {(entry.provider, entry.account, entry.source, entry.source_ref) for entry in found}
    if len(lines) > 1:
        raise UsageError(f"{len(lines)} lines are called {reference!r}", hint="give the id of one of its entries")
    return found[-1]


def _entries(tx: Transaction, reference: str) -> list[LedgerRow]:
    named = tx.many(LedgerRow, bill_sql.LINES_CALLED, source_ref=reference)
    if named or not reference.isdigit() or len(reference) > 18:
        return named
    entry = tx.one(LedgerRow, sql.LEDGER_ENTRY, id=int(reference))
    is_line = entry is not None and entry.source in BILL_SOURCES
    return tx.many(LedgerRow, sql.LEDGER_OF_REF, **_reference(entry)) if entry and is_line else []


def _view(tx: Transaction, entry: LedgerRow, installation: str) -> LineView:
    revisions = tx.many(LedgerRow, sql.LEDGER_OF_REF, **_reference(entry))
    why = place(tx, Bill(entry.provider, entry.account, installation), item_of(tx, entry)).why
    return LineView(
        id=entry.id,
        provider=entry.provider,
        account=entry.account,
        source=entry.source,
        source_ref=entry.source_ref,
        kind=entry.kind,
        amount=_sum(revisions),
        quantity=entry.quantity,
        unit=entry.unit,
        unit_price=entry.unit_price,
        description=entry.description,
        period_start=entry.period_start,
        period_end=entry.period_end,
        place=entry.place,
        why=why,
        run=_run(tx, entry),
        revisions=[_revision(one) for one in revisions],
        words=[_said(word) for word in tx.many(AssignmentRow, bill_sql.ASSIGNMENTS_OF, **_reference(entry))],
    )


def _run(tx: Transaction, entry: LedgerRow) -> LineRun | None:
    if entry.run_key is None or entry.place != Place.RUN:
        return None
    base = entry.run_key.partition("/")[0]
    row = tx.one(RunRow, sql.RUN, key=entry.run_key)
    job = tx.one(JobRow, sql.JOB, id=row.job_id) if row else None
    entries = [one for one in tx.many(LedgerRow, sql.LEDGER_OF_KEY, key=base) if one.scope == entry.scope]
    return LineRun(
        key=entry.run_key,
        job=job.id if job else entry.job_id,
        name=job.name if job else None,
        state=row.state if row else None,
        remote_id=row.remote_id if row else None,
        billed=_sum([one for one in entries if one.source in BILL_SOURCES and one.kind in sql.SPEND_KINDS]),
        charged=_sum([one for one in entries if is_charge(one)]),
    )


def _revision(entry: LedgerRow) -> Revision:
    return Revision(
        id=entry.id,
        revision=entry.revision,
        recorded_at=entry.recorded_at,
        amount=Money.from_micro(entry.amount_micro),
        place=entry.place,
        description=entry.description,
        counted_at=entry.counted_at,
        corrects=entry.corrects,
    )


def _said(word: AssignmentRow) -> Word:
    return Word(word.at, word.host, word.place, word.job_id, json.loads(word.labels or "{}"), word.note)


def _sum(entries: Sequence[LedgerRow]) -> Money:
    return Money.from_micro(sum(entry.amount_micro for entry in entries))


def _reference(entry: LedgerRow) -> dict[str, str]:
    return {
        "provider": entry.provider,
        "account": entry.account,
        "source": entry.source,
        "source_ref": entry.source_ref,
    }
