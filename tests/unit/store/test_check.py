"""Looking a database over, and copying it."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from ftorch.core.errors import StoreError
from ftorch.store import SqliteStore, Store, sql
from ftorch.store.check import back_up, check
from ftorch.store.migrate import newest
from unit.jobs import rows
from unit.store.test_store import entry


def test_a_sound_database_is_counted_and_added_up(store: Store) -> None:
    store.write(lambda tx: tx.insert_job(rows.job(), "{}"))
    store.write(lambda tx: tx.put_meta("installation", "abc123"))
    store.write(lambda tx: tx.add_entry(entry(amount_micro=7)))
    store.write(lambda tx: tx.add_entry(entry(amount_micro=-2, revision=2)))

    report = check(store)

    assert (report.installation, report.schema_version, report.ledger_micro) == ("abc123", newest(), 5)
    assert {table: count for table, count in report.rows.items() if count} == {"meta": 1, "jobs": 1, "ledger": 2}
    assert report.findings == ()


def test_every_table_is_known(tmp_path: Path) -> None:
    SqliteStore.open(tmp_path / "ftorch.db").close()
    with sqlite3.connect(tmp_path / "ftorch.db") as connection:
        found = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}

    assert found == set(sql.TABLES)


def test_a_row_that_refers_to_nothing_is_found(tmp_path: Path) -> None:
    store = SqliteStore.open(tmp_path / "ftorch.db")
    with sqlite3.connect(store.path) as connection:
        connection.execute("INSERT INTO events (job_id, at, event) VALUES ('gone', 0, 'x')")

    assert check(store).findings == ("row 1 of events refers to nothing in jobs",)
    store.close()


def test_a_damaged_page_is_found(tmp_path: Path) -> None:
    store = SqliteStore.open(tmp_path / "ftorch.db")
    store.write(lambda tx: tx.put_meta("a-key-and-its-index", "x"))
    store.close()
    with sqlite3.connect(store.path) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    table, _, index = store.path.read_bytes().rpartition(b"a-key-and-its-index")
    store.path.write_bytes(table + b"a-key-and-its-xndex" + index)

    reopened = SqliteStore(store.path)

    assert any("missing from index" in finding for finding in reopened.findings())
    reopened.close()


def test_a_backup_is_a_database_of_its_own(tmp_path: Path) -> None:
    store = SqliteStore.open(tmp_path / "ftorch.db")
    store.write(lambda tx: tx.put_meta("a", "b"))

    back_up(store, tmp_path / "copy.db")

    copy = SqliteStore.open(tmp_path / "copy.db")
    assert copy.meta("a") == "b"
    assert sorted(path.name for path in tmp_path.glob("*copy*.db")) == ["copy.db"]
    copy.close()
    store.close()


def test_a_backup_replaces_nothing(tmp_path: Path) -> None:
    store = SqliteStore.open(tmp_path / "ftorch.db")
    (tmp_path / "copy.db").write_text("precious")

    with pytest.raises(StoreError, match="is there already"):
        back_up(store, tmp_path / "copy.db")

    assert (tmp_path / "copy.db").read_text() == "precious"
    store.close()


def test_a_backup_into_a_folder_that_is_not_there_is_said_in_words(tmp_path: Path) -> None:
    store = SqliteStore.open(tmp_path / "ftorch.db")

    with pytest.raises(StoreError, match="cannot be"):
        back_up(store, tmp_path / "missing" / "copy.db")

    store.close()
