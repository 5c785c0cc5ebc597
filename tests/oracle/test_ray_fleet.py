"""Twenty jobs at once on one real head, and a head that is killed and started again. Part of `make cluster`."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from cluster.head import Head
from cluster.stand_in import put_in
from ftorch.core.clock import SystemClock
from ftorch.core.ids import Ids
from ftorch.core.money import Money
from ftorch.core.paths import Home
from ftorch.jobs.context import Context
from ftorch.jobs.engine import Engine
from ftorch.manifest.plan import Plan
from ftorch.manifest.schema import Retry
from ftorch.manifest.settings import Cap
from ftorch.providers.base import RunState
from ftorch.providers.http import Http, default_client
from ftorch.providers.ray.provider import RayProvider
from ftorch.store import JobRow, SqliteStore
from unit.jobs.cloud import Cloud
from unit.jobs.desk import Desk
from unit.plans import plan

_JOBS = 20
_AT_ONCE = 6


@dataclass
class Fleet:
    """An engine on a real cluster, with a clock that nobody moves."""

    desk: Desk
    asked: list[str]

    def submit(self, number: int, *, max_runs: int = 3) -> str:
        return self.desk.submit(_plan(number, max_runs), "ray")

    def until(self, is_done: Callable[[], bool], *, within_s: float) -> None:
        deadline = time.monotonic() + within_s
        while not is_done():
            assert time.monotonic() < deadline, [job.state for job in self.desk.context.store.jobs()]
            self.desk.engine.tick()
            time.sleep(0.1)

    def job(self, job_id: str) -> JobRow:
        return self.desk.job(job_id)


def _plan(number: int, max_runs: int) -> Plan:
    return plan(
        providers=("ray",),
        name=f"job-{number}",
        options={"ray": {"cpu": True}},
        declared_rates={"ray": Money.parse("3.60 USD")},
        retry=Retry(max_runs=max_runs),
    )


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    with Head(cpus=_JOBS) as head:
        yield head


@pytest.fixture
def fleet(head: Head, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fleet]:
    settings = tmp_path / "instant.json"
    settings.write_text("{}")
    put_in(monkeypatch, settings)
    clock, asked = SystemClock(), list[str]()
    client = default_client()
    client.event_hooks["request"].append(lambda request: asked.append(f"{request.method} {request.url.path}"))
    provider = RayProvider(Http("ray", head.url, clock=clock, client=client), head.url, Home(tmp_path), clock)
    store = SqliteStore.open(tmp_path / "ftorch.db")
    context = Context(
        store=store,
        clock=clock,
        ids=Ids(),
        home=Home(tmp_path),
        installation="abc123",
        env={},
        open_provider=lambda _name: provider,
        caps=(Cap(provider="ray", runs=_AT_ONCE),),
    )
    engine = Engine(context)
    yield Fleet(Desk(context, Cloud(clock), clock, engine), asked)  # type: ignore[arg-type]  # nobody moves this clock
    engine.close()
    store.close()
    provider.close()


def test_twenty_jobs_at_once_are_neither_lost_nor_doubled(fleet: Fleet, head: Head) -> None:
    jobs = [fleet.submit(number) for number in range(_JOBS)]

    fleet.until(lambda: all(fleet.job(job).ended_at for job in jobs), within_s=300)

    runs = [run for job in jobs for run in fleet.desk.runs(job)]
    folders = {path.name for path in head.runs.glob("ft-abc123-*")}
    assert {fleet.job(job).state for job in jobs} == {"succeeded"}
    assert folders == {run.key for run in runs}
    assert len(runs) == _JOBS
    assert fleet.asked.count("POST /api/jobs/") == _JOBS
    # Six at a time are asked for by one list; each run is asked for singly before, and a few times after its training.
    assert len(fleet.asked) <= 30 * _JOBS, len(fleet.asked)
    print(f"{len(fleet.asked)} requests for {_JOBS} jobs")


@pytest.mark.parametrize(("max_runs", "state", "runs"), [(1, "lost", 1), (3, "succeeded", 2)])
def test_a_head_that_is_killed_and_started_again_loses_jobs_or_they_go_on_as_the_manifest_says(
    fleet: Fleet, head: Head, tmp_path: Path, max_runs: int, state: str, runs: int
) -> None:
    (tmp_path / "instant.json").write_text(json.dumps({"seconds": 600}))
    job = fleet.submit(0, max_runs=max_runs)
    fleet.until(lambda: [run.state for run in fleet.desk.runs(job)] == [RunState.RUNNING.value], within_s=60)

    head.kill()
    fleet.desk.engine.tick()
    while_down = fleet.job(job).state
    (tmp_path / "instant.json").write_text("{}")
    head.start()
    # A create may become visible until its time is over; only then is a run that is not there believed to be gone.
    fleet.until(lambda: fleet.job(job).ended_at is not None, within_s=280)

    first = fleet.desk.runs(job)[0]
    assert while_down == "running"
    assert (fleet.job(job).state, len(fleet.desk.runs(job)), first.state) == (state, runs, "absent")
    assert "started anew" in first.detail
