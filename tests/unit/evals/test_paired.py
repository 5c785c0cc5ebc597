"""Two models on the same rows."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftorch.evals.intervals import Interval, critical_z, mean_interval
from ftorch.evals.paired import Discordance, difference_range, holm, mcnemar, paired_difference, tango

BINARY = st.lists(st.tuples(st.sampled_from([0.0, 1.0]), st.sampled_from([0.0, 1.0])), min_size=1, max_size=60)


def bounds(interval: Interval) -> tuple[float, float]:
    return interval.low, interval.high


@st.composite
def counts(draw: st.DrawFn) -> tuple[int, int, int]:
    rows = draw(st.integers(1, 500))
    better = draw(st.integers(0, rows))
    return better, draw(st.integers(0, rows - better)), rows


def test_rows_where_only_one_model_is_right_are_counted_for_it() -> None:
    assert Discordance.of([1, 1, 0, 0, 1.0], [1, 0, 1, 0, 0]) == Discordance(better=2, worse=1, rows=5)


def test_scores_between_0_and_1_are_not_counted() -> None:
    with pytest.raises(ValueError, match="only scores of 0 and 1"):
        Discordance.of([1, 0.5], [1, 0])


@pytest.mark.parametrize(
    ("better", "worse", "expected"), [(0, 0, 1.0), (5, 0, 0.0625), (1, 7, 0.0703125), (4, 4, 1.0), (4, 5, 1.0)]
)
def test_mcnemars_p_is_that_of_a_fair_coin(better: int, worse: int, expected: float) -> None:
    assert mcnemar(better, worse) == expected


def test_mcnemars_p_of_many_rows_is_neither_lost_nor_slow() -> None:
    assert mcnemar(3000, 3000) == 1.0
    assert mcnemar(0, 3000) == 0.0
    assert 0 < mcnemar(0, 1000) < 1e-300


@given(st.integers(0, 300), st.integers(0, 300))
def test_mcnemar_does_not_care_which_model_is_which(better: int, worse: int) -> None:
    assert mcnemar(better, worse) == mcnemar(worse, better) <= 1


def test_holm_adjusts_in_the_order_given() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_holm_of_nothing_is_nothing_and_of_one_is_itself() -> None:
    assert holm([]) == []
    assert holm([0.04]) == [0.04]


@given(st.lists(st.floats(0, 1), max_size=12))
def test_holm_never_lowers_a_p_and_keeps_their_order(p_values: list[float]) -> None:
    adjusted = holm(p_values)

    assert all(before <= after <= 1 for before, after in zip(p_values, adjusted, strict=True))
    by_p = [after for _, after in sorted(zip(p_values, adjusted, strict=True))]
    assert by_p == sorted(by_p)


def test_tangos_limits_are_the_published_ones() -> None:
    """Airway hyper-responsiveness of 21 children: Fagerland, Lydersen, Laake 2014, table 9."""
    assert bounds(tango(1, 7, 21)) == pytest.approx((-0.517, -0.026), abs=5e-4)


@pytest.mark.parametrize("rows", [1, 30, 1000])
def test_no_discordance_is_not_the_same_as_no_difference(rows: int) -> None:
    z = critical_z(0.95, 1)

    found = tango(0, 0, rows, sides=1)

    assert bounds(found) == pytest.approx((-z * z / (rows + z * z), z * z / (rows + z * z)), abs=1e-12)


def test_no_rows_leave_every_difference_open() -> None:
    assert bounds(tango(0, 0, 0)) == (-1.0, 1.0)


@pytest.mark.parametrize(("better", "expected"), [(0, -1.0), (12, 1.0)])
def test_a_difference_on_every_row_reaches_the_end_of_the_range(better: int, expected: float) -> None:
    found = tango(better, 12 - better, 12)

    assert expected in bounds(found)
    assert found.high - found.low > 0.1


@pytest.mark.parametrize("of", [(-1, 0, 5), (0, -1, 5), (3, 3, 5)])
def test_more_discordant_rows_than_rows_are_refused(of: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="better and"):
        tango(*of)


@given(counts(), st.sampled_from([0.8, 0.95, 0.999]))
def test_tangos_interval_holds_the_difference_and_mirrors_with_it(of: tuple[int, int, int], confidence: float) -> None:
    better, worse, rows = of

    found, mirrored = (
        tango(better, worse, rows, confidence=confidence),
        tango(worse, better, rows, confidence=confidence),
    )

    assert -1 <= found.low <= (better - worse) / rows <= found.high <= 1
    assert found.high - found.low > 0
    assert bounds(found) == (-mirrored.high, -mirrored.low)


@given(counts())
def test_the_bound_is_above_0_exactly_when_mcnemars_statistic_is_above_z(of: tuple[int, int, int]) -> None:
    better, worse, rows = of

    low = tango(better, worse, rows, sides=1).low

    distance = better - worse - critical_z(0.95) * math.sqrt(better + worse)
    if abs(distance) > 1e-6:
        assert (low > 0) == (distance > 0)


@given(BINARY)
def test_binary_scores_are_compared_by_their_counts(rows: list[tuple[float, float]]) -> None:
    tuned, reference = [one for one, _ in rows], [other for _, other in rows]

    found = paired_difference(tuned, reference, sides=1)

    counted = Discordance.of(tuned, reference)
    assert found == tango(counted.better, counted.worse, counted.rows, sides=1)


def test_other_scores_are_compared_by_their_differences() -> None:
    tuned, reference = [0.9, 0.7, 0.4, 1.0], [0.5, 0.6, 0.4, 0.2]

    found = paired_difference(tuned, reference)

    differences = [one - other for one, other in zip(tuned, reference, strict=True)]
    assert found == mean_interval(differences, bounds=(-1.0, 1.0))


def test_equal_answers_on_three_rows_prove_no_equality() -> None:
    found = paired_difference([0.8, 0.9, 0.7], [0.8, 0.9, 0.7], sides=1)

    assert found.low < -0.6
    assert found.high > 0.6


def test_binary_scores_in_clusters_are_not_counted_as_independent() -> None:
    tuned, reference = [1.0, 0.0, 1.0, 1.0] * 10, [0.0, 0.0, 1.0, 0.0] * 10

    alone = paired_difference(tuned, reference)
    clustered = paired_difference(tuned, reference, clusters=[row // 8 for row in range(40)])
    own = paired_difference(tuned, reference, clusters=list(range(40)))

    assert own == alone
    assert clustered == mean_interval(
        [one - other for one, other in zip(tuned, reference, strict=True)],
        clusters=[row // 8 for row in range(40)],
        bounds=(-1.0, 1.0),
    )
    assert clustered.low < alone.low


def test_differences_of_scores_without_a_range_have_none() -> None:
    assert difference_range([120.0, 80.0], [0.5, 0.5]) == (-math.inf, math.inf)
    assert difference_range([1.0, 0.0], [0.5, 0.5]) == (-1.0, 1.0)


def test_scores_of_other_rows_are_refused() -> None:
    with pytest.raises(ValueError, match="3 scores of the tuned model, but 2 of the reference"):
        paired_difference([1, 0, 1], [1, 0])
