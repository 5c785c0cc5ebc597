"""Intervals: known values, laws, and the honest answers where there is next to nothing to see."""

from __future__ import annotations

import math
from statistics import NormalDist, stdev

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ftorch.evals.intervals import (
    UNBOUNDED,
    Interval,
    Sides,
    binomial_cdf,
    clustered_mean,
    critical_z,
    mean_interval,
    quantile_interval,
    t_quantile,
    wilson,
)

INFINITE = (-math.inf, math.inf)
SIDES = st.sampled_from([1, 2])
SCORES = st.lists(st.floats(0, 1), min_size=2, max_size=40)


def bounds(interval: Interval) -> tuple[float, float]:
    return interval.low, interval.high


@st.composite
def counts(draw: st.DrawFn) -> tuple[int, int]:
    rows = draw(st.integers(1, 2000))
    return draw(st.integers(0, rows)), rows


@pytest.mark.parametrize(
    ("successes", "rows", "sides", "low", "high"),
    [
        (81, 263, 2, 0.2553, 0.3662),  # Newcombe 1998, table I, method 3
        (15, 148, 2, 0.0624, 0.1605),
        (0, 20, 2, 0.0, 0.1611),
        (1, 29, 2, 0.0061, 0.1718),
        (30, 30, 1, 0.9173, 1.0),  # 30 / (30 + 1.645 ** 2)
    ],
)
def test_wilson_gives_the_published_limits(successes: int, rows: int, sides: Sides, low: float, high: float) -> None:
    assert bounds(wilson(successes, rows, sides=sides)) == pytest.approx((low, high), abs=5e-5)


def test_a_rate_of_no_rows_is_anything_from_0_to_1() -> None:
    assert wilson(0, 0) == Interval(0.0, 1.0, 0.95)


@given(counts(), SIDES)
def test_wilson_holds_the_rate_and_mirrors_with_it(of: tuple[int, int], sides: Sides) -> None:
    successes, rows = of

    found, mirrored = wilson(successes, rows, sides=sides), wilson(rows - successes, rows, sides=sides)

    assert 0 <= found.low <= successes / rows <= found.high <= 1
    assert found.high - found.low > 0
    assert bounds(found) == pytest.approx((1 - mirrored.high, 1 - mirrored.low), abs=1e-12)


@given(counts())
def test_a_one_sided_bound_lies_nearer_than_a_two_sided_one(of: tuple[int, int]) -> None:
    one, two = wilson(*of, sides=1), wilson(*of, sides=2)

    assert two.low <= one.low <= one.high <= two.high


@pytest.mark.parametrize(("successes", "rows"), [(-1, 5), (6, 5), (1, 0)])
def test_counts_that_cannot_be_are_refused(successes: int, rows: int) -> None:
    with pytest.raises(ValueError, match="successes in"):
        wilson(successes, rows)


@pytest.mark.parametrize(("confidence", "sides"), [(0.0, 2), (1.0, 2), (95.0, 1), (0.95, 3)])
def test_what_is_no_confidence_or_no_number_of_sides_is_refused(confidence: float, sides: Sides) -> None:
    with pytest.raises(ValueError, match=r"confidence lies|1 or 2 sides"):
        wilson(1, 2, confidence=confidence, sides=sides)


def test_a_mean_of_independent_rows_has_students_interval() -> None:
    values = [0.2, 0.4, 0.5, 0.9, 0.7, 0.3]

    found = mean_interval(values)

    half = 2.570581835636 * stdev(values) / math.sqrt(6)
    assert bounds(found) == pytest.approx((0.5 - half, 0.5 + half), abs=1e-12)


def test_a_row_in_its_own_cluster_is_an_independent_row() -> None:
    values = [0.2, 0.4, 0.5, 0.9, 0.7, 0.3]

    assert mean_interval(values, clusters="abcdef") == mean_interval(values)


def test_copies_of_every_row_in_its_cluster_add_no_certainty() -> None:
    values = [0.2, 0.4, 0.5, 0.9, 0.7, 0.3]

    copied = mean_interval(values * 5, clusters="abcdef" * 5)

    assert bounds(copied) == pytest.approx(bounds(mean_interval(values)), abs=1e-12)
    assert mean_interval(values * 5).low > copied.low


@pytest.mark.parametrize("rows", [2, 3, 30, 300])
def test_equal_scores_are_bounded_like_so_many_successes_of_a_binary_score(rows: int) -> None:
    found = mean_interval([1.0] * rows, sides=1)

    assert found.low == pytest.approx(0.05 ** (1 / rows), abs=1e-12)
    assert binomial_cdf(rows - 1, rows, found.low) == pytest.approx(0.95, abs=1e-12)
    assert found.high == 1.0


def test_scores_that_are_nearly_equal_are_bounded_as_if_they_were_equal() -> None:
    found = mean_interval([1.0, 1.0, 0.999], sides=1)

    assert found.low < 0.37


def test_skewed_scores_near_an_end_get_the_wider_bound_of_a_score_interval() -> None:
    values = [1.0] * 90 + [0.5] * 10

    skewed, plain = mean_interval(values), mean_interval(values, bounds=UNBOUNDED)

    assert skewed.low < plain.low - 0.005
    assert skewed.high == plain.high


def test_binary_scores_are_bounded_at_least_as_widely_as_by_wilson() -> None:
    values = [1.0] * 93 + [0.0] * 7

    found, score = mean_interval(values, sides=1), wilson(93, 100, sides=1)

    assert found.low == pytest.approx(score.low, abs=2e-3)
    assert found.low < score.low


def test_units_that_differ_are_counted_by_their_means_on_paper() -> None:
    differences = [0.8 - 0.7, 0.9 - 0.8, 1.0 - 0.9, 0.5, 0.3, 0.7]

    assert clustered_mean(differences).differing == 3
    assert clustered_mean(differences, "aaabbc").differing == 2
    assert mean_interval(differences[:3] * 10, bounds=(-1.0, 1.0), sides=1).low < 0.1


def test_equal_scores_in_the_middle_leave_room_on_both_sides() -> None:
    found = mean_interval([0.5] * 10, sides=1)

    unseen = 1 - 0.05**0.1
    assert bounds(found) == pytest.approx((0.5 - unseen / 2, 0.5 + unseen / 2), abs=1e-12)


def test_equal_values_without_a_range_say_nothing() -> None:
    assert bounds(mean_interval([120.0, 120.0, 120.0])) == INFINITE
    assert bounds(mean_interval([0.1] * 7, bounds=UNBOUNDED)) == INFINITE


@pytest.mark.parametrize(
    ("values", "clusters", "expected"),
    [
        ([], None, INFINITE),
        ([0.7], None, (0.0, 1.0)),
        ([0.7, 0.9, 0.8], "aaa", (0.0, 1.0)),
        ([250.0], None, INFINITE),
        ([250.0, 260.0], "aa", INFINITE),
    ],
)
def test_below_two_units_the_interval_is_the_whole_range(
    values: list[float], clusters: str | None, expected: tuple[float, float]
) -> None:
    assert bounds(mean_interval(values, clusters=clusters)) == expected


@given(SCORES, SIDES)
def test_the_interval_of_scores_holds_the_mean_within_the_range_and_has_width(
    values: list[float], sides: Sides
) -> None:
    found = mean_interval(values, sides=sides)

    mean = math.fsum(values) / len(values)
    assert 0 <= found.low <= mean <= found.high <= 1
    assert found.high - found.low >= 0.05 / len(values)


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=30), st.integers(1, 5))
def test_a_mean_without_a_range_moves_with_its_values(values: list[float], clusters: int) -> None:
    names = [row % clusters for row in range(len(values))]
    moved = [value + 1e6 for value in values]

    found, shifted = (mean_interval(each, clusters=names, bounds=UNBOUNDED) for each in (values, moved))

    if math.isfinite(found.low) and math.isfinite(shifted.low) and found.high - found.low > 1e-3:
        assert bounds(shifted) == pytest.approx((found.low + 1e6, found.high + 1e6), rel=1e-6)


@pytest.mark.parametrize("values", [[0.5, math.nan], [0.5, math.inf]])
def test_a_value_that_is_no_number_is_refused(values: list[float]) -> None:
    with pytest.raises(ValueError, match="not a finite number"):
        mean_interval(values)
    with pytest.raises(ValueError, match="not a finite number"):
        quantile_interval(values, 0.5)


def test_values_outside_their_range_are_refused() -> None:
    with pytest.raises(ValueError, match=r"does not lie between -1\.0 and 1\.0"):
        mean_interval([0.5, 1.5], bounds=(-1.0, 1.0))


def test_clusters_must_name_every_row() -> None:
    with pytest.raises(ValueError, match="3 values, but clusters of 2 rows"):
        clustered_mean([0.1, 0.2, 0.3], ["a", "b"])


def test_the_bound_of_a_95_percent_quantile_takes_59_rows() -> None:
    enough = quantile_interval(range(1, 60), 0.95, sides=1)
    few = quantile_interval(range(1, 59), 0.95, sides=1)

    assert enough.high == 59
    assert few.high == math.inf
    assert few.low > 1


@pytest.mark.parametrize("values", [[], [100.0], [100.0, 100.0, 100.0]])
def test_a_few_equal_latencies_bound_no_quantile(values: list[float]) -> None:
    assert bounds(quantile_interval(values, 0.95, sides=1)) == (-math.inf, math.inf) or len(values) == 3
    assert quantile_interval(values, 0.95, sides=1).high == math.inf


@given(st.integers(1, 60), st.sampled_from([0.05, 0.25, 0.5, 0.9, 0.95]), st.sampled_from([0.8, 0.95, 0.99]), SIDES)
def test_order_statistics_are_as_near_as_the_binomial_counts_allow(
    rows: int, q: float, confidence: float, sides: Sides
) -> None:
    found = quantile_interval(range(1, rows + 1), q, confidence=confidence, sides=sides)

    tail = (1 - confidence) / sides
    share = [math.comb(rows, count) * q**count * (1 - q) ** (rows - count) for count in range(rows + 1)]
    # Where a count is exactly the tail, rounding decides, and either rank is right.
    sums = [math.fsum(part) for rank in range(1, rows + 1) for part in (share[:rank], share[rank:])]
    assume(all(abs(one - tail) > 1e-12 for one in sums))
    wrong_low = [rank for rank in range(1, rows + 1) if math.fsum(share[:rank]) <= tail]
    wrong_high = [rank for rank in range(1, rows + 1) if math.fsum(share[rank:]) <= tail]
    assert found.low == max(wrong_low, default=-math.inf)
    assert found.high == min(wrong_high, default=math.inf)


@pytest.mark.parametrize("q", [0.0, 1.0, 95.0])
def test_a_quantile_lies_between_0_and_1(q: float) -> None:
    with pytest.raises(ValueError, match="does not lie between 0 and 1"):
        quantile_interval([1.0], q)


@pytest.mark.parametrize(
    ("probability", "degrees", "expected"),
    [
        (0.975, 1, 12.706204736174705),
        (0.95, 2, 2.919985580353725),
        (0.975, 10, 2.228138851964938),
        (0.995, 30, 2.749995653567231),
        (0.5, 7, 0.0),
    ],
)
def test_students_quantiles_are_those_of_the_tables(probability: float, degrees: int, expected: float) -> None:
    assert t_quantile(probability, degrees) == pytest.approx(expected, abs=1e-10)
    assert t_quantile(1 - probability, degrees) == pytest.approx(-expected, abs=1e-10)


def test_students_quantile_of_many_degrees_is_the_normal_one() -> None:
    assert t_quantile(0.95, 10_000) == pytest.approx(NormalDist().inv_cdf(0.95), abs=2e-4)


@pytest.mark.parametrize(("probability", "degrees"), [(0.0, 5), (1.0, 5), (0.9, 0)])
def test_a_quantile_that_there_is_not_is_refused(probability: float, degrees: int) -> None:
    with pytest.raises(ValueError, match="no t quantile"):
        t_quantile(probability, degrees)


def test_critical_values_are_those_that_everybody_knows() -> None:
    assert critical_z(0.95, 1) == pytest.approx(1.6448536269514722, abs=1e-12)
    assert critical_z(0.95, 2) == pytest.approx(1.959963984540054, abs=1e-12)


@given(st.integers(0, 60), st.integers(0, 60), st.floats(0.001, 0.999))
def test_the_binomial_distribution_is_the_sum_of_its_terms(count: int, more: int, rate: float) -> None:
    rows = count + more
    terms = [math.comb(rows, k) * rate**k * (1 - rate) ** (rows - k) for k in range(count + 1)]

    assert binomial_cdf(count, rows, rate) == pytest.approx(math.fsum(terms), abs=1e-12)
    assert binomial_cdf(-1, rows, rate) == 0.0
