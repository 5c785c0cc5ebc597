"""The engine in bad weather: storms, outages, clocks that jump, a database that is locked or full. Each ends as if
nothing had been: one run, one charge, the job succeeded.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from ftorch.core.clock import ManualClock, SteadyClock
from ftorch.core.errors import ProviderUnavailableError, RateLimitedError, StoreError
from ftorch.jobs.engine import Engine
from ftorch.providers.base import Observation, RunState
from ftorch.store.sqlite import SqliteConnection
from unit.jobs.cloud import NAME, RATE, TRAINING, CloudProvider, Remote
from unit.jobs.desk import Desk

CALLS = ("stage", "placements", "submit", "find", "observe", "cancel", "fetch", "release", "charges", "owned")
HOUR = 3600.0


class Weather:
    """While it lasts, every call of the provider fails in the same way, before anything was done."""

    def __init__(self, error: Exception) -> None:
        self.error: Exception | None = error
        self.refused = 0

    def cover(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in CALLS:
            monkeypatch.setattr(CloudProvider, name, self._covered(getattr(CloudProvider, name)))

    def _covered(self, call: Any) -> Any:
        def ask(*args: Any, **kwargs: Any) -> Any:
            if self.error is not None:
                self.refused += 1
                raise self.error
            return call(*args, **kwargs)

        return ask


STORM = RateLimitedError("too many requests", retry_after_s=60.0, provider=NAME, operation="any")
OUTAGE = ProviderUnavailableError("503 from the gateway", provider=NAME, operation="any")


def paid_once(desk: Desk, job_id: str) -> bool:
    seconds = int(TRAINING.total_seconds())
    is_one = len(desk.cloud.runs) == len(desk.runs(job_id)) == 1
    return is_one and desk.job(job_id).state == "succeeded" and desk.spent() == int(RATE * seconds * 1_000_000 / 3600)


@pytest.mark.parametrize("error", [STORM, OUTAGE], ids=["429", "down"])
@pytest.mark.parametrize("is_sent", [False, True], ids=["before the create", "while it runs"])
def test_hours_of_bad_weather_cost_nothing_and_lose_nothing(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, error: Exception, is_sent: bool
) -> None:
    job_id = desk.submit()
    if is_sent:
        desk.run_until(lambda: bool(desk.cloud.runs))
    weather = Weather(error)
    weather.cover(monkeypatch)
    end = desk.clock.now().timestamp() + 3 * HOUR
    desk.run_until(lambda: desk.clock.now().timestamp() >= end, seconds=4 * 3600, step=30.0)
    still_open = desk.job(job_id).ended_at is None

    weather.error = None
    desk.finish(job_id)
    desk.run_until(lambda: desk.runs(job_id)[0].settled_at is not None, seconds=8 * 3600, step=60.0)

    assert still_open
    assert paid_once(desk, job_id)


def test_a_storm_of_429_is_answered_with_few_calls(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    capabilities = replace(CloudProvider.capabilities, requests_per_second=1.0)
    monkeypatch.setattr(CloudProvider, "capabilities", capabilities)
    weather = Weather(STORM)
    weather.cover(monkeypatch)
    for _ in range(50):
        desk.submit()

    end = desk.clock.now().timestamp() + HOUR
    desk.run_until(lambda: desk.clock.now().timestamp() >= end, seconds=7200)

    # Retry-After says a call a minute, however many jobs wait.
    assert 20 <= weather.refused <= 61


def test_a_machine_that_slept_for_hours_finds_everything_done(desk: Desk) -> None:
    job_id = desk.submit()
    desk.run_until(lambda: desk.job(job_id).state == "running")

    desk.clock.advance(9 * HOUR)
    desk.finish(job_id)
    desk.run_until(lambda: desk.runs(job_id)[0].settled_at is not None, seconds=4 * 3600, step=60.0)

    assert paid_once(desk, job_id)


class Pair(ManualClock):
    """Our clock; the provider's goes with it, and is not set when ours is."""

    def __init__(self, theirs: ManualClock) -> None:
        super().__init__(theirs.now())
        self.theirs = theirs

    def advance(self, seconds: float) -> None:
        super().advance(seconds)
        self.theirs.advance(seconds)


def stamp_by(clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the provider sees is dated by a clock of ours, not by the service's."""
    observation = CloudProvider._observation

    def stamped(provider: CloudProvider, run: Remote) -> Observation:
        return replace(observation(provider, run), observed_at=clock.now())

    monkeypatch.setattr(CloudProvider, "_observation", stamped)


@pytest.mark.parametrize("stamps", ["theirs", "ours"])
@pytest.mark.parametrize("hours", [-30, -2, 2, 30])
@pytest.mark.parametrize("state", ["staging", "queued", "running"])
def test_a_wall_clock_that_is_set_changes_no_run(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, hours: int, state: str, stamps: str
) -> None:
    desk.clock = Pair(desk.clock)
    desk.cloud.clock = desk.clock.theirs
    if stamps == "ours":
        stamp_by(desk.clock, monkeypatch)
    desk.context = replace(desk.context, clock=SteadyClock(desk.clock))
    desk.engine = Engine(desk.context)
    job_id = desk.submit()
    if state != "staging":
        desk.run_until(lambda: bool(desk.cloud.runs))
    if state == "running":
        desk.run_until(lambda: desk.job(job_id).state == "running")

    desk.clock.jump(hours * HOUR)
    jumped_s = desk.clock.boot_s()
    desk.finish(job_id)
    took_s = desk.clock.boot_s() - jumped_s
    desk.run_until(lambda: desk.runs(job_id)[0].settled_at is not None, seconds=4 * 3600, step=60.0)
    desk.engine.close()

    assert took_s < 2 * TRAINING.total_seconds()
    assert paid_once(desk, job_id)


def test_a_second_daemon_whose_clock_is_behind_sees_the_end_at_once(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = desk.submit()
    desk.run_until(lambda: desk.job(job_id).state == "running")
    stamp_by(ManualClock(desk.clock.now() - timedelta(hours=2)), monkeypatch)
    desk.clock.advance(TRAINING.total_seconds())

    desk.run_until(lambda: desk.job(job_id).ended_at is not None, seconds=60)

    assert desk.job(job_id).state == "succeeded"


def test_a_status_word_that_nobody_knows_holds_the_job_and_then_lets_it_go_on(desk: Desk) -> None:
    job_id = desk.submit()
    desk.run_until(lambda: desk.job(job_id).state == "running")
    desk.cloud.runs[0].state = RunState.UNKNOWN
    desk.run_until(lambda: desk.runs(job_id)[0].state == "unknown")
    held = desk.job(job_id).ended_at is None

    desk.cloud.runs[0].state = RunState.RUNNING
    desk.finish(job_id)

    assert held
    assert paid_once(desk, job_id)


@contextmanager
def locked(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Another process keeps the database to itself."""
    other = sqlite3.connect(desk.context.home.root / "ftorch.db", isolation_level=None)
    desk.context.store.write(lambda tx: tx.scalar("PRAGMA busy_timeout = 20"))
    other.execute("BEGIN IMMEDIATE")
    yield
    other.execute("ROLLBACK")
    other.close()


@contextmanager
def full(_desk: Desk, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """SQLite's own words when there is no room for a change."""

    def refuse(_connection: SqliteConnection) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(SqliteConnection, "begin", refuse)
        yield


@contextmanager
def gone(desk: Desk, _monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Its disk has been unplugged, and is plugged in again."""
    home = desk.context.home.root
    unplugged = home.with_name("unplugged")
    desk.context.store.close()
    home.rename(unplugged)
    home.mkdir()
    yield
    assert list(home.iterdir()) == [], "something was written where the disk is to be"
    home.rmdir()
    unplugged.rename(home)


@pytest.mark.parametrize("trouble", [locked, full, gone])
def test_a_database_that_cannot_be_written_for_an_hour_loses_nothing(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, trouble: Any
) -> None:
    job_id = desk.submit()
    desk.run_until(lambda: desk.job(job_id).state == "running")
    with trouble(desk, monkeypatch):
        for _ in range(12):
            desk.clock.advance(300)
            with suppress(StoreError):
                desk.engine.tick()
            desk.wait()

    before = desk.job(job_id).state
    desk.finish(job_id)
    desk.run_until(lambda: desk.runs(job_id)[0].settled_at is not None, seconds=4 * 3600, step=60.0)

    assert before == "running"
    assert paid_once(desk, job_id)
