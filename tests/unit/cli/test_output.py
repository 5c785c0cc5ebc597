from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftorch.cli.output import ago, duration, to_json
from ftorch.core.money import Money
from ftorch.jobs.views import Spend
from ftorch.providers.base import RunState

NOW = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (Money(Decimal("44.250")), {"amount": "44.25", "currency": "USD"}),
        (Decimal("0.0000001"), "0.0000001"),
        (NOW, "2026-11-01T12:00:00Z"),
        (RunState.RUNNING, "running"),
        (Path("/a/b"), "/a/b"),
        (None, None),
        ((1, "a", None), [1, "a", None]),
        ({"a": Decimal(1)}, {"a": "1.00"}),
        (
            Spend(None, "USD", None, "none"),
            {"amount": None, "currency": "USD", "source": None, "status": "none"},
        ),
    ],
)
def test_a_value_has_its_one_json_form(value: object, expected: object) -> None:
    assert to_json(value) == expected


@given(st.decimals(allow_nan=False, allow_infinity=False, places=9, min_value=-(10**9), max_value=10**9))
def test_no_amount_loses_a_digit_on_its_way_to_json(amount: Decimal) -> None:
    text = json.loads(json.dumps(to_json(Money(amount))))["amount"]

    assert Decimal(text) == amount


@pytest.mark.parametrize(
    ("seconds", "words"), [(0, "0 s"), (59, "59 s"), (130, "2 min 10 s"), (3900, "1 h 05 min"), (None, "?")]
)
def test_durations_read_as_people_say_them(seconds: int | None, words: str) -> None:
    assert duration(seconds) == words


def test_ages_read_as_people_say_them() -> None:
    assert [ago(NOW - timedelta(seconds=s), NOW) for s in (5, 200, 7300, 200_000)] == [
        "5 s ago",
        "3 min ago",
        "2 h ago",
        "2 d ago",
    ]
