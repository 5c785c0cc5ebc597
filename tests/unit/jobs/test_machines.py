"""Rented machines that do not do what they should: they boot slowly, never begin, are broken, or cannot be emptied."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from ftorch.client import Client
from ftorch.core.errors import ArtifactError, FtorchError, HardwareError, ProviderUnavailableError, StoreError
from ftorch.core.money import Money
from ftorch.jobs.admit import ask_cancel, ask_retry
from ftorch.jobs.engine import Engine
from ftorch.jobs.reap import sweep
from ftorch.manifest.plan import Plan
from ftorch.manifest.schema import Budget, Retry, RetryEvent
from ftorch.providers.base import Observation, RunState
from ftorch.store import SqliteStore
from unit.jobs.cloud import NAME, RATE, TRAINING, CloudProvider
from unit.jobs.desk import Desk
from unit.plans import plan

UNREACHABLE = ProviderUnavailableError("ssh: connection refused", provider=NAME, operation="start")
BROKEN = HardwareError("no GPU answers", provider=NAME, operation="start")
FOR_EVER = timedelta(days=30)


class Boots:
    """Machines are provisioned, and starting fails with `error` while there is one."""

    def __init__(self, patch: pytest.MonkeyPatch, error: FtorchError | None) -> None:
        self.error = error
        self.tries = 0
        observed: Callable[..., Observation] = CloudProvider._observation

        def start(_provider: object, _ref: object, _order: object) -> None:
            self.tries += 1
            if self.error is not None:
                raise self.error

        def observation(provider: CloudProvider, run: Any) -> Observation:
            seen = observed(provider, run)
            waits = self.error is not None and seen.state is RunState.RUNNING
            return replace(seen, state=RunState.PROVISIONED, billable_from=None) if waits else seen

        patch.setattr(CloudProvider, "start", start)
        patch.setattr(CloudProvider, "_observation", observation)


def limited(limit: str, **changes: object) -> Plan:
    return plan(providers=(NAME,), budget=Budget(limit=Money(Decimal(limit))), **changes)


def spent_there(desk: Desk) -> Decimal:
    seconds = sum(((run.ended_at or desk.clock.now()) - run.created_at).total_seconds() for run in desk.cloud.runs)
    return RATE * Decimal(str(seconds)) / 3600


def let_pass(desk: Desk, hours: float) -> None:
    end = desk.clock.now() + timedelta(hours=hours)
    desk.run_until(lambda: desk.clock.now() >= end, seconds=int(hours * 3600) + 600, step=60.0)


def test_a_machine_that_boots_slowly_does_not_lose_its_adapter(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    boots = Boots(monkeypatch, UNREACHABLE)
    desk.cloud.training = timedelta(minutes=10)
    job = desk.submit()
    desk.run_until(lambda: boots.tries >= 6)

    boots.error = None

    assert desk.finish(job).state == "succeeded"


def test_a_machine_on_which_nothing_ever_begins_is_stopped_within_its_budget(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    Boots(monkeypatch, UNREACHABLE)
    desk.cloud.training = FOR_EVER

    desk.submit(limited("1.00"))
    let_pass(desk, 3)

    assert desk.cloud.runs[0].ended_at is not None
    assert spent_there(desk) <= Decimal("1.10")


def test_a_run_that_queues_on_a_machine_that_is_paid_for_is_stopped_within_its_budget(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    observed: Callable[..., Observation] = CloudProvider._observation

    def queued(provider: CloudProvider, run: Any) -> Observation:
        seen = observed(provider, run)
        return replace(seen, state=RunState.QUEUED) if seen.state is RunState.RUNNING else seen

    monkeypatch.setattr(CloudProvider, "_observation", queued)
    desk.cloud.training = FOR_EVER

    desk.submit(limited("1.00"))
    let_pass(desk, 3)

    assert spent_there(desk) <= Decimal("1.10")


def test_a_machine_that_does_not_begin_in_time_makes_way_for_another(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    patient = replace(CloudProvider.capabilities, start_timeout_s=600.0)
    monkeypatch.setattr(CloudProvider, "capabilities", patient)
    boots = Boots(monkeypatch, UNREACHABLE)
    desk.cloud.training = FOR_EVER
    job = desk.submit()
    desk.run_until(lambda: len(desk.cloud.runs) == 2)
    boots.error, desk.cloud.training = None, TRAINING

    done = desk.finish(job)

    first, second = desk.runs(job)
    assert (done.state, first.stop_reason, first.retry_event) == ("succeeded", "hardware", "provider_error")
    assert timedelta(seconds=600) <= second.created_at - first.created_at < timedelta(seconds=660)


def test_a_run_that_found_no_room_in_time_makes_way_for_another(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    patient = replace(CloudProvider.capabilities, start_timeout_s=600.0)
    monkeypatch.setattr(CloudProvider, "capabilities", patient)
    observed: Callable[..., Observation] = CloudProvider._observation

    def queued(provider: CloudProvider, run: Any) -> Observation:
        seen = observed(provider, run)
        is_first = len(desk.cloud.runs) == 1 and seen.state in (RunState.PROVISIONED, RunState.RUNNING)
        return replace(seen, state=RunState.QUEUED) if is_first else seen

    monkeypatch.setattr(CloudProvider, "_observation", queued)
    desk.cloud.training = FOR_EVER
    job = desk.submit()
    desk.run_until(lambda: len(desk.cloud.runs) == 2)
    desk.cloud.training = TRAINING

    done = desk.finish(job)

    first, second = desk.runs(job)
    assert (done.state, first.stop_reason, first.retry_event) == ("succeeded", "capacity", "capacity")
    assert second.created_at - first.created_at >= timedelta(seconds=600)


def test_a_broken_machine_is_given_back_at_once_and_another_is_taken(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    boots = Boots(monkeypatch, BROKEN)
    job = desk.submit()
    desk.run_until(lambda: desk.cloud.runs[:1] != [] and desk.cloud.runs[0].ended_at is not None)
    boots.error = None

    done = desk.finish(job)

    assert (done.state, len(desk.cloud.runs)) == ("succeeded", 2)
    assert "no GPU answers" in [event.detail for event in desk.context.store.events_of(job)]


def test_a_job_ends_when_every_machine_is_broken(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    Boots(monkeypatch, BROKEN)

    done = desk.finish(desk.submit(plan(providers=(NAME,), retry=Retry(max_runs=2))))

    assert (done.state, done.reason, len(desk.cloud.runs)) == ("failed", "hardware", 2)
    assert all(run.released for run in desk.cloud.runs)


def test_cancel_is_sent_at_once_although_starting_has_failed_often(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    boots = Boots(monkeypatch, UNREACHABLE)
    desk.cloud.training = FOR_EVER
    job = desk.submit()
    desk.run_until(lambda: boots.tries >= 9, seconds=7200)

    ask_cancel(desk.context, job)
    desk.settle()

    assert desk.cloud.runs[0].ended_at is not None


def test_an_absurd_pause_that_one_call_was_told_does_not_hold_up_a_cancel_for_long(desk: Desk) -> None:
    desk.cloud.training = FOR_EVER
    job = desk.submit()
    desk.run_until(lambda: desk.job(job).state == "running")
    desk.engine._lanes.slow_down(NAME, 86_400.0)

    asked_at = desk.clock.now()
    ask_cancel(desk.context, job)
    desk.run_until(lambda: desk.cloud.runs[0].ended_at is not None, step=30.0)

    ended_at = desk.cloud.runs[0].ended_at
    assert ended_at is not None
    assert ended_at - asked_at <= timedelta(minutes=16)


def flaky_fetch(desk: Desk, patch: pytest.MonkeyPatch, error: FtorchError, until: datetime) -> None:
    fetch = CloudProvider.fetch

    def fetched(provider: CloudProvider, ref: Any, dest: Path) -> Any:
        if desk.clock.now() < until:
            raise error
        return fetch(provider, ref, dest)

    patch.setattr(CloudProvider, "fetch", fetched)


def test_an_outage_of_hours_at_the_fetch_loses_nothing(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    down = ProviderUnavailableError("503", provider=NAME, operation="fetch")
    flaky_fetch(desk, monkeypatch, down, desk.clock.now() + timedelta(hours=3))

    job = desk.submit()
    desk.run_until(lambda: desk.job(job).ended_at is not None, seconds=5 * 3600, step=30.0)

    assert desk.job(job).state == "succeeded"


def test_an_adapter_that_is_always_damaged_is_given_up(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    flaky_fetch(desk, monkeypatch, ArtifactError("half of it"), desk.clock.now() + FOR_EVER)

    done = desk.finish(desk.submit())

    assert (done.state, done.reason, desk.runs(done.id)[0].bad_fetches) == ("failed", "artifact", 5)


class Shared(SqliteStore):
    """A database that several hosts share, as far as the engine can tell."""

    is_shared = True


@pytest.mark.parametrize("is_cancelled", [False, True], ids=["used up", "cancelled"])
def test_a_machine_whose_adapter_nobody_here_can_fetch_is_not_rented_for_ever(desk: Desk, is_cancelled: bool) -> None:
    job = desk.submit(limited("5.00"))
    desk.run_until(lambda: bool(desk.cloud.runs) and desk.runs(job)[0].state is not None)
    desk.context = replace(desk.context, store=Shared(desk.context.home.root / "ftorch.db"))
    desk.engine = Engine(desk.context)  # of another host: the job's files lie elsewhere

    if is_cancelled:
        desk.run_until(lambda: desk.runs(job)[0].state == "succeeded")
        ask_cancel(desk.context, job)
    let_pass(desk, 0.5 if is_cancelled else 3)

    assert desk.cloud.runs[0].released


def test_a_daemon_does_not_leave_while_a_machine_is_rented(desk: Desk) -> None:
    desk.cloud.is_fetchable = False
    job = desk.finish(desk.submit(limited("5.00")))
    desk.clock.advance(1200)
    desk.settle()

    tick = desk.engine.tick()
    desk.wait()

    assert (job.reason, desk.cloud.runs[0].released, tick.rented) == ("artifact", False, 1)
    assert not tick.is_idle(desk.clock.now())


def test_cancelling_a_job_that_keeps_its_machine_starts_a_daemon(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    desk.cloud.is_fetchable = False
    job = desk.finish(desk.submit())
    started: list[str] = []
    monkeypatch.setattr(Client, "ensure_daemon", lambda _client: started.append("daemon"))
    monkeypatch.setattr(Client, "_opened", lambda _client: desk.context)
    monkeypatch.setattr(Client, "_existing", lambda _client: desk.context.store)

    Client(env={"FTORCH_HOME": str(tmp_path)}, cwd=tmp_path).cancel(job.id)

    assert started == ["daemon"]


def cut(*_: object) -> None:
    raise StoreError("the power went")


def test_an_adapter_that_was_damaged_in_its_place_is_fetched_again(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    job = desk.submit()
    folder = desk.context.home.adapters / job
    with monkeypatch.context() as power_cut:
        power_cut.setattr("ftorch.jobs.fetch._note", cut)
        desk.run_until(folder.exists)
    (folder / "adapter_model.safetensors").write_bytes(b"")

    done = desk.finish(job)

    assert done.state == "succeeded"
    assert (folder / "adapter_model.safetensors").stat().st_size > 0


def test_a_retry_after_the_machine_is_gone_sends_a_new_run(desk: Desk) -> None:
    desk.cloud.is_fetchable = False
    job = desk.finish(desk.submit(limited("0.50")))
    desk.run_until(lambda: desk.cloud.runs[0].released)
    desk.cloud.is_fetchable = True

    ask_retry(desk.context, job.id)

    assert desk.finish(job.id).state == "succeeded"
    assert len(desk.cloud.runs) == 2


def test_a_retry_is_granted_although_a_duplicate_is_found_meanwhile(desk: Desk) -> None:
    job = desk.submit()
    desk.run_until(lambda: desk.job(job).state == "running")
    desk.cloud.end(desk.cloud.runs[0], RunState.FAILED)
    desk.finish(job)
    desk.cloud.create(desk.runs(job)[0].key)

    ask_retry(desk.context, job)
    sweep(desk.context, desk.context.open_provider(NAME))
    desk.finish(job)

    assert [run.purpose for run in desk.runs(job)].count("train") == 2


def test_a_hold_stays_until_somebody_names_a_price(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    charges = CloudProvider.charges

    def late(provider: CloudProvider, ref: Any, history: Any) -> Any:
        run = provider._run(ref)
        is_known = run is not None and run.ended_at and desk.clock.now() >= run.ended_at + timedelta(minutes=30)
        return charges(provider, ref, history) if is_known else ()

    monkeypatch.setattr(CloudProvider, "charges", late)
    desk.cloud.training, desk.cloud.enforces_deadlines = FOR_EVER, True
    job = desk.submit(limited("1.00", retry=Retry(max_runs=5)))
    for number in range(1, 5):
        desk.run_until(lambda: len(desk.cloud.runs) == number or desk.job(job).ended_at is not None, seconds=9000)  # noqa: B023
        if desk.job(job).ended_at is not None:
            break
        desk.clock.advance(900)
        desk.cloud.look()
        if desk.cloud.runs[-1].ended_at is None:
            desk.cloud.end(desk.cloud.runs[-1], RunState.STOPPED, RetryEvent.PREEMPTED)

    assert len(desk.cloud.runs) == 2
    assert spent_there(desk) <= Decimal("1.05")
