"""One reading of the world, one transition: what an observation, a start, a cancel and a release do to a run's row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from ftorch.core.errors import HardwareError
from ftorch.jobs.context import Context
from ftorch.jobs.decide import why_stop
from ftorch.jobs.quiet import quiet_left
from ftorch.jobs.serial import changes, progress_text, ref
from ftorch.jobs.states import STOP_WORDS, JobReason
from ftorch.jobs.submit import order_for
from ftorch.manifest.schema import RetryEvent
from ftorch.providers.base import ENDED, Capabilities, Observation, Provider, RunState
from ftorch.store import JobRow, RunRow, Transaction, sql

_KEEP_FRESH = timedelta(minutes=5)
"""An observation that changes nothing is written this often, so that a reader sees that somebody looks."""
_RELEASE_AGAIN = timedelta(seconds=1)
_START_AGAIN = timedelta(seconds=1)
_NOT_OURS = {
    JobReason.HARDWARE: RetryEvent.PROVIDER_ERROR.value,
    JobReason.CAPACITY: RetryEvent.CAPACITY.value,
}
"""Why another run may follow one that we have stopped ourselves."""


def start(context: Context, job: JobRow, run: RunRow) -> None:
    """Start the work on a provisioned machine; the next observation tells whether it runs.

    A machine that cannot do it is given back, and the manifest's `retry` decides about another one.
    """
    try:
        context.open_provider(run.provider).start(ref(run), order_for(context, job, run))
    except HardwareError as error:
        context.change_run(run, "stopping", error.message, next_at=context.clock.now(), **_broken(JobReason.HARDWARE))
    else:
        context.change_run(run, next_at=context.clock.now() + _START_AGAIN)


def cancel(context: Context, _job: JobRow, run: RunRow) -> None:
    """Ask the provider to stop the run. Proof comes from observing it, not from the answer."""
    provider = context.open_provider(run.provider)
    now = context.clock.now()
    # Noted before the call: a run that ends between the two was ended by us, and must not be taken for preempted.
    reason = run.stop_reason or why_stop(run, now, provider.capabilities)
    if reason is not None and reason != run.stop_reason:
        if not context.change_run(run, "stopping", STOP_WORDS[JobReason(reason)], **_broken(JobReason(reason))):
            return
        run = context.again(run)
    provider.cancel(ref(run))
    event = "" if run.cancel_requested_at else "cancel asked"
    context.change_run(run, event, cancel_requested_at=now)


def _broken(reason: JobReason) -> dict[str, object]:
    """The columns of a run that we stop; a machine that does not work, or never came, is no fault of the order."""
    return {"stop_reason": reason.value, "retry_event": _NOT_OURS.get(reason)}


def release(context: Context, _job: JobRow, run: RunRow) -> None:
    """Give back what was rented, until the provider has proven it gone."""
    now = context.clock.now()
    if context.open_provider(run.provider).release(ref(run)):
        context.change_run(run, "released", released_at=now, next_at=now, failures=0)
    else:
        context.change_run(run, next_at=now + _RELEASE_AGAIN)


def observe(context: Context, provider: Provider, runs: Sequence[RunRow]) -> bool:
    """Read all these runs of one provider at once, and write what changed in one commit. True: a state was news."""
    seen = provider.observe([ref(run) for run in runs])
    news = []
    for run in runs:
        if (observation := seen.get(ref(run))) is None:
            continue
        context.saw(run.key, observation)
        if _is_news(run, observation):
            news.append((run, observation))
    if not news:
        return False

    reading = context.reading()

    def quiet(run: RunRow) -> bool:
        return bool(quiet_left(context, run, provider.capabilities, reading))

    def change(tx: Transaction) -> None:
        for run, observation in news:
            if (current := _still_open(tx, run, observation, quiet)) is not None:
                _apply(context, tx, current, observation, provider.capabilities)

    context.store.write(change)
    return any(run.state != observation.state.value for run, observation in news)


def _still_open(tx: Transaction, run: RunRow, seen: Observation, is_quiet: Callable[[RunRow], bool]) -> RunRow | None:
    """The run as it is now, unless it has ended, somebody has seen it later, or it may still become visible.

    What was seen stays true when a start or a cancel changed the row meanwhile; dropping it would leave a run whose
    start is repeated at every look unseen for as long as that goes on.
    """
    current = tx.one(RunRow, sql.RUN, key=run.key)
    if current is None or current.ended_at is not None or current.sends != run.sends:
        return None
    # Only where somebody has looked since: moments of two clocks, or of one that was set, say nothing about the order.
    since = current.observed_at if current.observed_at != run.observed_at else None
    is_older = since is not None and since > seen.observed_at
    is_early = seen.state is RunState.ABSENT and is_quiet(current)
    return None if is_older or is_early else current


def _is_news(run: RunRow, seen: Observation) -> bool:
    if run.observed_at is None or abs(seen.observed_at - run.observed_at) >= _KEEP_FRESH:
        return True
    if seen.state is RunState.ABSENT or run.absent_at is not None:
        return True
    known = (run.state, run.provider_status, run.detail, run.progress, run.accrual_micro)
    # What a look at many runs leaves out stays as it was: it is no news.
    progress = progress_text(seen.progress) or run.progress
    accrual_micro = seen.accrual.micro if seen.accrual else run.accrual_micro
    return known != (seen.state.value, seen.provider_status, seen.detail, progress, accrual_micro)


def _apply(context: Context, tx: Transaction, run: RunRow, seen: Observation, capabilities: Capabilities) -> None:
    set_now, now = changes(seen), context.clock.now()
    if seen.state is RunState.ABSENT and run.absent_at is None:
        # One walk may miss a run that has just been made or moved to another page: it takes a second one.
        context.change_run_in(tx, run, "not seen", seen.detail, absent_at=now)
        return
    set_now["absent_at"] = run.absent_at if seen.state is RunState.ABSENT else None
    if seen.state is RunState.ABSENT and seen.billable_to is None:
        set_now["billable_to"] = run.billable_to or _paid_until(context, run, capabilities)
    if run.billable_from is not None:
        set_now.pop("billable_from", None)
    event, detail = _event(run, seen)
    if run.state != seen.state.value:
        set_now["failures"] = 0
    if seen.state in ENDED:
        set_now["ended_at"] = _by_our_clock(seen.billable_to, run, now)
        set_now["next_at"] = now
    elif run.started_at is None and (seen.state is RunState.RUNNING or seen.billable_from is not None):
        set_now["started_at"] = _by_our_clock(seen.billable_from, run, now)
    context.change_run_in(tx, run, event, detail, **set_now)


def _paid_until(context: Context, run: RunRow, capabilities: Capabilities) -> datetime | None:
    """The end of a run that is gone and that nobody can ask: when it was seen last, and never after what it held.

    The walk that missed it says only that it ended before: nobody may have looked for days. So the figure is too low
    by what the run did after the last walk, or after the last sight in its row where the daemon was started anew, which
    is at most five minutes older.
    """
    end = context.last_sight(run)
    if run.billable_from is None or end is None:
        return None
    if run.max_duration_s is not None:
        end = min(end, run.billable_from + timedelta(seconds=run.max_duration_s + capabilities.overhead_s))
    return max(end, run.billable_from)


def _by_our_clock(moment: datetime | None, run: RunRow, now: datetime) -> datetime:
    """A provider's moment where it may be true by our clock, else now: what follows is timed by ours alone."""
    sent_at = run.sent_at or run.created_at
    return moment if moment is not None and sent_at <= moment <= now else now


def _event(run: RunRow, seen: Observation) -> tuple[str, str]:
    """The line in the job's history: only for a new state, not for every step of the training."""
    if run.state == seen.state.value:
        return "", ""
    if seen.state is RunState.UNKNOWN:
        return "unknown status", seen.provider_status
    return seen.state.value, seen.detail
