"""Machines that are kept for their adapter: all that is left of the job's budget is held, and is how long they wait."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest

from ftorch.core.errors import ProviderUnavailableError
from ftorch.core.money import Money
from ftorch.costs import budget
from ftorch.costs.budget import JOB_LIMIT, Limit
from ftorch.costs.estimate import for_machine_here
from ftorch.manifest.schema import Budget, Resources
from ftorch.providers.base import RunOrder, RunRef
from unit.jobs.cloud import NAME, RATE, CloudProvider
from unit.jobs.desk import Desk
from unit.plans import plan

NOTHING = Money(Decimal(0))
HALF_AN_HOUR = Resources(max_duration=timedelta(minutes=30))
UNREACHABLE = ProviderUnavailableError("ssh: connection refused", provider=NAME, operation="fetch")


def own(limit: str, spent: str = "0") -> Limit:
    return Limit(JOB_LIMIT, Money(Decimal(limit)), Money(Decimal(spent)), NOTHING)


def monthly(limit: str) -> Limit:
    return Limit("monthly budget of this installation", Money(Decimal(limit)), NOTHING, NOTHING)


def bound(*limits: Limit, holds_all: bool = True) -> budget.Bound:
    short = plan(resources=HALF_AN_HOUR)
    estimate = for_machine_here(short, cores=2, rate=Decimal(2))
    return budget.bound(short, estimate, rate=Decimal(2), limits=limits, holds_all=holds_all)


def test_all_that_is_left_is_held_although_the_training_is_short() -> None:
    found = bound(own("25.00", spent="5.00"))

    assert (found.max_duration_s, found.hold) == (1800, Money(Decimal("20.00")))


def test_a_machine_that_is_not_kept_holds_its_deadline_only() -> None:
    assert bound(own("25.00"), holds_all=False).hold == Money(Decimal("1.00"))


def test_no_more_is_held_than_the_tightest_limit_leaves() -> None:
    assert bound(own("25.00"), monthly("3.00")).hold == Money(Decimal("3.00"))


def test_what_others_spend_from_is_not_held_whole() -> None:
    assert bound(monthly("500.00")).hold == Money(Decimal("1.00"))


@pytest.fixture
def unfetchable(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """A cloud that keeps its machines, at a desk that cannot reach them."""

    def fetch(*_: object) -> None:
        raise UNREACHABLE

    kept = replace(CloudProvider.capabilities, rents_machines=True, held_until_fetched=True)
    monkeypatch.setattr(CloudProvider, "capabilities", kept)
    monkeypatch.setattr(CloudProvider, "fetch", fetch)
    return desk


def test_an_adapter_is_waited_for_until_the_budget_is_used_up_and_no_longer(unfetchable: Desk) -> None:
    desk = unfetchable
    limit = Money(RATE * 6)
    job = desk.submit(plan(providers=(NAME,), budget=Budget(limit=limit), resources=HALF_AN_HOUR))

    desk.run_until(lambda: desk.runs(job)[:1] != [] and desk.runs(job)[0].released_at is not None, seconds=10 * 3600)

    run = desk.runs(job)[0]
    assert run.released_at is not None
    assert run.billable_from is not None
    waited = run.released_at - run.billable_from
    # A fetch that failed is tried again after ten minutes at most, and only then it is given up.
    assert timedelta(hours=6) <= waited <= timedelta(hours=6, minutes=13)


def test_the_order_says_how_long_the_machine_may_live(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = replace(CloudProvider.capabilities, held_until_fetched=True)
    monkeypatch.setattr(CloudProvider, "capabilities", kept)
    lives: list[int | None] = []
    create = CloudProvider.submit

    def submit(cloud: CloudProvider, order: RunOrder) -> RunRef:
        lives.append(order.max_life_s)
        return create(cloud, order)

    monkeypatch.setattr(CloudProvider, "submit", submit)

    desk.finish(desk.submit(plan(providers=(NAME,), budget=Budget(limit=Money(RATE * 6)), resources=HALF_AN_HOUR)))
    desk.finish(desk.submit())

    assert lives == [6 * 3600, None]
