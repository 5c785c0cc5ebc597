"""The engine with jobs on one cluster: none lost, none doubled, few questions; and what a new session does to them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from ftorch.core.clock import ManualClock
from ftorch.core.ids import Ids
from ftorch.core.money import Money
from ftorch.core.paths import Home
from ftorch.emulators.ray import TOKEN, RayEmulator
from ftorch.emulators.server import Fault
from ftorch.jobs.caps import with_defaults
from ftorch.jobs.context import Context
from ftorch.jobs.engine import Engine
from ftorch.manifest.plan import Plan
from ftorch.manifest.schema import Retry
from ftorch.manifest.settings import Cap
from ftorch.providers.ray.provider import RayProvider
from ftorch.store import RunRow, SqliteStore
from unit.jobs.cloud import Cloud
from unit.jobs.desk import Desk
from unit.plans import plan

_JOBS = 20
_PER_SECOND = Decimal("0.001")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def emulator(clock: ManualClock) -> Iterator[RayEmulator]:
    with RayEmulator(clock, gpus=_JOBS) as emulator:
        yield emulator


@pytest.fixture
def desk(emulator: RayEmulator, clock: ManualClock, tmp_path: Path) -> Iterator[Desk]:
    """An engine whose one provider is the cluster, without a cap."""
    env = {"RAY_ADDRESS": emulator.url, "RAY_AUTH_TOKEN": TOKEN, "FTORCH_HOME": str(tmp_path)}
    provider = RayProvider.from_env(env, clock)
    store = SqliteStore.open(tmp_path / "ftorch.db")
    context = Context(
        store=store,
        clock=clock,
        ids=Ids(),
        home=Home(tmp_path),
        installation="abc123",
        env=env,
        open_provider=lambda _name: provider,
        caps=(),
    )
    engine = Engine(context)
    yield Desk(context, Cloud(clock), clock, engine)
    engine.close()
    store.close()
    provider.close()


def _plan(number: int = 0, max_runs: int = 3) -> Plan:
    rates = {"ray": Money.parse("3.60 USD")}
    return plan(providers=("ray",), name=f"job-{number}", declared_rates=rates, retry=Retry(max_runs=max_runs))


def test_twenty_jobs_at_once_are_each_made_once_and_asked_for_together(desk: Desk, emulator: RayEmulator) -> None:
    emulator.script("POST /api/jobs/", Fault.DROP_AFTER, times=3)
    emulator.script("POST /api/jobs/", Fault.ERROR, times=2)
    jobs = [desk.submit(_plan(number), "ray") for number in range(_JOBS)]

    desk.run_until(lambda: all(desk.job(job).ended_at for job in jobs))

    assert {desk.job(job).state for job in jobs} == {"succeeded"}
    assert Counter(emulator.cluster.creates.values()) == {1: _JOBS}
    assert len({run.key for job in jobs for run in desk.runs(job)}) == _JOBS
    assert emulator.cluster.jobs == {}
    # For each run: before its create, after a lost answer, for its folder, its charge, its release. The rest are lists.
    assert emulator.requests["GET /api/jobs/{id}"] <= 6 * _JOBS
    assert emulator.requests["GET /api/jobs/"] <= 30
    # When it was first seen to run, and when it had ended, perhaps twice.
    assert emulator.requests["GET /api/v0/logs/file?status"] <= 3 * _JOBS


def test_a_head_bears_four_runs_unless_the_settings_say_otherwise(
    desk: Desk, emulator: RayEmulator, clock: ManualClock
) -> None:
    context = replace(desk.context, caps=with_defaults(()))
    engine = Engine(context)
    capped = Desk(context, desk.cloud, clock, engine)
    for number in range(6):
        capped.submit(_plan(number), "ray")

    capped.settle()
    clock.advance(3)
    capped.settle()

    assert len(emulator.cluster.jobs) == 4
    assert with_defaults((Cap(provider="ray", runs=9),)) == (Cap(provider="ray", runs=9),)
    engine.close()


@pytest.mark.parametrize(("max_runs", "state", "runs"), [(1, "lost", 1), (3, "succeeded", 2)])
def test_a_restarted_head_loses_the_job_or_it_goes_on_as_the_manifest_says(
    desk: Desk, emulator: RayEmulator, max_runs: int, state: str, runs: int
) -> None:
    job = desk.submit(_plan(max_runs=max_runs), "ray")
    desk.run_until(lambda: desk.runs(job)[:1] != [] and desk.runs(job)[0].state == "running")

    emulator.cluster.restart()
    done = desk.finish(job)

    first = desk.runs(job)[0]
    assert (done.state, len(desk.runs(job))) == (state, runs)
    assert (first.state, first.retry_event) == ("absent", "preempted")
    assert "started anew" in first.detail
    assert "not seen" in [event.event for event in desk.context.store.events_of(job)]


def _lost_after(desk: Desk, emulator: RayEmulator, jobs: int, *, unwatched_s: float = 0) -> list[Decimal]:
    """What jobs cost whose head is killed after 30 s of training, and found so when somebody looks again."""
    for number in range(jobs):
        desk.submit(_plan(number, max_runs=1), "ray")
    desk.run_until(lambda: len(_running(desk)) == jobs)
    until = desk.clock.now() + timedelta(seconds=30)
    desk.run_until(lambda: desk.clock.now() >= until)
    emulator.cluster.restart()
    desk.clock.advance(unwatched_s)
    desk.run_until(lambda: all(job.ended_at for job in desk.context.store.jobs()))
    assert {job.state for job in desk.context.store.jobs()} == {"lost"}
    return [Money.from_micro(entry.amount_micro).amount for entry in desk.context.store.ledger()]


def _running(desk: Desk) -> list[RunRow]:
    runs = [run for job in desk.context.store.jobs() for run in desk.runs(job.id)]
    return [run for run in runs if run.state == "running"]


def test_a_run_that_vanished_is_charged_to_when_it_was_seen_last_not_to_when_it_was_missed(
    desk: Desk, emulator: RayEmulator
) -> None:
    [usd] = _lost_after(desk, emulator, 1, unwatched_s=3 * 24 * 3600)

    assert 25 <= usd / _PER_SECOND <= 35


@pytest.mark.parametrize("jobs", [1, 5, 6, _JOBS])
def test_what_a_run_costs_does_not_depend_on_how_many_others_were_open(
    desk: Desk, emulator: RayEmulator, jobs: int
) -> None:
    amounts = _lost_after(desk, emulator, jobs)

    assert len(amounts) == jobs
    assert all(25 <= usd / _PER_SECOND <= 35 for usd in amounts)


def test_a_run_is_never_charged_beyond_what_it_held(desk: Desk, emulator: RayEmulator) -> None:
    job = desk.submit(_plan(max_runs=1), "ray")
    desk.run_until(lambda: len(_running(desk)) == 1)
    [run] = _running(desk)
    desk.context.change_run(run, max_duration_s=5, observed_at=desk.clock.now() + timedelta(hours=1))
    emulator.cluster.restart()

    desk.finish(job)

    [entry] = desk.context.store.ledger()
    assert Money.from_micro(entry.amount_micro).amount == (5 + 120) * _PER_SECOND


def test_a_look_at_many_that_tells_no_step_is_no_news(desk: Desk) -> None:
    for number in range(5):
        desk.submit(_plan(number), "ray")
    desk.run_until(lambda: [run.progress is not None for run in _running(desk)] == [True] * 5)
    desk.submit(_plan(5), "ray")
    desk.run_until(lambda: len(_running(desk)) == 6)
    before = {run.key: run.version for run in _running(desk)}

    for _ in range(3):
        desk.clock.advance(5)
        desk.settle()

    assert {run.key: run.version for run in _running(desk)} == before


def test_a_run_that_finds_no_room_is_given_up_and_the_job_says_so(desk: Desk, emulator: RayEmulator) -> None:
    emulator.cluster.gpus = 0
    job = desk.submit(_plan(max_runs=1), "ray")

    done = desk.finish(job)

    [run] = desk.runs(job)
    assert (done.state, done.reason, run.stop_reason) == ("failed", "capacity", "capacity")
    assert desk.spent() == 0
