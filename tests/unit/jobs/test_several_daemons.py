"""Engines on PostgreSQL: a leader that is late beside the next one, and a server that goes away for a minute."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ftorch.core.clock import ManualClock
from ftorch.core.errors import StoreError
from ftorch.core.ids import Ids
from ftorch.core.paths import Home
from ftorch.jobs.context import Context
from ftorch.jobs.engine import Engine
from ftorch.jobs.rights import Shared
from ftorch.providers.base import RunOrder, RunRef
from ftorch.store import Transaction, open_store
from postgres import Server, running_server
from unit.jobs.cloud import NAME, Cloud, CloudProvider
from unit.jobs.desk import Desk, Later


@pytest.fixture
def own_server() -> Iterator[Server]:
    """A server that a test may stop."""
    with running_server() as running:
        yield running


@dataclass
class Daemon(Desk):
    """An engine with the leases of a daemon, renewed whenever it goes round."""

    rights: Shared
    threads: Later

    def settle(self) -> None:
        self.renew()
        super().settle()

    def renew(self) -> None:
        self.rights.leads(NAME)
        self.rights.renew()

    def go_to_the_submit(self) -> str:
        """A job whose create is decided and waits for its thread, which begins when the test says so."""
        job = self.submit()
        while not self.runs(job):
            self.renew()
            self.engine.tick()
            self.threads.begin()
        self.engine.tick()
        return job


def daemon(name: str, url: str, folder: Path, cloud: Cloud, threads: Later | None = None) -> Daemon:
    clock = cloud.clock
    assert isinstance(clock, ManualClock)
    provider = CloudProvider(cloud)
    context = Context(
        store=open_store(url),
        clock=clock,
        ids=Ids(),
        home=Home(folder / name, artifacts=folder / "shared"),
        installation="abc123",
        env={},
        open_provider=lambda _name: provider,
    )
    # The account has shown a run of ours before: an empty search of it proves something.
    context.store.write(lambda tx: tx.put_meta("mark/cloud/acct", "ft-abc123-earlier"))
    rights = Shared(context.store, clock, name, lambda _name: "acct", begin=lambda call: call())
    pool = (lambda _workers, _name: threads) if threads else ThreadPoolExecutor
    return Daemon(context, cloud, clock, Engine(context, pool=pool, rights=rights), rights, threads or Later())


@pytest.fixture
def url(own_server: Server) -> str:
    return own_server.fresh()


@pytest.fixture
def cloud() -> Cloud:
    return Cloud(ManualClock())


@pytest.fixture
def late(url: str, tmp_path: Path, cloud: Cloud) -> Iterator[Daemon]:
    """The leader whose lease ends while it acts."""
    made = daemon("late", url, tmp_path, cloud, Later())
    yield made
    made.context.store.close()


@pytest.fixture
def second(url: str, tmp_path: Path, cloud: Cloud) -> Iterator[Daemon]:
    """The one that leads next."""
    made = daemon("second", url, tmp_path, cloud)
    yield made
    made.engine.close()
    made.context.store.close()


def take_over(second: Daemon) -> None:
    """The late one's lease has ended, as time does it to a process that sleeps; that one does not know."""
    second.context.store.write(lambda tx: tx.run("UPDATE leases SET expires_at = 0 WHERE owner = 'late'"))
    second.settle()
    assert second.rights.leads(NAME)


def paid_once(desk: Desk, job: str) -> bool:
    return (len(desk.cloud.runs), desk.job(job).state, desk.spent()) == (1, "succeeded", 60_000)


def test_a_create_that_waited_while_another_took_over_is_not_sent(late: Daemon, second: Daemon) -> None:
    job = late.go_to_the_submit()

    take_over(second)
    still_believes = late.rights.leads(NAME)
    late.threads.begin()

    assert (still_believes, late.cloud.asked["submit"]) == (True, 1)
    second.finish(job)
    assert paid_once(second, job)


def test_who_takes_over_does_at_once_what_it_was_not_allowed_to(late: Daemon, second: Daemon) -> None:
    job = late.go_to_the_submit()
    second.settle()
    before = second.cloud.asked["submit"]

    take_over(second)

    assert (before, second.cloud.asked["submit"], second.job(job).state) == (0, 1, "running")


def test_an_intent_that_comes_after_anothers_sends_nothing(
    late: Daemon, second: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = late.go_to_the_submit()
    write = late.context.store.write

    def write_too_late(change: Callable[[Transaction], Any]) -> Any:
        monkeypatch.undo()
        take_over(second)
        return write(change)

    monkeypatch.setattr(late.context.store, "write", write_too_late)
    late.threads.begin()

    assert late.cloud.asked["submit"] == 1
    second.finish(job)
    assert paid_once(second, job)


def test_who_takes_over_during_a_create_sends_none_of_its_own(
    late: Daemon, second: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = late.go_to_the_submit()
    create = CloudProvider.submit

    def create_slowly(self: CloudProvider, order: RunOrder) -> RunRef:
        monkeypatch.undo()
        take_over(second)
        late.clock.advance(20)
        second.settle()
        return create(self, order)

    monkeypatch.setattr(CloudProvider, "submit", create_slowly)
    late.threads.begin()

    assert late.cloud.asked["submit"] == 1
    second.finish(job)
    assert paid_once(second, job)


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """The store gives up at once: the clock of the test is not the server's."""
    monkeypatch.setattr("ftorch.store.postgres._PAUSES_S", (0.01,))


def a_minute_without_server(desk: Daemon, server: Server) -> None:
    """From now, or from some moment before."""
    server.stop()
    for _ in range(12):
        desk.clock.advance(5)
        with suppress(StoreError):
            desk.renew()
        with suppress(StoreError):
            desk.engine.tick()
        desk.wait()
    server.start()


def test_a_server_that_is_gone_for_a_minute_while_a_run_trains_costs_nothing(
    second: Daemon, own_server: Server, brief: None
) -> None:
    job = second.submit()
    second.run_until(lambda: second.job(job).state == "running")

    a_minute_without_server(second, own_server)
    second.finish(job)

    assert paid_once(second, job)
    assert second.cloud.asked["submit"] == 1


def test_a_server_that_goes_away_during_a_create_costs_nothing(
    second: Daemon, own_server: Server, brief: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = second.submit()
    create = CloudProvider.submit

    def create_and_lose(self: CloudProvider, order: RunOrder) -> RunRef:
        ref = create(self, order)
        own_server.stop()
        return ref

    monkeypatch.setattr(CloudProvider, "submit", create_and_lose)
    with suppress(StoreError):
        second.run_until(lambda: False)
    monkeypatch.setattr(CloudProvider, "submit", create)

    a_minute_without_server(second, own_server)
    second.finish(job)

    assert paid_once(second, job)
    assert second.cloud.asked["submit"] == 1
