from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftorch.core.clock import ManualClock, from_micros, parse_rfc3339, rfc3339, to_micros

moments = st.datetimes(datetime(1971, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


@given(moments)
def test_a_moment_survives_the_database(moment: datetime) -> None:
    assert from_micros(to_micros(moment)) == moment


@given(moments)
def test_a_moment_survives_its_text(moment: datetime) -> None:
    assert parse_rfc3339(rfc3339(moment)) == moment


def test_text_is_always_utc() -> None:
    berlin = datetime(2026, 11, 1, 13, 0, tzinfo=timezone(timedelta(hours=1)))

    assert rfc3339(berlin) == "2026-11-01T12:00:00Z"


def test_a_naive_moment_is_refused() -> None:
    with pytest.raises(ValueError, match="no time zone"):
        to_micros(datetime(2026, 1, 1))  # noqa: DTZ001  what the test is about


def test_a_naive_text_is_refused() -> None:
    with pytest.raises(ValueError, match="no time zone"):
        parse_rfc3339("2026-01-01T00:00:00")


def test_sleeping_moves_a_manual_clock() -> None:
    clock = ManualClock()
    before = clock.now()

    clock.sleep(90)

    assert clock.now() - before == timedelta(seconds=90)
    assert clock.boot_s() == 1090.0
