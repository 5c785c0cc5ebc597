from __future__ import annotations

from decimal import Decimal

import pytest

from ftorch.core.errors import BudgetError
from ftorch.core.money import Money
from ftorch.costs.budget import JOB_LIMIT, Limit, bound, check
from ftorch.costs.estimate import for_machine_here, trained_tokens
from ftorch.manifest.plan import Plan
from ftorch.manifest.schema import Budget
from unit.plans import plan

NOTHING = Money(Decimal(0))


def own(limit: int, spent: str = "0") -> list[Limit]:
    return [Limit(JOB_LIMIT, Money(Decimal(limit)), Money(Decimal(spent)), NOTHING)]


def limited(limit: str) -> Plan:
    return plan(budget=Budget.model_validate({"limit": limit}))


def test_an_estimate_above_the_limit_is_refused_with_both_amounts() -> None:
    dear = for_machine_here(plan(parameters=10**9), cores=2, rate=Decimal(3600))

    with pytest.raises(BudgetError, match=r"above budget\.limit, 0\.50 USD"):
        check(limited("0.50 USD"), dear)


def test_a_limit_without_a_price_is_refused_with_what_to_declare() -> None:
    with pytest.raises(BudgetError) as caught:
        check(limited("5 USD"), for_machine_here(plan(), cores=2, rate=None))

    assert "[local] rate" in (caught.value.hint or "")


def test_what_is_left_of_the_budget_is_the_deadline() -> None:
    estimate = for_machine_here(plan(), cores=2, rate=Decimal("1.00"))

    allowed = bound(limited("2 USD"), estimate, rate=Decimal("1.00"), limits=own(2, "0.50"))

    assert allowed.max_duration_s == 5400
    assert allowed.hold == Money(Decimal("1.50"))


def test_a_used_up_budget_opens_no_run() -> None:
    estimate = for_machine_here(plan(), cores=2, rate=Decimal("1.00"))

    with pytest.raises(BudgetError, match="used up"):
        bound(limited("2 USD"), estimate, rate=Decimal("1.00"), limits=own(2, "2"))


def test_a_rate_of_zero_sets_no_deadline() -> None:
    estimate = for_machine_here(plan(), cores=2, rate=Decimal(0))

    allowed = bound(limited("2 USD"), estimate, rate=Decimal(0), limits=own(2))

    assert (allowed.max_duration_s, allowed.hold) == (None, NOTHING)


def test_tokens_are_those_of_all_epochs() -> None:
    assert trained_tokens(plan()) == 1500


def test_max_steps_cuts_the_tokens() -> None:
    cut = plan()
    method = cut.method.model_copy(update={"max_steps": 1})

    assert trained_tokens(cut.model_copy(update={"method": method})) == 250


def test_without_a_rate_the_estimate_has_no_amount() -> None:
    assert for_machine_here(plan(), cores=2, rate=None).amount is None
