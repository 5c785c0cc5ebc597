"""What a change may do, over any connection that takes the statements of `sql.py`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

from ftorch.core.errors import FtorchError
from ftorch.store import sql
from ftorch.store.rows import EstimateRow, EvaluationRow, EventRow, JobRow, LedgerRow, R, RunRow, columns, to_db, to_row


class IntegrityError(FtorchError):
    """A change that the database's own rules forbid, such as a second row with the same key. Nothing of it is kept."""


class Cursor(Protocol):
    """The answer to a statement. Its rows are read by column name."""

    @property
    def rowcount(self) -> int: ...

    def fetchall(self) -> Sequence[Any]: ...

    def __iter__(self) -> Iterator[Any]: ...


class Versioned(Protocol):
    """A row that is changed by compare-and-set."""

    @property
    def id(self) -> str: ...

    @property
    def version(self) -> int: ...


class Connection(Protocol):
    """Carries out statements with `:name` parameters."""

    def execute(self, statement: str, parameters: Mapping[str, Any], /) -> Cursor: ...


class Transaction:
    """What a change may do. Everything in it is committed together or not at all."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def insert_job(self, job: JobRow, plan: str) -> None:
        self.run(sql.INSERT_JOB, **_values(job), plan=plan)

    def insert_run(self, run: RunRow) -> None:
        self.run(sql.INSERT_RUN, **_values(run))

    def update_job(self, job: JobRow, **changes: object) -> bool:
        """Change a job that still is as it was read. False: somebody changed it meanwhile, and nothing happened."""
        return self._update("jobs", "id", job.id, job.version, changes)

    def update_run(self, run: RunRow, **changes: object) -> bool:
        """Change a run that still is as it was read. False: somebody changed it meanwhile, and nothing happened."""
        return self._update("runs", "key", run.key, run.version, changes)

    def change(self, table: str, row: Versioned, **changes: object) -> bool:
        """Change a row with `id` and `version` that still is as it was read. False: somebody changed it meanwhile."""
        return self._update(table, "id", row.id, row.version, changes)

    def set_adapter(self, job_id: str, folder: str) -> None:
        """Note where the job's adapter lies. The version moves on: whoever read the job before must read it again."""
        self.run(sql.SET_ADAPTER, id=job_id, adapter=folder)

    def add_event(self, event: EventRow) -> None:
        """Append an event; its `seq` is given by the database."""
        self.run(sql.INSERT_EVENT, **_values(event, without="seq"))

    def add_entry(self, entry: LedgerRow) -> None:
        """Append a ledger entry. The write raises IntegrityError when this revision is there already."""
        self.run(sql.INSERT_LEDGER, **_values(entry, without="id"))

    def add_evaluation(self, evaluation: EvaluationRow) -> None:
        self.run(sql.INSERT_EVALUATION, **_values(evaluation))

    def add_estimate(self, estimate: EstimateRow) -> None:
        self.run(sql.INSERT_ESTIMATE, **_values(estimate))

    def book_call(self, call: str, at: datetime) -> bool:
        """Note that the ledger has a call. False: it had it already."""
        return self.run(sql.BOOK_CALL, call=call, booked_at=at) == 1

    def put_meta(self, key: str, value: str) -> None:
        self.run(sql.PUT_META, key=key, value=value)

    def one(self, row_type: type[R], statement: str, **parameters: object) -> R | None:
        return next(iter(self.many(row_type, statement, **parameters)), None)

    def many(self, row_type: type[R], statement: str, **parameters: object) -> list[R]:
        """Rows of a statement that names the columns of `row_type` in their order, as those of `sql` do."""
        return [to_row(row_type, _values_of(row)) for row in self._execute(statement, parameters)]

    def scalar(self, statement: str, **parameters: object) -> Any:
        """The first column of the first row; None when there is no row."""
        # All rows are read: SQLite refuses to commit over a RETURNING that is not read to its end.
        for row in self._execute(statement, parameters).fetchall():
            return row[next(iter(row.keys()))]
        return None

    def pairs(self, statement: str, **parameters: object) -> dict[Any, Any]:
        """First column -> second column of what a statement finds."""
        return {first: second for first, second, *_ in map(_values_of, self._execute(statement, parameters))}

    def counts(self, statement: str, **parameters: object) -> list[tuple[Any, ...]]:
        """The rows of a statement that groups, as they are."""
        rows = self._execute(statement, parameters).fetchall()
        return [tuple(_values_of(row)) for row in rows]

    def each(self, statement: str, **parameters: object) -> Iterator[tuple[Any, ...]]:
        """The rows of a statement one by one: they need not all fit into memory."""
        return (tuple(_values_of(row)) for row in self._execute(statement, parameters))

    def insert(self, statement: str, row: Any, *, without: str = "") -> int:
        """Insert a row by a statement that names its columns; returns how many rows that made."""
        return self.run(statement, **_values(row, without))

    def run(self, statement: str, **parameters: object) -> int:
        """Carry out a statement that answers no rows; returns how many rows it changed."""
        return self._execute(statement, parameters).rowcount

    def verdicts(self) -> dict[str, str]:
        """Job -> verdict of its newest evaluation with a gate."""
        return {row["job_id"]: row["verdict"] for row in self._execute(sql.VERDICTS, {}).fetchall()}

    def _update(self, table: str, key: str, key_value: str, version: int, changes: Mapping[str, object]) -> bool:
        statement = sql.update(table, key, tuple(changes))
        return self.run(statement, **changes, _key=key_value, _version=version) == 1

    def _execute(self, statement: str, parameters: Mapping[str, object]) -> Cursor:
        return self._connection.execute(statement, {name: to_db(value) for name, value in parameters.items()})


class _NoRows:
    """The answer of a database that was never made."""

    rowcount = 0

    def execute(self, _statement: str, _parameters: Mapping[str, Any], /) -> Cursor:
        return self

    def fetchall(self) -> Sequence[Any]:
        return ()

    def __iter__(self) -> Iterator[Any]:
        return iter(())


def of_nothing() -> Transaction:
    """Reads where nothing was ever stored: every statement finds no row."""
    return Transaction(_NoRows())


def _values(row: Any, without: str = "") -> dict[str, object]:
    return {name: getattr(row, name) for name in columns(type(row)) if name != without}  # type: ignore[arg-type]  # a class is hashable


def _values_of(row: Any) -> Iterable[Any]:
    """The columns of a row in their order: psycopg gives dictionaries, sqlite3 sequences with names."""
    return row.values() if isinstance(row, dict) else row
