from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftorch.core.clock import (
    ManualClock,
    Reading,
    SteadyClock,
    SystemClock,
    from_micros,
    parse_rfc3339,
    rfc3339,
    to_micros,
)

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


def test_a_reading_tells_how_long_ago_it_was_whatever_the_wall_clock_says() -> None:
    clock = ManualClock()
    before = Reading.of(clock)

    clock.jump(7200)
    clock.advance(30)

    assert Reading.of(SteadyClock(clock)).since(before) == timedelta(seconds=30)


def test_readings_of_two_boots_are_not_compared() -> None:
    clock = ManualClock()
    before = Reading.of(clock)

    clock.reboot()
    clock.advance(5000)

    assert Reading.of(clock).since(before) is None


def test_a_reading_before_the_earlier_one_tells_nothing() -> None:
    assert Reading("server", 1.0).since(Reading("server", 2.0)) is None


def test_a_reading_survives_its_text() -> None:
    reading = Reading("boot-0f6c 2", 1234.567891)

    assert Reading.parse(str(reading)) == reading


def test_the_system_names_one_boot() -> None:
    assert SystemClock().boot_id() == SystemClock().boot_id() != ""
