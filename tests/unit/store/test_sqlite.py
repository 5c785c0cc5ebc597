from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from ftorch.core.errors import StoreError
from ftorch.store import EventRow, JobRow, LedgerRow, SqliteStore, Transaction, sql
from unit.jobs import rows

NOW = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)


def job(job_id: str = "job-1") -> JobRow:
    return rows.job(id=job_id)


def entry(**changes: object) -> LedgerRow:
    values: dict[str, object] = {
        "provider": "local",
        "account": "here",
        "source": "declared",
        "source_ref": "run/time",
        "revision": 1,
        "run_key": None,
        "job_id": None,
        "kind": "provisional",
        "amount_micro": 5,
        "quantity": Decimal("1.5"),
        "unit": "second",
        "unit_price": Decimal("0.000001"),
        "description": "time",
        "period_start": NOW,
        "period_end": NOW,
        "as_of": NOW,
        "recorded_at": NOW,
    }
    return LedgerRow(**{**values, **changes})  # type: ignore[arg-type]  # the table above has the types


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    opened = SqliteStore.open(tmp_path / "ftorch.db")
    yield opened
    opened.close()


def test_a_job_is_read_back_as_it_was_written(store: SqliteStore) -> None:
    store.write(lambda tx: tx.insert_job(job(), "{}"))

    assert store.job("job-1") == job()


def test_decimals_and_moments_survive_the_database(store: SqliteStore) -> None:
    store.write(lambda tx: tx.add_entry(entry()))

    [read] = store.ledger()

    assert (read.quantity, read.unit_price, read.period_start) == (Decimal("1.5"), Decimal("0.000001"), NOW)


def test_of_two_changes_to_one_version_one_wins(store: SqliteStore) -> None:
    store.write(lambda tx: tx.insert_job(job(), "{}"))

    first = store.write(lambda tx: tx.update_job(job(), state="staging"))
    second = store.write(lambda tx: tx.update_job(job(), state="failed"))

    assert (first, second) == (True, False)
    assert _state(store) == "staging"


def test_a_change_that_raises_leaves_nothing_behind(store: SqliteStore) -> None:
    def change(tx: Transaction) -> None:
        tx.insert_job(job(), "{}")
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        store.write(change)

    assert store.job("job-1") is None


def test_a_change_that_raises_does_not_undo_its_neighbours(store: SqliteStore) -> None:
    barrier = threading.Barrier(20)
    failures: list[int] = []

    def work(number: int) -> None:
        def change(tx: Transaction) -> None:
            tx.insert_job(job(f"job-{number}"), "{}")
            if number % 2:
                raise ValueError(number)

        barrier.wait()
        try:
            store.write(change)
        except ValueError:
            failures.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(row.id for row in store.jobs()) == sorted(f"job-{number}" for number in range(0, 20, 2))
    assert len(failures) == 10


def test_many_changes_share_few_commits(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    commits = 0
    gate = threading.Event()
    original = store._writer._commit

    def counted(connection: sqlite3.Connection, group: list[object]) -> None:
        nonlocal commits
        commits += 1
        gate.wait()
        original(connection, group)  # type: ignore[arg-type]  # passed through as it came

    monkeypatch.setattr(store._writer, "_commit", counted)
    threads = [
        threading.Thread(target=lambda n=n: store.write(lambda tx: tx.put_meta(f"key-{n}", "x"))) for n in range(200)
    ]

    for thread in threads:
        thread.start()
    gate.set()
    for thread in threads:
        thread.join()

    assert commits <= 60
    assert store.meta("key-199") == "x"


def test_a_ledger_reference_has_each_revision_once(store: SqliteStore) -> None:
    store.write(lambda tx: tx.add_entry(entry()))

    with pytest.raises(sqlite3.IntegrityError):
        store.write(lambda tx: tx.add_entry(entry()))

    assert len(store.ledger()) == 1


def test_events_come_in_the_order_of_their_commits(store: SqliteStore) -> None:
    store.write(lambda tx: tx.insert_job(job(), "{}"))
    for word in ("one", "two", "three"):
        row = EventRow(seq=0, job_id="job-1", run_key=None, at=NOW, event=word, detail="")
        store.write(lambda tx, row=row: tx.add_event(row))  # type: ignore[misc]  # mypy cannot infer a default's type

    assert [event.event for event in store.events_of("job-1")] == ["one", "two", "three"]
    assert [event.event for event in store.events_of("job-1", after=1)] == ["two", "three"]


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


def test_closing_twice_is_harmless(store: SqliteStore) -> None:
    store.write(lambda tx: tx.put_meta("a", "b"))

    store.close()
    store.close()

    assert store.meta("a") == "b"


def test_work_is_every_job_that_is_open_or_owes_something(store: SqliteStore) -> None:
    store.write(lambda tx: tx.insert_job(job("open"), "{}"))
    store.write(lambda tx: tx.insert_job(job("ended"), "{}"))
    ended = store.job("ended")
    assert ended is not None
    store.write(lambda tx: tx.update_job(ended, ended_at=NOW, state="succeeded"))

    found = store.read().many(JobRow, sql.WORK_JOBS)

    assert [row.id for row in found] == ["open"]


def _state(store: SqliteStore) -> str:
    read = store.job("job-1")
    assert read is not None
    return read.state


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
