"""`daemon run --once`, as cron runs it: what is due is done before it leaves, on both databases."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from ftorch.core.clock import ManualClock, SystemClock
from ftorch.core.errors import CredentialsError
from ftorch.core.ids import Ids
from ftorch.core.paths import Home
from ftorch.daemon.loop import Daemon
from ftorch.jobs.context import Context
from ftorch.jobs.engine import Engine
from ftorch.jobs.rights import Shared
from ftorch.jobs.serial import staged_text
from ftorch.providers.base import Provider, Staged
from ftorch.store import Store, open_store
from postgres import Server
from unit.jobs.cloud import NAME, Cloud, CloudProvider
from unit.jobs.desk import Desk
from unit.plans import plan


@pytest.fixture(params=["sqlite", "postgres"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    if request.param == "sqlite":
        opened: Store = open_store(tmp_path / "ftorch.db")
    else:
        server: Server = request.getfixturevalue("server")
        opened = open_store(server.fresh())
    yield opened
    opened.close()


def desk_of(store: Store, folder: Path, open_provider: Callable[[str], Provider], cloud: Cloud) -> Desk:
    context = Context(
        store=store,
        clock=SystemClock(),
        ids=Ids(),
        home=Home(folder, artifacts=folder / "shared"),
        installation="abc123",
        env={},
        open_provider=open_provider,
    )
    # The desk's clock is the machine's own: a daemon waits in real time.
    return Desk(context, cloud, context.clock, Engine(context))  # type: ignore[arg-type]


@pytest.fixture
def desk(store: Store, tmp_path: Path) -> Desk:
    cloud = Cloud(SystemClock())
    provider = CloudProvider(cloud)
    return desk_of(store, tmp_path, lambda _name: provider, cloud)


def once(desk: Desk) -> None:
    Daemon(desk.context, cwd=desk.context.home.root, once=True).run()


def test_one_pass_creates_the_run_of_a_job(desk: Desk) -> None:
    job = desk.submit()

    once(desk)

    assert desk.cloud.asked["submit"] == 1
    assert desk.job(job).state in ("queued", "running")


def test_one_pass_leads_before_it_finds_nothing_to_do(desk: Desk) -> None:
    job = desk.submit()
    # What is left to do is the leader's alone.
    desk.context.change_job(desk.job(job), staged=staged_text(Staged(True, "x"), "acct"))

    once(desk)

    assert desk.cloud.asked["submit"] == 1


def test_a_later_pass_brings_the_adapter_home(desk: Desk) -> None:
    desk.cloud.training = timedelta(0)
    job = desk.submit()

    once(desk)
    once(desk)

    assert (desk.job(job).state, desk.cloud.asked["submit"]) == ("succeeded", 1)


def test_a_pass_without_work_leaves_at_once(desk: Desk) -> None:
    once(desk)

    assert desk.cloud.asked == {}


def test_a_provider_that_refuses_its_key_does_not_hold_up_the_pass(store: Store, tmp_path: Path) -> None:
    cloud = Cloud(SystemClock())
    provider = CloudProvider(cloud)

    class Refused(CloudProvider):
        def check(self) -> None:  # type: ignore[override]
            raise CredentialsError("acme refused the key")

    refused = Refused(Cloud(ManualClock()))
    desk = desk_of(store, tmp_path, lambda name: refused if name == "acme" else provider, cloud)
    desk.submit(plan(name="refused", providers=("acme",)), provider="acme")
    desk.submit(plan(name="sound", providers=(NAME,)))

    once(desk)

    assert (cloud.asked["submit"], len(cloud.runs)) == (1, 1)


@pytest.mark.parametrize("store", ["postgres"], indirect=True)
def test_a_pass_beside_a_daemon_that_leads_does_nothing(desk: Desk) -> None:
    job = desk.submit()
    other = Shared(desk.context.store, desk.context.clock, "other", lambda _name: "acct", begin=lambda call: call())
    other.leads(NAME)
    other.renew()

    once(desk)

    assert desk.cloud.asked["submit"] == 0
    assert desk.job(job).ended_at is None
