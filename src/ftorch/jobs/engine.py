"""The loop over rows: read, decide, do one step each, write one transition. One engine at a time leads an installation.

Provider calls run in threads; two steps of one run never run at once. Whatever a step raises is noted on its row and
tried again later, and never stops another job.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

import structlog
from structlog.contextvars import bound_contextvars

from ftorch.core.errors import FtorchError, RateLimitedError
from ftorch.jobs import advance, bills, stage, submit
from ftorch.jobs.context import Context
from ftorch.jobs.fetch import fetch
from ftorch.jobs.meter import BUG, OK, Meter, Unmetered
from ftorch.jobs.states import FETCH_TRIES, TERMINAL, Decision, JobState, Step, StepKind, decide
from ftorch.manifest.schema import Retry
from ftorch.providers.base import Capabilities
from ftorch.store import JobRow, RunRow, Transaction, sql

_WORKERS = 8
_OBSERVE = "observe"
_IDLE_BEYOND = timedelta(minutes=10)

_RUN_STEPS: Mapping[StepKind, Callable[[Context, JobRow, RunRow], None]] = {
    StepKind.SUBMIT: submit.submit,
    StepKind.FIND: submit.find,
    StepKind.ABANDON: submit.abandon,
    StepKind.START: advance.start,
    StepKind.CANCEL: advance.cancel,
    StepKind.FETCH: fetch,
    StepKind.RELEASE: advance.release,
    StepKind.CHARGE: bills.charge,
    StepKind.SETTLE: bills.settle,
}

OnError = Callable[[str, timedelta], None]
"""Told what went wrong, and the pause that the provider has asked for."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Tick:
    """What one pass over the rows saw."""

    open_jobs: int
    """Jobs that have not ended, those that wait for a person not counted."""
    under_way: int
    next_at: datetime | None
    """When the next step or observation is due."""

    def is_idle(self, now: datetime) -> bool:
        """Nothing is under way and nothing is due soon."""
        soon = self.next_at is not None and self.next_at < now + _IDLE_BEYOND
        return not self.open_jobs and not self.under_way and not soon


class Engine:
    """Moves all jobs of an installation forward. `tick` never blocks on a provider."""

    def __init__(self, context: Context, meter: Meter | None = None) -> None:
        self._context = context
        self._meter = meter or Unmetered()
        self._pool = ThreadPoolExecutor(_WORKERS, thread_name_prefix="ftorch-step")
        self._busy: set[str] = set()
        self._lock = threading.Lock()
        self._policies: dict[str, Retry] = {}
        self._looked: dict[str, datetime] = {}
        self.progressed = threading.Event()
        """Set whenever a step has ended: there may be more to do at once."""

    def tick(self) -> Tick:
        """One pass: states brought up to date in one commit, due steps and observations started in threads."""
        now = self._context.clock.now()
        reader = self._context.store.read()
        jobs = reader.many(JobRow, sql.WORK_JOBS)
        runs_of: dict[str, list[RunRow]] = defaultdict(list)
        for run in reader.many(RunRow, sql.WORK_RUNS):
            runs_of[run.job_id].append(run)
        decided = [(job, new) for job in jobs if (new := self._decide(job, runs_of[job.id], now))]
        moved = self._move(decided, now)
        for job, decision in decided:
            for step in decision.steps:
                # A step of the job itself starts from its row, and that one has just changed: the next tick has it.
                if step.run is not None or job.id not in moved:
                    self._begin(job, runs_of[job.id], step)
        due = self._observe([run for runs in runs_of.values() for run in runs], now)
        waiting = [self._due(run, run.ended_at) for runs in runs_of.values() for run in runs if run.ended_at]
        return Tick(
            open_jobs=sum(decision.state not in TERMINAL | {JobState.UNKNOWN} for _, decision in decided),
            under_way=self.under_way,
            next_at=min([at for at in (*due, *waiting) if at], default=None),
        )

    @property
    def under_way(self) -> int:
        """Steps and observations that are in a thread now."""
        with self._lock:
            return len(self._busy)

    def close(self) -> None:
        """Wait for the steps that are under way. The daemon does not call it when it must leave at once."""
        self._pool.shutdown(wait=True)

    def _decide(self, job: JobRow, runs: Sequence[RunRow], now: datetime) -> Decision | None:
        """None for a job whose provider cannot be opened here: it says so, and the others go on."""
        try:
            return decide(job, runs, now, self._policy(job), self._capabilities(job.provider))
        except FtorchError as error:
            if job.detail != _words(error):
                self._context.change_job(job, "waits", _words(error), detail=_words(error))
            return None

    def _policy(self, job: JobRow) -> Retry:
        if job.id not in self._policies:
            self._policies[job.id] = self._context.plan(job).retry
        return self._policies[job.id]

    def _capabilities(self, provider: str) -> Capabilities:
        return self._context.open_provider(provider).capabilities

    def _move(self, decided: Sequence[tuple[JobRow, Decision]], now: datetime) -> set[str]:
        """Write all new job states in one commit; returns the jobs that have one."""
        moved = [(job, new) for job, new in decided if (job.state, job.reason) != (new.state, new.reason)]
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
            changes["ended_at"] = now
            self._policies.pop(job.id, None)
        self._context.change_job_in(tx, job, f"job {new.state}", new.reason or "", **changes)

    def _begin(self, job: JobRow, runs: Sequence[RunRow], step: Step) -> None:
        """Start a step in a thread, unless one for the same run is under way."""
        key = f"{job.id}/{step.worker_key}"
        work = partial(self._step, job, runs, step)
        about = {"job": job.id, "run": step.run.key} if step.run else {"job": job.id}
        self._spawn(key, step.kind, work, about, on_error=partial(self._note_failure, job, step))

    def _step(self, job: JobRow, runs: Sequence[RunRow], step: Step) -> None:
        match step:
            case Step(StepKind.STAGE):
                stage.stage(self._context, job)
            case Step(StepKind.OPEN_RUN):
                stage.open_run(self._context, job, runs)
            case Step(kind, RunRow() as run):
                _RUN_STEPS[kind](self._context, job, run)
            case _:
                raise ValueError(f"step {step.kind} came without its run")

    def _observe(self, runs: Sequence[RunRow], now: datetime) -> list[datetime]:
        """Start one batched reading per provider for the runs that are due; returns when the others will be."""
        due: dict[str, list[RunRow]] = defaultdict(list)
        later: list[datetime] = []
        for run in runs:
            if run.ended_at is None and run.state is not None and self._can_open(run.provider):
                looked = self._looked.get(run.key)
                at = now if looked is None else looked + self._poll(run)
                later.append(at)
                if at <= now:
                    due[run.provider].append(run)
                    self._looked[run.key] = now
            else:
                self._looked.pop(run.key, None)
        for name, some in due.items():
            provider = self._context.open_provider(name)
            look = partial(advance.observe, self._context, provider, some)
            self._spawn(f"observe/{name}", _OBSERVE, look, {"provider": name})
        return later

    def _due(self, run: RunRow, ended_at: datetime) -> datetime | None:
        """When an ended run wants the engine again; None when it is done, or waits for a person."""
        if run.settled_at or (run.fetched_at is None and run.failures >= FETCH_TRIES):
            return None
        if not self._can_open(run.provider):
            return None
        if run.charged_at:
            return ended_at + timedelta(seconds=self._capabilities(run.provider).settle_lag_s)
        return run.next_at

    def _can_open(self, provider: str) -> bool:
        try:
            self._capabilities(provider)
        except FtorchError:
            return False
        return True

    def _poll(self, run: RunRow) -> timedelta:
        return timedelta(seconds=self._capabilities(run.provider).min_poll_s)

    def _spawn(
        self, key: str, kind: str, work: Callable[[], None], about: Mapping[str, str], on_error: OnError | None = None
    ) -> None:
        with self._lock:
            if key in self._busy:
                return
            self._busy.add(key)
        self._pool.submit(self._guarded, key, kind, work, about, on_error)

    def _guarded(
        self, key: str, kind: str, work: Callable[[], None], about: Mapping[str, str], on_error: OnError | None
    ) -> None:
        try:
            # Bound here, in the thread of the step: every line below says whose it is.
            with bound_contextvars(**about):
                self._meter.step(kind, self._outcome(kind, work, on_error))
        finally:
            # Together: whoever sees that nothing is under way also sees that there may be more to do.
            with self._lock:
                self._busy.discard(key)
                self.progressed.set()

    def _outcome(self, kind: str, work: Callable[[], None], on_error: OnError | None) -> str:
        try:
            work()
        except FtorchError as error:
            log.warning("step failed", step=kind, code=error.code, error=error.message)
            if on_error:
                on_error(_words(error), _asked_pause(error))
            return error.code
        except Exception:  # the outer edge: other jobs go on, and the traceback is in the log
            log.exception("step raised", step=kind)
            if on_error:
                on_error("a bug in ftorch; see the daemon's log", timedelta(0))
            return BUG
        if kind != _OBSERVE:  # every few seconds, for as long as a run lasts
            log.info("step done", step=kind)
        return OK

    def _note_failure(self, job: JobRow, step: Step, words: str, pause: timedelta) -> None:
        """Note what went wrong where people look, and come back later: each time a little later.

        Not before the pause that the provider has asked for.
        """
        run = self._context.store.run(step.run.key) if step.run else None
        soonest = self._context.clock.now() + pause
        if run is not None:
            next_at = max(self._context.later(run.failures), soonest)
            self._context.change_run(run, f"{step.kind} failed", words, failures=run.failures + 1, next_at=next_at)
            if step.kind is StepKind.FETCH and run.failures + 1 >= FETCH_TRIES:
                log.error("the adapter could not be fetched", job=job.id, run=run.key)
            return
        read = self._context.store.job(job.id)
        if read is not None:
            self._context.change_job(
                read,
                f"{step.kind} failed",
                words,
                detail=words,
                failures=read.failures + 1,
                next_at=max(self._context.later(read.failures), soonest),
            )


def _asked_pause(error: FtorchError) -> timedelta:
    return timedelta(seconds=error.retry_after_s) if isinstance(error, RateLimitedError) else timedelta(0)


def _words(error: FtorchError) -> str:
    if isinstance(error, RateLimitedError):
        return f"{error.message}; asked to wait {error.retry_after_s:.0f} s"
    return f"{error.message}\nhint: {error.hint}" if error.hint else error.message
