"""What `plan` says about money before any is spent."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

from ftorch.core.money import Money
from ftorch.manifest.schema import Budget, Resources
from ftorch.providers.base import Placement, Remarks
from ftorch.providers.lambda_cloud.provider import LambdaProvider
from unit.plans import plan

A10 = Placement("gpu_1x_a10@us-east-1", Decimal("1.29"))
TEN = Budget(limit=Money.parse("10.00 USD"))


def said(**changes: Any) -> str:
    return "\n".join(LambdaProvider.remarks(plan(providers=("lambda",), **changes), A10))


def test_until_when_the_machine_is_kept_and_what_that_costs() -> None:
    assert issubclass(LambdaProvider, Remarks)
    assert "budget.limit is used up: 7 h 45 min at most, 10.00 USD at 1.29 USD per hour" in said(budget=TEN)


def test_a_short_training_does_not_shorten_the_waiting() -> None:
    assert said(budget=TEN, resources=Resources(max_duration=timedelta(hours=1))) == said(budget=TEN)


def test_without_a_budget_the_longest_duration_and_an_hour_count() -> None:
    words = said(resources=Resources(max_duration=timedelta(hours=2)))

    assert "resources.max_duration and an hour have passed: 3 h 0 min at most, 3.87 USD" in words


def test_without_any_limit_it_is_a_day() -> None:
    assert "a day has passed" in said()
    assert "30.96 USD" in said()


def test_a_given_up_adapter_is_named_with_its_price() -> None:
    words = said(budget=TEN, options={"lambda": {"hold_minutes": 60}})

    assert "60 min after its training is given up" in words
    assert "1.29 USD for waiting at most" in words


def test_the_worst_case_without_the_switch_is_printed() -> None:
    words = said(budget=TEN, options={"lambda": {"dead_man": False}})

    assert "dead_man is off" in words
    assert "30.96 USD a day, 928.80 USD a month, until a person ends it" in words


def test_where_nobody_names_a_price_nothing_is_said() -> None:
    assert LambdaProvider.remarks(plan(providers=("lambda",)), Placement("x", None)) == ()
