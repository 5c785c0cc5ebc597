"""What a run may cost, where it is placed, and when it is stopped although somebody wants it."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ftorch.core.errors import BudgetError
from ftorch.core.money import Money
from ftorch.costs.estimate import for_tokens
from ftorch.costs.prices import TokenPrice
from ftorch.jobs.admit import admit, ask_cancel
from ftorch.jobs.serial import staged_text
from ftorch.jobs.views import job_views
from ftorch.manifest.plan import Plan
from ftorch.manifest.schema import Budget, BudgetRule, Resources, RetryEvent
from ftorch.providers.base import RunState, Staged
from unit.jobs.cloud import NAME, RATE
from unit.jobs.desk import Desk
from unit.jobs.rows import NOW
from unit.plans import plan


def usd(amount: str) -> Money:
    return Money(Decimal(amount))


def limited(limit: str, **changes: object) -> Plan:
    return plan(providers=(NAME,), budget=Budget(limit=usd(limit)), **changes)


def ruled(limit: str, label: str | None = None, **changes: object) -> Plan:
    rule = BudgetRule.model_validate({"limit": f"{limit} USD", "label": label})
    return plan(providers=(NAME,), budgets=(rule,), **changes)


def events(desk: Desk, job: str) -> list[str]:
    return [event.event for event in desk.context.store.events_of(job)]


def events_text(desk: Desk, job: str) -> str:
    return " ".join(event.detail for event in desk.context.store.events_of(job))


def test_a_place_without_room_makes_way_for_the_next_one_within_the_same_run(desk: Desk) -> None:
    desk.cloud.places = [("cheap", RATE), ("dear", RATE * 2)]
    desk.cloud.faults = ["no capacity"]

    job = desk.submit(limited("1.00"))
    desk.settle()

    [run] = desk.runs(job)
    assert (run.agreed_rate, run.max_duration_s, run.sends) == (RATE * 2, 500, 1)
    assert desk.finish(job).state == "succeeded"


def test_after_the_last_place_the_run_ends_for_want_of_capacity(desk: Desk) -> None:
    desk.cloud.places = [("a", RATE), ("b", RATE)]
    desk.cloud.faults = ["no capacity", "no capacity"]

    job = desk.submit()
    desk.settle()

    [run] = desk.runs(job)
    assert (run.retry_event, run.hold_micro, desk.cloud.asked["submit"]) == ("capacity", 0, 2)


def test_a_place_that_cannot_be_paid_while_others_hold_the_money_is_waited_for(desk: Desk) -> None:
    desk.cloud.places = [("a", RATE), ("b", Decimal(2000))]
    long = Resources(max_duration=timedelta(seconds=900))
    first = desk.submit(ruled("1.00", name="first", resources=long))
    desk.run_until(lambda: bool(desk.cloud.runs))
    desk.cloud.faults = ["no capacity"]

    second = desk.submit(ruled("1.00", name="second"))
    desk.settle()
    waiting = desk.runs(second)[0]

    assert (waiting.sends, waiting.ended_at, "is held" in events_text(desk, second)) == (0, None, True)
    assert {desk.finish(job).state for job in (first, second)} == {"succeeded"}


def test_a_list_of_providers_is_walked_when_there_is_no_capacity(desk: Desk) -> None:
    desk.cloud.faults = ["no capacity"]

    job = desk.finish(desk.submit(plan(providers=(NAME, "second"))))

    assert (job.state, [run.provider for run in desk.runs(job.id)]) == ("succeeded", [NAME, "second"])


def test_a_run_on_the_next_provider_does_not_resume_from_the_first(desk: Desk) -> None:
    job = desk.submit(plan(providers=(NAME, "second"), retry={"then": "next_provider", "max_runs": 1}))
    desk.run_until(lambda: bool(desk.cloud.runs))
    desk.cloud.end(desk.cloud.runs[0], RunState.STOPPED, RetryEvent.PREEMPTED)

    desk.finish(job)

    assert [(run.provider, run.resume_from) for run in desk.runs(job)] == [(NAME, None), ("second", None)]


def test_a_machine_that_costs_more_than_its_placement_said_is_stopped(desk: Desk) -> None:
    desk.cloud.rate_now = RATE * Decimal("1.05")

    job = desk.finish(desk.submit())

    assert (job.state, job.reason) == ("failed", "rate_above_plan")
    assert desk.cloud.runs[0].ended_at is not None
    assert len(desk.runs(job.id)) == 1


def test_a_run_that_nobody_ends_at_its_deadline_is_stopped_by_the_engine(desk: Desk) -> None:
    desk.cloud.training = timedelta(hours=9)

    job = desk.finish(desk.submit(limited("0.10")))

    [run] = desk.runs(job.id)
    assert (job.state, job.reason, run.max_duration_s) == ("failed", "over_budget", 100)


def test_of_two_jobs_that_want_the_last_of_a_rule_one_waits_until_the_hold_is_gone(desk: Desk) -> None:
    first, second = desk.submit(ruled("0.10", name="first")), desk.submit(ruled("0.10", name="second"))
    desk.settle()
    assert len(desk.cloud.runs) == 1

    assert desk.finish(first).state == "succeeded"
    assert desk.finish(second).state == "succeeded"

    held = [run for job in (first, second) for run in desk.runs(job)]
    assert sorted(run.max_duration_s or 0 for run in held) == [40, 100]


def test_a_rule_that_is_spent_ends_the_job_and_says_which_rule(desk: Desk) -> None:
    desk.finish(desk.submit(ruled("0.06", name="first")))

    job = desk.finish(desk.submit(ruled("0.06", name="second")))

    assert (job.state, job.reason) == ("failed", "over_budget")
    assert "monthly budget of this installation" in job.detail


def test_a_rule_counts_only_the_jobs_with_its_label(desk: Desk) -> None:
    desk.finish(desk.submit(ruled("0.06", "team=a", name="first", labels={"team": "a"})))

    job = desk.finish(desk.submit(ruled("0.06", "team=b", name="second", labels={"team": "b"})))

    assert job.state == "succeeded"


def test_a_run_that_one_walk_misses_goes_on(desk: Desk) -> None:
    job = desk.submit()
    desk.run_until(lambda: bool(desk.cloud.runs))
    desk.clock.advance(60)
    gone = desk.cloud.runs.pop()
    desk.run_until(lambda: "not seen" in events(desk, job))
    desk.cloud.runs.append(gone)

    assert desk.finish(job).state == "succeeded"


def test_a_run_that_two_walks_miss_is_lost(desk: Desk) -> None:
    job = desk.submit()
    desk.run_until(lambda: bool(desk.cloud.runs))
    desk.cloud.runs.clear()

    assert desk.finish(job).state == "lost"


def test_a_run_that_is_not_visible_yet_is_not_absent(desk: Desk) -> None:
    job = desk.submit()
    desk.run_until(lambda: bool(desk.cloud.runs))
    gone = desk.cloud.runs.pop()
    desk.clock.advance(15)
    desk.settle()

    assert "not seen" not in events(desk, job)
    desk.cloud.runs.append(gone)
    assert desk.finish(job).state == "succeeded"


def test_cancel_gives_up_an_adapter_that_cannot_be_fetched_and_releases_its_machine(desk: Desk) -> None:
    desk.cloud.is_fetchable = False
    job = desk.finish(desk.submit())
    assert (job.reason, desk.cloud.asked["release"]) == ("artifact", 0)

    ask_cancel(desk.context, job.id)
    desk.run_until(lambda: desk.runs(job.id)[0].charged_at is not None)

    assert desk.cloud.runs[0].released
    assert desk.spent() == 60_000


def test_a_machine_with_an_unfetchable_adapter_is_released_when_its_hold_is_used_up(desk: Desk) -> None:
    desk.cloud.is_fetchable = False
    job = desk.finish(desk.submit(limited("0.50")))

    desk.run_until(lambda: desk.cloud.runs[0].released, seconds=900)

    assert desk.job(job.id).reason == "artifact"


def test_a_cancelled_duplicate_is_no_run_to_resume_from(desk: Desk) -> None:
    desk.cloud.faults = ["twice"]
    job = desk.submit()
    desk.run_until(lambda: len(desk.runs(job)) == 2 and desk.runs(job)[0].started_at is not None)
    desk.cloud.end(desk.cloud.runs[0], RunState.STOPPED, RetryEvent.PREEMPTED)

    desk.finish(job)

    first, *_, last = [run for run in desk.runs(job) if run.purpose == "train"]
    assert last.resume_from == first.key


@pytest.mark.parametrize("on_exceed", ["cancel", "notify"])
def test_notify_lets_a_run_go_past_the_limit_and_says_so(desk: Desk, on_exceed: str) -> None:
    wanted = plan(providers=(NAME,), budget=Budget(limit=usd("0.03"), on_exceed=on_exceed))

    job = desk.finish(desk.submit(wanted))

    [run] = desk.runs(job.id)
    assert (run.max_duration_s is None) == (on_exceed == "notify")
    assert ("over budget" in events(desk, job.id)) == (on_exceed == "notify" or desk.spent() > 30_000)


def test_a_job_goes_over_its_limit_once_whatever_its_final_price_is(desk: Desk) -> None:
    wanted = plan(providers=(NAME,), budget=Budget(limit=usd("0.03"), on_exceed="notify"))
    job = desk.finish(desk.submit(wanted))

    desk.run_until(lambda: desk.runs(job.id)[0].settled_at is not None, seconds=9000, step=600)

    assert events(desk, job.id).count("over budget") == 1


def by_tokens(desk: Desk, minimum: str = "4.00") -> None:
    desk.cloud.token_price = TokenPrice(Decimal("0.48"), usd(minimum), "the price list", NOW.date())


def test_where_tokens_are_billed_the_estimate_is_held_and_no_deadline_set(desk: Desk) -> None:
    by_tokens(desk)

    job = desk.submit(limited("25.00"))
    desk.run_until(lambda: bool(desk.cloud.runs))

    [run] = desk.runs(job)
    assert (run.hold_micro, run.max_duration_s, run.rate) == (4_000_000, None, None)


def test_a_quote_takes_the_place_of_our_estimate_and_is_asked_for_once(desk: Desk) -> None:
    by_tokens(desk)
    desk.cloud.quoted = usd("7.25")

    job = desk.submit(limited("25.00"))
    desk.run_until(lambda: bool(desk.cloud.runs))

    [run] = desk.runs(job)
    assert (run.hold_micro, desk.cloud.asked["quote"]) == (7_250_000, 1)
    [staged] = [event.detail for event in desk.context.store.events_of(job) if event.event == "staged"]
    assert staged == "quote: 7.25 USD, the cloud's own price"


def test_a_quote_above_the_limit_ends_the_job_before_anything_is_sent(desk: Desk) -> None:
    by_tokens(desk)
    desk.cloud.quoted = usd("25.01")

    job = desk.finish(desk.submit(limited("25.00")))

    assert (job.state, job.reason, desk.cloud.runs) == ("failed", "over_budget", [])
    assert (
        "the run costs 25.01 USD (the cloud's own price), above what is left of budget.limit, 25.00 USD" in job.detail
    )


def test_of_two_quotes_that_do_not_fit_a_rule_together_one_waits(desk: Desk) -> None:
    by_tokens(desk)
    desk.cloud.quoted = usd("6.00")

    jobs = [desk.submit(ruled("10.00", name=name)) for name in ("a", "b")]
    desk.run_until(lambda: bool(desk.cloud.runs))
    desk.settle()
    waiting = [len(desk.runs(job)) for job in jobs]

    assert sorted(waiting) == [0, 1]
    assert {desk.finish(job).state for job in jobs} == {"succeeded"}


@pytest.mark.parametrize(("accrual", "state"), [("7.32", "succeeded"), ("7.33", "failed")])
def test_a_run_whose_provider_names_a_price_above_its_hold_is_stopped(desk: Desk, accrual: str, state: str) -> None:
    by_tokens(desk)
    desk.cloud.quoted = usd("7.25")
    desk.cloud.accrual = usd(accrual)

    job = desk.finish(desk.submit(limited("25.00")))

    assert job.state == state
    assert desk.runs(job.id)[0].stop_reason == (None if state == "succeeded" else "price_above_hold")


def test_what_a_run_has_cost_so_far_is_told_while_it_runs(desk: Desk) -> None:
    desk.cloud.training = timedelta(hours=1)
    job = desk.submit()
    desk.run_until(lambda: bool(desk.cloud.runs))
    desk.clock.advance(600)
    desk.settle()

    [run] = job_views(desk.context.store, [desk.job(job)])[0].runs

    assert run.accrual is not None
    assert (run.accrual.source, run.accrual.status) == ("measured_time", "accrual")
    assert run.accrual.money == usd("0.60")


def test_an_accrual_gives_way_to_the_ledger(desk: Desk) -> None:
    desk.cloud.accrual = usd("0.05")

    job = desk.finish(desk.submit())

    [run] = job_views(desk.context.store, [job])[0].runs
    assert (run.accrual, run.spend.amount) == (None, Decimal("0.06"))


def test_a_cap_holds_although_runs_wait_for_a_pause_of_their_provider(capped_desk: Desk) -> None:
    desk = capped_desk
    jobs = [desk.submit(plan(providers=(NAME,), name=f"a{number}", labels={"team": "a"})) for number in range(3)]
    for number, job in enumerate(jobs):
        due = desk.clock.now() + timedelta(seconds=2 * number)
        desk.context.change_job(desk.job(job), staged=staged_text(Staged(True, "x"), "acct"), next_at=due)
    desk.engine._lanes.slow_down(NAME, 30)

    for _ in range(10):
        desk.clock.advance(1)
        desk.engine.tick()
        desk.wait()
    desk.clock.advance(60)
    for _ in range(5):
        desk.engine.tick()
        desk.wait()

    assert sum(run.ended_at is None for job in jobs for run in desk.runs(job)) == 1


def resolved(chosen: Plan) -> Any:
    """What `plan` makes of a manifest, as far as taking it in needs it."""
    return SimpleNamespace(plan=chosen, manifest_path=Path("m.yaml"), freeze=lambda home: home.datasets / "rows")


def admitted(desk: Desk, name: str) -> str:
    (desk.context.home.datasets / "rows").mkdir(parents=True, exist_ok=True)
    chosen = ruled("10.00", name=name)
    price = TokenPrice(Decimal("0.48"), usd("6.00"), "the price list", NOW.date())
    return admit(desk.context, resolved(chosen), for_tokens(chosen, price), again=False).job.id


def test_what_is_submitted_is_held_from_then_on_and_the_next_submit_is_refused(desk: Desk) -> None:
    first = admitted(desk, "a")

    with pytest.raises(BudgetError, match=r"0\.00 USD is spent and 6\.00 USD is held"):
        admitted(desk, "b")

    assert desk.job(first).hold_micro == 6_000_000


def test_the_hold_of_a_submit_becomes_that_of_its_first_run(desk: Desk) -> None:
    by_tokens(desk, minimum="6.00")
    (desk.context.home.datasets / "rows").mkdir(parents=True)
    (desk.context.home.datasets / "rows" / "train.jsonl").write_text("{}\n")
    job = admitted(desk, "a")

    desk.run_until(lambda: bool(desk.cloud.runs))

    assert (desk.job(job).hold_micro, desk.runs(job)[0].hold_micro) == (0, 6_000_000)


def test_a_job_that_ends_before_its_first_run_holds_nothing(desk: Desk) -> None:
    job = admitted(desk, "a")

    ask_cancel(desk.context, job)
    desk.finish(job)

    assert admitted(desk, "b") != job
