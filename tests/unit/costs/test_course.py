"""The two lives period by period: growth, decline, retrains, storage, shutdown, and where the lines meet."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftorch.core.money import Money
from ftorch.costs.course import Rates, Terms, crossover, in_floats, points, totals, walk
from ftorch.costs.lifetime import PayVerdict, case_of, lifetime
from unit.costs.test_lifetime import EXACT, GOOD, START, block, train, usd

ZERO = Decimal(0)


def rates(per_call: str, decline: str = "0") -> Rates[Decimal]:
    return Rates(Decimal(per_call), ZERO, None, Decimal(decline))


TERMS = Terms(
    calls=Decimal(200_000),
    growth=ZERO,
    periods=Decimal(24),
    hosted=rates("0.005"),
    tuned=rates("0.0005"),
    train=Decimal(2500),
    retrain=ZERO,
    retrain_every=None,
    storage=ZERO,
    ends=False,
)


def test_even_periods_are_the_two_formulas() -> None:
    whole = totals(TERMS)

    assert (whole.hosted, whole.tuned, whole.saving) == (Decimal(24000), Decimal(4900), Decimal(19100))
    assert crossover(TERMS) == Decimal(2500) / Decimal(900)


def test_growth_is_compound() -> None:
    grown = totals(replace(TERMS, growth=Decimal("0.1"), periods=Decimal(3)))

    assert grown.hosted == Decimal("0.005") * 200_000 * (1 + Decimal("1.1") + Decimal("1.21"))


def test_a_price_that_falls_takes_the_saving_with_it() -> None:
    falling = totals(replace(TERMS, hosted=rates("0.005", "0.2"), periods=Decimal(3)))

    assert falling.hosted == 1000 * (1 + Decimal("0.8") + Decimal("0.64"))


@pytest.mark.parametrize(
    ("every", "times"), [("6", 3), ("12", 1), ("24", 0), ("1", 23), ("0.5", 46), ("7.5", 3), ("100", 0)]
)
def test_training_again_is_due_at_the_start_of_a_period_and_never_at_the_end(every: str, times: int) -> None:
    again = replace(TERMS, retrain=Decimal(10), retrain_every=Decimal(every))

    assert totals(again).retrains == 10 * times


def test_storage_counts_every_period() -> None:
    assert totals(replace(TERMS, storage=Decimal(3))).tuned == 4900 + 24 * 3


def test_a_last_period_that_is_cut_counts_by_its_length() -> None:
    cut = replace(TERMS, periods=Decimal("2.5"), ends=True)

    assert totals(cut).hosted == Decimal("2.5") * 1000
    assert [period.length for period in walk(cut)] == [1, 1, Decimal("0.5")]


def test_a_gpu_is_added_when_the_volume_has_grown_past_the_first() -> None:
    served = Rates(ZERO, Decimal(100), Decimal(250_000), ZERO)
    grown = replace(TERMS, tuned=served, growth=Decimal("0.1"), periods=Decimal(5), train=ZERO)

    assert [period.tuned for period in walk(grown)] == [100, 100, 100, 200, 200]  # 200, 220, 242, 266, 293 thousand


def test_nothing_comes_after_the_shutdown() -> None:
    assert crossover(replace(TERMS, periods=Decimal(2), ends=True)) is None
    assert crossover(replace(TERMS, periods=Decimal(2), ends=False)) == Decimal(2500) / 900


def test_a_retrain_that_lifts_the_line_again_moves_the_crossover_to_the_last_meeting() -> None:
    again = replace(TERMS, retrain=Decimal(3000), retrain_every=Decimal(4), periods=Decimal(8))

    # 2,500 is earned back after 2.78 periods; at 4 the lead of 1,100 turns into 1,900 behind: 2.11 periods more.
    assert crossover(again) == Decimal(4) + Decimal(1900) / 900


def test_a_crossover_under_growth_comes_sooner() -> None:
    grown, even = crossover(replace(TERMS, growth=Decimal("0.1"))), crossover(TERMS)

    assert grown is not None
    assert even is not None
    assert 2 < grown < even


@given(
    st.integers(1, 10**6),
    st.sampled_from(["0", "0.02", "-0.05"]),
    st.integers(0, 5000),
    st.integers(1, 40),
    st.sampled_from([None, "3", "7.5"]),
)
def test_the_lines_meet_at_the_crossover(calls: int, growth: str, cost: int, periods: int, every: str | None) -> None:
    terms = replace(
        TERMS,
        calls=Decimal(calls),
        growth=Decimal(growth),
        train=Decimal(cost),
        periods=Decimal(periods),
        retrain=Decimal(cost) / 10,
        retrain_every=Decimal(every) if every else None,
    )

    found = crossover(terms)

    if found is not None and found < periods:
        gone = list(points(terms))
        before = [point for point in gone if point[0] <= found][-1]
        after = next(point for point in gone if point[0] > found)
        share = (found - before[0]) / (after[0] - before[0])
        hosted, tuned = (before[at] + share * (after[at] - before[at]) for at in (1, 2))
        assert abs(hosted - tuned) < Decimal("1e-9") * max(Decimal(1), hosted)
        assert all(tuned <= hosted + Decimal("1e-9") for months, hosted, tuned in gone if months > found)


def test_floats_walk_the_same_way() -> None:
    terms = replace(TERMS, growth=Decimal("0.03"), retrain=Decimal(100), retrain_every=Decimal(5))

    assert totals(in_floats(terms)).saving == pytest.approx(float(totals(terms).saving))


def test_the_shutdown_of_the_hosted_model_cuts_the_horizon() -> None:
    found = lifetime(block(hosted_shutdown="2027-11-01"), train("2500"), GOOD, start=START)

    assert found.horizon_periods == Decimal(365) * 24 / 730
    assert found.shutdown == date(2027, 11, 1)
    assert found.hosted_lifetime == usd("12000")
    assert found.saving == usd("8300")


def test_a_shutdown_beyond_the_horizon_cuts_nothing() -> None:
    found = lifetime(block(hosted_shutdown="2040-01-01"), train("2500"), GOOD, start=START)

    assert found.shutdown is None
    assert found.horizon_periods == 24


def test_a_hosted_model_that_is_gone_already_is_no_comparison() -> None:
    found = lifetime(block(hosted_shutdown="2026-10-01"), train("2500"), GOOD, start=START)

    assert found.verdict is PayVerdict.DOES_NOT_PAY
    assert "switched off on 2026-10-01" in found.reason


def test_retrains_cost_what_the_training_did_unless_a_figure_is_given() -> None:
    as_much = case_of(block(retrain={"every": 6}), train("2500"), start=START)
    stated = case_of(block(retrain={"every": 6, "cost": {"assumed": "800 USD", "source": "x"}}), None, start=START)

    assert as_much.terms.retrain == 2500
    assert stated.terms.retrain == 800


def test_what_does_not_stay_crossed_does_not_pay() -> None:
    again = block(retrain={"every": 22, "cost": {"assumed": "18000 USD", "source": "x"}}, uncertainty=EXACT)

    found = lifetime(again, train("2500"), GOOD, start=START)

    assert found.saving is not None
    assert found.saving > Money(ZERO)
    assert found.verdict is PayVerdict.DOES_NOT_PAY
    assert "later than half the horizon" in found.reason
