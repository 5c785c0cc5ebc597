"""Cron expressions against a walk through every minute of the calendar, across changes of the clocks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice, takewhile

import pytest

from ftorch.core import cron
from unit.schedule.reference import reference

EXPRESSIONS = ("30 2 * * *", "*/20 * * * *", "15 */6 * * *", "*/45 1 * * *", "7 1-3 */2 * 1,5", "0 2 1,15 * 3")
# The last changes its clocks by half an hour, the one before at midnight.
ZONES = ("UTC", "Europe/Berlin", "America/New_York", "America/Santiago", "Australia/Lord_Howe")
CHANGES = ((datetime(2026, 2, 20, tzinfo=UTC), 50), (datetime(2026, 8, 28, tzinfo=UTC), 70))


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_the_times_are_those_of_a_walk_through_every_minute(expression: str, zone: str) -> None:
    for start, days in CHANGES:
        end = start + timedelta(days=days)

        found = list(takewhile(lambda moment: moment <= end, cron.times(expression, cron.zone_of(zone), start)))  # noqa: B023

        assert found == reference(expression, zone, start, end)


def test_a_list_that_is_begun_in_the_middle_goes_on_as_the_whole_one_does() -> None:
    zone = cron.zone_of("Europe/Berlin")
    night = datetime(2026, 10, 24, 22, 0, tzinfo=UTC)
    whole = list(islice(cron.times("*/30 1-3 * * *", zone, night), 20))

    for minutes in range(0, 600, 7):
        after = night + timedelta(minutes=minutes)
        assert next(cron.times("*/30 1-3 * * *", zone, after)) == min(one for one in whole if one > after)


@pytest.mark.parametrize(("alias", "fields"), cron.ALIASES.items())
def test_an_alias_means_its_five_fields(alias: str, fields: str) -> None:
    start, zone = datetime(2026, 1, 1, tzinfo=UTC), cron.zone_of("Europe/Paris")

    assert next(cron.times(alias, zone, start)) == next(cron.times(fields, zone, start))


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("61 * * * *", "not a cron expression: Bad minute"),
        ("0 3 * *", "has 4 fields; a cron expression has five"),
        ("0 0 3 * * 1", "has 6 fields"),
        ("@nightly", "is not an alias; there are @hourly, @daily"),
        ("0 0 30 2 *", "Bad day-of-month"),
    ],
)
def test_what_is_no_expression_is_said(expression: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        cron.check(expression)


def test_what_is_no_zone_is_said() -> None:
    with pytest.raises(ValueError, match="use an IANA name"):
        cron.zone_of("Mars/Olympus")
