"""The draws: the same for the same seed, calibrated, and in the rule."""

from __future__ import annotations

import random
from dataclasses import replace
from decimal import Decimal
from statistics import quantiles

import pytest

from ftorch.costs.chance import INPUTS, at, chance, draws, p_saving, savings, tornado
from ftorch.costs.course import in_floats, totals
from ftorch.costs.lifetime import P_SAVING, PayVerdict, case_of, lifetime, shares_of
from ftorch.manifest.lifetime import GpuHours
from unit.costs.test_course import TERMS
from unit.costs.test_lifetime import EXACT, GOOD, START, block, per_call, train, usd

SHARES = {
    "calls_per_period": 0.3,
    "hosted": 0.1,
    "serving": 0.2,
    "train_cost": 0.2,
    "growth": 0,
    "hosted_price_decline": 0,
}


def test_the_same_seed_has_the_same_answer_and_another_one_nearly() -> None:
    first, again, other = (chance(TERMS, SHARES, seed) for seed in (42, 42, 7))

    assert first == again
    assert first != other
    assert abs(first.saving_median.amount - other.saving_median.amount) < 300


def test_the_interval_of_the_volume_holds_ninety_of_a_hundred() -> None:
    numbers = in_floats(TERMS)
    only = dict.fromkeys(INPUTS, 0.0) | {"calls_per_period": 0.3}

    drawn = sorted(at(numbers, only, one).calls for one in draws(42, 10_000))

    cuts = quantiles(drawn, n=20)
    assert cuts[0] == pytest.approx(200_000 / 1.3, rel=0.02)
    assert cuts[-1] == pytest.approx(200_000 * 1.3, rel=0.02)


def test_adding_up_once_is_the_same_as_walking_every_draw() -> None:
    numbers = replace(in_floats(TERMS), storage=5.0, retrain=300.0, retrain_every=6.0)

    walked = [totals(at(numbers, SHARES, one)).saving for one in draws(42, 50)]

    assert savings(numbers, SHARES, 42, 50) == pytest.approx(walked)


def test_the_crossover_has_an_interval_around_the_likely_one() -> None:
    found = chance(TERMS, SHARES, 42)

    assert found.crossover_low is not None
    assert found.crossover_high is not None
    assert found.crossover_low < Decimal(2500) / 900 < found.crossover_high
    assert found.never == 0


def test_where_the_lines_may_never_meet_the_interval_has_no_end() -> None:
    close = replace(TERMS, hosted=replace(TERMS.hosted, per_call=Decimal("0.00052")))

    found = chance(close, SHARES, 42)

    assert found.crossover_high is None
    assert 0 < found.never < 1


def test_without_uncertainty_one_draw_is_all() -> None:
    found = chance(TERMS, dict.fromkeys(INPUTS, 0.0), 42)

    assert (found.draws, found.p_saving) == (1, 1.0)
    assert found.saving_low == found.saving_high == usd("19100.00")


def test_the_tornado_has_the_widest_first_and_its_own_figures() -> None:
    swings = tornado(TERMS, SHARES)

    assert [swing.input for swing in swings] == ["calls_per_period", "hosted", "train_cost", "serving"]
    assert swings[0].saving_at_high == usd("25580.00")  # 260,000 calls
    assert swings[2].saving_at_low == usd("19516.67")  # 2,083.33 USD
    assert not any(swing.flips for swing in swings)


def test_an_input_that_turns_the_saving_is_marked() -> None:
    tight = replace(TERMS, train=Decimal(20_000))

    assert next(swing for swing in tornado(tight, SHARES) if swing.input == "calls_per_period").flips


def test_a_likely_loss_does_not_pay_although_the_likely_figure_does() -> None:
    tight = block(serving=per_call("0.0046"), uncertainty={"hosted": 0.1, "serving": 0.1})

    found = lifetime(tight, train("100"), GOOD, start=START)

    assert found.saving is not None
    assert found.saving.amount > 0
    assert found.chance is not None
    assert found.chance.p_saving < P_SAVING
    assert found.verdict is PayVerdict.DOES_NOT_PAY
    assert f"probability of {found.chance.p_saving:.3f} only, less than 0.9" in found.reason


@pytest.mark.parametrize("seed", random.SystemRandom().sample(range(10**6), 3), ids=("one", "another", "a third"))
def test_the_verdict_flips_exactly_at_the_probability_of_the_rule(seed: int) -> None:
    """The serving price walks over the threshold: it pays exactly while the printed figure is 0.9 or more."""
    seen = set()
    for step in range(3900, 4600, 10):
        asked = block(serving=per_call(f"0.00{step}"), uncertainty={"serving": 0.1}, seed=seed)
        found = lifetime(asked, train("10"), GOOD, start=START)
        assert found.chance is not None
        pays = found.verdict is PayVerdict.PAYS
        seen.add(pays)
        assert pays == (found.chance.p_saving >= P_SAVING), (seed, step)
        assert found.pays_in_money == pays
    assert seen == {True, False}, seed


def test_the_probability_alone_is_the_one_of_the_report() -> None:
    asked = block(serving=per_call("0.0042"))
    case = case_of(asked, train("100"), start=START)

    found = lifetime(asked, train("100"), GOOD, start=START)

    assert found.chance is not None
    assert p_saving(case.terms, shares_of(case), asked.seed) == found.chance.p_saving


def test_gpus_that_are_always_on_are_drawn_too() -> None:
    serving = GpuHours(per_gpu_hour=usd("3.99"), calls_per_hour=5_000, source="test")

    found = lifetime(block(serving=serving, calls_per_period=800_000), train("2500"), GOOD, start=START)

    assert found.chance is not None
    assert found.chance.draws == 1_000
    assert 0 < found.chance.p_saving < 1


def test_a_billed_train_cost_is_exact_and_an_assumed_one_is_not() -> None:
    billed = replace(train("2500"), is_assumed=False, status="adjusted+billed")

    assert shares_of(case_of(block(), billed, start=START))["train_cost"] == 0
    assert shares_of(case_of(block(), train("2500"), start=START))["train_cost"] == 0.2
    assert shares_of(case_of(block(uncertainty=EXACT), train("2500"), start=START))["train_cost"] == 0
    assert shares_of(case_of(block(), replace(billed, status="billed+provisional"), start=START))["train_cost"] == 0.2
