"""What every store does, on both databases."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from ftorch.core.clock import ManualClock
from ftorch.store import EventRow, IntegrityError, JobRow, LedgerRow, Store, Transaction, sql
from ftorch.store.writer import Writer
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
        "counted_at": NOW,
    }
    return LedgerRow(**{**values, **changes})  # type: ignore[arg-type]  # the table above has the types


def test_a_reading_goes_by_a_clock_that_all_processes_of_the_database_share(store: Store) -> None:
    here, there = ManualClock(), ManualClock()
    there.jump(7200)
    before = store.reading(here)

    since = store.reading(there).since(before)

    assert since is not None
    assert since < timedelta(seconds=60)


def test_a_job_is_read_back_as_it_was_written(store: Store) -> None:
    store.write(lambda tx: tx.insert_job(job(), "{}"))

    assert store.job("job-1") == job()


def test_decimals_and_moments_survive_the_database(store: Store) -> None:
    store.write(lambda tx: tx.add_entry(entry()))

    [read] = store.ledger()

    assert (read.quantity, read.unit_price, read.period_start) == (Decimal("1.5"), Decimal("0.000001"), NOW)


def test_of_two_changes_to_one_version_one_wins(store: Store) -> None:
    store.write(lambda tx: tx.insert_job(job(), "{}"))

    first = store.write(lambda tx: tx.update_job(job(), state="staging"))
    second = store.write(lambda tx: tx.update_job(job(), state="failed"))

    assert (first, second) == (True, False)
    assert _state(store) == "staging"


def test_a_change_that_raises_leaves_nothing_behind(store: Store) -> None:
    def change(tx: Transaction) -> None:
        tx.insert_job(job(), "{}")
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        store.write(change)

    assert store.job("job-1") is None


def test_a_change_that_raises_does_not_undo_its_neighbours(store: Store) -> None:
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


def test_many_changes_share_few_commits(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    commits = 0
    gate = threading.Event()
    original = Writer._commit

    def counted(writer: Writer[Any], connection: Any, group: Any) -> None:
        nonlocal commits
        commits += 1
        gate.wait()
        original(writer, connection, group)

    monkeypatch.setattr(Writer, "_commit", counted)
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


def test_a_ledger_reference_has_each_revision_once(store: Store) -> None:
    store.write(lambda tx: tx.add_entry(entry()))

    with pytest.raises(IntegrityError, match="refused a change"):
        store.write(lambda tx: tx.add_entry(entry()))

    assert len(store.ledger()) == 1


def test_events_come_in_the_order_of_their_commits(store: Store) -> None:
    store.write(lambda tx: tx.insert_job(job(), "{}"))
    for word in ("one", "two", "three"):
        row = EventRow(seq=0, job_id="job-1", run_key=None, at=NOW, event=word, detail="")
        store.write(lambda tx, row=row: tx.add_event(row))  # type: ignore[misc]  # mypy cannot infer a default's type

    assert [event.event for event in store.events_of("job-1")] == ["one", "two", "three"]
    assert [event.event for event in store.events_of("job-1", after=1)] == ["two", "three"]


def test_closing_twice_is_harmless(store: Store) -> None:
    store.write(lambda tx: tx.put_meta("a", "b"))

    store.close()
    store.close()

    assert store.meta("a") == "b"


def test_work_is_every_job_that_is_open_or_owes_something(store: Store) -> None:
    store.write(lambda tx: tx.insert_job(job("open"), "{}"))
    store.write(lambda tx: tx.insert_job(job("ended"), "{}"))
    ended = store.job("ended")
    assert ended is not None
    store.write(lambda tx: tx.update_job(ended, ended_at=NOW, state="succeeded"))

    assert list(store.read().pairs(sql.WORK_JOB_VERSIONS)) == ["open"]


def _state(store: Store) -> str:
    read = store.job("job-1")
    assert read is not None
    return read.state
