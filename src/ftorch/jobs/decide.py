"""What follows from what: `decide` looks at rows and a clock and says what is wanted next. It does nothing.

Every run is worked on until it is ended, released and charged, whatever the job's state says. A new run of a job
starts only when all its earlier runs are ended and released.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Self, assert_never

from ftorch.costs.budget import MAX_DURATION
from ftorch.jobs.states import CANCELLED, RUN, TERMINAL, Decision, JobReason, JobState, Purpose, Step, StepKind
from ftorch.manifest.plan import Plan
from ftorch.manifest.schema import Retry, RetryEvent
from ftorch.providers.base import Capabilities, Find, RunState
from ftorch.store import JobRow, RunRow

CANCEL_AGAIN = timedelta(seconds=20)
FETCH_TRIES = 5
"""An adapter that arrived damaged so often is not asked for again; a provider that does not answer is."""
_LONG_CREATE_S = 300.0
"""Where a create may take so long, it blocks until there is a machine."""
_BLOCKS_AFTER = timedelta(seconds=10)
"""A create that has not returned after so long waits for one."""
_FETCH_AFTER_CANCEL = timedelta(minutes=10)
_FIRST_PAUSE = timedelta(seconds=30)
_LONGEST_PAUSE = timedelta(minutes=10)
_LAST_SAVE = timedelta(seconds=60)
"""After its deadline a trainer still saves; the engine's own stop comes later."""
_RATE_TOLERANCE = _PRICE_TOLERANCE = Decimal("1.01")
"""A quote may be rounded to cents; a run that is paid for is not stopped for that."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What the plan says about going on after a bad end."""

    retry: Retry
    providers: tuple[str, ...]
    """In the order in which they are tried."""

    @classmethod
    def of(cls, plan: Plan) -> Self:
        return cls(plan.retry, plan.providers)

    def next_provider(self, name: str) -> str | None:
        """Who follows in the list; None after the last."""
        if name not in self.providers:
            return None
        following = self.providers[self.providers.index(name) + 1 :]
        return following[0] if following else None


CapabilitiesOf = Callable[[str], Capabilities]
PolicyOf = Callable[[], Policy]
"""Called only after a bad end: a plan is long, and most jobs need it once."""


def decide(
    job: JobRow, runs: Sequence[RunRow], now: datetime, policy_of: PolicyOf, capabilities_of: CapabilitiesOf
) -> Decision:
    """What the job is and what is due. `runs` are all of the job's, in the order of their numbers."""
    steps = tuple(Step(kind, run) for run in runs if (kind := _run_step(job, run, now, capabilities_of(run.provider))))
    blocked = (run for run in runs if _may_block(job, run, now, capabilities_of(run.provider)))
    steps += tuple(Step(StepKind.INTERRUPT, run) for run in blocked)
    if JobState(job.state) in TERMINAL:
        return Decision(JobState(job.state), JobReason(job.reason) if job.reason else None, steps)
    if not runs:
        return _before_the_first_run(job, now)
    last = [run for run in runs if run.purpose != Purpose.DUPLICATE][-1]
    if last.ended_at is None:
        state = _open_state(job, last)
        return Decision(state, JobReason.SUBMIT_UNKNOWN if state is JobState.UNKNOWN else None, steps)
    if RunState(last.state or RunState.FAILED) is RunState.SUCCEEDED:
        return _after_success(job, last, runs, steps, now)
    if not _all_done(runs):
        return Decision(JobState.CANCELLING if job.desired == CANCELLED else JobState(job.state), None, steps)
    ended = _after_a_bad_end(job, runs, now, policy_of())
    return Decision(ended.state, ended.reason, (*steps, *ended.steps))


def moments(job: JobRow, runs: Sequence[RunRow], capabilities_of: CapabilitiesOf) -> Iterator[datetime]:
    """The moments at which `decide` may say something else although no row has changed; past ones too."""
    if job.ended_at is None:
        yield job.next_at
    for run in runs:
        capabilities = capabilities_of(run.provider)
        yield from _interrupts(job, run, capabilities)
        if run.settled_at is None:
            yield run.next_at
        if run.ended_at is not None and run.settled_at is None:
            yield run.ended_at + timedelta(seconds=capabilities.settle_lag_s)
        if run.ended_at is None and run.cancel_requested_at is not None:
            yield run.cancel_requested_at + CANCEL_AGAIN
        if run.ended_at is None and run.sent_at is not None and capabilities.start_timeout_s is not None:
            yield run.sent_at + timedelta(seconds=capabilities.start_timeout_s)
        if run.ended_at is not None and is_to_fetch(run):
            yield run.ended_at + _FETCH_AFTER_CANCEL
        if run.released_at is None:
            ends = (_allowed_until(run, capabilities), _kept_until(run, capabilities))
            yield from (end for end in ends if end is not None)
        if run.ended_at is not None and job.ended_at is None:
            here = [one for one in runs if one.purpose == Purpose.TRAIN and one.provider == run.provider]
            yield next_run_at(run, len(here))


def _before_the_first_run(job: JobRow, now: datetime) -> Decision:
    if job.desired == CANCELLED:
        return Decision(JobState.CANCELLED, JobReason.CANCELLED_BY_USER)
    if job.next_at > now:
        return Decision(JobState(job.state), JobReason(job.reason) if job.reason else None)
    if job.staged is None:
        return Decision(JobState.STAGING, None, (Step(StepKind.STAGE),))
    return Decision(JobState.SUBMITTING, None, (Step(StepKind.OPEN_RUN),))


def _run_step(job: JobRow, run: RunRow, now: datetime, capabilities: Capabilities) -> StepKind | None:
    """The next call for one run; None while there is only to observe and wait."""
    if run.next_at > now and not _is_first_stop(run, now, capabilities):
        return None
    if run.ended_at is None:
        return _open_run_step(job, run, now, capabilities)
    if is_to_fetch(run) and not _is_given_up(job, run, now, capabilities):
        return StepKind.FETCH if run.bad_fetches < FETCH_TRIES else None
    if run.released_at is None:
        return StepKind.RELEASE
    if run.charged_at is None:
        return StepKind.CHARGE
    if run.settled_at is None and now >= run.ended_at + timedelta(seconds=capabilities.settle_lag_s):
        return StepKind.SETTLE
    return None


def _is_first_stop(run: RunRow, now: datetime, capabilities: Capabilities) -> bool:
    """A run must be stopped and nobody has tried yet: that does not wait until a failed start is due again."""
    return run.ended_at is None and run.stop_reason is None and why_stop(run, now, capabilities) is not None


def _is_given_up(job: JobRow, run: RunRow, now: datetime, capabilities: Capabilities) -> bool:
    """A trained adapter is not given up before a person says so, or its machine has used up the hold.

    Who cancels a job whose training has just ended gets the adapter that is paid for, if it comes soon.
    """
    if job.desired == CANCELLED and run.ended_at is not None:
        return run.bad_fetches >= FETCH_TRIES or now >= run.ended_at + _FETCH_AFTER_CANCEL
    kept_until = _kept_until(run, capabilities)
    return capabilities.rents_machines and kept_until is not None and now >= kept_until


def paid_s(run: RunRow) -> int | None:
    """How long a machine at the agreed rate may live on what the run holds; None where nothing limits it."""
    if run.bounded_by is None or not run.agreed_rate:
        return None
    return int(Decimal(run.hold_micro) * 3600 / 1_000_000 / run.agreed_rate)


def _kept_until(run: RunRow, capabilities: Capabilities) -> datetime | None:
    """So long a machine waits for somebody to fetch its adapter."""
    seconds, began = paid_s(run), run.billable_from or run.started_at or run.sent_at
    if not capabilities.held_until_fetched or seconds is None or began is None:
        return _allowed_until(run, capabilities)
    return began + timedelta(seconds=seconds + capabilities.billing_quantum_s) + _LAST_SAVE


def is_to_fetch(run: RunRow) -> bool:
    """The run has an adapter that is not home yet."""
    is_trained = run.purpose == Purpose.TRAIN and run.state == RunState.SUCCEEDED
    return is_trained and run.fetched_at is None and run.released_at is None


def _open_run_step(job: JobRow, run: RunRow, now: datetime, capabilities: Capabilities) -> StepKind | None:
    wanted = job.desired == RUN and run.purpose != Purpose.DUPLICATE
    if run.sent_at is None:
        return StepKind.SUBMIT if wanted else StepKind.ABANDON
    if run.state is None:
        # What waits for a person is looked for again when the person says that it is not wanted.
        return StepKind.FIND if run.detail != JobReason.SUBMIT_UNKNOWN or not wanted else None
    if not wanted or run.stop_reason or why_stop(run, now, capabilities):
        asked = run.cancel_requested_at
        return StepKind.CANCEL if asked is None or now >= asked + CANCEL_AGAIN else None
    return StepKind.START if run.state == RunState.PROVISIONED else None


def _may_block(job: JobRow, run: RunRow, now: datetime, capabilities: Capabilities) -> bool:
    """Nobody wants the run any more, and its create may still wait for a machine, which would then be paid."""
    first = next(_interrupts(job, run, capabilities), None)
    if first is None or run.sent_at is None or job.next_at > now:
        return False
    return first <= now < run.sent_at + timedelta(seconds=capabilities.create_timeout_s)


def _interrupts(job: JobRow, run: RunRow, capabilities: Capabilities) -> Iterator[datetime]:
    """From when on an unwanted run is ended of whose create the row does not know yet what has become."""
    blocks = capabilities.create_timeout_s >= _LONG_CREATE_S
    if blocks and job.desired == CANCELLED and run.sent_at and run.state is None and run.ended_at is None:
        yield run.sent_at + _BLOCKS_AFTER


def why_stop(run: RunRow, now: datetime, capabilities: Capabilities) -> JobReason | None:
    """Why a run that is wanted must be stopped all the same: what it was allowed is used up, or it costs too much.

    The deadline was handed to the provider or the trainer with the order; this is the second line, for one that did
    not keep it.
    """
    if run.rate is not None and run.agreed_rate is not None and run.rate > run.agreed_rate * _RATE_TOLERANCE:
        return JobReason.RATE_ABOVE_PLAN
    if run.bounded_by is not None and (run.accrual_micro or 0) > run.hold_micro * _PRICE_TOLERANCE:
        return JobReason.PRICE_ABOVE_HOLD
    if _waits_for_ever(run, now, capabilities):
        return JobReason.CAPACITY if run.state == RunState.QUEUED else JobReason.HARDWARE
    if _outlived(run, now, capabilities):
        return JobReason.DEADLINE if run.bounded_by in (None, MAX_DURATION) else JobReason.OVER_BUDGET
    return None


def _waits_for_ever(run: RunRow, now: datetime, capabilities: Capabilities) -> bool:
    """A machine that was created long ago and on which the work has not begun, or a place in a queue as old."""
    is_waiting = run.state in (RunState.PROVISIONED, RunState.QUEUED)
    if capabilities.start_timeout_s is None or not is_waiting or run.sent_at is None:
        return False
    return now >= run.sent_at + timedelta(seconds=capabilities.start_timeout_s)


def _outlived(run: RunRow, now: datetime, capabilities: Capabilities) -> bool:
    allowed_until = _allowed_until(run, capabilities)
    return allowed_until is not None and now >= allowed_until


def _allowed_until(run: RunRow, capabilities: Capabilities) -> datetime | None:
    # A rented machine costs from its create on, whether the work on it has begun or not.
    is_waiting = capabilities.rents_machines and run.state == RunState.PROVISIONED
    began = run.started_at or run.ended_at or (run.sent_at if is_waiting else None)
    if began is None or run.max_duration_s is None:
        return None
    allowed_s = run.max_duration_s + capabilities.overhead_s + capabilities.billing_quantum_s
    return began + timedelta(seconds=allowed_s) + _LAST_SAVE


def may_send_again(run: RunRow, capabilities: Capabilities, *, is_quiet: bool, is_search_proven: bool) -> bool:
    """After a complete search that found nothing: a second create under the same key cannot make a second run.

    Either the provider refuses it, or the quiet time is over, so that the first create has ended, and there was only
    one. An empty search proves that only in an account where the same search has once found a run of ours.
    """
    if capabilities.client_chosen_id:
        return True
    if capabilities.find is Find.NONE or run.sends > 1 or run.observed_at is not None:
        return False
    return is_search_proven and not is_quiet


def _open_state(job: JobRow, run: RunRow) -> JobState:
    if job.desired == CANCELLED:
        return JobState.CANCELLING
    if run.state is None and run.detail == JobReason.SUBMIT_UNKNOWN:
        return JobState.UNKNOWN
    if run.state is None:
        return JobState.SUBMITTING
    match RunState(run.state):
        case RunState.PROVISIONED | RunState.QUEUED:
            return JobState.QUEUED
        case _:
            return JobState.RUNNING


def _after_success(
    job: JobRow, last: RunRow, runs: Sequence[RunRow], steps: tuple[Step, ...], now: datetime
) -> Decision:
    if is_to_fetch(last) and last.bad_fetches >= FETCH_TRIES and job.desired == RUN:
        return Decision(JobState.FAILED, JobReason.ARTIFACT, steps)
    if not _all_done(runs):
        return Decision(JobState.CANCELLING if job.desired == CANCELLED else JobState.FETCHING, None, steps)
    if job.adapter is not None:
        return Decision(JobState.SUCCEEDED, JobReason.COMPLETED, steps)
    if job.desired == CANCELLED:
        return Decision(JobState.CANCELLED, JobReason.CANCELLED_BY_USER, steps)
    if _is_asked_for(job, runs):
        return Decision(JobState.SUBMITTING, None, (*steps, _next_run(job)) if job.next_at <= now else steps)
    return Decision(JobState.FAILED, JobReason.ARTIFACT, steps)


def _after_a_bad_end(job: JobRow, runs: Sequence[RunRow], now: datetime, policy: Policy) -> Decision:
    """All runs are over, and the last of them brought no adapter: the job ends, or another run follows."""
    if job.desired == CANCELLED:
        return Decision(JobState.CANCELLED, JobReason.CANCELLED_BY_USER)
    attempts = [run for run in runs if run.purpose == Purpose.TRAIN]
    last = attempts[-1]
    here = [run for run in attempts if run.provider == job.provider]
    if not here:
        # The job has just moved on to another provider.
        return _before_the_first_run(job, now)
    is_asked_for = _is_asked_for(job, runs)
    if is_asked_for or _may_retry(last, here, policy):
        is_due = job.next_at <= now and (is_asked_for or next_run_at(last, len(here)) <= now)
        return Decision(JobState.SUBMITTING, None, (_next_run(job),) if is_due else ())
    if _moves_on(job, last, policy):
        return Decision(JobState.STAGING, None, (Step(StepKind.NEXT_PROVIDER),))
    return Decision(JobState.LOST if last.state == RunState.ABSENT else JobState.FAILED, _reason(last))


def _is_asked_for(job: JobRow, runs: Sequence[RunRow]) -> bool:
    """A person has asked for one more run than there are."""
    return sum(run.purpose == Purpose.TRAIN for run in runs) < job.granted


def _next_run(job: JobRow) -> Step:
    """A run needs what is staged, and that may have been deleted since the last one."""
    return Step(StepKind.STAGE if job.staged is None else StepKind.OPEN_RUN)


def next_run_at(last: RunRow, runs: int) -> datetime:
    """At once after a run that had begun its work; capacity that is not there now is not there a second later."""
    ended_at = last.ended_at or last.created_at
    if last.started_at is not None or last.billable_from is not None:
        return ended_at
    pause: timedelta = _FIRST_PAUSE * (1 << min(runs - 1, 10))
    return ended_at + min(pause, _LONGEST_PAUSE)


def _moves_on(job: JobRow, last: RunRow, policy: Policy) -> bool:
    """A list of providers is walked when there is no capacity; `then: next_provider` walks it after every event."""
    if _was_stopped(last) or last.retry_event is None or policy.next_provider(job.provider) is None:
        return False
    event = RetryEvent(last.retry_event)
    return event is RetryEvent.CAPACITY or (policy.retry.then == "next_provider" and event in policy.retry.on_events)


def _was_stopped(run: RunRow) -> bool:
    """By us, for a reason that another run would have too."""
    return run.stop_reason not in (None, JobReason.HARDWARE, JobReason.CAPACITY)


def _all_done(runs: Sequence[RunRow]) -> bool:
    """Ended, released, and with a first charge in the ledger: the job's spend is known when it ends."""
    return all(run.ended_at and run.released_at and run.charged_at for run in runs)


def _may_retry(last: RunRow, runs: Sequence[RunRow], policy: Policy) -> bool:
    """`max_runs` counts the runs at one provider."""
    if _was_stopped(last) or last.retry_event is None or len(runs) >= policy.retry.max_runs:
        return False
    event = RetryEvent(last.retry_event)
    # Where another provider waits in the list, capacity is looked for there first.
    is_better_elsewhere = event is RetryEvent.CAPACITY and policy.next_provider(last.provider) is not None
    return event in policy.retry.on_events and not is_better_elsewhere


def _reason(run: RunRow) -> JobReason:
    if run.stop_reason:
        return JobReason(run.stop_reason)
    if run.retry_event:
        return JobReason(run.retry_event)
    match RunState(run.state) if run.state else None:
        case None:
            return JobReason.REJECTED
        case RunState.TIMED_OUT:
            return JobReason.DEADLINE
        case RunState.ABSENT:
            return JobReason.RUN_LOST
        case RunState.FAILED:
            return JobReason.TRAINING_FAILED
        case RunState.STOPPED:
            return JobReason.PREEMPTED
        case (
            RunState.PROVISIONED
            | RunState.QUEUED
            | RunState.RUNNING
            | RunState.FINALIZING
            | RunState.SUCCEEDED
            | RunState.UNKNOWN
        ) as open_state:
            raise ValueError(f"a run that is {open_state} has not ended badly")
        case unreachable:
            assert_never(unreachable)
