"""For how long a run is paid that nobody can be asked about any more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from ftorch.costs.items import Window
from ftorch.providers.base import Observation, RunState
from ftorch.providers.sightings import last_rate, paid_time

START = datetime(2026, 11, 28, 3, 0, tzinfo=UTC)


def at(minutes: int) -> datetime:
    return START + timedelta(minutes=minutes)


def seen(minutes: int, began: datetime | None = START) -> Observation:
    return Observation(RunState.RUNNING, "RUNNING", at(minutes), rate=Decimal(3), billable_from=began)


def missed(minutes: int, billable_to: datetime | None = None) -> Observation:
    return Observation(RunState.ABSENT, "not found", at(minutes), billable_to=billable_to)


def test_a_run_is_paid_to_the_moment_it_was_seen_last_and_not_to_the_one_it_was_missed() -> None:
    assert paid_time([seen(5), seen(20), missed(3 * 24 * 60)]) == Window(START, at(20))


def test_an_end_that_was_told_counts_more_than_a_look_that_came_after_it() -> None:
    ended = replace(seen(90), state=RunState.STOPPED, billable_to=at(31))

    assert paid_time([seen(40), ended, missed(100)]) == Window(START, at(31))


def test_of_a_row_that_remembers_the_miss_alone_its_last_sight_counts() -> None:
    assert paid_time([replace(missed(5000, billable_to=at(20)), billable_from=START)]) == Window(START, at(20))


def test_the_beginning_is_known_although_the_last_look_did_not_tell_it() -> None:
    assert paid_time([seen(5), seen(20, began=None)]) == Window(START, at(20))


def test_a_run_that_was_never_seen_to_begin_has_no_paid_time() -> None:
    assert paid_time([seen(5, began=None), missed(9)]) is None
    assert paid_time([replace(missed(9), billable_from=START)]) is None
    assert paid_time([]) is None


def test_a_cluster_whose_clock_is_ahead_gives_no_negative_time() -> None:
    assert paid_time([seen(5, began=at(7))]) == Window(at(7), at(7))


def test_the_rate_is_the_one_that_was_read_last() -> None:
    assert last_rate([seen(1), replace(seen(2), rate=Decimal(4)), missed(3)]) == Decimal(4)
    assert last_rate([missed(3)]) is None


@given(
    looks=st.lists(st.integers(0, 500), min_size=1).map(sorted),
    misses=st.lists(st.integers(501, 10**6)).map(sorted),
)
def test_looks_that_miss_a_run_never_change_what_it_costs(looks: Sequence[int], misses: Sequence[int]) -> None:
    sights = [seen(minutes) for minutes in looks]

    assert paid_time([*sights, *map(missed, misses)]) == paid_time(sights) == Window(START, at(looks[-1]))
