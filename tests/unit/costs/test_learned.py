"""Estimates that learn from what earlier jobs came to."""

from __future__ import annotations

import random
from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.estimates import KINDS, score
from ftorch.core.money import Money
from ftorch.costs.estimate import Estimate, for_tokens
from ftorch.costs.learned import Correction, Outcome, apply, correction, fit
from ftorch.costs.prices import TokenPrice
from unit.plans import facts, plan

SPREAD = (0.5, 2.0)
SIZES = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 3.0, 7.0, 15.0, 30.0)


def of(*pairs: tuple[float, float]) -> tuple[Outcome, ...]:
    return tuple(Outcome(growing, actual) for growing, actual in pairs)


def corrected(outcomes: tuple[Outcome, ...], estimate: float = 10.0) -> Correction:
    found = correction(outcomes, estimate=estimate, growing=estimate, spread=SPREAD)
    assert found is not None
    return found


def estimated() -> Estimate:
    price = TokenPrice(Decimal("1.00"), Money(Decimal(0)), "list", date(2026, 11, 1))
    return for_tokens(plan(dataset=facts(train_tokens=1_000_000)), price)


def test_nothing_is_learned_from_nothing() -> None:
    assert correction((), estimate=10.0, growing=10.0, spread=SPREAD) is None
    assert apply(estimated(), (), ()) == estimated()


def test_one_job_moves_an_estimate_most_of_the_way() -> None:
    assert 0.5 < corrected(of((10, 5))).likely < 0.65


def test_many_jobs_move_it_all_the_way() -> None:
    assert corrected(of(*[(size, size / 2) for size in SIZES])).likely == pytest.approx(0.5, rel=0.01)


def test_the_interval_narrows_with_jobs() -> None:
    widths = []
    for many in (1, 4, 10, 50):
        found = corrected(of(*[(10.0, 5.0)] * many))
        widths.append(found.high / found.low)

    assert widths == sorted(widths, reverse=True)
    assert widths[0] > 2


def test_a_single_odd_job_moves_nothing_far() -> None:
    usual = [(size, size) for size in SIZES]

    assert corrected(of(*usual, (10, 1000))).likely == pytest.approx(1.0, abs=0.03)


def test_what_is_paid_once_per_run_is_found() -> None:
    found = fit(of(*[(size, 4 + 0.5 * size) for size in SIZES]))

    assert [found.once, found.each] == pytest.approx([4, 0.5])


def test_a_minimum_is_found() -> None:
    found = fit(of(*[(size, max(6.0, 0.5 * size)) for size in SIZES]))

    assert [found.floor, found.each] == pytest.approx([6, 0.5])


def test_few_jobs_make_no_curve() -> None:
    assert fit(of((1, 4.5), (10, 9), (20, 14))).once == 0


def test_the_likely_figure_lies_in_its_interval() -> None:
    found = apply(estimated(), of((3.0, 6.0), (3.0, 6.3), (3.0, 5.8)), ())

    assert found.amount_low is not None
    assert found.amount is not None
    assert found.amount_high is not None
    assert found.amount_low <= found.amount <= found.amount_high
    assert found.learned is not None
    assert found.learned.jobs == 3
    assert found.learned.unlearned == Money.parse("3.00 USD")
    assert found.basis.endswith("learned from 3 jobs")


def test_what_was_free_teaches_nothing() -> None:
    assert correction(of((10, 0), (0, 10)), estimate=10.0, growing=10.0, spread=SPREAD) is None


amounts = st.floats(0.01, 1e4)


@given(st.lists(st.tuples(amounts, amounts), min_size=1, max_size=30), amounts)
def test_bounds_are_ordered_and_positive(pairs: list[tuple[float, float]], estimate: float) -> None:
    found = corrected(of(*pairs), estimate)

    assert 0 < found.low <= found.likely <= found.high


@pytest.mark.parametrize("provider", KINDS)
def test_hidden_speed_price_and_discount_are_learned(provider: str) -> None:
    seed = random.SystemRandom().randrange(10**6)

    found = score(provider, seed)

    assert found.median_error <= 0.05, (seed, found)
    assert found.coverage >= 0.85, (seed, found)
