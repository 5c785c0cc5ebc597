"""Staging and fetching where several daemons share a database: one works, the others wait without asking."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from ftorch.core.host import host_id
from ftorch.core.paths import Home
from ftorch.jobs.engine import Engine
from ftorch.jobs.rights import Rights, Shared
from ftorch.manifest.plan import Plan
from ftorch.providers.base import Bundle, Staged
from ftorch.store import SqliteStore
from unit.jobs.cloud import CloudProvider
from unit.jobs.desk import Desk


class SharedFile(SqliteStore):
    """A database that daemons of several hosts use, as PostgreSQL is, with a clock that a test can move."""

    is_shared = True


@pytest.fixture
def sharing(desk: Desk) -> Iterator[Desk]:
    """The desk as one daemon of several: the rows of its jobs lie where `host` says."""
    store = SharedFile(Path(desk.context.store.name))
    desk.context = replace(desk.context, store=store)
    yield desk
    desk.engine.close()
    store.close()


def rights(desk: Desk, owner: str) -> Shared:
    return Shared(desk.context.store, desk.clock, owner, lambda _name: "acct", begin=lambda call: call())


def engine(desk: Desk, its_rights: Rights) -> None:
    desk.engine = Engine(desk.context, rights=its_rights)


def staged_by(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The bundles that were brought to the provider."""
    staged: list[str] = []
    whole = CloudProvider.stage

    def noted(self: CloudProvider, plan: Plan, bundle: Bundle) -> Staged:
        staged.append(bundle.sha256)
        return whole(self, plan, bundle)

    monkeypatch.setattr(CloudProvider, "stage", noted)
    return staged


def submitted(desk: Desk, host: str) -> str:
    job = desk.submit()
    desk.context.change_job(desk.job(job), host=host)
    return job


def said(desk: Desk, job: str) -> list[str]:
    return [event.detail for event in desk.context.store.events_of(job) if event.event == "waits"]


def test_who_lost_a_claim_asks_no_more_until_it_may_be_free(sharing: Desk) -> None:
    mine, other = rights(sharing, "me"), rights(sharing, "other")
    engine(sharing, mine)
    job = submitted(sharing, host_id(sharing.context.home))
    with other.claimed(job):
        sharing.settle()
        commits = sharing.context.store.commits

        for _ in range(10):
            sharing.engine.progressed.clear()
            tick = sharing.engine.tick()
            sharing.wait()

        assert not sharing.engine.progressed.is_set()
        assert sharing.context.store.commits == commits
        assert tick.next_at == sharing.clock.now() + timedelta(seconds=15)


def test_a_claim_whose_holder_died_is_taken_over_when_it_has_ended(
    sharing: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    staged = staged_by(sharing, monkeypatch)
    engine(sharing, rights(sharing, "me"))
    job = submitted(sharing, host_id(sharing.context.home))
    dead = rights(sharing, "dead").claimed(job)
    dead.__enter__()
    sharing.settle()
    before = list(staged)

    sharing.clock.advance(16)
    sharing.settle()

    assert (before, len(staged)) == ([], 1)


def test_a_host_keeps_its_jobs_when_it_is_renamed(sharing: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    job = submitted(sharing, host_id(sharing.context.home))
    monkeypatch.setattr(platform, "node", lambda: "renamed")

    assert sharing.context.has_files_of(sharing.job(job))


def test_a_job_with_the_name_of_the_machine_is_of_this_host(sharing: Desk) -> None:
    job = submitted(sharing, platform.node())

    assert sharing.context.has_files_of(sharing.job(job))


def test_two_state_folders_of_one_machine_have_names_of_their_own(tmp_path: Path) -> None:
    assert host_id(Home(tmp_path / "a")) != host_id(Home(tmp_path / "b"))
    assert host_id(Home(tmp_path / "a")) == host_id(Home(tmp_path / "a"))


def test_a_job_whose_rows_lie_elsewhere_says_what_it_waits_for_once(sharing: Desk) -> None:
    engine(sharing, leading(sharing))
    job = submitted(sharing, "other-1a2b3c")

    for _ in range(20):
        sharing.settle()
        sharing.clock.advance(30)

    assert sharing.job(job).detail.startswith("its rows lie on other-1a2b3c, where no daemon is at work\nhint: start")
    assert len(said(sharing, job)) == 1


def test_nothing_is_said_while_the_other_host_is_at_work(sharing: Desk) -> None:
    engine(sharing, leading(sharing))
    job = submitted(sharing, "other-1a2b3c")
    other = rights(sharing, "other")
    with other.claimed(job):
        for _ in range(20):
            other.renew()
            sharing.settle()
            sharing.clock.advance(10)

    assert said(sharing, job) == []


def test_what_a_job_waited_for_is_not_said_of_one_that_succeeded(sharing: Desk) -> None:
    engine(sharing, leading(sharing))
    job = submitted(sharing, host_id(sharing.context.home))
    sharing.run_until(lambda: bool(sharing.cloud.runs))
    sharing.context.change_job(sharing.job(job), host="other-1a2b3c")
    sharing.run_until(lambda: bool(said(sharing, job)))
    waited = sharing.job(job).detail

    sharing.context.change_job(sharing.job(job), host=host_id(sharing.context.home))
    done = sharing.finish(job)

    assert waited.startswith("its adapter is to come home on other-1a2b3c")
    assert (done.state, done.detail) == ("succeeded", "")


def leading(desk: Desk) -> Rights:
    """Rights that are renewed at every question, and so never lost."""

    class Renewing(Shared):
        def leads(self, provider: str, account: str | None = None) -> bool:
            super().leads(provider, account)
            self.renew()
            return super().leads(provider, account)

    return Renewing(desk.context.store, desk.clock, "me", lambda _name: "acct", begin=lambda call: call())
