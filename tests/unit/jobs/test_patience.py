"""The engine among faults: intents that stay on record, pauses between tries, one job's trouble that stays its own."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from ftorch.core.errors import ProviderUnavailableError, RateLimitedError, UsageError
from ftorch.jobs.admit import ask_cancel
from ftorch.jobs.views import pick
from ftorch.manifest.plan import Plan
from ftorch.manifest.schema import RetryEvent
from ftorch.providers.base import Bundle, RunOrder, RunRef, RunState, Staged
from unit.jobs.cloud import NAME, CloudProvider
from unit.jobs.desk import Desk


@pytest.fixture
def chosen_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cloud where the key is the run's own name."""
    monkeypatch.setattr(CloudProvider, "capabilities", replace(CloudProvider.capabilities, client_chosen_id=True))


def test_a_second_send_that_never_left_does_not_forget_the_first(desk: Desk, chosen_ids: None) -> None:
    desk.cloud.faults = ["lost after create", "unreachable"]
    desk.cloud.hidden_until = desk.clock.now() + timedelta(seconds=15)
    job_id = desk.submit()
    desk.settle()

    ask_cancel(desk.context, job_id)
    desk.finish(job_id)

    assert [run.state for run in desk.cloud.runs] == [RunState.STOPPED]
    assert desk.runs(job_id)[0].remote_id is not None


def test_a_cancelled_create_is_not_closed_before_it_can_be_seen(
    desk: Desk, chosen_ids: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.cloud.faults = ["lost after create"]
    desk.cloud.hidden_until = desk.clock.now() + timedelta(seconds=5)
    job_id = desk.submit()
    create = CloudProvider.submit

    def create_and_regret(self: CloudProvider, order: RunOrder) -> RunRef:
        ask_cancel(desk.context, job_id)
        return create(self, order)

    monkeypatch.setattr(CloudProvider, "submit", create_and_regret)
    desk.finish(job_id)

    assert [run.state for run in desk.cloud.runs] == [RunState.STOPPED]


def test_capacity_that_is_not_there_is_not_asked_for_again_at_once(desk: Desk) -> None:
    desk.cloud.faults = ["no capacity"] * 2
    job_id = desk.submit()

    desk.settle()
    at_first = desk.cloud.asked["submit"]
    desk.clock.advance(31)
    desk.settle()

    assert (at_first, desk.cloud.asked["submit"]) == (1, 2)
    assert desk.finish(job_id).state == "succeeded"


def test_a_run_that_was_taken_away_is_followed_at_once(desk: Desk) -> None:
    job_id = desk.submit()
    desk.run_until(lambda: desk.job(job_id).state == "running")
    desk.cloud.end(desk.cloud.runs[0], RunState.STOPPED, RetryEvent.PREEMPTED)
    desk.clock.advance(6)

    desk.settle()

    assert desk.cloud.asked["submit"] == 2


def test_a_failing_step_between_two_runs_waits_longer_each_time(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    job_id = desk.submit()
    desk.run_until(lambda: desk.job(job_id).state == "running")
    desk.cloud.end(desk.cloud.runs[0], RunState.STOPPED, RetryEvent.PREEMPTED)
    desk.clock.advance(6)
    monkeypatch.setattr(CloudProvider, "placements", _unreachable)

    desk.settle()

    assert desk.job(job_id).failures == 1


def test_a_pause_that_the_provider_asks_for_is_kept(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CloudProvider, "stage", _limited)
    job_id = desk.submit()

    desk.settle()

    assert desk.job(job_id).next_at == desk.clock.now() + timedelta(seconds=120)


def test_a_bundle_is_staged_once(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    staged: list[str] = []
    whole = CloudProvider.stage

    def counted(self: CloudProvider, plan: Plan, bundle: Bundle) -> Staged:
        staged.append(bundle.sha256)
        return whole(self, plan, bundle)

    monkeypatch.setattr(CloudProvider, "stage", counted)
    desk.finish(desk.submit())

    assert len(staged) == 1


def test_a_plan_that_cannot_be_read_stops_its_own_job_alone(desk: Desk) -> None:
    damaged, sound = desk.submit(), desk.submit()
    desk.context.store.write(lambda tx: tx.run("UPDATE jobs SET plan = '{}' WHERE id = :id", id=damaged))

    desk.finish(sound)

    assert desk.job(sound).state == "succeeded"
    assert "cannot be read" in desk.job(damaged).detail


def _unreachable(_self: CloudProvider, _plan: Plan) -> None:
    raise ProviderUnavailableError("down", provider=NAME, operation="placements")


def _limited(_self: CloudProvider, _plan: Plan, _bundle: Bundle) -> Staged:
    raise RateLimitedError("slow down", retry_after_s=120, provider=NAME, operation="stage")


@pytest.mark.parametrize("reference", ["", "%", "_", "01%"])
def test_no_job_is_meant_by_an_empty_name_or_a_wildcard(desk: Desk, reference: str) -> None:
    desk.submit()

    with pytest.raises(UsageError):
        pick(desk.context.store, reference)
