"""What every store can do, whatever database keeps the rows."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, TypeVar

from ftorch.core.clock import Clock, Reading
from ftorch.store import sql
from ftorch.store.rows import EvaluationRow, EventRow, JobRow, LedgerRow, RunRow
from ftorch.store.transaction import Transaction

T = TypeVar("T")


class Store(ABC):
    """One database. Safe to use from many threads and processes."""

    is_shared: ClassVar[bool]
    """Daemons of several state folders may work in it at once."""

    @property
    @abstractmethod
    def name(self) -> str:
        """Where the database is, fit for a message: never with a password."""

    @abstractmethod
    def write(self, change: Callable[[Transaction], T]) -> T:
        """Carry out a change; returns once it is safely on disk.

        Changes of all processes follow one another, so a change may decide on what it reads. It may be carried out
        more than once, of which one is kept: it must do nothing but read and write rows.
        """

    @abstractmethod
    def read(self) -> Transaction:
        """Statements that see the last commit. Use it in one thread, for reading only."""

    @abstractmethod
    def is_stuck(self, seconds: float) -> bool:
        """A commit has been under way for longer than that: who waits for it waits for ever."""

    @abstractmethod
    def refused_for_s(self) -> float:
        """For how long every change of this process was refused, by a full disk or a lock; 0 after one refusal."""

    @property
    @abstractmethod
    def commits(self) -> int:
        """How often this process has committed; many changes share one."""

    @abstractmethod
    def schema_version(self) -> int:
        """The number of the newest migration that was applied."""

    @abstractmethod
    def reading(self, clock: Clock) -> Reading:
        """How late it is on a clock that nobody sets and that all processes of this database read."""

    @abstractmethod
    def close(self) -> None:
        """Finish open changes and close. Closing twice is harmless."""

    def job(self, job_id: str) -> JobRow | None:
        return self.read().one(JobRow, sql.JOB, id=job_id)

    def jobs(self) -> Sequence[JobRow]:
        """All jobs, newest first."""
        return self.read().many(JobRow, sql.JOBS)

    def plan_text(self, job_id: str) -> str:
        return str(self.read().scalar(sql.PLAN_TEXT, id=job_id))

    def run(self, key: str) -> RunRow | None:
        return self.read().one(RunRow, sql.RUN, key=key)

    def runs_of(self, job_id: str) -> Sequence[RunRow]:
        return self.read().many(RunRow, sql.RUNS_OF_JOB, job_id=job_id)

    def events_of(self, job_id: str, after: int = 0) -> Sequence[EventRow]:
        return self.read().many(EventRow, sql.EVENTS_OF_JOB, job_id=job_id, after=after)

    def ledger_of(self, job_id: str) -> Sequence[LedgerRow]:
        return self.read().many(LedgerRow, sql.LEDGER_OF_JOB, job_id=job_id)

    def ledger(self) -> Sequence[LedgerRow]:
        return self.read().many(LedgerRow, sql.LEDGER)

    def evaluations_of(self, job_id: str) -> Sequence[EvaluationRow]:
        """Newest first."""
        return self.read().many(EvaluationRow, sql.EVALUATIONS_OF_JOB, job_id=job_id)

    def counts(self, statement: str) -> list[tuple[Any, ...]]:
        """The rows of a statement that groups. Raises StoreError: who counts must be able to go on."""
        return self.read().counts(statement)

    def meta(self, key: str) -> str | None:
        value = self.read().scalar(sql.GET_META, key=key)
        return None if value is None else str(value)
