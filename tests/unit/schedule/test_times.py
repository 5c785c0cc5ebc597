"""What becomes of times that have passed: by the rule and two moments alone."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ftorch.manifest.schedule import Schedule
from ftorch.schedule.times import delay, occurrences, passed

DAYS = [datetime(2026, 3, day, 3, 0, tzinfo=UTC) for day in range(1, 8)]
LATER = timedelta(hours=2)


def rule(**changes: Any) -> Schedule:
    return Schedule.model_validate({"cron": "0 3 * * *", **changes})


def waiting(found: Schedule, fires: Sequence[datetime], now: datetime) -> list[int]:
    """The days whose times wait for their turn."""
    return [row.fire_at.day for row in occurrences(found, "s", fires, now) if row.state == "waiting"]


@pytest.mark.parametrize(
    ("policy", "kept"),
    [
        ({"misfire": "skip"}, []),
        ({"misfire": "once"}, [7]),
        ({"misfire": "all", "misfire_max": 3}, [5, 6, 7]),
        ({"misfire": "all"}, [1, 2, 3, 4, 5, 6, 7]),
    ],
)
def test_a_policy_says_which_times_are_made_up_for(policy: dict[str, Any], kept: list[int]) -> None:
    assert waiting(rule(**policy), DAYS, DAYS[-1] + LATER) == kept


@pytest.mark.parametrize("policy", ["skip", "once"])
def test_what_was_missed_before_a_time_that_is_here_is_not_made_up_for(policy: str) -> None:
    assert waiting(rule(misfire=policy), DAYS, DAYS[-1]) == [7]


def test_a_time_within_the_grace_is_on_time() -> None:
    found = occurrences(rule(misfire="skip", grace="10m"), "s", DAYS[:1], DAYS[0] + timedelta(minutes=10))

    assert [(row.kind, row.state) for row in found] == [("on_time", "waiting")]


def test_every_time_has_a_row_also_where_nothing_is_made_up_for() -> None:
    found = occurrences(rule(misfire="skip"), "s", DAYS, DAYS[-1] + LATER)

    assert [(row.fire_at, row.state, row.reason) for row in found] == [
        (day, "skipped", "slept_through") for day in DAYS
    ]


def test_of_years_asleep_the_newest_times_are_noted() -> None:
    found = passed(rule(cron="0 * * * *"), DAYS[0] - timedelta(days=900), DAYS[0])

    assert (len(found), found[-1]) == (1000, DAYS[0])


def test_the_delay_of_a_time_is_its_own_and_the_same_for_everybody() -> None:
    jittered = rule(jitter="1h")

    delays = [delay(jittered, schedule, DAYS[0]) for schedule in ("a", "b", "a")]

    assert delays[0] == delays[2] != delays[1]
    assert all(timedelta(0) <= one < timedelta(hours=1) for one in delays)


def test_delays_are_spread_over_the_whole_window() -> None:
    jittered = rule(jitter="1h")

    quarters = {delay(jittered, f"schedule {n}", DAYS[0]) // timedelta(minutes=15) for n in range(60)}

    assert quarters == {0, 1, 2, 3}


def test_without_jitter_a_time_is_what_it_is() -> None:
    assert delay(rule(), "a", DAYS[0]) == timedelta(0)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"cron": "0 3 * *"}, "has 4 fields"),
        ({"timezone": "Europe/Atlantis"}, "not a time zone"),
        ({"when": "sometimes"}, "not a trigger; there are always, dataset_changed, hosted_changed"),
        ({"when": []}, "names no trigger"),
        ({"when": ["always", "dataset_changed"]}, "needs no other trigger"),
        ({"when": {"new_rows": 0}}, "greater than or equal to 1"),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused_in_words(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        rule(**changes)


def test_one_trigger_or_a_list_of_them_are_read_alike() -> None:
    found = rule(when=["dataset_changed", {"new_rows": 500}, {"evaluation_below": 0.8}])

    assert Schedule.model_validate_json(found.model_dump_json()) == found
    assert rule(when={"new_rows": 500}).when == (found.when[1],)
