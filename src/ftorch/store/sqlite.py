"""The embedded store: SQLite in WAL mode, one writing thread, readers that never wait."""

from __future__ import annotations

import errno
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from datetime import datetime
from pathlib import Path
from typing import Any, Self, TypeVar

from ftorch.core.errors import StoreError
from ftorch.store import sql
from ftorch.store.migrate import migrate
from ftorch.store.rows import EvaluationRow, EventRow, JobRow, LedgerRow, R, RunRow, to_db, to_row
from ftorch.store.writer import Writer

_OLDEST_SQLITE = (3, 35, 0)  # RETURNING and the upserts that sql.py uses
_BUSY_S = 10.0
_SWITCH_AGAIN_S = 0.02

T = TypeVar("T")


class Transaction:
    """What a change may do. Everything in it is committed together or not at all."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def insert_job(self, job: JobRow, plan: str) -> None:
        self._run(sql.INSERT_JOB, {**_values(job), "plan": plan})

    def insert_run(self, run: RunRow) -> None:
        self._run(sql.INSERT_RUN, _values(run))

    def update_job(self, job: JobRow, **changes: object) -> bool:
        """Change a job that still is as it was read. False: somebody changed it meanwhile, and nothing happened."""
        return self._update("jobs", "id", job.id, job.version, changes)

    def update_run(self, run: RunRow, **changes: object) -> bool:
        """Change a run that still is as it was read. False: somebody changed it meanwhile, and nothing happened."""
        return self._update("runs", "key", run.key, run.version, changes)

    def set_adapter(self, job_id: str, folder: str) -> None:
        """Note where the job's adapter lies. The version moves on: whoever read the job before must read it again."""
        self._run(sql.SET_ADAPTER, {"id": job_id, "adapter": folder})

    def add_event(self, event: EventRow) -> None:
        """Append an event; its `seq` is given by the database."""
        self._run(sql.INSERT_EVENT, _values(event, without="seq"))

    def add_entry(self, entry: LedgerRow) -> None:
        """Append a ledger entry. Raises sqlite3.IntegrityError when this revision is there already."""
        self._run(sql.INSERT_LEDGER, _values(entry, without="id"))

    def add_evaluation(self, evaluation: EvaluationRow) -> None:
        self._run(sql.INSERT_EVALUATION, _values(evaluation))

    def book_call(self, call: str, at: datetime) -> bool:
        """Note that the ledger has a call. False: it had it already."""
        return self._run(sql.BOOK_CALL, {"call": call, "booked_at": at}).rowcount == 1

    def put_meta(self, key: str, value: str) -> None:
        self._run(sql.PUT_META, {"key": key, "value": value})

    def one(self, row_type: type[R], statement: str, **parameters: object) -> R | None:
        return next(iter(self.many(row_type, statement, **parameters)), None)

    def many(self, row_type: type[R], statement: str, **parameters: object) -> list[R]:
        return [to_row(row_type, row) for row in self._run(statement, parameters)]

    def scalar(self, statement: str, **parameters: object) -> Any:
        row = self._run(statement, parameters).fetchone()
        return row[0] if row else None

    def counts(self, statement: str) -> list[tuple[Any, ...]]:
        """The rows of a statement that groups, as they are."""
        return [tuple(row) for row in self._run(statement, {})]

    def verdicts(self) -> dict[str, str]:
        """Job -> verdict of its newest evaluation with a gate."""
        return {row["job_id"]: row["verdict"] for row in self._run(sql.VERDICTS, {})}

    def _update(self, table: str, key: str, key_value: str, version: int, changes: Mapping[str, object]) -> bool:
        statement = sql.update(table, key, tuple(changes))
        return self._run(statement, {**changes, "_key": key_value, "_version": version}).rowcount == 1

    def _run(self, statement: str, parameters: Mapping[str, object]) -> sqlite3.Cursor:
        return self._connection.execute(statement, {name: to_db(value) for name, value in parameters.items()})


class SqliteStore:
    """One database file. Safe to use from many threads and processes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._local = threading.local()
        self._writer = Writer(self._connect)

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open the database, make or upgrade it when needed.

        Raises StoreError for a newer schema, a file that is no database, a full disk, or a folder without rights.
        """
        if sqlite3.sqlite_version_info < _OLDEST_SQLITE:
            raise StoreError(f"this Python has SQLite {sqlite3.sqlite_version}; ftorch needs 3.35 or newer")
        store = cls(path)
        with store._translated():
            migrate(store._reader(), path)
        return store

    @classmethod
    def open_existing(cls, path: Path) -> Self | None:
        """Open for reading; None when nothing was ever stored. An older schema is brought up to date."""
        return cls.open(path) if path.exists() else None

    def write(self, change: Callable[[Transaction], T]) -> T:
        """Carry out a change; returns once it is safely on disk."""
        with self._translated():
            result: T = self._writer.run(lambda connection: change(Transaction(connection)))
            return result

    @property
    def commits(self) -> int:
        """How often this process has committed; many changes share one."""
        return self._writer.commits

    def read(self) -> Transaction:
        """Statements that see the last commit. Use it in one thread, for reading only."""
        return Transaction(self._reader())

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
        with self._translated():
            return self.read().counts(statement)

    def meta(self, key: str) -> str | None:
        value = self.read().scalar(sql.GET_META, key=key)
        return None if value is None else str(value)

    def close(self) -> None:
        """Finish open changes and close. Closing twice is harmless."""
        self._writer.close()
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is not None:
            connection.close()
            self._local.connection = None

    def _reader(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = self._connect()
        return connection

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, timeout=_BUSY_S, isolation_level=None)
        connection.row_factory = sqlite3.Row
        _use_wal(connection)
        # NORMAL survives kill -9 but not a power cut; an intent that is lost after the wire is an orphan.
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA fullfsync = 1")
        connection.execute("PRAGMA foreign_keys = ON")
        return connection

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            raise _store_error(error, self.path) from error
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            raise StoreError(f"no space left on the disk that holds {self.path}") from error


def _use_wal(connection: sqlite3.Connection) -> None:
    """Switch a new database to WAL. SQLite's busy timeout does not cover the switch, so two that open it at once wait here.

    Measured without the wait: 3 of 180 processes that opened one new database together were refused at once.
    """
    deadline = time.monotonic() + _BUSY_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(_SWITCH_AGAIN_S)


def _values(row: JobRow | RunRow | EventRow | LedgerRow | EvaluationRow, without: str = "") -> dict[str, object]:
    return {field.name: getattr(row, field.name) for field in fields(row) if field.name != without}


def _store_error(error: sqlite3.DatabaseError, path: Path) -> Exception:
    words = str(error)
    match words:
        case _ if "full" in words:
            return StoreError(f"no space left on the disk that holds {path}", hint="free some space; nothing was lost")
        case _ if "locked" in words or "busy" in words:
            return StoreError(
                f"the database {path} has been locked by another process for {_BUSY_S:.0f} seconds",
                hint="see which process has it open, then run the command again; nothing was lost",
            )
        case _ if "readonly" in words or "unable to open" in words:
            return StoreError(
                f"the database {path} cannot be opened for writing",
                hint="set FTORCH_HOME to a folder that you can write, or mend the rights of this one",
            )
        case _ if "not a database" in words or "malformed" in words:
            return StoreError(f"{path} is not an ftorch database: {words}", hint="move it away, or restore a backup")
        case _:
            return error
