"""The loop over schedules: note the times that have passed, start what is due, follow it to its end.

Any number of daemons run it at once. A time becomes a row under a key that it alone can have; a row moves on by
compare-and-set; the job and the row that points to it are one commit. Slow work, reading data or judging an adapter,
is done in threads under a claim, so that two daemons do not do it twice; nothing rests on that.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Protocol, TypeVar

import structlog

from ftorch.core.clock import from_micros
from ftorch.core.errors import CredentialsError, FtorchError, InputError, MissingExtraError, StoreError, UsageError
from ftorch.core.host import is_here
from ftorch.jobs.context import Context
from ftorch.jobs.notices import NoticeKind
from ftorch.jobs.rights import Rights
from ftorch.jobs.serving import KEPT, REFUSED
from ftorch.jobs.states import TERMINAL, JobState
from ftorch.schedule.change import again, end, end_in, forgotten, move, news, when_words
from ftorch.schedule.rule import UnreadableError, rule_in
from ftorch.schedule.states import Kind, Reason, State
from ftorch.schedule.times import next_time, occurrences, passed
from ftorch.store import Transaction, schedule_sql
from ftorch.store.schedule_rows import OccurrenceRow, ScheduleRow, VersionRow

_WORKERS = 2
_SOON = timedelta(minutes=10)
_MOST_FAILURES = 40
"""With the pauses between them: about six hours."""

log = structlog.get_logger()

Pool = Callable[[int, str], Executor]
Value = TypeVar("Value")


class Work(Protocol):
    """What an occurrence needs done: slow, in a thread. Each moves the occurrence on by itself."""

    def start(self, schedule: ScheduleRow, occurrence: OccurrenceRow) -> None:
        """Look whether there is something to train, and submit its job with the occurrence in one commit."""
        ...

    def judge(self, schedule: ScheduleRow, occurrence: OccurrenceRow) -> None:
        """Hold the new adapter against the one in service, and promote or refuse it."""
        ...


@dataclass(frozen=True, slots=True)
class Outlook:
    """What one pass saw."""

    under_way: int
    next_at: datetime | None
    """When something is due next."""
    open: int
    """Occurrences that are due soon; those with a job are the engine's to finish."""


class Scheduler:
    """Turns the times of all schedules into jobs. `tick` never waits for data or for a model."""

    def __init__(self, context: Context, rights: Rights, work: Work, pool: Pool = ThreadPoolExecutor) -> None:
        self._context = context
        self._rights = rights
        self._work = work
        self._pool = pool
        self._executor: Executor | None = None
        self._busy: set[str] = set()
        self._odd: set[str] = set()
        self._lock = threading.Lock()
        self.progressed: Callable[[], object] = lambda: None
        """Called when work in a thread has ended."""

    def tick(self) -> Outlook:
        """One pass over the schedules whose time has come and the occurrences that have not ended."""
        now = self._context.clock.now()
        reader = self._context.store.read()
        for schedule in reader.many(ScheduleRow, schedule_sql.SCHEDULES_DUE, moment=now):
            self._alone(partial(self._note, schedule, now), schedule.id)
        for row in reader.many(OccurrenceRow, schedule_sql.OCCURRENCES_RETRIED):
            # A person tries the job once more: what it brings home is judged like any other.
            move(self._context, row, state=State.STARTED.value, reason=None, ended_at=None)
        found = reader.many(OccurrenceRow, schedule_sql.OCCURRENCES_OPEN)
        due_next = [self._alone(partial(self._follow, rows, now), rows[0].schedule_id) for rows in _by_schedule(found)]
        next_micros = reader.scalar(schedule_sql.NEXT_TIME)
        due_next.append(None if next_micros is None else from_micros(int(next_micros)))
        # Read again: what has just moved on to be judged keeps a daemon that would leave.
        open_now = reader.many(OccurrenceRow, schedule_sql.OCCURRENCES_OPEN) if found else []
        soon = sum(row.state != State.STARTED and row.next_at <= now + _SOON for row in open_now)
        # What is due and could not be noted is due for ever: nobody is to run after it.
        return Outlook(self.under_way, min((at for at in due_next if at is not None and at > now), default=None), soon)

    @property
    def under_way(self) -> int:
        """Pieces of work in threads or waiting for one."""
        with self._lock:
            return len(self._busy)

    def close(self) -> None:
        """Wait for the work that is under way."""
        if self._executor is not None:
            self._executor.shutdown(wait=True)

    def _note(self, schedule: ScheduleRow, now: datetime) -> None:
        """A row for each time that has passed, and how far the schedule is watched, in one commit."""
        rule = rule_in(schedule)
        rows = occurrences(rule, schedule.id, passed(rule, schedule.watched_until, now), now)
        following = next_time(rule, now)

        def change(tx: Transaction) -> bool:
            if not tx.change("schedules", schedule, watched_until=now, next_at=following):
                return False
            for row in rows:
                tx.insert(schedule_sql.ADD_OCCURRENCE, row)
            return True

        if self._context.store.write(change):
            for row in rows:
                log.info("time noted", schedule=schedule.name, at=when_words(row.fire_at), state=row.state)

    def _follow(self, rows: Sequence[OccurrenceRow], now: datetime) -> datetime | None:
        """Move the open occurrences of one schedule on; returns when one of them is due next."""
        is_busy = False
        for row in rows:
            match State(row.state):
                case State.STARTED:
                    is_busy |= not self._has_ended(row)
                case State.JUDGING:
                    is_busy = True
                    self._begin(row, now)
        waiting = [row for row in rows if row.state == State.WAITING and row.next_at <= now]
        later = [row.next_at for row in rows if row.state != State.STARTED and row.next_at > now]
        if is_busy:
            self._overlapping(waiting)
        elif waiting:
            # One at a time: what it becomes decides about the next one.
            self._begin(waiting[0], now)
        return min(later, default=None)

    def _overlapping(self, waiting: Sequence[OccurrenceRow]) -> None:
        """What is due while the last job still runs. What is made up for, or asked by a person, waits its turn."""
        queued = 0
        for row in waiting:
            if row.kind != Kind.ON_TIME:
                continue
            queued += 1
            schedule = self._schedule(row)
            rule = rule_in(schedule)
            if queued > (1 if rule.overlap == "queue_one" else 0):
                end(self._context, row, State.SKIPPED, Reason.OVERLAP, "the job before still runs")

    def _has_ended(self, row: OccurrenceRow) -> bool:
        """Its job is over: its adapter is judged next, or there is none."""
        job = self._context.store.job(row.job_id or "")
        if job is None or JobState(job.state) not in TERMINAL:
            return False
        if job.state == JobState.SUCCEEDED:
            move(self._context, row, state=State.JUDGING.value, next_at=self._context.clock.now(), failures=0)
            return False
        words = f"job {job.id} {job.state}{f': {job.reason}' if job.reason else ''}"
        # The daemon tells of the job by itself.
        self._context.store.write(lambda tx: self._end_with_job(tx, row, words))
        return True

    def _end_with_job(self, tx: Transaction, row: OccurrenceRow, words: str) -> None:
        schedule = tx.one(ScheduleRow, schedule_sql.SCHEDULE, id=row.schedule_id)
        changes = {"state": State.FAILED.value, "reason": Reason.JOB.value, "detail": words}
        if schedule and tx.change("occurrences", row, **changes, ended_at=self._context.clock.now()):
            tx.change("schedules", schedule, seen=forgotten(schedule.seen))

    def _begin(self, row: OccurrenceRow, now: datetime) -> None:
        """Hand an occurrence to a thread, unless one has it, it is too early, or its manifest lies elsewhere."""
        schedule = self._schedule(row)
        if row.next_at > now or not self._reaches(schedule) or self._rights.taken_for_s(_claim(row)):
            return
        with self._lock:
            if row.id in self._busy:
                return
            self._busy.add(row.id)
            if self._executor is None:
                self._executor = self._pool(_WORKERS, "ftorch-schedule")
        self._executor.submit(self._guarded, schedule, row)

    def _reaches(self, schedule: ScheduleRow) -> bool:
        """The manifest and the frozen rows can be read here."""
        context = self._context
        if not context.store.is_shared or is_here(schedule.host, context.home):
            return True
        return context.home.is_shared and Path(schedule.manifest_path).is_file()

    def _guarded(self, schedule: ScheduleRow, row: OccurrenceRow) -> None:
        """One piece of work in its thread; what it raises is noted on its row and never stops another schedule."""
        try:
            with self._rights.claimed(_claim(row)) as is_ours:
                fresh = again(self._context, row) if is_ours else None
                if fresh is not None and fresh.version == row.version:
                    act = self._work.judge if row.state == State.JUDGING else self._work.start
                    act(schedule, fresh)
        except FtorchError as error:
            self._failed(schedule, row, error)
        except Exception as error:  # the outer edge of this thread: a bug is tried again, and told in the end
            log.exception("occurrence raised", schedule=schedule.name)
            # Its words may hold what no notice may show; they are in the log, which drops secrets.
            self._failed(schedule, row, FtorchError(f"a bug in ftorch, {type(error).__name__}; see the daemon's log"))
        finally:
            with self._lock:
                self._busy.discard(row.id)
            self.progressed()

    def _failed(self, schedule: ScheduleRow, row: OccurrenceRow, error: FtorchError) -> None:
        """Try again later what may pass; end what will not."""
        log.warning("occurrence failed", schedule=schedule.name, code=error.code, error=error.message)
        is_final = isinstance(error, _FINAL) and not isinstance(error, StoreError)
        if not is_final and row.failures < _MOST_FAILURES:
            later = self._context.later(row.failures)
            move(self._context, row, failures=row.failures + 1, next_at=later, detail=error.message)
            return
        title = f"{schedule.name}: the occurrence of {when_words(row.fire_at)} failed"
        told = news(NoticeKind.FAILED, schedule, row, title, error.message, hint=error.hint or "")
        reason = Reason.MANIFEST if is_final else Reason.TRIES

        def change(tx: Transaction) -> None:
            if not end_in(self._context, tx, row, State.FAILED, reason, error.message, notice=told):
                return
            version = tx.one(VersionRow, schedule_sql.VERSION_OF_JOB, job_id=row.job_id or "")
            if version is not None and version.state == KEPT:
                # What nobody has judged is no `name@latest`, unless a person says so.
                words = f"it could not be judged: {error.message}"
                tx.run(schedule_sql.SAY_OF_VERSION, job_id=version.job_id, state=REFUSED, reason=words)

        self._context.store.write(change)

    def _alone(self, look: Callable[[], Value], schedule_id: str) -> Value | None:
        """One schedule that cannot be read, of another version perhaps, holds up no other. It is said once."""
        try:
            return look()
        except Exception as error:  # the outer edge of one schedule
            if isinstance(error, StoreError) and not isinstance(error, UnreadableError):
                raise
            if schedule_id not in self._odd:
                self._odd.add(schedule_id)
                log.exception("a schedule cannot be followed", schedule=schedule_id)
            return None

    def _schedule(self, row: OccurrenceRow) -> ScheduleRow:
        found = self._context.store.read().one(ScheduleRow, schedule_sql.SCHEDULE, id=row.schedule_id)
        assert found is not None
        return found


_FINAL = (InputError, CredentialsError, MissingExtraError, UsageError)
"""Errors that stay until a person has done something."""


def _claim(row: OccurrenceRow) -> str:
    return f"schedule/{row.id}"


def _by_schedule(rows: Sequence[OccurrenceRow]) -> list[list[OccurrenceRow]]:
    found: dict[str, list[OccurrenceRow]] = defaultdict(list)
    for row in rows:
        found[row.schedule_id].append(row)
    return list(found.values())
