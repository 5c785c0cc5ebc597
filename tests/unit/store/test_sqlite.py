"""What only SQLite has."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ftorch.core.errors import StoreError
from ftorch.store import SqliteStore, Transaction

NOW = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    opened = SqliteStore.open(tmp_path / "ftorch.db")
    yield opened
    opened.close()


def test_a_database_of_a_newer_version_is_refused_and_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "ftorch.db"
    SqliteStore.open(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    before = path.read_bytes()

    with pytest.raises(StoreError, match="newer ftorch") as caught:
        SqliteStore.open(path)

    assert "upgrade" in (caught.value.hint or "")
    assert path.read_bytes() == before


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "ftorch.db"
    path.write_text("certainly not a database, but long enough to have a header " * 4)

    with pytest.raises(StoreError, match="not an ftorch database"):
        SqliteStore.open(path)


def test_opening_twice_migrates_once(tmp_path: Path) -> None:
    first = SqliteStore.open(tmp_path / "ftorch.db")
    first.write(lambda tx: tx.put_meta("installation", "abc123"))

    second = SqliteStore.open(tmp_path / "ftorch.db")

    assert second.meta("installation") == "abc123"


def test_commits_are_flushed_to_disk(store: SqliteStore) -> None:
    level = store.read().scalar("PRAGMA synchronous")

    assert level == 2


def test_a_full_disk_is_said_in_words_and_nothing_is_lost(store: SqliteStore) -> None:
    store.write(lambda tx: tx.put_meta("kept", "yes"))

    def change(tx: Transaction) -> None:
        tx.scalar("PRAGMA max_page_count = 1")
        tx.put_meta("large", "x" * 1_000_000)

    with pytest.raises(StoreError, match="no space left"):
        store.write(change)

    assert (store.meta("kept"), store.meta("large")) == ("yes", None)


def test_a_database_that_somebody_keeps_locked_is_said_in_words(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ftorch.store.sqlite._BUSY_S", 0.05)
    holder = sqlite3.connect(store.path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")

    with pytest.raises(StoreError, match="locked by another process"):
        store.write(lambda tx: tx.put_meta("a", "b"))

    holder.execute("ROLLBACK")
    holder.close()
    store.write(lambda tx: tx.put_meta("a", "b"))
    assert store.meta("a") == "b"


def test_a_new_database_that_another_process_sets_up_just_now_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = sqlite3.connect(tmp_path / "ftorch.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    monkeypatch.setattr("ftorch.store.sqlite.time.sleep", lambda _: other.execute("COMMIT"))

    store = SqliteStore.open(tmp_path / "ftorch.db")

    assert store.read().scalar("PRAGMA journal_mode") == "wal"
    store.close()
    other.close()
