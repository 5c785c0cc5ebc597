"""Moving an installation from SQLite to PostgreSQL, so that at no moment two databases are in use.

The source is locked for the length of the move. The target gets everything in one transaction, with a row that says
that a move is under way: nobody can open it yet. Then the source is sealed, then that row is taken away. A move that
was killed is begun again, or finished, by the same command:

    killed                        source      target
    before the target's commit    in use      empty
    before the seal               in use      cannot be opened; is emptied by the next try
    after the seal                sealed      cannot be opened until the next try takes the row away
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from ftorch.core.errors import StoreError
from ftorch.store import sql
from ftorch.store.place import is_postgres_url, redacted
from ftorch.store.postgres import PostgresStore, Session, kept, translated
from ftorch.store.sqlite import SqliteConnection, SqliteStore, connect, moved

_LONGEST = "10min"
_BATCH = 2000
_SUMMED = {"ledger": "amount_micro", "runs": "hold_micro"}


@dataclass(frozen=True, slots=True)
class TableProof:
    """What must be equal on both sides. `total_micro` is the sum of the table's money, None where it has none."""

    table: str
    rows: int
    total_micro: int | None
    sha256: str


@dataclass(frozen=True, slots=True)
class Moved:
    """A move that is complete. `tables` is empty when an earlier try had copied everything."""

    source: str
    target: str
    installation: str
    tables: tuple[TableProof, ...]


def move(source: Path, url: str) -> Moved:
    """Move everything and seal the source. The caller makes sure that no daemon leads.

    Raises StoreError for a target that is not empty, a source that was moved elsewhere, or a copy that differs.
    """
    if not is_postgres_url(url):
        raise StoreError("only PostgreSQL can be moved to", hint="write postgresql://USER:PASSWORD@HOST:PORT/DATABASE")
    _bring_up_to_date(source)
    PostgresStore.open(url, may_be_arriving=True).close()
    with _locked(source) as old, closing(Session(url)) as new, translated(url):
        installation = _meta(old, sql.INSTALLATION)
        if installation is None:
            raise StoreError(f"there is nothing to move in {source}")
        new.open()
        sealed = _meta(old, sql.SEALED)
        if sealed is not None:
            _check_may_finish(source, sealed, new, url, installation)
            tables: tuple[TableProof, ...] = ()
        else:
            tables = _copy(old, new, installation, redacted(url))
            _seal(old, redacted(url))
        _open_target(new)
    return Moved(str(source), redacted(url), installation, tables)


def _bring_up_to_date(source: Path) -> None:
    if not source.exists():
        raise StoreError(f"there is no database {source} to move")
    with closing(connect(source)) as connection:
        is_sealed = _has_meta(connection) and _meta(connection, sql.SEALED) is not None
    if not is_sealed:
        SqliteStore.open(source).close()


@contextmanager
def _locked(source: Path) -> Iterator[SqliteConnection]:
    """The source while nobody else can write; what was not committed is undone."""
    with closing(connect(source)) as connection:
        connection.begin()
        try:
            yield connection
        finally:
            if connection.in_transaction:
                connection.rollback()


def _check_may_finish(source: Path, sealed: str, new: Session, url: str, installation: str) -> None:
    if sealed != redacted(url) or _arriving(new) != installation:
        raise moved(source, sealed)


def _copy(old: SqliteConnection, new: Session, installation: str, target: str) -> tuple[TableProof, ...]:
    """Everything in one transaction of the target, proven before it is committed."""
    new.begin()
    try:
        new.run(f"SET LOCAL statement_timeout = '{_LONGEST}'")
        new.run(f"SET LOCAL idle_in_transaction_session_timeout = '{_LONGEST}'")
        _check_empty(new, installation, target)
        proofs = tuple(_copy_table(old, new, table) for table in sql.TABLES)
        for table in sql.NUMBERED:
            new.execute(_set_next_number(table))
        new.execute(sql.PUT_META, {"key": sql.ARRIVING, "value": installation})
        new.commit()
    except BaseException:
        new.rollback()
        raise
    return proofs


def _check_empty(new: Session, installation: str, target: str) -> None:
    """Empty the target of an earlier try of ours; refuse what is not ours."""
    if _arriving(new) == installation:
        new.run(f"TRUNCATE {', '.join(sql.TABLES)}")
    found = [table for table in sql.TABLES if new.scalar(sql.count(table)) != 0]
    if found:
        raise StoreError(
            f"the database {target} is not empty: it has rows in {', '.join(found)}",
            hint="make a new one with `createdb`; nothing was moved",
        )


def _copy_table(old: SqliteConnection, new: Session, table: str) -> TableProof:
    names = [row["name"] for row in old.execute(f"PRAGMA table_info({table})").fetchall()]
    new.copy_in(table, names, _rows(old, table, names))
    before = _proof(table, names, _rows(old, table, names))
    after = _proof(table, names, new.stream(sql.all_rows(table, names)))
    if before != after:
        raise StoreError(f"the copy of table {table} differs: {before} became {after}", hint="nothing was moved")
    return after


def _rows(old: SqliteConnection, table: str, names: Sequence[str]) -> Iterator[tuple[object, ...]]:
    cursor = old.execute(sql.all_rows(table, names))
    while batch := cursor.fetchmany(_BATCH):
        yield from (tuple(row) for row in batch)


def _proof(table: str, names: Sequence[str], rows: Iterable[Sequence[object]]) -> TableProof:
    digest, count, total = hashlib.sha256(), 0, 0
    summed = names.index(_SUMMED[table]) if table in _SUMMED else None
    for row in rows:
        digest.update(json.dumps([kept(value) for value in row]).encode() + b"\n")
        count += 1
        total += int(str(row[summed])) if summed is not None else 0
    return TableProof(table, count, total if summed is not None else None, digest.hexdigest())


def _set_next_number(table: str) -> str:
    key = sql.TABLES[table]
    return (
        f"SELECT setval(pg_get_serial_sequence('{table}', '{key}'), "
        f"COALESCE(MAX({key}), 1), MAX({key}) IS NOT NULL) FROM {table}"
    )


def _seal(old: SqliteConnection, target: str) -> None:
    """From now on the source refuses every change, also from processes that have had it open all along."""
    old.execute(sql.PUT_META, {"key": sql.SEALED, "value": target})
    words = (sql.SEAL_MARK + target).replace("'", "''")
    for table in sql.TABLES:
        for verb in ("INSERT", "UPDATE", "DELETE"):
            old.execute(
                f"CREATE TRIGGER sealed_{table}_{verb.lower()} BEFORE {verb} ON {table} "
                f"BEGIN SELECT RAISE(ABORT, '{words}'); END"
            )
    old.commit()


def _open_target(new: Session) -> None:
    new.begin()
    new.execute("DELETE FROM meta WHERE key = :key", {"key": sql.ARRIVING})
    new.commit()


def _arriving(new: Session) -> object:
    return next((row["value"] for row in new.execute(sql.GET_META, {"key": sql.ARRIVING}).fetchall()), None)


def _meta(old: sqlite3.Connection, key: str) -> str | None:
    row = old.execute(sql.GET_META, {"key": key}).fetchone()
    return str(row["value"]) if row else None


def _has_meta(old: sqlite3.Connection) -> bool:
    return old.execute("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'meta'").fetchone() is not None
