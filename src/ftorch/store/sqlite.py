"""The embedded store: SQLite in WAL mode, one writing thread, readers that never wait."""

from __future__ import annotations

import errno
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Self, TypeVar

from ftorch.core.clock import Clock, Reading
from ftorch.core.errors import StoreError
from ftorch.store import sql
from ftorch.store.base import Store
from ftorch.store.migrate import migrate, schema_version
from ftorch.store.transaction import IntegrityError, Transaction
from ftorch.store.writer import Writer

_OLDEST_SQLITE = (3, 35, 0)  # RETURNING and the upserts that sql.py uses
_BUSY_S = 10.0
_SWITCH_AGAIN_S = 0.02

T = TypeVar("T")


@cache
def _as_sqlite(statement: str) -> str:
    return statement.replace(sql.SKIP_LOCKED, "")


class SqliteConnection(sqlite3.Connection):
    """A connection that can begin as a writer does, and knows what is not SQLite's in the shared statements."""

    def execute(self, statement: str, parameters: Any = (), /) -> sqlite3.Cursor:
        return super().execute(_as_sqlite(statement), parameters)

    def begin(self) -> None:
        self.execute("BEGIN IMMEDIATE")


class SqliteStore(Store):
    """One database file."""

    is_shared = False

    def __init__(self, path: Path) -> None:
        self.path = path
        self._local = threading.local()
        self._writer = Writer(lambda: connect(path), (sqlite3.Error,))

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open the database, make or upgrade it when needed.

        Raises StoreError for a newer schema, a file that is no database, a full disk, or a folder without rights.
        """
        if sqlite3.sqlite_version_info < _OLDEST_SQLITE:
            raise StoreError(f"this Python has SQLite {sqlite3.sqlite_version}; ftorch needs 3.35 or newer")
        store = cls(path)
        with store._translated():
            connect(path, may_make=True).close()
            migrate(store._reader(), path)
        if (moved_to := store.meta(sql.SEALED)) is not None:
            store.close()
            raise moved(path, moved_to)
        return store

    @property
    def name(self) -> str:
        return str(self.path)

    @classmethod
    def open_existing(cls, path: Path) -> Self | None:
        """Open for reading; None when nothing was ever stored. An older schema is brought up to date."""
        return cls.open(path) if path.exists() else None

    def write(self, change: Callable[[Transaction], T]) -> T:
        with self._translated():
            result: T = self._writer.run(lambda connection: change(Transaction(connection)))
            return result

    def is_stuck(self, seconds: float) -> bool:
        return self._writer.is_stuck(seconds)

    def refused_for_s(self) -> float:
        return self._writer.refused_for_s

    @property
    def commits(self) -> int:
        return self._writer.commits

    def read(self) -> Transaction:
        return Transaction(self._reader())

    def counts(self, statement: str) -> list[tuple[Any, ...]]:
        with self._translated():
            return super().counts(statement)

    def reading(self, clock: Clock) -> Reading:
        return Reading.of(clock)

    def schema_version(self) -> int:
        return schema_version(self._reader())

    def findings(self) -> tuple[str, ...]:
        """What SQLite's own checks find wrong; empty when the file is sound. Reads all of it."""
        with self._translated():
            damages = [row[0] for row in self._reader().execute("PRAGMA integrity_check") if row[0] != "ok"]
            orphans = self._reader().execute("PRAGMA foreign_key_check").fetchall()
        return (
            *damages,
            *(f"row {row[1]} of {row[0]} refers to nothing in {row[2]}" for row in orphans),
        )

    def copy_to(self, file: Path) -> None:
        """Write a copy as of now into a file that must not be there."""
        with self._translated():
            self._reader().execute("VACUUM INTO ?", (str(file),))

    def close(self) -> None:
        self._writer.close()
        connection: SqliteConnection | None = getattr(self._local, "connection", None)
        if connection is not None:
            connection.close()
            self._local.connection = None

    def _reader(self) -> SqliteConnection:
        connection: SqliteConnection | None = getattr(self._local, "connection", None)
        if connection is None:
            with self._translated():
                connection = self._local.connection = connect(self.path)
                # KiB. Every thread that reads has one; what it does not keep is in the system's cache all the same.
                connection.execute("PRAGMA cache_size = -64")
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


def connect(path: Path, *, may_make: bool = False) -> SqliteConnection:
    """A connection whose commits survive a power cut.

    A file that is gone with its disk is not made anew: an empty database would lie where the disk comes back.
    """
    place = f"{path.absolute().as_uri()}?mode={'rwc' if may_make else 'rw'}"
    connection = sqlite3.connect(place, timeout=_BUSY_S, isolation_level=None, factory=SqliteConnection, uri=True)
    connection.row_factory = sqlite3.Row
    _use_wal(connection)
    # NORMAL survives kill -9 but not a power cut; an intent that is lost after the wire is an orphan.
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA fullfsync = 1")
    connection.execute("PRAGMA foreign_keys = ON")
    # KiB. The 2 MiB of the default are the system's cache a second time.
    connection.execute("PRAGMA cache_size = -256")
    return connection


def _use_wal(connection: sqlite3.Connection) -> None:
    """Switch a new database to WAL. SQLite's busy timeout does not cover the switch: two that open it at once wait.

    Measured without the wait: 3 of 180 processes that opened one new database together were refused at once.
    """
    deadline = time.monotonic() + _BUSY_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(_SWITCH_AGAIN_S)
        else:
            return


def moved(path: Path, target: str) -> StoreError:
    """What is said to whoever opens, or still writes, a database that was moved."""
    return StoreError(
        f"the database {path} was moved to {target}",
        hint="set url under [store] in ftorch.toml to the new database, with its password; this one stays as it was",
    )


def _store_error(error: sqlite3.DatabaseError, path: Path) -> Exception:
    words = str(error)
    match words:
        case _ if words.startswith(sql.SEAL_MARK):
            return moved(path, words.removeprefix(sql.SEAL_MARK))
        case _ if isinstance(error, sqlite3.IntegrityError):
            return IntegrityError(f"the database {path} refused a change: {words}")
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
        case _ if "disk i/o error" in words.lower():
            return StoreError(f"the database {path} cannot be reached: {words}", hint="see that its disk is there")
        case _ if "not a database" in words or "malformed" in words:
            return StoreError(f"{path} is not an ftorch database: {words}", hint="move it away, or restore a backup")
        case _:
            return error
