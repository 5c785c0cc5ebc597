"""The two lines as characters and as SVG."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Mapping
from itertools import combinations

import pytest

from ftorch.core.quality import NOT_MEASURED
from ftorch.costs.lifetime import LifetimeReport, lifetime
from ftorch.costs.plot import plot
from ftorch.costs.svg import HEIGHT, WIDTH, labels, svg
from unit.costs.test_lifetime import START, block, per_call, train

CASES: Mapping[str, tuple[Mapping[str, object], str]] = {
    "worked example": ({}, "2500"),
    "never": ({"serving": per_call("0.006")}, "2500"),
    "huge": ({"calls_per_period": 900_000_000, "periods": 1200}, "99999999"),
    "tiny": ({"calls_per_period": 1, "period": "day", "periods": 1}, "0.01"),
    "late": ({"periods": 2}, "2500"),
}


@pytest.fixture(params=sorted(CASES))
def report(request: pytest.FixtureRequest) -> LifetimeReport:
    changes, cost = CASES[request.param]
    return lifetime(block(**changes), train(cost), NOT_MEASURED, start=START)


def test_every_text_lies_inside_and_none_over_another(report: LifetimeReport) -> None:
    boxes = [label.box for label in labels(report)]

    assert all(left >= 0 and top >= 0 and right <= WIDTH and low <= HEIGHT for left, top, right, low in boxes)
    for one, other in combinations(boxes, 2):
        apart = one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]
        assert apart, (one, other)


def test_the_picture_is_whole_and_needs_nothing_from_elsewhere(report: LifetimeReport) -> None:
    text = svg(report)

    root = ET.fromstring(text)
    assert root.tag.endswith("svg")
    assert "href" not in text
    assert "url(" not in text
    assert {child.tag.rpartition("}")[2] for child in root} >= {"title", "desc", "polyline", "text"}


def test_the_plot_fits_its_width_and_is_plain_characters(report: LifetimeReport) -> None:
    drawn = plot(report, width=60)

    lines = drawn.splitlines()[:-1]  # the legend may be longer
    assert drawn.isascii()
    assert max(map(len, lines)) <= 60


def test_the_plot_marks_where_the_lines_meet() -> None:
    drawn = plot(lifetime(block(), train("2500"), NOT_MEASURED, start=START))

    assert sum(line.count("X") for line in drawn.splitlines()[:-1]) == 1
    assert "crossover after 2.78 months" in drawn


def test_a_crossover_beyond_the_horizon_is_not_marked() -> None:
    drawn = plot(lifetime(block(periods=2), train("2500"), NOT_MEASURED, start=START))

    assert all("X" not in line for line in drawn.splitlines()[:-1])


def test_nothing_is_drawn_from_an_unknown_train_cost() -> None:
    unknown = lifetime(block(), None, NOT_MEASURED, start=START)

    assert plot(unknown) == ""
    with pytest.raises(ValueError, match="train cost"):
        svg(unknown)
