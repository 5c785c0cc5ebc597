"""Exactly-once submit: the intent is on disk before the wire; a lost answer is looked for, never repeated blindly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from ftorch.core.errors import (
    BudgetError,
    CredentialsError,
    NoCapacityError,
    ProviderUnavailableError,
    RateLimitedError,
    RunRejectedError,
    SubmitUnknownError,
)
from ftorch.costs.budget import HeldError
from ftorch.jobs.allowance import bound
from ftorch.jobs.context import Context
from ftorch.jobs.decide import CANCEL_AGAIN, may_send_again, paid_s
from ftorch.jobs.outcomes import words_of
from ftorch.jobs.quiet import SEND_WINDOW, quiet_left
from ftorch.jobs.serial import placement_text, placement_value, ref, staged_value
from ftorch.jobs.states import RUN, JobReason, Purpose
from ftorch.manifest.schema import RetryEvent
from ftorch.providers.base import Find, Placement, RunOrder, RunRef, RunState
from ftorch.store import JobRow, RunRow, Transaction, sql

_LOOK_AGAIN = timedelta(seconds=5)


def submit(context: Context, job: JobRow, run: RunRow) -> None:
    """Commit the intent, then create the run. Whatever happens between the two, `find` can tell."""
    order = order_for(context, job, run)
    now = context.clock.now()
    # Read after `now`, so that by this clock too nothing is written later than the window allows.
    intent = {"sent_at": now, "send_before": now + SEND_WINDOW, "sent_reading": str(context.reading())}
    if not context.change_run(run, "sent", sends=run.sends + 1, **intent):
        return
    sent = context.again(run)
    try:
        found = context.open_provider(run.provider).submit(replace(order, send_before=now + SEND_WINDOW))
    except RunRejectedError as error:
        never_was(context, _as_it_is(context, sent), RunState.FAILED, words_of(error))
    except NoCapacityError as error:
        sent = _as_it_is(context, sent)
        _elsewhere(context, job, replace(sent, **_as_before(run)), sent, error.message)
    except (ProviderUnavailableError, RateLimitedError, CredentialsError):
        # Proven that this send created nothing: its intent is taken back, and the engine comes again later. An earlier
        # send of the same key, whose answer was lost, stays on record.
        context.change_run(_as_it_is(context, sent), **_as_before(run))
        raise
    except SubmitUnknownError as error:
        context.change_run(_as_it_is(context, sent), "answer lost", error.message, next_at=context.clock.now())
    else:
        adopt(context, _as_it_is(context, sent), [found])


def _as_it_is(context: Context, sent: RunRow) -> RunRow:
    """The run's row after its create: somebody may have asked for its end while the create blocked.

    What became of the create is true all the same, as long as nobody has found it otherwise.
    """
    now = context.again(sent)
    return now if (now.sends, now.state, now.ended_at) == (sent.sends, None, None) else sent


def _as_before(run: RunRow) -> dict[str, Any]:
    return {name: getattr(run, name) for name in ("sends", "sent_at", "send_before", "sent_reading")}


def _elsewhere(context: Context, job: JobRow, run: RunRow, sent: RunRow, why: str) -> None:
    """Proven that nothing was created here: the same run goes to the next placement, or ends after the last."""
    placement = _placement_after(context, job, run)
    if placement is None:
        never_was(context, sent, RunState.FAILED, why, RetryEvent.CAPACITY)
        return
    now = context.clock.now()
    capabilities = context.open_provider(run.provider).capabilities
    plan = context.plan(job)

    def change(tx: Transaction) -> None:
        # The hold of the place that had no room makes way for that of the next one.
        if not tx.update_run(sent, hold_micro=0):
            return
        allowed = bound(tx, job, plan, placement, now, capabilities)
        moved = tx.one(RunRow, sql.RUN, key=run.key)
        assert moved is not None
        context.change_run_in(
            tx,
            moved,
            "no capacity",
            f"{why}; next: {placement.name}",
            **_as_before(run),
            placement=placement_text(placement),
            rate=placement.rate,
            agreed_rate=placement.rate,
            max_duration_s=allowed.max_duration_s,
            bounded_by=allowed.bounded_by,
            hold_micro=allowed.hold.micro,
            next_at=now,
        )

    try:
        context.store.write(change)
    except HeldError:
        # Other runs hold the money and may give it back: this one stays as it was before it was sent, and comes again.
        context.change_run(sent, **_as_before(run))
        raise
    except BudgetError as error:
        never_was(context, sent, RunState.FAILED, f"{why}; {error.message}", RetryEvent.CAPACITY)


def _placement_after(context: Context, job: JobRow, run: RunRow) -> Placement | None:
    places = context.open_provider(run.provider).placements(context.plan(job))
    names = [place.name for place in places]
    refused = placement_value(run).name
    # The list may have changed since; a name that has left it is not looked for twice.
    following = places[names.index(refused) + 1 :] if refused in names else ()
    return following[0] if following else None


def find(context: Context, job: JobRow, run: RunRow) -> None:
    """Look for a run whose create may have happened: adopt it, wait, send once more, or give it to a person."""
    capabilities = context.open_provider(run.provider).capabilities
    found = context.open_provider(run.provider).find([run.key]).get(run.key, ())
    quiet = quiet_left(context, run, capabilities, context.reading())
    if found:
        note_mark(context, run)
        adopt(context, run, found)
    elif quiet and not (capabilities.client_chosen_id and job.desired == RUN):
        # A create may still become visible. Sending the same id again is harmless; closing the row is not.
        context.change_run(run, next_at=context.clock.now() + min(quiet, _LOOK_AGAIN))
    elif job.desired != RUN:
        never_was(context, run, RunState.STOPPED, "cancelled; a complete search did not find it")
    elif may_send_again(run, capabilities, is_quiet=bool(quiet), is_search_proven=is_search_proven(context, run)):
        submit(context, job, run)
    else:
        context.change_run(run, "unknown", "nobody can tell whether it exists", detail=JobReason.SUBMIT_UNKNOWN.value)


def interrupt(context: Context, job: JobRow, run: RunRow) -> None:
    """Ask the provider to end what a create that may still block is waiting for: the key finds it.

    The run's row is the create's to change. It returns when what it waited for has ended.
    """
    context.open_provider(run.provider).cancel(ref(run))
    context.change_job(job, "cancel asked", run.key, next_at=context.clock.now() + CANCEL_AGAIN)


def is_search_proven(context: Context, run: RunRow) -> bool:
    """A search in the run's account has once found a run of ours: where it finds nothing, nothing is there."""
    return context.store.meta(_mark(run)) is not None


def prove_search(context: Context, runs: Sequence[RunRow]) -> None:
    """Look once per account for a run that is known to be there, before anybody depends on finding one."""
    for run in runs:
        capabilities = context.open_provider(run.provider).capabilities
        if capabilities.client_chosen_id or capabilities.find is Find.NONE:
            continue
        if is_search_proven(context, run):
            return
        if quiet_left(context, run, capabilities, context.reading()):
            continue
        if context.open_provider(run.provider).find([run.key]):
            note_mark(context, run)
        return


def note_mark(context: Context, run: RunRow) -> None:
    """Remember that a search in this account finds our runs."""
    if not is_search_proven(context, run):
        context.store.write(lambda tx: tx.put_meta(_mark(run), run.key))


def _mark(run: RunRow) -> str:
    return f"mark/{run.provider}/{run.account}"


def adopt(context: Context, run: RunRow, found: Sequence[RunRef]) -> None:
    """Take the oldest run under the key as ours; each further one gets its own row, to be cancelled and booked."""
    oldest, *extra = found
    now = context.clock.now()

    def change(tx: Transaction) -> None:
        if not context.change_run_in(
            tx,
            run,
            "created",
            oldest.remote_id or "",
            remote_id=oldest.remote_id,
            place=oldest.place,
            state=RunState.PROVISIONED.value,
            failures=0,
            detail="",
            next_at=now,
        ):
            return
        for count, duplicate in enumerate(extra, start=2):
            insert_duplicate(context, tx, run, duplicate, count)

    context.store.write(change)


def insert_duplicate(
    context: Context,
    tx: Transaction,
    run: RunRow,
    duplicate: RunRef,
    count: int,
    why: str = "a second run under one key",
) -> None:
    """Give a further run under a key a row of its own, the `count`th: the engine cancels, releases and books it."""
    tx.insert_run(_duplicate_row(run, duplicate, count, why, context.clock.now()))
    tx.add_event(context.event(run.job_id, run.key, "duplicate found", f"{duplicate.remote_id or run.key}: {why}"))


def abandon(context: Context, _job: JobRow, run: RunRow) -> None:
    """Close a run that was never sent: nothing exists, nothing is owed."""
    never_was(context, run, RunState.STOPPED, "cancelled before it was sent")


def never_was(context: Context, run: RunRow, state: RunState, why: str, retry_event: RetryEvent | None = None) -> None:
    """Close a run that is proven not to exist at the provider."""
    context.store.write(lambda tx: never_was_in(context, tx, run, state, why, retry_event))


def never_was_in(
    context: Context, tx: Transaction, run: RunRow, state: RunState, why: str, retry_event: RetryEvent | None = None
) -> None:
    """As `never_was`, within a change."""
    now = context.clock.now()
    context.change_run_in(
        tx,
        run,
        "not created",
        why,
        state=state.value,
        detail=why,
        retry_event=retry_event,
        hold_micro=0,
        observed_at=None,
        ended_at=now,
        released_at=now,
        charged_at=now,
        settled_at=now,
    )


def order_for(context: Context, job: JobRow, run: RunRow) -> RunOrder:
    """The order that the run's row stands for. Raises CredentialsError when a secret is not set."""
    plan = context.plan(job)
    staged, _ = staged_value(job.staged or "")
    earlier = context.store.run(run.resume_from) if run.resume_from else None
    return RunOrder(
        key=run.key,
        plan=plan,
        staged=staged,
        placement=placement_value(run),
        send_before=run.send_before or context.clock.now() + SEND_WINDOW,
        max_duration_s=run.max_duration_s,
        max_life_s=paid_s(run),
        resume_from=ref(earlier) if earlier else None,
        secrets=context.secrets(plan),
    )


def _duplicate_row(run: RunRow, duplicate: RunRef, count: int, why: str, now: datetime) -> RunRow:
    """The order is the run's; nothing of what was seen of the run is said of its duplicate."""
    return RunRow(
        key=f"{run.key}/{count}",
        job_id=run.job_id,
        number=run.number + 1000 * count,
        purpose=Purpose.DUPLICATE,
        provider=run.provider,
        account=run.account,
        placement=run.placement,
        rate=run.rate,
        agreed_rate=run.agreed_rate,
        max_duration_s=run.max_duration_s,
        bounded_by=run.bounded_by,
        resume_from=run.resume_from,
        hold_micro=run.hold_micro,
        remote_id=duplicate.remote_id,
        place=duplicate.place,
        state=RunState.UNKNOWN.value,
        detail=why,
        created_at=run.created_at,
        sends=run.sends,
        sent_at=run.sent_at or now,
        send_before=run.send_before,
        sent_reading=run.sent_reading,
        next_at=now,
    )
