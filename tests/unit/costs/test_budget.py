from __future__ import annotations

from dataclasses import replace
from datetime import date
from decimal import Decimal

import pytest

from ftorch.core.errors import BudgetError
from ftorch.core.money import Money
from ftorch.costs.budget import JOB_LIMIT, Limit, bound, check
from ftorch.costs.estimate import for_machine_here, for_tokens, trained_tokens, unpriced_tokens
from ftorch.costs.prices import TokenPrice
from ftorch.manifest.plan import Plan, TokenSource
from ftorch.manifest.schema import Budget
from unit.plans import facts, plan

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


PRICE = TokenPrice(Decimal("0.48"), Money(Decimal("4.00")), "the price list", date(2026, 2, 1))


def test_tokens_are_priced_by_the_million_and_cost_the_minimum_at_least() -> None:
    assert PRICE.for_tokens(10_000_000) == Money(Decimal("4.80"))
    assert PRICE.for_tokens(8_333_333) == Money(Decimal("4.00"))


def test_an_estimate_by_tokens_has_an_interval_as_wide_as_the_count_is_unsure() -> None:
    counted = plan(dataset=facts(train_tokens=10**7, token_source=TokenSource.TOKENIZER))
    guessed = plan(dataset=facts(train_tokens=10**7))

    sure, unsure = for_tokens(counted, PRICE), for_tokens(guessed, PRICE)

    assert sure.amount == unsure.amount == Money(Decimal("14.40"))
    assert (sure.amount_low, sure.amount_high) == (Money(Decimal("13.968")), Money(Decimal("14.832")))
    assert (unsure.amount_low, unsure.amount_high) == (Money(Decimal("10.80")), Money(Decimal("19.44")))
    assert "0.48 USD per million tokens, at least 4.00 USD (the price list, 2026-02-01)" in sure.lines[0].source


def test_a_run_that_is_billed_by_tokens_is_refused_where_it_does_not_fit() -> None:
    dear = for_tokens(plan(dataset=facts(train_tokens=10**7)), PRICE)

    with pytest.raises(
        BudgetError, match=r"the run costs 14\.40 USD .*above what is left of budget\.limit, 10\.00 USD"
    ):
        bound(plan(), dear, rate=None, limits=own(10))


def test_validation_rows_are_billed_as_often_as_they_are_read() -> None:
    validated = plan(dataset=facts(train_tokens=10**7, train_rows=100, validation_rows=10))

    assert for_tokens(validated, PRICE).amount == Money(Decimal("14.40"))
    assert for_tokens(validated, replace(PRICE, validations=3)).amount == Money(Decimal("15.84"))


def test_tokens_without_a_price_are_counted_and_cost_nobody_knows_what() -> None:
    computed = unpriced_tokens(plan())

    assert (computed.amount, computed.amount_high, computed.seconds) == (None, None, None)
    assert computed.basis == "1,500 trained tokens, price unknown"
    assert computed.lines[0].unit_price is None


def test_a_budget_cannot_be_held_for_tokens_without_a_price() -> None:
    with pytest.raises(BudgetError, match="nobody names a price for local") as caught:
        check(limited("2 USD"), unpriced_tokens(plan()))

    assert caught.value.hint == "choose a base model of the catalogue, or leave budget out"
