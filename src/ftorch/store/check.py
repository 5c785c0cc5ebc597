"""Looking a database over: is it sound, how much is in it, does its money add up to something."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ftorch.core.errors import StoreError
from ftorch.store import sql
from ftorch.store.base import Store
from ftorch.store.sqlite import SqliteStore


@dataclass(frozen=True, slots=True)
class DatabaseReport:
    """What a look at a database found. `findings` is empty when it is sound."""

    database: str
    schema_version: int
    installation: str | None
    rows: Mapping[str, int]
    ledger_micro: int
    findings: tuple[str, ...]


def check(store: Store) -> DatabaseReport:
    """Look the whole database over. Reads every page of a SQLite file; a server watches over its own."""
    tx = store.read()
    return DatabaseReport(
        database=store.name,
        schema_version=store.schema_version(),
        installation=store.meta(sql.INSTALLATION),
        rows={table: int(tx.scalar(sql.count(table))) for table in sql.TABLES},
        ledger_micro=int(tx.scalar(sql.LEDGER_SUM)),
        findings=store.findings() if isinstance(store, SqliteStore) else (),
    )


def back_up(store: SqliteStore, file: Path) -> None:
    """Copy the database into a new file, whole or not at all, while others go on writing."""
    if file.exists():
        raise StoreError(f"{file} is there already", hint="name a file that is not")
    aside = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        store.copy_to(aside)
        _flush(aside)
        aside.replace(file)
    except OSError as error:
        raise StoreError(f"the backup {file} cannot be written: {error.strerror}") from error
    finally:
        with suppress(OSError):
            aside.unlink()


def _flush(file: Path) -> None:
    """SQLite does not flush the copy that it makes."""
    descriptor = os.open(file, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
