"""Reaping: what no job answers for is listed, and on a person's word cancelled, released and booked.

`sweep` is the engine's part: it finds by itself what runs under closed rows, for that is certainly not wanted, and
gives a run that nobody could find back to its job.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import structlog

from ftorch.core.clock import rfc3339
from ftorch.core.errors import CredentialsError, FtorchError, MissingExtraError
from ftorch.core.money import Money
from ftorch.costs import ledger
from ftorch.costs.items import LineItem
from ftorch.jobs import leftovers, staged
from ftorch.jobs.context import Context
from ftorch.jobs.states import JobState
from ftorch.jobs.strays import (
    Stray,
    is_open,
    is_reaped,
    is_same,
    is_unknown,
    mark_of_reaped,
    ours,
    rows_of,
    strays,
    was_seen,
)
from ftorch.jobs.submit import insert_duplicate
from ftorch.providers.base import ENDED, Observation, Provider, RunRef, RunState, StagedContent
from ftorch.store import JobRow, RunRow, Transaction, sql

SWEEP_EVERY_S = 600.0
_TRIES = 60
_TRY_AGAIN_S = 2.0
_LATE = "it lives although its row was closed"
_UNSEEN = "it showed itself only after its row was closed"
_SECOND = "a second run under one key"

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class StrayView:
    """A stray as people and programs see it."""

    provider: str
    account: str
    key: str
    remote_id: str | None
    place: str | None
    state: str
    since: datetime | None
    why: str
    job: str | None
    """The job whose closed run has this key."""
    is_gone: bool = False
    """Reaped: the provider has proven that nothing of it is left."""
    spend: Money | None = None
    """What it cost, once reaped and where the provider tells."""
    left: str = ""
    """Why it is still there after `--yes`."""


@dataclass(frozen=True, slots=True)
class Skipped:
    """A provider that could not be looked at."""

    provider: str
    why: str
    is_configured: bool
    """False: it was never set up here, so nothing can have run there."""


@dataclass(frozen=True, slots=True)
class Leftover:
    """A folder of training rows that no job needs any more."""

    path: Path
    modified_at: datetime
    is_gone: bool = False


@dataclass(frozen=True, slots=True)
class Content:
    """Something that was staged at a provider and that no job needs any more."""

    provider: str
    id: str
    name: str
    created_at: datetime
    size: int
    sha256: str | None
    is_gone: bool = False
    left: str = ""
    """Why it is still there after `--yes`."""


@dataclass(frozen=True, slots=True)
class ReapReport:
    """What `reap` found, and with `--yes` what it did."""

    installation: str
    strays: Sequence[StrayView]
    contents: Sequence[Content]
    leftovers: Sequence[Leftover]
    skipped: Sequence[Skipped]

    @property
    def left(self) -> int:
        """How many strays and contents are still there."""
        return sum(not one.is_gone for one in self.strays) + sum(not one.is_gone for one in self.contents)


def reap(context: Context, providers: Sequence[str], *, is_asked: bool, yes: bool) -> ReapReport:
    """List all strays and leftovers; with `yes`, end them. `is_asked`: a provider that cannot be opened is an error."""
    views: list[StrayView] = []
    contents: list[Content] = []
    skipped: list[Skipped] = []
    for name in providers:
        try:
            provider = context.open_provider(name)
            found, old = strays(context, provider), staged.find(context, provider)
        except FtorchError as error:
            if is_asked:
                raise
            skipped.append(Skipped(name, error.message, not isinstance(error, CredentialsError | MissingExtraError)))
            continue
        views += [_reaped(context, provider, stray) if yes else _view(stray) for stray in found]
        contents += [_content(context, provider, one, yes=yes) for one in old]
    folders = [Leftover(path, at) for path, at in leftovers.find(context)]
    if yes:
        folders = [replace(one, is_gone=leftovers.delete(context, one.path)) for one in folders]
    return ReapReport(context.installation, views, contents, folders, skipped)


def sweep(context: Context, provider: Provider) -> int:
    """Give every run that a closed row does not account for, and every second run under one key, a row of its own.

    The engine then cancels, releases and books it. A run that its job waits for is looked for at once. Returns how many
    were found; a second sweep adds nothing.
    """
    taken = 0
    suspects: dict[RunRef, tuple[str, RunRow]] = {}
    # One after the other: the rows of ten thousand runs that are as they should be are not kept.
    for ref in ours(context, provider):
        rows = rows_of(context, ref.key)
        if unknown := _waiting_for(ref, rows):
            taken += _give_back(context, unknown)
        elif (why := _suspicion(ref, rows)) and not (why == _UNSEEN and is_reaped(context, ref)):
            suspects[ref] = (why, rows[0])
    seen = provider.observe(list(suspects)) if suspects else {}
    there = [(ref, first) for ref, (why, first) in suspects.items() if ref in seen and _is_there(seen[ref], why)]
    return taken + sum(_claim(context, provider, ref, first) for ref, first in there)


def providers_used(context: Context) -> list[str]:
    """The providers at which this installation has ever run something."""
    return sorted(context.store.read().pairs(sql.PROVIDERS_USED))


def _suspicion(ref: RunRef, rows: Sequence[RunRow]) -> str:
    """Why a run has no open row although its key has one; empty where all is as it should be."""
    same = [row for row in rows if is_same(row, ref)]
    if not rows or any(row.account != ref.account for row in rows) or any(map(is_open, same)):
        return ""
    if not same:
        return _SECOND
    return _LATE if was_seen(same) else _UNSEEN


def _is_there(seen: Observation, why: str) -> bool:
    """What nobody has ever seen is booked although it has ended; of a run that was seen the end is known."""
    if why == _LATE:
        return seen.state not in ENDED | {RunState.UNKNOWN}
    return seen.state is not RunState.ABSENT


def _waiting_for(ref: RunRef, rows: Sequence[RunRow]) -> RunRow | None:
    """The row whose job could not tell whether this run was created."""
    return next((row for row in rows if is_unknown(row) and row.account == ref.account), None)


def _give_back(context: Context, run: RunRow) -> bool:
    """Let the job look for its run at once: a search shows it now, and the job goes on by itself."""
    now = context.clock.now()

    def change(tx: Transaction) -> bool:
        # From here on it has been seen: a search that misses it again is no reason to send a second create.
        if not context.change_run_in(tx, run, "showed up", run.key, detail="", observed_at=now, next_at=now):
            return False
        job = tx.one(JobRow, sql.JOB, id=run.job_id)
        if job is not None and job.state == JobState.UNKNOWN:
            tx.update_job(job, state=JobState.SUBMITTING.value, reason=None)
        return True

    return context.store.write(change)


def _claim(context: Context, provider: Provider, ref: RunRef, first: RunRow) -> bool:
    """Insert the row, unless somebody has done so meanwhile."""
    if is_open(first) and not _shows_both(provider, ref, first):
        # The run is at work, and its provider names it in two ways: stopping it would stop what is wanted.
        return False

    def change(tx: Transaction) -> bool:
        rows = [row for row in tx.many(RunRow, sql.RUNS_OF_JOB, job_id=first.job_id) if row.key.startswith(ref.key)]
        if not (why := _suspicion(ref, rows)):
            return False
        insert_duplicate(context, tx, rows[0], ref, len(rows) + 1, why)
        return True

    is_new = context.store.write(change)
    if is_new:
        log.warning("a run without an open row", job=first.job_id, run=ref.key, remote_id=ref.remote_id)
    return is_new


def _shows_both(provider: Provider, ref: RunRef, first: RunRow) -> bool:
    found = {one.remote_id for one in provider.find([ref.key]).get(ref.key, ())}
    return {ref.remote_id, first.remote_id} <= found


def _view(stray: Stray) -> StrayView:
    ref = stray.ref
    return StrayView(
        provider=ref.provider,
        account=ref.account,
        key=ref.key,
        remote_id=ref.remote_id,
        place=ref.place,
        state=stray.seen.state.value,
        since=stray.since,
        why=stray.why,
        job=stray.row.job_id if stray.row else None,
    )


def _content(context: Context, provider: Provider, content: StagedContent, *, yes: bool) -> Content:
    """Content as it is shown, and with `yes` deleted; what stands in the way is said on it."""
    shown = Content(provider.name, content.id, content.name, content.created_at, content.size, content.sha256)
    if not yes:
        return shown
    try:
        left = staged.discard(context, provider, content)
    except FtorchError as error:
        left = error.message
    return replace(shown, is_gone=not left, left=left)


def _reaped(context: Context, provider: Provider, stray: Stray) -> StrayView:
    """End one stray; what stands in the way is said on it, and the others are ended all the same."""
    view = _view(stray)
    rows = rows_of(context, stray.ref.key)
    if unknown := _waiting_for(stray.ref, rows):
        _give_back(context, unknown)
        return replace(view, left=f"it is its job's again; `ftorch wait {unknown.job_id}` follows it")
    if any(map(is_open, rows)):
        return replace(view, left="the daemon has found it meanwhile and ends it")
    try:
        last = _end(context, provider, stray)
        if last is None:
            return replace(view, left=f"it was asked to stop and still lives after {_TRIES * _TRY_AGAIN_S:.0f} s")
        view = replace(view, is_gone=True)
        return replace(view, spend=_book(context, stray, provider.charges(stray.ref, [last])))
    except FtorchError as error:
        return replace(view, left=error.message)


def _end(context: Context, provider: Provider, stray: Stray) -> Observation | None:
    """Cancel and release until nothing is left; returns the last reading of the run, None when it would not end."""
    last = stray.seen
    for _ in range(_TRIES):
        if last.state not in ENDED:
            provider.cancel(stray.ref)
        seen = provider.observe([stray.ref]).get(stray.ref, last)
        last = last if seen.state is RunState.ABSENT else seen
        if seen.state in ENDED and provider.release(stray.ref):
            return last
        context.clock.sleep(_TRY_AGAIN_S)
    return None


def _book(context: Context, stray: Stray, items: Sequence[LineItem]) -> Money | None:
    """What the run cost goes into the ledger, with its job where there is one; None where nobody names a price."""
    now, ref, row = context.clock.now(), stray.ref, stray.row
    words = ", ".join(str(item.amount) for item in items) or "nobody names a price"

    def change(tx: Transaction) -> None:
        for item in items:
            job_id = row.job_id if row else None
            ledger.post(tx, item, provider=ref.provider, account=ref.account, job_id=job_id, now=now)
        if row is not None:
            tx.add_event(context.event(row.job_id, row.key, "reaped", f"{ref.remote_id or ref.key}: {words}"))
        tx.put_meta(mark_of_reaped(ref), rfc3339(now))

    context.store.write(change)
    return Money(sum((item.amount.amount for item in items), Decimal(0))) if items else None
