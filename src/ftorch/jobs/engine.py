"""The loop over rows: read what changed, decide, do one step each, write one transition.

Provider calls run in threads; two steps of one run never run at once. A step reads its rows again before it acts, for
it may have waited. Whatever it raises is noted on its row and tried again later, and never stops another job.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from itertools import islice

import structlog
from structlog.contextvars import bound_contextvars

from ftorch.core.errors import FtorchError
from ftorch.jobs import advance, bills, stage, submit
from ftorch.jobs.caps import Caps
from ftorch.jobs.claims import claim_of, note_wait
from ftorch.jobs.context import Context
from ftorch.jobs.decide import Policy, decide, moments
from ftorch.jobs.fetch import fetch
from ftorch.jobs.lanes import Lanes, Pool, Threads, Work
from ftorch.jobs.meter import OK, Meter, Unmetered
from ftorch.jobs.mirror import Mirror
from ftorch.jobs.outcomes import note_failure, outcome_of, words_of
from ftorch.jobs.rights import Alone, Rights
from ftorch.jobs.serial import account_of
from ftorch.jobs.states import TERMINAL, Decision, JobState, Step, StepKind
from ftorch.jobs.walks import Walks
from ftorch.providers.base import Capabilities
from ftorch.store import JobRow, RunRow, Transaction

_IDLE_BEYOND = timedelta(minutes=10)
_TRY_TO_OPEN_AGAIN = timedelta(seconds=30)
_AT_ONCE = 1000
_AT_LEAST = 200
"""Jobs decided in a tick, also where a provider holds back many steps: another one's cancel must not wait for them."""
_LOOK_AT_ALL_S = 60.0
"""Jobs are decided when something changed or a moment has come; so often all of them are, whatever we believe."""

_RUN_STEPS: Mapping[StepKind, Callable[[Context, JobRow, RunRow], None]] = {
    StepKind.SUBMIT: submit.submit,
    StepKind.FIND: submit.find,
    StepKind.ABANDON: submit.abandon,
    StepKind.INTERRUPT: submit.interrupt,
    StepKind.START: advance.start,
    StepKind.CANCEL: advance.cancel,
    StepKind.RELEASE: advance.release,
    StepKind.CHARGE: bills.charge,
    StepKind.SETTLE: bills.settle,
}
_THREADS = {
    StepKind.CANCEL: Threads.URGENT,
    StepKind.INTERRUPT: Threads.URGENT,
    StepKind.RELEASE: Threads.URGENT,
    StepKind.ABANDON: Threads.URGENT,
    StepKind.FIND: Threads.FINDS,
    StepKind.SUBMIT: Threads.CREATES,
}
_NEEDS_FILES = frozenset({StepKind.STAGE, StepKind.FETCH})
"""Steps that any daemon may do that has the job's files, under a claim; all others are the leader's."""
_ASKS_NOBODY = frozenset({StepKind.ABANDON, StepKind.OPEN_RUN, StepKind.NEXT_PROVIDER})
_NOT_DONE = TERMINAL | {JobState.UNKNOWN}

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Tick:
    """What one pass over the rows saw."""

    open_jobs: int
    """Jobs that have not ended, those that wait for a person not counted."""
    rented: int
    """Machines that cost money, whatever became of their jobs."""
    under_way: int
    next_at: datetime | None
    """When the next step or observation is due."""

    def is_idle(self, now: datetime) -> bool:
        """Nothing is under way and nothing is due soon."""
        soon = self.next_at is not None and self.next_at < now + _IDLE_BEYOND
        return not self.open_jobs and not self.rented and not self.under_way and not soon


class Engine:
    """Moves all jobs of an installation forward. `tick` never blocks on a provider."""

    def __init__(
        self,
        context: Context,
        meter: Meter | None = None,
        pool: Pool = ThreadPoolExecutor,
        rights: Rights | None = None,
    ) -> None:
        self._context = context
        self._rights = rights or Alone()
        self._meter = meter or Unmetered()
        self._mirror = Mirror()
        self._lanes = Lanes(context.clock.boot_s, self._requests_per_second, pool)
        self._caps = Caps(context.caps)
        self._policies: dict[str, Policy] = {}
        self._wakes: dict[str, datetime] = {}
        self._due: dict[str, None] = {}
        self._looked_at_all_s = float("-inf")
        self._beginnings = 0
        self._walks = Walks(context, self._lanes, self._rights, self._meter)
        self.progressed = self._lanes.progressed

    def tick(self) -> Tick:
        """One pass: states brought up to date in one commit, due steps and observations started in threads."""
        now = self._context.clock.now()
        changed = self._mirror.refresh(self._context.store.read())
        self._walks.start_sweeps()
        self._walks.start_bills()
        next_walk_s = self._walks.start_walks(self._mirror.runs())
        # Providers answer while we decide: after a restart with ten thousand jobs nobody waits for all of them.
        self._lanes.start_due()
        self._caps.count(self._mirror.runs(), self._mirror.jobs)
        decided = [
            (job, new)
            for job_id in self._take_due(self._due_jobs(changed, now))
            if (job := self._mirror.jobs.get(job_id)) and (new := self._decide(job, now))
        ]
        moved = self._move(decided, now)
        for job, decision in decided:
            for step in decision.steps:
                # A step of the job itself starts from its row, and that one has just changed: the next tick has it.
                if step.run is not None or job.id not in moved:
                    self._begin(job, step)
        next_start_s = self._lanes.start_due()
        seconds = min((s for s in (next_walk_s, next_start_s) if s is not None), default=None)
        wakes = [*self._wakes.values(), *([now + timedelta(seconds=max(seconds, 0))] if seconds is not None else [])]
        return Tick(
            open_jobs=sum(job.state not in _NOT_DONE for job in self._mirror.jobs.values()),
            rented=sum(map(self._is_rented, self._mirror.runs())),
            under_way=self.under_way,
            next_at=min(wakes, default=None),
        )

    @property
    def under_way(self) -> int:
        """Steps and observations that wait for a thread or are in one."""
        return self._lanes.under_way

    @property
    def in_threads(self) -> int:
        """Steps and observations that a provider's pace does not hold back."""
        return self._lanes.in_threads

    def close(self) -> None:
        """Wait for the steps that are under way. The daemon does not call it when it must leave at once."""
        self._lanes.close()

    def halt(self) -> None:
        """Begin no more steps. Those under way end with the process, which is about to."""
        self._lanes.halt()

    def _due_jobs(self, changed: set[str], now: datetime) -> set[str]:
        # Read first: who begins to lead in the middle of a tick looks at all jobs in the next one.
        beginnings, self._beginnings = self._beginnings, self._rights.beginnings
        has_begun = beginnings != self._beginnings
        if has_begun or self._context.clock.boot_s() - self._looked_at_all_s >= _LOOK_AT_ALL_S:
            self._looked_at_all_s = self._context.clock.boot_s()
            return set(self._mirror.jobs)
        ended = {key.partition("/")[0] for key in self._lanes.take_ended()}
        return changed | ended | {job for job, at in self._wakes.items() if at <= now} | self._caps.waiting

    def _take_due(self, due: set[str]) -> list[str]:
        """The jobs to decide in this tick: no more than can soon be worked on, oldest first; the others wait.

        Ten thousand decisions and steps at once would stand in memory and hold up the first call.
        """
        self._due.update(dict.fromkeys(sorted(due)))
        room = max(_AT_ONCE - self._lanes.waiting, _AT_LEAST)
        taken = list(islice(self._due, room))
        for job_id in taken:
            del self._due[job_id]
        if self._due:
            self.progressed.set()
        return taken

    def _decide(self, job: JobRow, now: datetime) -> Decision | None:
        """None for a job whose provider cannot be opened here: it says so, and the others go on."""
        runs = self._mirror.runs_of(job.id)
        try:
            decision = decide(job, runs, now, partial(self._policy, job), self._capabilities)
            self._wake_at(job.id, [at for at in moments(job, runs, self._capabilities) if at > now])
        except FtorchError as error:
            self._wake_at(job.id, [] if job.ended_at else [now + _TRY_TO_OPEN_AGAIN])
            if job.detail != words_of(error):
                self._context.change_job(job, "waits", words_of(error), detail=words_of(error))
            return None
        return decision

    def _wake_at(self, job_id: str, at: Sequence[datetime]) -> None:
        if at:
            self._wakes[job_id] = min(at)
        else:
            self._wakes.pop(job_id, None)

    def _policy(self, job: JobRow) -> Policy:
        if job.id not in self._policies:
            self._policies[job.id] = Policy.of(self._context.plan(job))
        return self._policies[job.id]

    def _capabilities(self, provider: str) -> Capabilities:
        return self._context.open_provider(provider).capabilities

    def _is_rented(self, run: RunRow) -> bool:
        if run.released_at is not None or run.state is None:
            return False
        try:
            return self._capabilities(run.provider).rents_machines
        except FtorchError:
            return False

    def _requests_per_second(self, provider: str) -> float:
        try:
            return self._capabilities(provider).requests_per_second
        except FtorchError:
            return 1.0

    def _move(self, decided: Sequence[tuple[JobRow, Decision]], now: datetime) -> set[str]:
        """Write all new job states in one commit; returns the jobs that have one."""
        moved = [
            (job, new)
            for job, new in decided
            if (job.state, job.reason) != (new.state, new.reason) and self._rights.leads(job.provider, account_of(job))
        ]
        if not moved:
            return set()

        def change(tx: Transaction) -> None:
            for job, new in moved:
                self._write_state(tx, job, new, now)

        self._context.store.write(change)
        self.progressed.set()
        return {job.id for job, _ in moved}

    def _write_state(self, tx: Transaction, job: JobRow, new: Decision, now: datetime) -> None:
        changes: dict[str, object] = {"state": new.state.value, "reason": new.reason.value if new.reason else None}
        if new.state in TERMINAL:
            changes |= {"ended_at": now, "hold_micro": 0}
            self._policies.pop(job.id, None)
        if new.state is JobState.SUCCEEDED:
            # What it waited for on its way says nothing about how it went.
            changes["detail"] = ""
        self._context.change_job_in(tx, job, f"job {new.state}", new.reason or "", **changes)

    def _begin(self, job: JobRow, step: Step) -> None:
        """Queue a step, unless one for the same run is under way, its place is taken, or it is not ours to do."""
        if not self._may(job, step):
            return
        if step.kind is StepKind.OPEN_RUN and not self._caps.take(job):
            return
        self._lanes.add(
            Work(
                key=f"{job.id}/{step.worker_key}",
                lane=_place(job, step)[0],
                call=partial(self._guarded, job, step),
                cost=0.0 if step.kind in _ASKS_NOBODY else 1.0,
                threads=_THREADS.get(step.kind, Threads.STEPS),
            )
        )

    def _may(self, job: JobRow, step: Step) -> bool:
        if step.kind not in _NEEDS_FILES:
            return self._rights.leads(*_place(job, step))
        now = self._context.clock.now()
        if not self._context.has_files_of(job):
            if self._rights.leads(*_place(job, step)):
                note_wait(self._context, self._rights, job, step, now)
            return False
        taken_s = self._rights.taken_for_s(claim_of(job, step))
        if taken_s:
            free_at = now + timedelta(seconds=taken_s)
            self._wakes[job.id] = min(free_at, self._wakes.get(job.id, free_at))
        return not taken_s

    def _guarded(self, job: JobRow, step: Step) -> None:
        about = {"job": job.id, "run": step.run.key} if step.run else {"job": job.id}
        # Bound here, in the thread of the step: every line below says whose it is.
        with bound_contextvars(**about):
            tell = partial(note_failure, self._context, job, step)
            call = partial(self._step, job.id, step)
            outcome = outcome_of("step", call, _place(job, step)[0], self._lanes, tell, step=step.kind)
            if outcome == OK:
                log.info("step done", step=step.kind)
            self._meter.step(step.kind, outcome)

    def _step(self, job_id: str, step: Step) -> None:
        """Carry out a step that is still wanted: it may have waited for its turn."""
        job = self._context.store.job(job_id)
        if job is None:
            raise LookupError(f"job {job_id} has left the database")
        runs = self._context.store.runs_of(job_id)
        still = decide(job, runs, self._context.clock.now(), partial(self._policy, job), self._capabilities)
        for wanted in still.steps:
            if (wanted.kind, wanted.worker_key) == (step.kind, step.worker_key):
                self._carry_out(job, runs, wanted)

    def _carry_out(self, job: JobRow, runs: Sequence[RunRow], step: Step) -> None:
        match step:
            case Step(StepKind.STAGE):
                with self._rights.claimed(claim_of(job, step)) as is_ours:
                    if is_ours:
                        stage.stage(self._context, job)
            case Step(StepKind.FETCH, RunRow() as run):
                self._context.check_account(run)
                with self._rights.claimed(claim_of(job, step)) as is_ours:
                    if is_ours:
                        fetch(self._context, job, run)
            case Step(StepKind.NEXT_PROVIDER):
                stage.next_provider(self._context, job)
            case Step(StepKind.OPEN_RUN):
                stage.open_run(self._context, job, runs)
            case Step(kind, RunRow() as run):
                self._context.check_account(run)
                _RUN_STEPS[kind](self._context, job, run)
            case _:
                raise ValueError(f"step {step.kind} came without its run")


def _place(job: JobRow, step: Step) -> tuple[str, str | None]:
    """The provider and the account that a step is about."""
    return (step.run.provider, step.run.account) if step.run else (job.provider, account_of(job))
