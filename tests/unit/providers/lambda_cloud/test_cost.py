"""Minutes into money, with what is not known of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftorch.core.money import Money
from ftorch.providers.lambda_cloud.cost import Life, cost, words

START = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)
CENTS = 129
PER_MINUTE = Decimal("0.0215")


def life(seconds: float, *, unsure_s: float = 0.0, healthy: bool = True) -> Life:
    end = START + timedelta(seconds=seconds)
    launched_at = START - timedelta(minutes=4)
    return Life(CENTS, launched_at, START if healthy else None, end - timedelta(seconds=unsure_s), end)


@pytest.mark.parametrize(("seconds", "minutes"), [(0, 0), (1, 1), (60, 1), (60.001, 2), (3599, 60), (3600, 60)])
def test_each_begun_minute_counts(seconds: float, minutes: int) -> None:
    assert cost(life(seconds)).amount == Money(PER_MINUTE * minutes)


def test_the_interval_holds_both_ways_to_round_and_the_unknown_end() -> None:
    found = cost(life(150, unsure_s=90))

    assert (found.low, found.amount, found.high) == (
        Money(PER_MINUTE * 1),
        Money(PER_MINUTE * 3),
        Money(PER_MINUTE * 4),
    )


def test_a_machine_that_never_was_healthy_costs_nothing_as_far_as_lambda_says() -> None:
    found = cost(life(60, healthy=False))

    assert (found.amount, found.low) == (Money(Decimal(0)), Money(Decimal(0)))
    assert found.high == Money(PER_MINUTE * 6), "where Lambda bills it all the same, from its launch on"


def test_an_end_before_the_start_is_no_time() -> None:
    assert cost(life(-30)).amount == Money(Decimal(0))


def test_the_words_never_call_it_billed() -> None:
    said = words(cost(life(150)), CENTS, "gpu_1x_a10@us-east-1")

    assert "derived, not billed: 3 min of gpu_1x_a10@us-east-1 at 1.29 USD per hour" in said
    assert "tax not included" in said


@given(st.floats(0, 10**6), st.floats(0, 10**5))
def test_the_figure_lies_in_its_interval(seconds: float, unsure_s: float) -> None:
    found = cost(life(seconds, unsure_s=unsure_s))

    assert found.low.amount <= found.amount.amount <= found.high.amount
