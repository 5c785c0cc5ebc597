"""The engine against a small cloud: exactly one paid run per key, whatever is lost, and nothing that is forgotten."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from ftorch.core.errors import CredentialsError, UsageError
from ftorch.jobs.admit import ask_cancel, ask_retry
from ftorch.jobs.advance import observe
from ftorch.jobs.engine import Engine
from ftorch.manifest.schema import Budget, RetryEvent
from ftorch.providers.base import Account, RunState
from unit.jobs.cloud import NAME, CloudProvider, ShiftedClock
from unit.jobs.desk import Desk
from unit.plans import facts, plan


def test_a_job_goes_all_the_way_with_one_create(desk: Desk) -> None:
    job = desk.finish(desk.submit())

    assert (job.state, job.reason) == ("succeeded", "completed")
    assert desk.cloud.asked["submit"] == 1
    assert Path(job.adapter or "", "receipt.json").is_file()


def test_the_spend_is_in_the_ledger_when_the_job_ends(desk: Desk) -> None:
    desk.finish(desk.submit())

    assert desk.spent() == 60_000


def test_a_fresh_key_is_not_searched_for(desk: Desk) -> None:
    desk.finish(desk.submit())

    assert desk.cloud.asked["find"] == 0


def test_a_lost_answer_is_found_again_and_not_sent_again(desk: Desk) -> None:
    desk.cloud.faults = ["lost after create"]

    job = desk.finish(desk.submit())

    assert job.state == "succeeded"
    assert (len(desk.cloud.runs), desk.cloud.asked["submit"]) == (1, 1)


def test_a_run_that_shows_late_is_waited_for(desk: Desk) -> None:
    desk.cloud.faults = ["lost after create"]
    desk.cloud.hidden_until = desk.clock.now() + timedelta(seconds=40)

    desk.finish(desk.submit())

    assert len(desk.cloud.runs) == 1


def test_a_create_that_never_happened_is_sent_once_more_after_the_quiet_time(desk: Desk) -> None:
    desk.cloud.faults = ["lost before create"]
    job_id = desk.submit()

    desk.settle()
    desk.clock.advance(55)
    desk.settle()
    early = desk.cloud.asked["submit"]
    job = desk.finish(job_id)

    assert (early, desk.cloud.asked["submit"]) == (1, 2)
    assert (job.state, len(desk.cloud.runs)) == ("succeeded", 1)


def test_a_create_that_is_lost_twice_waits_for_a_person(desk: Desk) -> None:
    desk.cloud.faults = ["lost before create", "lost before create"]
    job_id = desk.submit()

    desk.run_until(lambda: desk.job(job_id).state == "unknown")

    assert desk.cloud.asked["submit"] == 2
    assert desk.runs(job_id)[0].hold_micro >= 0
    assert desk.job(job_id).ended_at is None


def test_of_two_runs_under_one_key_the_oldest_stays_and_both_are_booked(desk: Desk) -> None:
    desk.cloud.faults = ["twice"]

    job = desk.finish(desk.submit())
    first, second = desk.cloud.runs

    assert job.state == "succeeded"
    assert (first.state, second.state) == (RunState.SUCCEEDED, RunState.STOPPED)
    assert {entry.source_ref for entry in desk.context.store.ledger()} == {"remote-1/time", "remote-2/time"}


def test_an_unreachable_provider_is_tried_again_with_the_same_key(desk: Desk) -> None:
    desk.cloud.faults = ["unreachable", "unreachable", "unreachable"]

    job_id = desk.submit()
    job = desk.finish(job_id)

    assert job.state == "succeeded"
    assert [run.key for run in desk.runs(job_id)] == [desk.cloud.runs[0].key]


def test_a_rejected_run_ends_the_job_and_costs_nothing(desk: Desk) -> None:
    desk.cloud.faults = ["reject"]
    job_id = desk.submit()

    job = desk.finish(job_id)

    assert (job.state, desk.runs(job_id)[0].detail) == ("failed", "rank 999 is too much")
    assert desk.spent() == 0


def test_no_capacity_is_a_reason_for_a_new_run(desk: Desk) -> None:
    desk.cloud.faults = ["no capacity"]
    job_id = desk.submit()

    job = desk.finish(job_id)

    assert job.state == "succeeded"
    assert [run.number for run in desk.runs(job_id)] == [1, 2]


def test_a_preempted_run_is_paid_and_followed_by_another(desk: Desk) -> None:
    job_id = desk.submit()
    desk.run_until(lambda: bool(desk.cloud.runs))
    desk.clock.advance(30)
    desk.cloud.end(desk.cloud.runs[0], RunState.STOPPED, RetryEvent.PREEMPTED)

    job = desk.finish(job_id)

    first, second = desk.runs(job_id)
    assert (job.state, second.resume_from) == ("succeeded", first.key)
    assert desk.spent() == 90_000


def test_a_cancelled_job_leaves_nothing_running_and_keeps_what_it_cost(desk: Desk) -> None:
    job_id = desk.submit()
    desk.run_until(lambda: desk.job(job_id).state == "running")
    desk.clock.advance(10)

    ask_cancel(desk.context, job_id)
    job = desk.finish(job_id)

    assert (job.state, job.reason) == ("cancelled", "cancelled_by_user")
    assert all(run.released for run in desk.cloud.runs)
    assert desk.spent() > 0


def test_a_job_cancelled_while_its_answer_is_lost_stops_the_run_that_is_found(desk: Desk) -> None:
    desk.cloud.faults = ["lost after create"]
    desk.cloud.hidden_until = desk.clock.now() + timedelta(seconds=20)
    job_id = desk.submit()
    desk.settle()

    ask_cancel(desk.context, job_id)
    job = desk.finish(job_id)

    assert job.state == "cancelled"
    assert [run.state for run in desk.cloud.runs] == [RunState.STOPPED]


def test_a_lost_create_of_a_cancelled_job_is_not_sent_again(desk: Desk) -> None:
    desk.cloud.faults = ["lost before create"]
    job_id = desk.submit()
    desk.settle()

    ask_cancel(desk.context, job_id)
    job = desk.finish(job_id)

    assert (job.state, desk.cloud.asked["submit"], desk.cloud.runs) == ("cancelled", 1, [])


def test_an_unknown_job_that_is_cancelled_is_looked_for_once_more_and_closed(desk: Desk) -> None:
    desk.cloud.faults = ["lost before create", "lost before create"]
    job_id = desk.submit()
    desk.run_until(lambda: desk.job(job_id).state == "unknown")

    ask_cancel(desk.context, job_id)
    job = desk.finish(job_id)

    assert (job.state, desk.runs(job_id)[0].hold_micro) == ("cancelled", 0)


def test_an_unknown_job_that_is_retried_sends_a_new_run_under_a_new_key(desk: Desk) -> None:
    desk.cloud.faults = ["lost before create", "lost before create"]
    job_id = desk.submit()
    desk.run_until(lambda: desk.job(job_id).state == "unknown")

    ask_retry(desk.context, job_id)
    job = desk.finish(job_id)

    assert (job.state, len(desk.cloud.runs)) == ("succeeded", 1)
    assert len({run.key for run in desk.runs(job_id)}) == 2


def test_a_provider_that_cannot_be_opened_holds_up_only_its_own_jobs(desk: Desk) -> None:
    def open_provider(name: str) -> CloudProvider:
        if name != NAME:
            raise CredentialsError("no key for it")
        return CloudProvider(desk.cloud)

    desk.engine.close()
    desk.context = replace(desk.context, open_provider=open_provider)
    desk.engine = Engine(desk.context)
    stuck = desk.submit(plan(name="stuck"), provider="elsewhere")

    job = desk.finish(desk.submit())

    assert job.state == "succeeded"
    assert (desk.job(stuck).state, desk.job(stuck).detail) == ("staging", "no key for it")


def test_a_failed_job_can_be_reopened_by_a_person(desk: Desk) -> None:
    desk.cloud.faults = ["reject"]
    job_id = desk.submit()
    desk.finish(job_id)

    ask_retry(desk.context, job_id)
    job = desk.finish(job_id)

    assert (job.state, len(desk.runs(job_id))) == ("succeeded", 2)


def test_a_succeeded_job_is_not_reopened(desk: Desk) -> None:
    job_id = desk.submit()
    desk.finish(job_id)

    with pytest.raises(UsageError, match="has succeeded"):
        ask_retry(desk.context, job_id)


def test_a_run_is_settled_when_its_price_is_final_and_not_before(desk: Desk) -> None:
    job_id = desk.submit()
    desk.finish(job_id)
    before = desk.runs(job_id)[0].settled_at

    desk.clock.advance(3700)
    desk.settle()

    assert before is None
    assert desk.runs(job_id)[0].settled_at is not None
    assert desk.spent() == 60_000


def test_a_budget_becomes_the_deadline_and_the_hold_of_the_run(desk: Desk) -> None:
    job_id = desk.submit(plan(providers=(NAME,), budget=Budget.model_validate({"limit": "1.80 USD"})))

    desk.run_until(lambda: bool(desk.cloud.runs))

    [run] = desk.runs(job_id)
    assert (run.max_duration_s, run.hold_micro) == (1800, 1_800_000)


def test_a_run_that_ate_the_budget_is_not_followed_by_another(desk: Desk) -> None:
    job_id = desk.submit(plan(providers=(NAME,), budget=Budget.model_validate({"limit": "0.01 USD"})))
    desk.run_until(lambda: bool(desk.cloud.runs))
    desk.clock.advance(30)
    desk.cloud.end(desk.cloud.runs[0], RunState.STOPPED, RetryEvent.PREEMPTED)

    job = desk.finish(job_id)

    assert (job.state, job.reason, len(desk.cloud.runs)) == ("failed", "over_budget", 1)


def test_many_runs_are_observed_with_one_call(desk: Desk) -> None:
    for number in range(50):
        desk.submit(plan(providers=(NAME,), name=f"job-{number}", dataset=facts()))
    desk.run_until(lambda: len(desk.cloud.runs) == 50)
    desk.settle()
    desk.clock.advance(10)
    before = desk.cloud.asked["observe"]

    desk.engine.tick()
    desk.wait()

    assert desk.cloud.asked["observe"] == before + 1


def test_every_event_of_a_job_is_written_once(desk: Desk) -> None:
    job_id = desk.submit()
    desk.finish(job_id)

    words = [event.event for event in desk.context.store.events_of(job_id)]

    assert len(words) == len(set(words)), words


def test_a_new_engine_goes_on_where_the_old_one_stopped(desk: Desk) -> None:
    desk.cloud.faults = ["lost after create"]
    job_id = desk.submit()
    desk.settle()

    desk.engine.close()
    desk.engine = Engine(desk.context)
    job = desk.finish(job_id)

    assert (job.state, len(desk.cloud.runs)) == ("succeeded", 1)


def test_what_was_seen_counts_although_a_start_changed_the_row_meanwhile(desk: Desk) -> None:
    job_id = desk.submit()
    desk.run_until(lambda: desk.job(job_id).state == "running")
    [stale] = desk.runs(job_id)
    desk.context.change_run(stale, next_at=desk.clock.now() + timedelta(seconds=1))
    desk.cloud.end(desk.cloud.runs[0], RunState.FAILED)

    observe(desk.context, desk.context.open_provider(NAME), [stale])

    assert desk.runs(job_id)[0].state == "failed"


def test_what_was_seen_of_a_run_that_has_ended_meanwhile_changes_nothing(desk: Desk) -> None:
    job_id = desk.submit()
    desk.run_until(lambda: desk.job(job_id).state == "running")
    [open_run] = desk.runs(job_id)
    desk.finish(job_id)
    before = desk.runs(job_id)
    desk.clock.advance(60)

    observe(desk.context, desk.context.open_provider(NAME), [open_run])

    assert desk.runs(job_id) == before


def forget_marks(desk: Desk) -> None:
    with sqlite3.connect(desk.context.home.database) as connection:
        connection.execute("DELETE FROM meta WHERE key LIKE 'mark/%'")
    connection.close()


def test_where_no_run_of_ours_was_ever_found_an_empty_search_proves_nothing(desk: Desk) -> None:
    forget_marks(desk)
    desk.cloud.faults = ["lost before create"]

    job = desk.submit()
    desk.run_until(lambda: desk.job(job).state == "unknown")

    assert desk.cloud.asked["submit"] == 1


def test_a_search_is_proven_by_the_first_run_that_it_finds(desk: Desk) -> None:
    forget_marks(desk)
    desk.finish(desk.submit())
    asked = desk.cloud.asked["find"]
    desk.cloud.faults = ["lost before create"]

    job = desk.finish(desk.submit(plan(name="second", providers=(NAME,))))

    assert asked == 1
    assert (job.state, len(desk.cloud.runs)) == ("succeeded", 2)


def test_a_run_of_another_account_is_left_alone_and_not_lost(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    job = desk.submit()
    desk.run_until(lambda: desk.job(job).state == "running")
    monkeypatch.setattr(CloudProvider, "check", lambda _self: Account("another", "a changed key"))
    desk.context = replace(desk.context, _accounts={})
    desk.engine = Engine(desk.context)
    asked = desk.cloud.asked["observe"]

    desk.cloud.runs.clear()
    desk.clock.advance(600)
    desk.settle()

    assert (desk.job(job).state, desk.cloud.asked["observe"] - asked) == ("running", 0)
    assert "belongs to the account 'acct'" in desk.runs(job)[0].detail


@pytest.mark.parametrize("offset", [timedelta(hours=-3), timedelta(hours=3)])
def test_a_provider_whose_clock_is_wrong_holds_nothing_up(desk: Desk, offset: timedelta) -> None:
    desk.cloud.clock = ShiftedClock(desk.clock, offset)

    job = desk.submit(plan(providers=(NAME,), budget=Budget.model_validate({"limit": "1.00 USD"})))
    desk.run_until(lambda: desk.job(job).ended_at is not None, seconds=120)

    assert (desk.job(job).state, desk.spent()) == ("succeeded", 60_000)
