"""How many rows it takes."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftorch.evals.intervals import exact_rate
from ftorch.evals.power import rows_for_distance, rows_for_floor, rows_needed, smallest_difference


@pytest.mark.parametrize(
    ("margin", "discordance", "rows"),
    [(0.03, 0.05, 344), (0.03, 0.08, 550), (0.03, 0.15, 1031), (0.02, 0.05, 773), (0.02, 0.15, 2319)],
)
def test_the_rows_of_a_margin_are_those_of_the_formula(margin: float, discordance: float, rows: int) -> None:
    assert rows_needed(margin, discordance) == rows


@given(st.floats(0.005, 0.3), st.floats(0.01, 1.0), st.sampled_from([0.8, 0.95]), st.sampled_from([0.5, 0.8, 0.9]))
def test_the_smallest_difference_is_the_margin_of_those_rows(
    margin: float, discordance: float, confidence: float, power: float
) -> None:
    rows = rows_needed(margin, discordance, confidence=confidence, power=power)

    assert smallest_difference(rows, discordance, confidence=confidence, power=power) <= margin * (1 + 1e-6)
    if rows > 1:
        assert smallest_difference(rows - 1, discordance, confidence=confidence, power=power) > margin * (1 - 1e-6)


def test_more_power_or_more_confidence_takes_more_rows() -> None:
    usual = rows_needed(0.03, 0.08)

    assert rows_needed(0.03, 0.08, power=0.9) > usual
    assert rows_needed(0.03, 0.08, confidence=0.99) > usual


@given(st.floats(0.3, 0.95), st.floats(0.02, 0.8))
def test_the_exact_bound_of_the_expected_rate_passes_the_floor_on_those_rows(floor: float, above: float) -> None:
    expected = floor + above * (1 - floor)

    rows = rows_for_floor(floor, expected)

    assert exact_rate(math.ceil(expected * rows - 1e-9), rows, sides=1).low >= floor - 1e-9


@pytest.mark.parametrize("floor", [0.8, 0.9, 0.99])
def test_a_model_that_is_always_right_passes_on_exactly_those_rows(floor: float) -> None:
    rows = rows_for_floor(floor, 1.0)

    assert exact_rate(rows, rows, sides=1).low >= floor
    assert exact_rate(rows - 1, rows - 1, sides=1).low < floor


@pytest.mark.parametrize(("floor", "expected"), [(0.8, 0.8), (0.8, 0.7), (0.0, 0.5), (0.8, 1.1)])
def test_no_rows_show_what_is_not_so(floor: float, expected: float) -> None:
    with pytest.raises(ValueError, match="no number of rows"):
        rows_for_floor(floor, expected)


@pytest.mark.parametrize("discordance", [0.0, -0.1, 1.2])
def test_a_discordance_is_a_share(discordance: float) -> None:
    with pytest.raises(ValueError, match="a discordance is a share"):
        rows_needed(0.03, discordance)
    with pytest.raises(ValueError, match="a discordance is a share"):
        smallest_difference(100, discordance)


@pytest.mark.parametrize(("distance", "variance"), [(0.0, 1.0), (-0.03, 1.0), (0.03, 0.0)])
def test_a_distance_of_nothing_is_refused(distance: float, variance: float) -> None:
    with pytest.raises(ValueError, match="must be above 0"):
        rows_for_distance(distance, variance)


def test_no_rows_show_no_difference() -> None:
    with pytest.raises(ValueError, match="0 rows show nothing"):
        smallest_difference(0, 0.1)
