"""The lifetime: the worked example to the cent, the laws of the formulas, and the rule of the verdict."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from decimal import Decimal

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ftorch.core.errors import ManifestError
from ftorch.core.money import Money
from ftorch.core.quality import NOT_MEASURED, Quality, QualityState
from ftorch.costs.lifetime import PayVerdict, TrainCost, lifetime, side
from ftorch.manifest.lifetime import GpuHours, Lifetime, PerCall, PerToken
from ftorch.manifest.load import parse_manifest

START = date(2026, 11, 1)
GOOD = Quality(QualityState.AT_LEAST_HOSTED, "measured")


EXACT = {"calls_per_period": 0, "hosted": 0, "serving": 0, "train_cost": 0}


def usd(text: str) -> Money:
    return Money(Decimal(text))


def per_call(text: str) -> PerCall:
    return PerCall(per_call=usd(text), source="test")


def block(**changes: object) -> Lifetime:
    values = {
        "calls_per_period": 200_000,
        "period": "month",
        "periods": 24,
        "hosted": per_call("0.005"),
        "serving": per_call("0.0005"),
    }
    return Lifetime.model_validate({**values, **changes})


def train(text: str) -> TrainCost:
    return TrainCost(usd(text), "test", is_assumed=True)


def test_the_worked_example_comes_out_to_the_cent() -> None:
    found = lifetime(block(), train("2500"), NOT_MEASURED, start=START)

    assert found.crossover is not None
    assert (found.hosted_lifetime, found.fine_tune_lifetime) == (usd("24000"), usd("4900"))
    assert (found.saving, found.saving_percent) == (usd("19100"), Decimal("79.6"))
    assert found.crossover.months.quantize(Decimal("0.01")) == Decimal("2.78")
    assert found.crossover.calls.quantize(Decimal(1)) == 555_556
    assert found.crossover.on == date(2027, 1, 25)
    assert (found.verdict, found.reason) == (PayVerdict.UNKNOWN, "quality not measured")


def test_one_gpu_that_is_always_on_turns_the_saving_into_a_loss() -> None:
    serving = GpuHours(per_gpu_hour=usd("3.99"), calls_per_hour=20_000, source="test")

    found = lifetime(block(serving=serving), train("2500"), GOOD, start=START)

    assert found.tuned.fixed_per_period == usd("2912.70")
    assert found.saving == usd("-48404.80")
    assert found.crossover is None
    assert found.verdict is PayVerdict.DOES_NOT_PAY


def test_more_calls_than_a_gpu_carries_take_more_gpus() -> None:
    price = GpuHours(per_gpu_hour=usd("3.99"), calls_per_hour=20_000, source="test")

    assert side(price, "x", 20_000_000, "month").replicas == 3
    assert side(price, "x", 0, "month").replicas == 1


def test_a_gpu_that_is_on_only_when_called_costs_per_call() -> None:
    price = GpuHours(per_gpu_hour=usd("3.60"), calls_per_hour=1000, utilisation=0.5, always_on=False, source="test")

    found = side(price, "x", 1000, "month")

    assert (found.per_call, found.fixed_per_period) == (usd("0.0072"), usd("0"))


def test_a_price_per_token_counts_what_is_read_and_what_is_written() -> None:
    price = PerToken(
        per_million_input=usd("0.50"),
        per_million_output=usd("1.50"),
        input_tokens=1000,
        output_tokens=100,
        source="test",
    )

    assert side(price, "x", 1, "month").per_call == usd("0.00065")


@pytest.mark.parametrize(
    ("quality", "cost", "changes", "verdict", "reason"),
    [
        (GOOD, "2500", {}, PayVerdict.PAYS, "it saves 19,100.00 USD"),
        (NOT_MEASURED, "2500", {}, PayVerdict.UNKNOWN, "quality not measured"),
        (
            Quality(QualityState.INCONCLUSIVE, "30 rows"),
            "2500",
            {},
            PayVerdict.UNKNOWN,
            "quality inconclusive: 30 rows",
        ),
        (Quality(QualityState.WORSE, "0.7"), "2500", {}, PayVerdict.DOES_NOT_PAY, "quality is below"),
        (GOOD, None, {}, PayVerdict.UNKNOWN, "train cost not known"),
        (GOOD, "2500", {"calls_per_period": 0}, PayVerdict.DOES_NOT_PAY, "nobody calls it"),
        (NOT_MEASURED, None, {"serving": per_call("0.005")}, PayVerdict.DOES_NOT_PAY, "the lines never cross"),
        (GOOD, "2500", {"periods": 2}, PayVerdict.DOES_NOT_PAY, "not earned back within 2 months"),
        (GOOD, "2500", {"periods": 5}, PayVerdict.DOES_NOT_PAY, "later than half the horizon"),
        (GOOD, "2500", {"periods": 6}, PayVerdict.PAYS, "it saves"),
        (GOOD, "0", {}, PayVerdict.PAYS, "it saves"),
    ],
)
def test_the_rule_decides(
    quality: Quality, cost: str | None, changes: dict[str, object], verdict: PayVerdict, reason: str
) -> None:
    found = lifetime(block(**changes), train(cost) if cost else None, quality, start=START)

    assert found.verdict is verdict
    assert reason in found.reason


def test_what_depends_on_an_unknown_train_cost_is_unknown_too() -> None:
    found = lifetime(block(), None, GOOD, start=START)

    assert (found.fine_tune_lifetime, found.saving, found.saving_percent, found.crossover) == (None, None, None, None)


def test_a_crossover_beyond_the_calendar_has_no_date() -> None:
    found = lifetime(block(calls_per_period=1), train("99999999999"), GOOD, start=START)

    assert found.crossover is not None
    assert found.crossover.on is None


@pytest.mark.parametrize(
    ("period", "months"),
    [("day", Decimal(24) / 730), ("week", Decimal(168) / 730), ("month", Decimal(1)), ("year", Decimal(12))],
)
def test_periods_are_told_in_months(period: str, months: Decimal) -> None:
    assert lifetime(block(period=period, periods=1), train("1"), GOOD, start=START).months == months


amounts = st.decimals(min_value=0, max_value=10_000, places=4, allow_nan=False, allow_infinity=False)
prices = st.decimals(min_value=0, max_value=1, places=6, allow_nan=False, allow_infinity=False)


@given(amounts, prices, prices, st.integers(0, 10_000_000), st.integers(1, 60))
def test_saving_is_the_difference_and_the_lines_meet_at_the_crossover(
    cost: Decimal, hosted: Decimal, serving: Decimal, calls: int, periods: int
) -> None:
    asked = block(hosted=per_call(str(hosted)), serving=per_call(str(serving)), calls_per_period=calls, periods=periods)

    found = lifetime(asked, TrainCost(Money(cost), "test", is_assumed=True), GOOD, start=START)

    assert found.fine_tune_lifetime is not None
    assert found.saving == found.hosted_lifetime - found.fine_tune_lifetime
    if found.crossover:
        at = found.crossover.periods
        hosted_then = found.hosted.cost(Decimal(calls), at).amount
        tuned_then = cost + found.tuned.cost(Decimal(calls), at).amount
        assert abs(hosted_then - tuned_then) <= Decimal("1e-15") * max(Decimal(1), hosted_then)


@given(amounts, prices, prices)
def test_the_verdict_flips_exactly_where_the_crossover_passes_half_the_horizon(
    cost: Decimal, hosted: Decimal, serving: Decimal
) -> None:
    assume(hosted > serving and cost > 0)
    asked = block(hosted=per_call(str(hosted)), serving=per_call(str(serving)), uncertainty=EXACT)

    found = lifetime(asked, TrainCost(Money(cost), "test", is_assumed=True), GOOD, start=START)

    assert found.crossover is not None
    assert (found.verdict is PayVerdict.PAYS) == (found.crossover.periods <= 12)


@settings(max_examples=30)
@given(amounts)
def test_twice_the_train_cost_is_twice_the_crossover(cost: Decimal) -> None:
    once = lifetime(block(), TrainCost(Money(cost), "t", is_assumed=True), GOOD, start=START).crossover
    twice = lifetime(block(), TrainCost(Money(2 * cost), "t", is_assumed=True), GOOD, start=START).crossover

    assert once is not None
    assert twice is not None
    assert abs(twice.periods - 2 * once.periods) <= Decimal("1e-25") * max(Decimal(1), twice.periods)


def test_another_currency_is_not_added() -> None:
    cost = TrainCost(replace(usd("1"), currency="EUR"), "test", is_assumed=True)

    with pytest.raises(ValueError, match="do not add"):
        lifetime(block(), cost, GOOD, start=START)


def test_a_serving_price_without_a_source_is_refused_at_its_line() -> None:
    text = """\
version: 1
name: x
base_model: Qwen/Qwen3-8B
method: {type: sft}
dataset: {path: rows.jsonl}
provider: local
lifetime:
  calls_per_period: 1
  periods: 1
  hosted: {per_call: 0.005 USD, source: list}
  serving: {per_call: 0.0005 USD}
"""

    with pytest.raises(ManifestError) as refused:
        parse_manifest(text, "job.yaml")

    [fault] = refused.value.faults
    assert (fault.file, fault.line, fault.key) == ("job.yaml", 11, "lifetime.serving.source")
