"""Waiting for a job that another process works on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ftorch.core.clock import ManualClock
from ftorch.core.errors import NotFinishedError, UsageError
from ftorch.jobs.views import JobView
from ftorch.jobs.waiting import wait
from ftorch.store import SqliteStore, sql
from unit.jobs import rows


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    found = SqliteStore.open(tmp_path / "ftorch.db")
    yield found
    found.close()


def waited(store: SqliteStore, timeout: str | float | None = "10s", wake: Callable[[], object] = int) -> JobView:
    return wait(store, ManualClock(), "a", timeout=timeout, on_change=lambda _view, _events: None, wake=wake)


def add(store: SqliteStore, state: str, **changes: object) -> None:
    row = rows.job(id="a", state=state, **changes)
    store.write(lambda tx: tx.insert_job(row, "{}"))


def test_the_end_is_returned(store: SqliteStore) -> None:
    add(store, "failed", ended_at=ManualClock().now())

    assert waited(store).state == "failed"


def test_a_daemon_is_woken_every_five_seconds_until_the_time_is_over(store: SqliteStore) -> None:
    add(store, "running")
    woken: list[None] = []

    with pytest.raises(NotFinishedError, match="job a is still running"):
        waited(store, "10s", wake=lambda: woken.append(None))

    assert len(woken) == 2


def test_an_end_that_comes_meanwhile_is_seen(store: SqliteStore) -> None:
    add(store, "running")

    def end() -> None:
        job = store.read().one(type(rows.job()), sql.JOB, id="a")
        assert job is not None
        store.write(lambda tx: tx.update_job(job, state="succeeded", ended_at=ManualClock().now()))

    assert waited(store, None, wake=end).state == "succeeded"


@pytest.mark.parametrize("timeout", ["soon", "nan", "-1s", "inf", "h", -5.0])
def test_what_is_no_duration_is_refused(store: SqliteStore, timeout: str | float) -> None:
    add(store, "running")

    with pytest.raises(UsageError, match="is not a duration"):
        waited(store, timeout)
