"""The daemon that leads is killed or told to leave: another takes over in time, and pays nothing twice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from crash import filecloud
from crash.filecloud import FileCloud, context_of
from ftorch.core.clock import ManualClock
from ftorch.jobs.engine import Engine
from ftorch.jobs.rights import LEASE
from ftorch.store import Store, open_store
from postgres import Server
from unit.jobs.cloud import Cloud
from unit.jobs.desk import Desk

TICK_S = 1.0
TRAINING_S = 25.0
DAEMONS = 3


@pytest.fixture
def store(server: Server) -> Iterator[Store]:
    opened = open_store(server.fresh())
    yield opened
    opened.close()


def test_another_daemon_takes_over_within_the_lease_time_and_one_tick(tmp_path: Path, store: Store) -> None:
    job, daemons = furnished(tmp_path, store)
    try:
        leader = until(lambda: leading(store), within_s=30)
        until(lambda: list((tmp_path / "cloud").iterdir()), within_s=30)

        os.kill(leader, signal.SIGKILL)
        killed_s = time.monotonic()
        until(lambda: leading(store) not in (None, leader), within_s=60)
        took_s = time.monotonic() - killed_s

        until(lambda: ended(store, job), within_s=TRAINING_S + 60)
    finally:
        for daemon in daemons:
            daemon.kill()
            daemon.wait()

    print(f"took over after {took_s:.1f} s; the lease is {LEASE.total_seconds():.0f} s, a tick {TICK_S:.0f} s")
    found = store.job(job)
    assert found is not None
    assert took_s <= LEASE.total_seconds() + TICK_S
    assert (found.state, len(store.runs_of(job)), len(store.ledger_of(job))) == ("succeeded", 1, 1)
    assert len(list((tmp_path / "cloud").iterdir())) == 1


def test_a_leader_that_is_told_to_leave_gives_its_lease_back(tmp_path: Path, store: Store) -> None:
    job, daemons = furnished(tmp_path, store)
    try:
        leader = until(lambda: leading(store), within_s=30)
        until(lambda: list((tmp_path / "cloud").iterdir()), within_s=30)

        os.kill(leader, signal.SIGTERM)
        told_s = time.monotonic()
        until(lambda: leading(store) not in (None, leader), within_s=60)
        took_s = time.monotonic() - told_s

        [gone] = [daemon for daemon in daemons if daemon.pid == leader]
        assert gone.wait(10) == 0
        until(lambda: ended(store, job), within_s=TRAINING_S + 60)
    finally:
        for daemon in daemons:
            daemon.kill()
            daemon.wait()

    print(f"took over after {took_s:.1f} s; the lease is {LEASE.total_seconds():.0f} s")
    found = store.job(job)
    assert found is not None
    assert took_s < LEASE.total_seconds() / 3
    assert (found.state, len(store.runs_of(job)), len(store.ledger_of(job))) == ("succeeded", 1, 1)
    assert len(list((tmp_path / "cloud").iterdir())) == 1


def furnished(folder: Path, store: Store) -> tuple[str, list[subprocess.Popen[bytes]]]:
    """A job, and three daemons with state folders of their own."""
    for name in ("cloud", "shared", "desk"):
        (folder / name).mkdir()
    cloud = FileCloud(folder / "cloud", timedelta(seconds=TRAINING_S))
    context = context_of(folder / "desk", store, cloud)
    desk = Desk(context, Cloud(ManualClock()), ManualClock(), Engine(context))
    desk.clock = context.clock  # type: ignore[assignment]  # real processes live in real time
    job = desk.submit()
    return job, [started(folder / f"home-{number}", store, folder / "cloud") for number in range(DAEMONS)]


def started(home: Path, store: Store, cloud: Path) -> subprocess.Popen[bytes]:
    tests = str(Path(__file__).parents[1])
    url = vars(store)["_url"]
    words = [sys.executable, filecloud.__file__, str(home), url, str(cloud), str(TRAINING_S)]
    return subprocess.Popen(words, env={**os.environ, "PYTHONPATH": tests}, stderr=subprocess.DEVNULL)


def leading(store: Store) -> int | None:
    """The process that leads the cloud's account, by its lease; None while nobody does."""
    now = "SELECT owner FROM leases WHERE name LIKE 'lead/cloud/%' AND expires_at > :now"
    owner = store.read().scalar(now, now=None)
    return int(str(owner).split("/")[-2]) if owner else None


def ended(store: Store, job: str) -> bool:
    found = store.job(job)
    return found is not None and found.ended_at is not None


def until(say: Callable[[], object], *, within_s: float) -> int:
    """What `say` says as soon as it says something."""
    deadline_s = time.monotonic() + within_s
    while not (found := say()):
        assert time.monotonic() < deadline_s, f"not within {within_s} s"
        time.sleep(0.1)
    return found if isinstance(found, int) else 0
