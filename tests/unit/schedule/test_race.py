"""Two daemons at one moment, without a lease between them: what is exactly once rests on the database alone."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from ftorch.jobs.rights import Alone
from ftorch.schedule.retrain import Retrain
from ftorch.schedule.scheduler import Scheduler
from ftorch.store import Store, open_store
from postgres import Server, running_server
from unit.schedule.bench import Bench

_HOURS = 6


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with running_server() as running:
        yield running


@pytest.fixture(params=["sqlite", "postgres"])
def stores(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[list[Store]]:
    """One database, opened twice as two processes would."""
    if request.param == "sqlite":
        place: Path | str = tmp_path / "race.db"
    else:
        server: Server = request.getfixturevalue("server")
        place = server.fresh()
    opened = [open_store(place) for _ in range(2)]
    yield opened
    for store in opened:
        store.close()


def test_two_daemons_that_race_start_one_job_for_each_time(bench: Bench, stores: list[Store]) -> None:
    contexts = [replace(bench.context, store=store) for store in stores]
    bench.context.store.close()
    bench.context = contexts[0]
    bench.add(when="always")
    daemons = [Scheduler(context, Alone(), Retrain(context)) for context in contexts]

    idle = threading.Event()

    with ThreadPoolExecutor(2) as both:
        for _ in range(_HOURS):
            bench.clock.advance(3600)
            for _ in range(3):
                list(both.map(lambda daemon: daemon.tick(), daemons))
            while any(daemon.under_way for daemon in daemons):
                idle.wait(0.001)
            bench.job_ends()

    for daemon in daemons:
        daemon.tick()
        daemon.close()
    found = [(row.state, row.job_id) for row in bench.occurrences()]
    assert len(bench.jobs()) == _HOURS
    assert {state for state, _ in found} == {"failed"}
    assert sorted(job for _, job in found if job) == sorted(job.id for job in bench.jobs())
